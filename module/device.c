// SPDX-License-Identifier: GPL-2.0-only
/*
 * device.c - /dev/pagewell: open, mmap, ioctl
 */
#include <linux/fs.h>
#include <linux/indirect_call_wrapper.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "heap.h"
#include "pool.h"
#include "trace.h"

#define PAGEWELL_FS_MAGIC	0x50574c4c

/*
 * Every open file gets an inode of its own: the VMAs of one family are then in
 * one i_mmap, and nobody else's. It is as long as a file can be, because the
 * kernel maps huge pages only below the end of the file.
 */
static struct vfsmount *pw_mnt;

static int pw_fs_init_context(struct fs_context *fc)
{
	return init_pseudo(fc, PAGEWELL_FS_MAGIC) ? 0 : -ENOMEM;
}

/* No .owner: a mount of our own must not keep us from being unloaded. */
static struct file_system_type pw_fs_type = {
	.name = "pagewell",
	.init_fs_context = pw_fs_init_context,
	.kill_sb = kill_anon_super,
};

/* Its pages are never written back: dirty means nothing. */
static const struct address_space_operations pw_aops = {
	.dirty_folio = noop_dirty_folio,
};

static int pw_open(struct inode *inode, struct file *file)
{
	struct pw_family *family = kzalloc(sizeof(*family), GFP_KERNEL_ACCOUNT);

	if (!family)
		return -ENOMEM;
	family->inode = alloc_anon_inode(pw_mnt->mnt_sb);
	if (IS_ERR(family->inode)) {
		int err = PTR_ERR(family->inode);

		kfree(family);
		return err;
	}
	i_size_write(family->inode, MAX_LFS_FILESIZE);
	family->inode->i_mapping->a_ops = &pw_aops;
	refcount_set(&family->refs, 1);
	mutex_init(&family->lock);
	INIT_LIST_HEAD(&family->heaps);
	spin_lock_init(&family->zap_lock);
	INIT_LIST_HEAD(&family->zaps);
	xa_init_flags(&family->shared, XA_FLAGS_ALLOC1);
	file->f_mapping = family->inode->i_mapping;
	file->private_data = family;
	return 0;
}

/**
 * pw_family_put() - the file is closed, or a heap is gone
 * @family: which
 */
void pw_family_put(struct pw_family *family)
{
	if (!refcount_dec_and_test(&family->refs))
		return;
	iput(family->inode);
	xa_destroy(&family->shared);
	mutex_destroy(&family->lock);
	kfree(family);
}

static int pw_release(struct inode *inode, struct file *file)
{
	pw_family_put(file->private_data);
	return 0;
}

/* Asked before what is there is unmapped; pw_mmap() would be too late. */
static unsigned long may_be_mapped_at(unsigned long addr)
{
	struct pw_heap *heap;

	if (!IS_ALIGNED(addr, PW_SLOT_BYTES))
		return -EINVAL;
	heap = pw_heap_get_by_mm(current->mm);
	if (!heap)
		return addr;
	pw_heap_put(heap);
	return -EEXIST;
}

static unsigned long pw_get_unmapped_area(struct file *file, unsigned long addr,
					  unsigned long len,
					  unsigned long pgoff,
					  unsigned long flags)
{
	unsigned long at;

	/* Here, not in mmap: a merge with a neighbour never gets there. */
	if (pgoff)
		return -EINVAL;
	if (flags & MAP_FIXED)
		return may_be_mapped_at(addr);
	if (!IS_ALIGNED(addr, PW_SLOT_BYTES))
		addr = 0;
	len = max(len, PW_SLOT_BYTES);
	at = thp_get_unmapped_area(file, addr, len, 0, flags);
	if (IS_ERR_VALUE(at) || IS_ALIGNED(at, PW_SLOT_BYTES))
		return at;
	/* In a 32-bit program it does not align. */
	at = thp_get_unmapped_area(file, 0, len + PW_SLOT_BYTES - PAGE_SIZE, 0, flags);
	return IS_ERR_VALUE(at) ? at : ALIGN(at, PW_SLOT_BYTES);
}

