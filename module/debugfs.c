// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs.c - /sys/kernel/debug/pagewell: pool, buddy, heaps, idle, check, faults
 *
 * The files are an interface: `key: value` lines, or a table of words under a
 * line of headings. Scripts find values by key and column, so both may grow.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/seq_file.h>

#include "pagewell.h"
#include "limit.h"
#include "pool.h"
#include "stats.h"
#include "watch.h"

static struct dentry *pw_debugfs_dir;

/*
 * Of the pages in free runs, the part that no allocation of an order can use
 * because it lies in smaller runs. 1.000 at order 9: no 2 MiB page is left.
 */
static unsigned int unusable_permille(const struct pw_buddy_stat *st, unsigned int order)
{
	unsigned long runs[2] = {};
	unsigned int i;

	for (i = 0; i < PW_STAT_ORDERS; i++)
		runs[i >= order] += (st->nr_free[i][0] + st->nr_free[i][1]) << i;
	if (!runs[0] && !runs[1])
		return 1000;
	return div64_u64(runs[0] * 1000ULL, runs[0] + runs[1]);
}

static int pool_show(struct seq_file *m, void *v)
{
	struct pw_buddy_stat buddy;
	struct pw_pool_stat st;
	unsigned int permille;

	pw_pool_get_stat(&st);
	pw_pool_buddy_stat(&buddy);
	permille = unusable_permille(&buddy, PW_STAT_ORDERS - 1);
	seq_printf(m, "floor_pages: %lu\n", st.floor);
	seq_printf(m, "max_pages: %lu\n", st.max);
	seq_printf(m, "held_pages: %lu\n", st.held);
	seq_printf(m, "used_pages: %lu\n", st.held - st.free - st.lost);
	seq_printf(m, "free_pages: %lu\n", st.free);
	seq_printf(m, "clear_pages: %lu\n", st.clear);
	seq_printf(m, "pcp_pages: %lu\n", st.pcp);
	seq_printf(m, "zeroing_pages: %lu\n", st.zeroing);
	seq_printf(m, "idle_pages: %lu\n", st.idle);
	seq_printf(m, "avail_pages: %lu\n", st.avail);
	seq_printf(m, "promised_pages: %lu\n", st.free - st.avail + st.debt);
	seq_printf(m, "debt_pages: %lu\n", st.debt);
	seq_printf(m, "lost_pages: %lu\n", st.lost);
	seq_printf(m, "heaps: %lu\n", pw_heap_count());
	seq_printf(m, "bookkeeping_bytes: %lu\n", buddy.bookkeeping);
	seq_printf(m, "fragmentation: %u.%03u\n", permille / 1000, permille % 1000);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pool);

static int buddy_show(struct seq_file *m, void *v)
{
	struct pw_buddy_stat st;
	unsigned int permille;
	int order;

	pw_pool_buddy_stat(&st);
	seq_puts(m, "order run_kb clear dirty free_pages unusable\n");
	for (order = 0; order < PW_STAT_ORDERS; order++) {
		permille = unusable_permille(&st, order);
		seq_printf(m, "%d %lu %lu %lu %lu %u.%03u\n", order,
			   PAGE_SIZE >> 10 << order,
			   st.nr_free[order][1], st.nr_free[order][0],
			   (st.nr_free[order][0] + st.nr_free[order][1]) << order,
			   permille / 1000, permille % 1000);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(buddy);

/* Position 0 is the line of headings, position n > 0 the first heap whose id is n or above. */
struct heaps_iter {
	struct pw_heap_stat st;
	u64 next;
};

static void *heaps_at(struct heaps_iter *it, u64 id)
{
	it->next = id;
	return pw_heap_next_stat(&it->next, 0, &it->st) ? it : NULL;
}

static void *heaps_start(struct seq_file *m, loff_t *pos)
{
	return *pos ? heaps_at(m->private, *pos) : SEQ_START_TOKEN;
}

static void *heaps_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct heaps_iter *it = m->private;

	*pos = v == SEQ_START_TOKEN ? 1 : it->next;
	return heaps_at(it, *pos);
}

static void heaps_stop(struct seq_file *m, void *v)
{
}

static const char *huge_name(u32 huge)
{
	switch (huge) {
	case PAGEWELL_HUGE_ALWAYS:
		return "always";
	case PAGEWELL_HUGE_NEVER:
		return "never";
	default:
		return "auto";
	}
}

/* Programs name themselves; the name must stay one word, and be one. */
static void show_comm(struct seq_file *m, const char *comm)
{
	if (*comm)
		seq_escape(m, comm, " \t\n\v\f\r\\");
	else
		seq_putc(m, '-');
}

static int heaps_show(struct seq_file *m, void *v)
{
	const struct heaps_iter *it = v;
	const struct pw_heap_stat *st = &it->st;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "pid comm id base limit_kb committed_kb resident_kb shared_kb");
		seq_puts(m, " regions breaks faults fault_pages cow_copies refused");
		seq_puts(m, " mode huge packed_kb\n");
		return 0;
	}

	seq_printf(m, "%d ", st->pid);
	show_comm(m, st->comm);
	seq_printf(m, " %llu 0x%lx ", st->id, st->base);
	if (st->limit == PW_NO_LIMIT)
		seq_puts(m, "none");
	else
		seq_printf(m, "%lu", st->limit >> 10);
	seq_printf(m, " %lu %lu %lu %lu %lu %llu %llu %llu %llu %s %s %lu\n",
		   st->committed >> 10, st->resident >> 10, st->shared >> 10,
		   st->regions, st->breaks, st->faults, st->fault_pages,
		   st->cow_copies, st->refused,
		   st->lazy ? "lazy" : "strict", huge_name(st->huge),
		   st->packed >> 10);
	return 0;
}

