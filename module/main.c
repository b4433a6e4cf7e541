// SPDX-License-Identifier: GPL-2.0-only
/*
 * main.c - load and unload
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>

#include "heap.h"
#include "limit.h"
#include "pool.h"
#include "stats.h"
#include "watch.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static unsigned long pool_mb = 64;
module_param(pool_mb, ulong, 0444);
MODULE_PARM_DESC(pool_mb, "MiB held from load on (default 64)");

static unsigned long pool_max_mb;
module_param(pool_max_mb, ulong, 0444);
MODULE_PARM_DESC(pool_max_mb, "MiB the pool may grow to (default half of RAM)");

static unsigned long mb_to_pages(unsigned long mb)
{
	return mb << (20 - PAGE_SHIFT);
}

static int check_params(void)
{
	unsigned long ram_mb = totalram_pages() >> (20 - PAGE_SHIFT);

	if (!pool_max_mb)
		pool_max_mb = max(ram_mb / 2, pool_mb);
	if (pool_mb > pool_max_mb || pool_max_mb > ram_mb) {
		pr_err("pool_mb=%lu pool_max_mb=%lu: want pool_mb <= pool_max_mb <= %lu, the RAM there is\n",
		       pool_mb, pool_max_mb, ram_mb);
		return -EINVAL;
	}
	return 0;
}

static int __init pw_init(void)
{
	int err = check_params();

	if (err)
		return err;
	err = pw_stats_init();
	if (err)
		return err;
	err = pw_chunk_init();
	if (err)
		goto err_stats;
	err = pw_pool_init(mb_to_pages(pool_mb), mb_to_pages(pool_max_mb));
	if (err)
		goto err_chunk;
	pw_pack_init();
	err = pw_idle_init();
	if (err)
		goto err_pack;
	err = pw_compact_init();
	if (err)
		goto err_idle;
	pw_debugfs_init();
	err = pw_netlink_init();
	if (err)
		goto err_debugfs;
	err = pw_device_init();
	if (err)
		goto err_netlink;
	pr_info("pool of %lu MiB, up to %lu\n", pool_mb, pool_max_mb);
	return 0;

err_netlink:
	pw_netlink_exit();
	pw_limit_exit();
err_debugfs:
	pw_debugfs_exit();
	pw_compact_stop();
err_idle:
	pw_idle_stop();
err_pack:
	pw_pack_exit();
	pw_pool_exit();
err_chunk:
	pw_chunk_exit();
err_stats:
	pw_stats_exit();
	return err;
}

static void __exit pw_exit(void)
{
	/* Who looks at a heap may have its last reference, and so an inode of the device's. */
	pw_netlink_exit();
	pw_debugfs_exit();
	pw_compact_stop();
	pw_idle_stop();
	pw_device_exit();
	pw_heap_exit();
	pw_pack_exit();
	pw_limit_exit();
	pw_chunk_exit();
	pw_pool_exit();
	pw_stats_exit();
}

module_init(pw_init);
module_exit(pw_exit);

MODULE_DESCRIPTION("A heap with a page pool, regions and a fault handler of its own");
MODULE_AUTHOR("The Pagewell developers");
MODULE_LICENSE("GPL");