static int pw_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long window;
	struct pw_heap *heap;

	/* Shared and writable: a private mapping would copy out of the pool. */
	if ((vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) !=
	    (VM_SHARED | VM_MAYWRITE))
		return -EINVAL;
	if ((vma->vm_flags & VM_EXEC) || vma->vm_pgoff ||
	    !IS_ALIGNED(vma->vm_start, PW_SLOT_BYTES))
		return -EINVAL;

	heap = pw_heap_get_by_mm(current->mm);
	if (heap) {
		pw_heap_put(heap);
		return -EEXIST;
	}
	window = min(PW_WINDOW_PAGES,
		     (TASK_SIZE - vma->vm_start) >> PAGE_SHIFT);
	heap = pw_heap_create(current->mm, file->private_data, vma->vm_start,
			      window, GFP_KERNEL_ACCOUNT);
	if (!heap)
		return -ENOMEM;
	heap->vmas = 1;
	pw_vm_flags_clear(vma, VM_MAYEXEC);
	vma->vm_private_data = heap;
	vma->vm_ops = &pw_vm_ops;
	return 0;
}

union ioc_arg {
	u32 size;
	struct pagewell_info info;
	struct pagewell_heap heap;
	struct pagewell_brk_create brk_create;
	struct pagewell_brk brk;
	struct pagewell_brk_destroy brk_destroy;
	struct pagewell_map map;
	struct pagewell_unmap unmap;
	struct pagewell_remap remap;
	struct pagewell_advise advise;
	struct pagewell_mailbox mailbox;
	struct pagewell_protect protect;
	struct pagewell_share share;
};

static int ioc_info(struct pw_heap *heap, union ioc_arg *arg)
{
	struct pagewell_info *info = &arg->info;

	if (info->flags)
		return -EINVAL;
	*info = (struct pagewell_info) {
		.size = info->size,
		.abi = PAGEWELL_ABI_VERSION,
		.page_shift = PAGE_SHIFT,
		.features = PAGEWELL_FEATURE_BRK | PAGEWELL_FEATURE_MAP |
			    PAGEWELL_FEATURE_REMAP | PAGEWELL_FEATURE_ADVISE |
			    PAGEWELL_FEATURE_HUGE | PAGEWELL_FEATURE_MAILBOX |
			    PAGEWELL_FEATURE_CONTROL | PAGEWELL_FEATURE_PROTECT |
			    PAGEWELL_FEATURE_SHARE | PAGEWELL_FEATURE_REMAP_FIXED,
		.window = (u64)PW_WINDOW_PAGES << PAGE_SHIFT,
		.limit = ~0ULL,
		.pool_size = (u64)pw_pool_held() << PAGE_SHIFT,
		.pool_avail = (u64)pw_pool_avail() << PAGE_SHIFT,
		.pool_max = (u64)pw_pool_max() << PAGE_SHIFT,
	};
	if (heap)
		pw_heap_info(heap, info);
	return 0;
}

static int ioc_heap(struct pw_heap *heap, union ioc_arg *arg)
{
	return pw_heap_policy(heap, &arg->heap);
}

static int ioc_brk_create(struct pw_heap *heap, union ioc_arg *arg)
{
	if (arg->brk_create.flags || arg->brk_create.pad)
		return -EINVAL;
	return pw_brk_create(heap, &arg->brk_create);
}

static int ioc_brk(struct pw_heap *heap, union ioc_arg *arg)
{
	int err;

	if (arg->brk.flags || arg->brk.pad)
		return -EINVAL;
	err = pw_brk_move(heap, &arg->brk);
	if (!err)
		trace_pw_brk(arg->brk.id, arg->brk.brk);
	return err;
}

static int ioc_brk_destroy(struct pw_heap *heap, union ioc_arg *arg)
{
	if (arg->brk_destroy.flags || arg->brk_destroy.pad)
		return -EINVAL;
	return pw_brk_destroy(heap, arg->brk_destroy.id);
}

static int ioc_map(struct pw_heap *heap, union ioc_arg *arg)
{
	int err = pw_map(heap, &arg->map);

	if (!err)
		trace_pw_map(arg->map.addr, arg->map.length);
	return err;
}

static int ioc_unmap(struct pw_heap *heap, union ioc_arg *arg)
{
	int err;

	if (arg->unmap.flags)
		return -EINVAL;
	err = pw_unmap(heap, arg->unmap.addr, arg->unmap.length);
	if (!err)
		trace_pw_unmap(arg->unmap.addr, arg->unmap.length);
	return err;
}

static int ioc_remap(struct pw_heap *heap, union ioc_arg *arg)
{
	struct pagewell_remap was = arg->remap;
	int err = pw_remap(heap, &arg->remap);

	if (!err)
		trace_pw_remap(was.addr, was.old_length, arg->remap.addr, was.new_length);
	return err;
}