static const struct seq_operations heaps_sops = {
	.start	= heaps_start,
	.next	= heaps_next,
	.stop	= heaps_stop,
	.show	= heaps_show,
};

static int heaps_open(struct inode *inode, struct file *file)
{
	if (!__seq_open_private(file, &heaps_sops, sizeof(struct heaps_iter)))
		return -ENOMEM;
	return 0;
}

static const struct file_operations heaps_fops = {
	.owner		= THIS_MODULE,
	.open		= heaps_open,
	.read		= seq_read,
	.llseek		= seq_lseek,
	.release	= seq_release_private,
};

static int faults_show(struct seq_file *m, void *v)
{
	struct pw_stats st;
	u64 whole;
	u32 hundredths;

	pw_stats_sum(&st);
#define X(name, text) seq_printf(m, #name ": %llu\n", st.name);
	PW_STATS(X)
#undef X
	whole = st.faults ? div64_u64(st.fault_pages * 100, st.faults) : 0;
	whole = div_u64_rem(whole, 100, &hundredths);
	seq_printf(m, "pages_per_fault: %llu.%02u\n", whole, hundredths);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(faults);

static int idle_show(struct seq_file *m, void *v)
{
	struct pw_idle_stat st;
	u64 ratio;
	u32 hundredths;

	pw_idle_get_stat(&st);
	ratio = st.store ? div64_u64(((u64)st.pages << PAGE_SHIFT) * 100, st.store) : 0;
	ratio = div_u64_rem(ratio, 100, &hundredths);
	seq_printf(m, "max_bytes: %lu\n", st.max);
	seq_printf(m, "store_bytes: %lu\n", st.store);
	seq_printf(m, "packed_pages: %lu\n", st.pages);
	seq_printf(m, "same_pages: %lu\n", st.same);
	seq_printf(m, "packed_bytes: %lu\n", st.bytes);
	seq_printf(m, "ratio: %llu.%02u\n", ratio, hundredths);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(idle);

/* Reading, or writing anything, has the pool verified. */
static int check_show(struct seq_file *m, void *v)
{
	const char *bad = pw_pool_check();

	seq_printf(m, "check: %s\n", bad ? bad : "ok");
	return 0;
}

static int check_open(struct inode *inode, struct file *file)
{
	return single_open(file, check_show, NULL);
}

static ssize_t check_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	const char *bad = pw_pool_check();

	if (!bad)
		return len;
	pr_err("the pool is damaged: %s\n", bad);
	return -EUCLEAN;
}

static const struct file_operations check_fops = {
	.owner		= THIS_MODULE,
	.open		= check_open,
	.read		= seq_read,
	.write		= check_write,
	.llseek		= seq_lseek,
	.release	= single_release,
};

/**
 * pw_debugfs_init() - make the files
 *
 * Call when everything they show is there. A kernel without debugfs is no error.
 */
void pw_debugfs_init(void)
{
	pw_debugfs_dir = debugfs_create_dir("pagewell", NULL);
	debugfs_create_file("pool", 0444, pw_debugfs_dir, NULL, &pool_fops);
	debugfs_create_file("buddy", 0444, pw_debugfs_dir, NULL, &buddy_fops);
	debugfs_create_file("heaps", 0444, pw_debugfs_dir, NULL, &heaps_fops);
	debugfs_create_file("idle", 0444, pw_debugfs_dir, NULL, &idle_fops);
	debugfs_create_file("check", 0600, pw_debugfs_dir, NULL, &check_fops);
	debugfs_create_file("faults", 0444, pw_debugfs_dir, NULL, &faults_fops);
}

/**
 * pw_debugfs_exit() - remove the files, waiting for readers
 */
void pw_debugfs_exit(void)
{
	debugfs_remove(pw_debugfs_dir);
}
