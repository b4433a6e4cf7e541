// SPDX-License-Identifier: GPL-2.0-only
/*
 * pack.c - packed pages: compressed, and out of the pool
 *
 * A packed page is an entry of an index that is no page frame number, but what a
 * small record here is known by. The record says where the kernel's zsmalloc has
 * the page's contents, compressed with LZ4; or it has the one word that the page
 * is full of.
 *
 * zsmalloc and the compressors may be modules, and need not be there at all; so
 * they are looked for when somebody wants something packed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/crypto.h>
#include <linux/highmem.h>
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <linux/zsmalloc.h>

#include "heap.h"
#include "pool.h"
#include "stats.h"
#include "watch.h"

/* A page that does not get smaller than this is better left alone. */
#define PACKED_MOST	(PAGE_SIZE * 3 / 4)

#define PACK_GFP	(GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN)

/* The kernel's name of LZ4. */
#define METHOD		"lz4"

/* At most as many pages are compressed or brought back at once. */
#define NR_CTXS		8

static unsigned long idle_max_mb;

/**
 * struct packed - a page that is packed
 * @data: what zsmalloc knows its contents by; without @len the word it is full of
 * @len: bytes
 * @refs: entries that it stands in; more than one after a fork
 */
struct packed {
	unsigned long data;
	u32 len;
	refcount_t refs;
};

static DEFINE_XARRAY_ALLOC(packed_pages);
static atomic_long_t nr_packed, nr_same, packed_bytes;

/* The kernel's part */

#define CALLS(X)							\
	X(zs_create_pool) X(zs_destroy_pool) X(zs_malloc) X(zs_free)	\
	X(zs_map_object) X(zs_unmap_object) X(zs_get_total_pages)	\
	X(crypto_alloc_base) X(crypto_destroy_tfm)			\
	X(crypto_comp_compress) X(crypto_comp_decompress)

/**
 * struct comp_ctx - what it takes to compress a page or bring it back
 * @lock: protects the rest
 * @tfm: compresses and decompresses
 * @buf: for a page that gets larger
 */
struct comp_ctx {
	struct mutex lock; /* see above */
	struct crypto_comp *tfm;
	u8 *buf;
};

/**
 * struct store - where packed pages are
 * @setup: protects the making of it
 * @ready: it may be made: loading us is no time to load others, unloading none to begin
 * @pool: NULL while there is none; goes away with us only
 * @ctx: chosen by CPU
 */
static struct store {
	struct mutex setup; /* see above */
	bool ready;
	struct zs_pool *pool;
	struct comp_ctx ctx[NR_CTXS];
#define X(call) typeof(&(call)) call;
	CALLS(X)
#undef X
} store = { .setup = __MUTEX_INITIALIZER(store.setup) };

static void put_calls(void)
{
#define X(call) do { if (store.call) symbol_put(call); store.call = NULL; } while (0);
	CALLS(X)
#undef X
}

static bool get_calls(void)
{
	bool found = true;

#define X(call) do { store.call = symbol_get(call); found &= !!store.call; } while (0);
	CALLS(X)
#undef X
	if (!found)
		put_calls();
	return found;
}

static void free_ctxs(void)
{
	struct comp_ctx *ctx;

	for (ctx = store.ctx; ctx < store.ctx + NR_CTXS; ctx++) {
		if (ctx->tfm)
			store.crypto_destroy_tfm(ctx->tfm, crypto_comp_tfm(ctx->tfm));
		kfree(ctx->buf);
		ctx->tfm = NULL;
		ctx->buf = NULL;
	}
}

static bool make_ctx(struct comp_ctx *ctx)
{
	struct crypto_tfm *tfm;

	mutex_init(&ctx->lock);
	tfm = store.crypto_alloc_base(METHOD, CRYPTO_ALG_TYPE_COMPRESS, CRYPTO_ALG_TYPE_MASK);
	if (IS_ERR(tfm))
		return false;
	ctx->tfm = (struct crypto_comp *)tfm;
	ctx->buf = kmalloc(2 * PAGE_SIZE, GFP_KERNEL);
	return ctx->buf;
}

static bool make_store(void)
{
	struct comp_ctx *ctx;

	if (!get_calls()) {
		request_module("crypto");
		request_module("zsmalloc");
		if (!get_calls())
			return false;
	}
	for (ctx = store.ctx; ctx < store.ctx + NR_CTXS; ctx++)
		if (!make_ctx(ctx))
			goto fail;
	/* Whoever finds it finds the rest. */
	smp_store_release(&store.pool, store.zs_create_pool("pagewell"));
	if (store.pool)
		return true;
fail:
	free_ctxs();
	put_calls();
	return false;
}