static int ioc_advise(struct pw_heap *heap, union ioc_arg *arg)
{
	int err = pw_advise(heap, arg->advise.addr, arg->advise.length,
			    arg->advise.advice);

	if (!err)
		trace_pw_advise(arg->advise.addr, arg->advise.length, arg->advise.advice);
	return err;
}

static int ioc_mailbox(struct pw_heap *heap, union ioc_arg *arg)
{
	void __user *box = u64_to_user_ptr(arg->mailbox.addr);

	if (arg->mailbox.flags || arg->mailbox.addr % sizeof(u64) ||
	    !access_ok(box, sizeof(struct pagewell_request)))
		return -EINVAL;
	WRITE_ONCE(heap->mailbox, box);
	return 0;
}

static int ioc_protect(struct pw_heap *heap, union ioc_arg *arg)
{
	return pw_protect(heap, arg->protect.addr, arg->protect.length,
			  arg->protect.prot);
}

static int ioc_share(struct pw_heap *heap, union ioc_arg *arg)
{
	if (arg->share.flags || arg->share.pad)
		return -EINVAL;
	return pw_share(heap, &arg->share);
}

/*
 * @min is the size of the struct as first published, @size as it is now, @out
 * says that the struct goes back to the program.
 */
struct ioc_op {
	int (*fn)(struct pw_heap *heap, union ioc_arg *arg);
	u32 min;
	u32 size;
	bool out;
};

#define IOC_OP(cmd, _fn, type, last, _out)				\
	[_IOC_NR(cmd)] = {						\
		.fn = (_fn),						\
		.min = offsetofend(struct type, last),			\
		.size = sizeof(struct type) +				\
			BUILD_BUG_ON_ZERO(sizeof(struct type) % sizeof(u64)), \
		.out = (_out),						\
	}

static const struct ioc_op ioc_ops[] = {
	IOC_OP(PAGEWELL_IOC_INFO, ioc_info, pagewell_info, pool_max, true),
	IOC_OP(PAGEWELL_IOC_HEAP, ioc_heap, pagewell_heap, limit, true),
	IOC_OP(PAGEWELL_IOC_BRK_CREATE, ioc_brk_create, pagewell_brk_create,
	       control, true),
	IOC_OP(PAGEWELL_IOC_BRK, ioc_brk, pagewell_brk, brk, true),
	IOC_OP(PAGEWELL_IOC_BRK_DESTROY, ioc_brk_destroy, pagewell_brk_destroy,
	       pad, false),
	IOC_OP(PAGEWELL_IOC_MAP, ioc_map, pagewell_map, align, true),
	IOC_OP(PAGEWELL_IOC_UNMAP, ioc_unmap, pagewell_unmap, length, false),
	IOC_OP(PAGEWELL_IOC_REMAP, ioc_remap, pagewell_remap, new_length, true),
	IOC_OP(PAGEWELL_IOC_ADVISE, ioc_advise, pagewell_advise, length, false),
	IOC_OP(PAGEWELL_IOC_MAILBOX, ioc_mailbox, pagewell_mailbox, addr,
	       false),
	IOC_OP(PAGEWELL_IOC_PROTECT, ioc_protect, pagewell_protect, length,
	       false),
	IOC_OP(PAGEWELL_IOC_SHARE, ioc_share, pagewell_share, pad, true),
};

/*
 * Most callers use the struct as it is today, and it is a few words long: moving
 * those costs a fraction of a copy of any length.
 */
