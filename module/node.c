// SPDX-License-Identifier: GPL-2.0-only
/*
 * node.c - from which node of memory pages are taken
 *
 * From the CPU's own, which is the nearest that has memory, unless the task has a
 * policy of its own (set_mempolicy(2)). That is a preference here even where it is
 * MPOL_BIND: what was promised is not refused because it lies elsewhere. Interleaving
 * goes from node to node with each request, and one request is a fault's. Where the
 * pool has no more of the node that is wanted it takes more (pw_supply_grow_node()),
 * from other nodes when that has none to spare; but from none outside the task's cpuset.
 */
#include <linux/cpuset.h>
#include <linux/mempolicy.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/topology.h>

#include "pool_int.h"

DEFINE_STATIC_KEY_FALSE(pw_nodes_key);

#ifdef CONFIG_NUMA
static int nearest_of(const nodemask_t *nodes, int local)
{
	int node, best = NUMA_NO_NODE;

	if (node_isset(local, *nodes))
		return local;
	for_each_node_mask(node, *nodes)
		if (best == NUMA_NO_NODE ||
		    node_distance(local, node) < node_distance(local, best))
			best = node;
	return best == NUMA_NO_NODE ? local : best;
}

static int next_of(const nodemask_t *nodes, int local)
{
	int node;

	if (nodes_empty(*nodes))
		return local;
	/* Any number will do that is another one next time. */
	node = next_node_in(this_cpu_read(pw_pool.pcp->turn), *nodes);
	this_cpu_write(pw_pool.pcp->turn, node);
	return node;
}

/**
 * pw_node_of() - the node that is a processor's own
 * @cpu: which processor
 *
 * Return: the nearest that has memory, or had when this was asked.
 */
int pw_node_of(unsigned int cpu)
{
	int local = cpu_to_node(cpu);

	return nearest_of(&node_states[N_MEMORY], local == NUMA_NO_NODE ? 0 : local);
}

/**
 * pw_node_wanted() - where pages for this task should come from
 * @local: the CPU's own node
 *
 * Return: a node.
 */
int pw_node_wanted(int local)
{
	const struct mempolicy *pol = current->mempolicy;

	if (!pol)
		return local;
	switch (pol->mode) {
	case MPOL_PREFERRED:
	case MPOL_PREFERRED_MANY:
	case MPOL_BIND:
		return nearest_of(&pol->nodes, local);
	case MPOL_DEFAULT:
	case MPOL_LOCAL:
		return local;
	default:
		return next_of(&pol->nodes, local);
	}
}

/**
 * pw_node_may() - may the kernel be asked for pages of a node, for this task?
 * @node: which node
 * @bound: and not if the task is bound to others (MPOL_BIND)
 */
bool pw_node_may(int node, bool bound)
{
	const struct mempolicy *pol = current->mempolicy;

	return node_isset(node, cpuset_current_mems_allowed) &&
	       (!bound || !pol || pol->mode != MPOL_BIND || node_isset(node, pol->nodes));
}
#else
int pw_node_of(unsigned int cpu)
{
	return 0;
}

int pw_node_wanted(int local)
{
	return local;
}

bool pw_node_may(int node, bool bound)
{
	return true;
}
#endif

/**
 * pw_node_init() - look how many nodes there are, or may come
 */
void pw_node_init(void)
{
	if (num_possible_nodes() > 1)
		static_branch_enable(&pw_nodes_key);
}