/* Pairs with the release when the store is complete. */
static struct zs_pool *store_pool(void)
{
	return smp_load_acquire(&store.pool);
}

static bool have_store(void)
{
	bool have = store_pool();

	if (likely(have))
		return true;
	mutex_lock(&store.setup);
	if (!store.ready) {
		mutex_unlock(&store.setup);
		return false;
	}
	have = store.pool || make_store();
	if (!have) {
		pr_err("packing needs the kernel's zsmalloc and " METHOD "\n");
		WRITE_ONCE(idle_max_mb, 0);
	}
	mutex_unlock(&store.setup);
	return have;
}

static struct comp_ctx *get_ctx(void)
{
	struct comp_ctx *ctx = &store.ctx[raw_smp_processor_id() % NR_CTXS];

	mutex_lock(&ctx->lock);
	return ctx;
}

static void put_ctx(struct comp_ctx *ctx)
{
	mutex_unlock(&ctx->lock);
}

/* A record, and its part of what it is found by: all that a page of one word takes. */
#define RECORD_BYTES	(sizeof(struct packed) + sizeof(struct xa_node) / XA_CHUNK_SIZE)

static unsigned long store_bytes(void)
{
	unsigned long records = atomic_long_read(&nr_packed) * RECORD_BYTES;
	struct zs_pool *pool = store_pool();

	return records + (pool ? store.zs_get_total_pages(pool) << PAGE_SHIFT : 0);
}

/**
 * pw_pack_wanted() - does somebody want pages packed?
 */
bool pw_pack_wanted(void)
{
	return READ_ONCE(idle_max_mb);
}

/**
 * pw_pack_on() - may pages be packed?
 *
 * May sleep, to have the kernel load what it takes.
 */
bool pw_pack_on(void)
{
	return pw_pack_wanted() && have_store();
}

static unsigned long max_bytes(void)
{
	return READ_ONCE(idle_max_mb) << 20;
}

/**
 * pw_pack_full() - is there no room for more?
 */
bool pw_pack_full(void)
{
	return store_bytes() >= max_bytes();
}

/* Records */

static struct packed *record_of(u32 entry)
{
	return xa_load(&packed_pages, entry - PW_PFN_PACKED);
}

static u32 add_record(unsigned long data, u32 len)
{
	struct packed *p = kmalloc(sizeof(*p), PACK_GFP);
	u32 id;

	if (!p)
		return 0;
	p->data = data;
	p->len = len;
	refcount_set(&p->refs, 1);
	if (xa_alloc(&packed_pages, &id, p, XA_LIMIT(0, PW_PFN_GONE - PW_PFN_PACKED - 1),
		     PACK_GFP)) {
		kfree(p);
		return 0;
	}
	atomic_long_inc(&nr_packed);
	atomic_long_add(len, &packed_bytes);
	if (!len)
		atomic_long_inc(&nr_same);
	return PW_PFN_PACKED + id;
}

/**
 * pw_packed_share() - one more entry has a packed page
 * @entry: which
 */
void pw_packed_share(u32 entry)
{
	refcount_inc(&record_of(entry)->refs);
}

/**
 * pw_packed_put() - an entry has no packed page any more
 * @entry: what it was; the contents go with the last one
 */
void pw_packed_put(u32 entry)
{
	struct packed *p = record_of(entry);

	if (!refcount_dec_and_test(&p->refs))
		return;
	xa_erase(&packed_pages, entry - PW_PFN_PACKED);
	atomic_long_dec(&nr_packed);
	atomic_long_sub(p->len, &packed_bytes);
	if (p->len)
		store.zs_free(store.pool, p->data);
	else
		atomic_long_dec(&nr_same);
	kfree(p);
}

/* One page */

static bool is_same(const unsigned long *p)
{
	const unsigned int last = PAGE_SIZE / sizeof(*p) - 1;
	unsigned int i;

	if (p[0] != p[last])
		return false;
	for (i = 1; i < last; i++)
		if (p[i] != p[0])
			return false;
	return true;
}