static int copy_in(union ioc_arg *arg, const struct ioc_op *op,
		   const void __user *uarg, u32 size)
{
	const u64 __user *from = uarg;
	u64 *to = (u64 *)arg;
	u32 i;

	if (unlikely(size != op->size))
		return copy_struct_from_user(arg, op->size, uarg, size);
	if (!user_read_access_begin(from, size))
		return -EFAULT;
	for (i = 0; i < size / sizeof(u64); i++)
		unsafe_get_user(to[i], from + i, fault);
	user_read_access_end();
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static int copy_out(void __user *uarg, const union ioc_arg *arg, u32 size)
{
	const u64 *from = (const u64 *)arg;
	u64 __user *to = uarg;
	u32 i;

	if (unlikely(size % sizeof(u64)))
		return copy_to_user(uarg, arg, size) ? -EFAULT : 0;
	if (!user_write_access_begin(to, size))
		return -EFAULT;
	for (i = 0; i < size / sizeof(u64); i++)
		unsafe_put_user(from[i], to + i, fault);
	user_write_access_end();
	return 0;

fault:
	user_write_access_end();
	return -EFAULT;
}

static long run_ioctl(const struct ioc_op *op, struct pw_heap *heap,
		      void __user *uarg)
{
	/* As much of it as is used comes from the program. */
	union ioc_arg arg __pw_uninitialized;
	u32 size;
	int err;

	if (get_user(size, (u32 __user *)uarg))
		return -EFAULT;
	if (size < op->min)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	err = copy_in(&arg, op, uarg, size);
	if (err)
		return err;
	/* The one size checked is the one used, whatever is there now. */
	arg.size = size;

	if (!heap && op->fn != ioc_info)
		return -ENXIO;
	err = INDIRECT_CALL_3(op->fn, ioc_brk, ioc_map, ioc_unmap, heap, &arg);
	if (heap && unlikely(READ_ONCE(heap->ask_cow)))
		pw_heap_end_cow(heap);
	/* A break that could not move says where it is. */
	if (op->out && (!err || err == -ENOMEM) &&
	    copy_out(uarg, &arg, min(size, op->size)))
		return -EFAULT;
	return err;
}

static long run_command(struct pw_heap *heap, unsigned int cmd,
			unsigned long uarg)
{
	unsigned int nr = _IOC_NR(cmd);

	if (nr >= ARRAY_SIZE(ioc_ops) || cmd != _IO(PAGEWELL_IOC_TYPE, nr))
		return -ENOTTY;
	nr = array_index_nospec(nr, ARRAY_SIZE(ioc_ops));
	return run_ioctl(&ioc_ops[nr], heap, (void __user *)uarg);
}

/**
 * pw_ioctl_long_way() - do what an ioctl asks for
 * @file: does not matter
 * @cmd: PAGEWELL_IOC_
 * @uarg: its struct
 *
 * Return: 0 or a negative error.
 */
long pw_ioctl_long_way(struct file *file, unsigned int cmd, unsigned long uarg)
{
	struct pw_heap *heap = pw_heap_get_by_mm(current->mm);
	long ret = run_command(heap, cmd, uarg);

	if (heap)
		pw_heap_put(heap);
	return ret;
}

static long run_request(struct pw_heap *heap,
			struct pagewell_request __user *box)
{
	struct pagewell_request req;

	if (copy_from_user(&req, box, sizeof(req)))
		return -EFAULT;
	if (!req.cmd)
		return 0;
	if (put_user(0, &box->cmd))
		return -EFAULT;
	return req.pad ? -EINVAL : run_command(heap, req.cmd, req.arg);
}

/*
 * msync() comes here through the mapping, without a descriptor and without
 * locks. Over one certain range it stands for an ioctl, see PAGEWELL_IOC_MAILBOX;
 * anywhere else there is nothing to write back.
 */
static int pw_fsync(struct file *file, loff_t start, loff_t end, int datasync)
{
	struct pagewell_request __user *box;
	struct pw_heap *heap;
	int ret = 0;

	if (start || end != PAGEWELL_CALL_LENGTH - 1)
		return 0;
	heap = pw_heap_get_by_mm(current->mm);
	if (!heap)
		return 0;
	box = READ_ONCE(heap->mailbox);
	if (box)
		ret = run_request(heap, box);
	pw_heap_put(heap);
	return ret;
}

static const struct file_operations pw_fops = {
	.owner = THIS_MODULE,
	.open = pw_open,
	.release = pw_release,
	.mmap = pw_mmap,
	.get_unmapped_area = pw_get_unmapped_area,
	.unlocked_ioctl = pw_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.fsync = pw_fsync,
	.llseek = noop_llseek,
};

static struct miscdevice pw_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "pagewell",
	.fops = &pw_fops,
	.mode = 0666,
};

int pw_device_init(void)
{
	int err;

	pw_mnt = kern_mount(&pw_fs_type);
	if (IS_ERR(pw_mnt))
		return PTR_ERR(pw_mnt);
	err = misc_register(&pw_misc);
	if (err)
		kern_unmount(pw_mnt);
	return err;
}

void pw_device_exit(void)
{
	misc_deregister(&pw_misc);
	kern_unmount(pw_mnt);
}