static u32 put_into_store(const void *buf, unsigned int len)
{
	unsigned long handle = store.zs_malloc(store.pool, len, PACK_GFP | __GFP_HIGHMEM |
					       __GFP_MOVABLE);
	u32 entry;

	if (IS_ERR_VALUE(handle))
		return 0;
	memcpy(store.zs_map_object(store.pool, handle, ZS_MM_WO), buf, len);
	store.zs_unmap_object(store.pool, handle);
	entry = add_record(handle, len);
	if (!entry)
		store.zs_free(store.pool, handle);
	return entry;
}

static u32 compress(const void *page)
{
	struct comp_ctx *ctx = get_ctx();
	unsigned int len = 2 * PAGE_SIZE;
	u32 entry = 0;

	if (!store.crypto_comp_compress(ctx->tfm, page, PAGE_SIZE, ctx->buf, &len) &&
	    len <= PACKED_MOST)
		entry = put_into_store(ctx->buf, len);
	else
		pw_stat_inc(pack_refused);
	put_ctx(ctx);
	return entry;
}

/**
 * pw_pack() - pack a page
 * @page: whose contents; the page stays the caller's
 *
 * Return: an entry for the index that had it, PW_PFN_PACKED or above; 0 when it
 * would not get smaller, or there is no memory for it.
 */
u32 pw_pack(struct page *page)
{
	const unsigned long *p = kmap_local_page(page);
	u32 entry;

	if (is_same(p)) {
		entry = add_record(*p, 0);
		if (entry)
			pw_stat_inc(packed_same);
	} else {
		entry = compress(p);
	}
	kunmap_local(p);
	if (entry)
		pw_stat_inc(packed);
	return entry;
}

static bool decompress(const struct packed *p, void *to)
{
	struct comp_ctx *ctx = get_ctx();
	unsigned int len = PAGE_SIZE;
	const void *from;
	int err;

	from = store.zs_map_object(store.pool, p->data, ZS_MM_RO);
	err = store.crypto_comp_decompress(ctx->tfm, from, p->len, to, &len);
	store.zs_unmap_object(store.pool, p->data);
	put_ctx(ctx);
	return !err && len == PAGE_SIZE;
}

/**
 * pw_unpack() - fill a page with what a packed one had
 * @entry: the packed page, which stays
 * @page: the page
 *
 * Return: false when the contents are damaged.
 */
bool pw_unpack(u32 entry, struct page *page)
{
	const struct packed *p = record_of(entry);
	void *to = kmap_local_page(page);
	bool done = true;

	if (p->len)
		done = decompress(p, to);
	else
		memset_l(to, p->data, PAGE_SIZE / sizeof(long));
	kunmap_local(to);
	return !WARN_ONCE(!done, "pagewell: a packed page is damaged");
}

/* Settings */

static int set_max(const char *val, const struct kernel_param *kp)
{
	unsigned long old = idle_max_mb, ram_mb = totalram_pages() >> (20 - PAGE_SHIFT);
	int err = param_set_ulong(val, kp);

	if (err)
		return err;
	if (idle_max_mb > ram_mb) {
		WRITE_ONCE(idle_max_mb, old);
		return -EINVAL;
	}
	if (idle_max_mb && READ_ONCE(store.ready) && !have_store())
		return -EOPNOTSUPP;
	pw_idle_wake();
	return 0;
}

static const struct kernel_param_ops max_ops = {
	.set = set_max,
	.get = param_get_ulong,
};

module_param_cb(idle_max_mb, &max_ops, &idle_max_mb, 0644);
__MODULE_PARM_TYPE(idle_max_mb, "ulong");
MODULE_PARM_DESC(idle_max_mb, "MiB that packed pages may take (0: nothing is packed)");

/**
 * pw_idle_get_stat() - what is packed now
 * @st: filled in
 */
void pw_idle_get_stat(struct pw_idle_stat *st)
{
	st->max = max_bytes();
	st->store = store_bytes();
	st->pages = atomic_long_read(&nr_packed);
	st->same = atomic_long_read(&nr_same);
	st->bytes = atomic_long_read(&packed_bytes);
}

/**
 * pw_pack_init() - from now on pages may be packed
 */
void pw_pack_init(void)
{
	WRITE_ONCE(store.ready, true);
}

/**
 * pw_pack_exit() - let go of the store; no heap is left
 */
void pw_pack_exit(void)
{
	WARN_ON_ONCE(!xa_empty(&packed_pages));
	mutex_lock(&store.setup);
	WRITE_ONCE(store.ready, false);
	mutex_unlock(&store.setup);
	if (!store.pool)
		return;
	store.zs_destroy_pool(store.pool);
	store.pool = NULL;
	free_ctxs();
	put_calls();
}
