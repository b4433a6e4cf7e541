// SPDX-License-Identifier: GPL-2.0-only
/*
 * os_device.c - memory of /dev/pagewell
 *
 * The heap is one shared mapping of the device that starts at the window, grows
 * in place, and loses its end when that has not been needed for a while; what may
 * be touched in it is agreed with the module by ioctl. Programs close descriptors
 * they do not know, count those that they have and hand them on, so none is kept:
 * requests go through a mailbox that the module reads when the mapping is synced.
 * Where that does not get through, because the program has split the mapping, the
 * device is opened for a moment; any descriptor of it will do, the module finds the
 * heap by the process.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../module/uapi/pagewell.h"
#include "decay.h"
#include "env.h"
#include "heap.h"
#include "meta.h"
#include "os_backend.h"
#include "report.h"
#include "sys.h"

#define FIRST_LENGTH	(8 * MIB)
#define PLACE_TRIES	16

/* The mapping loses no less than this, and no more than once in so many milliseconds. */
#define CUT_MIN		(64 * MIB)
#define CUT_MS		1000

/* Longer than the way to the stack, which is above every heap; but not than all addresses. */
#define TOO_LONG	((1UL << 47) - HUGE_SIZE)

/* How far ahead of a break memory is committed. */
#define AHEAD_MIN	(64 * KIB)
#define AHEAD_MAX	(8 * MIB)

static dev_t device;		/* its number, as st_rdev */
static uint64_t features;
static uintptr_t base;		/* of the mapping; 0: no device heap */
static size_t length;		/* of the mapping */
static size_t window;
static uintptr_t high;		/* nothing is given out behind it */
static uintptr_t tip;		/* what ends there is why the mapping is as long; 0: unknown */
static uint64_t cut_at;		/* milliseconds; when it was cut last */
static bool regrown;		/* it has grown since */
static bool lost;		/* requests do not get through */
static struct pagewell_request mailbox;

static bool is_device(int fd)
{
	struct stat st;

	if (sys(SYS_fstat, fd, &st) || !S_ISCHR(st.st_mode) ||
	    (device && st.st_rdev != device))
		return false;
	device = st.st_rdev;
	return true;
}

static int open_device(void)
{
	int fd = (int)sys(SYS_openat, AT_FDCWD, PAGEWELL_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && !is_device(fd)) {
		sys(SYS_close, fd);
		return -ENODEV;
	}
	return fd;
}

/* Another thread of the program may have closed it, and opened something else. */
static void close_device(int fd)
{
	if (is_device(fd))
		sys(SYS_close, fd);
}

static int call_fd(int fd, unsigned int cmd, void *arg)
{
	long ret;

	do
		ret = sys(SYS_ioctl, fd, cmd, arg);
	while (ret == -EINTR);
	return (int)ret;
}

/* Returns false when the request did not arrive. */
static bool call_mailbox(unsigned int cmd, void *arg, int *ret)
{
	mailbox.arg = (uintptr_t)arg;
	do {
		WRITE_ONCE(mailbox.cmd, cmd);
		*ret = (int)sys(SYS_msync, base, PAGEWELL_CALL_LENGTH, MS_SYNC);
	} while (*ret == -EINTR);
	if (!READ_ONCE(mailbox.cmd))
		return true;
	WRITE_ONCE(mailbox.cmd, 0);
	return false;
}

static int call(unsigned int cmd, void *arg)
{
	int ret, fd;

	if (call_mailbox(cmd, arg, &ret))
		return ret;
	fd = open_device();
	ret = fd < 0 ? fd : call_fd(fd, cmd, arg);
	if (fd >= 0)
		close_device(fd);
	else
		os_set_why("the mapping is split and %s cannot be opened: %s",
			   PAGEWELL_DEVICE, strerrordesc_np(-fd));
	lost = fd < 0 || ret == -ENXIO;
	return lost ? -ENODEV : ret;
}

static int get_info(int fd, struct pagewell_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return call_fd(fd, PAGEWELL_IOC_INFO, info);
}

static int apply_environment(int fd)
{
	struct pagewell_heap heap = { .size = sizeof(heap) };

	if (pw_env.lazy) {
		heap.set |= PAGEWELL_SET_COMMIT;
		heap.commit = PAGEWELL_COMMIT_LAZY;
	}
	if (pw_env.huge != HUGE_AUTO) {
		heap.set |= PAGEWELL_SET_HUGE;
		heap.huge = pw_env.huge == HUGE_ALWAYS ? PAGEWELL_HUGE_ALWAYS :
							 PAGEWELL_HUGE_NEVER;
	}
	if (pw_env.limit != SIZE_MAX) {
		heap.set |= PAGEWELL_SET_LIMIT;
		heap.limit = pw_env.limit;
	}
	return heap.set ? call_fd(fd, PAGEWELL_IOC_HEAP, &heap) : 0;
}

static int put_up_mailbox(int fd)
{
	struct pagewell_mailbox box = {
		.size = sizeof(box),
		.addr = (uintptr_t)&mailbox,
	};

	return call_fd(fd, PAGEWELL_IOC_MAILBOX, &box);
}

/* Maps the device somewhere with room for the tables below. */
static int map_device(int fd)
{
	long ret = -ENOMEM;
	int i;

	for (i = 0; i < PLACE_TRIES; i++) {
		uintptr_t place = os_random_place();

		ret = sys(SYS_mmap, place, FIRST_LENGTH, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
		if (ret == -EEXIST)
			continue;
		if (ret < 0)
			return (int)ret;
		if ((uintptr_t)ret == place && !pw_meta_place(place, FIRST_LENGTH)) {
			base = place;
			length = FIRST_LENGTH;
			return 0;
		}
		sys(SYS_munmap, ret, FIRST_LENGTH);
	}
	return -ENOMEM;
}

static void unmap_device(void)
{
	pw_meta_unplace();
	sys(SYS_munmap, base, length);
	base = 0;
}

#define FEATURES	(PAGEWELL_FEATURE_BRK | PAGEWELL_FEATURE_MAP | PAGEWELL_FEATURE_MAILBOX)

static int check_version(int fd)
{
	struct pagewell_info info;
	int ret = get_info(fd, &info);

	if (!ret && (info.abi != PAGEWELL_ABI_VERSION || info.page_shift != PAGE_SHIFT ||
		     (info.features & FEATURES) != FEATURES))
		ret = -EPROTO;
	if (ret) {
		os_set_why("the module behind %s is of another version", PAGEWELL_DEVICE);
		return ret;
	}
	features = info.features;
	window = MIN(info.window, MAX_WINDOW - GRANULE);
	return 0;
}

static int make_heap(int fd)
{
	struct pagewell_info info;
	int ret = map_device(fd);

	if (ret) {
		os_set_why("%s cannot be mapped: %s", PAGEWELL_DEVICE, strerrordesc_np(-ret));
		return ret;
	}
	ret = apply_environment(fd) ?: put_up_mailbox(fd) ?: get_info(fd, &info);
	if (!ret && info.heap_base != base)
		ret = -EPROTO;
	if (ret) {
		os_set_why("the module refuses the heap: %s", strerrordesc_np(-ret));
		unmap_device();
	}
	return ret;
}

int os_device_start(void)
{
	int fd = open_device();
	int ret;

	if (fd < 0) {
		os_set_why("%s cannot be opened: %s", PAGEWELL_DEVICE, strerrordesc_np(-fd));
		return fd;
	}
	ret = check_version(fd) ?: make_heap(fd);
	close_device(fd);
	return ret;
}

bool os_device_usable(void)
{
	return base && !lost;
}

void os_device_fork_child(void)
{
	lost = false;
}

bool os_device_owns(uintptr_t addr)
{
	return base && addr - base < length;
}

uintptr_t os_device_end(void)
{
	return base ? base + length : 0;
}

uintptr_t os_device_high(void)
{
	return high;
}

/* The program may have split it, by mlock() of a part for one: the last part is to grow. */
static bool extend(size_t to)
{
	return sys(SYS_mremap, base + length - PAGE_SIZE, PAGE_SIZE, PAGE_SIZE + to - length,
		   0) >= 0;
}

/*
 * Has the mapping reach up to @end: in a step that grows with it, or if that
 * is too much for the process's limits, just as far.
 */
static int reach(uintptr_t end)
{
	/* The last page is nobody's: what the program does to one, the next part would inherit. */
	size_t need = ALIGN_UP(end - base + 1, HUGE_SIZE);
	size_t step = ALIGN_UP(MAX(need, length + length / 4), HUGE_SIZE);

	if (need <= length)
		return 0;
	if (need > window)
		return -ENOMEM;
	step = MIN(step, window);
	if (!extend(step)) {
		step = need;
		if (!extend(step))
			return -ENOMEM;
	}
	length = step;
	regrown = true;
	tip = 0;
	return 0;
}

/* Does the mapping go on far behind so many bytes? */
static bool is_far_behind(size_t bytes)
{
	return length / 2 >= bytes && length - bytes >= CUT_MIN;
}

/*
 * The last page that stays is to grow as the last one now would. That they are of one
 * mapping is what a request that nobody can be granted tells: where they are not, the
 * program has done something to one of them.
 */
static bool ends_in_one(size_t to)
{
	long ret = sys(SYS_mremap, base + to - PAGE_SIZE, length - to + PAGE_SIZE, TOO_LONG, 0);

	return ret == -ENOMEM || ret == -EAGAIN;
}

static bool cut(size_t to)
{
	size_t was = length;

	if (!ends_in_one(to))
		return false;
	length = to;
	if (!sys(SYS_munmap, base + to, was - to))
		return true;
	length = was;
	return false;
}

static bool ask(struct pagewell_info *info)
{
	*info = (struct pagewell_info){ .size = sizeof(*info) };
	return base && !call(PAGEWELL_IOC_INFO, info);
}

/*
 * Others of the process may have the module give them addresses, and it gives those that
 * were used last first: it knows what is still to be given back.
 */
void os_device_cut(size_t used)
{
	struct pagewell_info info;
	size_t keep;

	if (!is_far_behind(used) || !os_device_usable() || os_anon_started())
		return;
	if (!ask(&info) || !info.heap_end)
		return;
	tip = info.heap_end;
	keep = tip - base + 1;
	keep = ALIGN_UP(keep + keep / 4, HUGE_SIZE);
	if (!is_far_behind(keep) || !cut(keep))
		return;
	high = tip;
	cut_at = arena_now();
	regrown = false;
}

/* A heap that rises and falls all the time keeps its addresses for most of it. */
static bool is_too_soon(void)
{
	return regrown && arena_now() - cut_at < CUT_MS;
}

void os_device_gave_back(uintptr_t from, uintptr_t to, size_t used)
{
	if (from < tip && tip <= to)
		tip = 0;
	if (!tip && is_far_behind(used) && !is_too_soon())
		os_device_cut(used);
}

static void note_end(uintptr_t end)
{
	high = MAX(high, end);
}

bool os_device_has_control(void)
{
	return features & PAGEWELL_FEATURE_CONTROL;
}

int os_device_brk_create(size_t reserve, struct os_brk *b)
{
	struct pagewell_brk_create create = {
		.size = sizeof(create),
		.reserve = reserve,
		.control = os_device_has_control() ? (uintptr_t)&b->word : 0,
	};
	int ret = call(PAGEWELL_IOC_BRK_CREATE, &create);

	if (ret)
		return ret;
	/* Ownership is told by address, so the start has to be ours already. */
	if (reach(create.start + HUGE_SIZE)) {
		struct pagewell_brk_destroy destroy = {
			.size = sizeof(destroy),
			.id = create.id,
		};

		call(PAGEWELL_IOC_BRK_DESTROY, &destroy);
		return -ENOMEM;
	}
	note_end(create.start + create.reserve);
	*b = (struct os_brk){
		.start = create.start,
		.brk = create.start,
		.reserved = create.start + create.reserve,
		.granted = create.start,
		.word = create.start,
		.id = create.id,
	};
	return 0;
}

/* Moves what the module holds to be the break. */
static int grant(struct os_brk *b, uintptr_t end)
{
	struct pagewell_brk move = { .size = sizeof(move), .id = b->id, .brk = end };
	int ret;

	if (os_anon_started() && end > base + length)
		return -EAGAIN;
	if (reach(end))
		return -ENOMEM;
	ret = call(PAGEWELL_IOC_BRK, &move);
	if (ret == -ENODEV || (ret == -ENOMEM && end > b->reserved))
		return -EAGAIN;
	if (ret)
		return ret;
	note_end(end);
	b->granted = end;
	return 0;
}

/* Each refusal is counted, and told: what is not needed is not asked for again before it is. */
static int grant_ahead(struct os_brk *b, uintptr_t brk, uintptr_t end)
{
	if (brk >= b->refused && end <= b->reserved) {
		if (!grant(b, end))
			return 0;
		b->refused = end;
	}
	return grant(b, brk);
}

/*
 * Upwards the module is asked for more than is needed, in steps that grow with
 * the break, and most moves are a store. What may not be had is not insisted on.
 */
int os_device_brk_move(struct os_brk *b, uintptr_t brk)
{
	size_t ahead = ALIGN_DOWN((brk - b->start) / 8, GRANULE);
	uintptr_t end = brk + MIN(MAX(ahead, AHEAD_MIN), AHEAD_MAX);
	int ret = 0;

	if (brk < b->brk || !os_device_has_control())
		ret = grant(b, brk);
	else if (brk > b->granted)
		ret = grant_ahead(b, brk, end);
	if (ret)
		return ret;
	if (brk < b->brk)
		b->refused = 0;
	WRITE_ONCE(b->word, brk);
	b->brk = brk;
	return 0;
}

int os_device_brk_destroy(struct os_brk *b)
{
	struct pagewell_brk_destroy destroy = { .size = sizeof(destroy), .id = b->id };
	int ret = call(PAGEWELL_IOC_BRK_DESTROY, &destroy);

	if (!ret) {
		b->brk = b->start;
		b->granted = b->start;
	}
	return ret;
}

static int unmap(uintptr_t addr, size_t len)
{
	struct pagewell_unmap un = { .size = sizeof(un), .addr = addr, .length = len };

	return call(PAGEWELL_IOC_UNMAP, &un);
}

/* Addresses behind @addr that stay empty. */
static int map_guard(uintptr_t addr)
{
	struct pagewell_map map = {
		.size = sizeof(map),
		.flags = PAGEWELL_MAP_GUARD | PAGEWELL_MAP_FIXED_NOREPLACE,
		.addr = addr,
		.length = GRANULE,
	};

	return call(PAGEWELL_IOC_MAP, &map);
}

int os_device_map(size_t len, size_t align, unsigned int flags, uintptr_t *addr)
{
	struct pagewell_map map = { .size = sizeof(map), .length = len, .align = align };
	bool guard = flags & OS_GUARD;
	int ret;

	/* Look for a place with room for the guard, then let go of that part. */
	if (guard)
		map.length += GRANULE;
	ret = call(PAGEWELL_IOC_MAP, &map);
	if (ret)
		return ret;
	if (guard)
		ret = unmap(map.addr + len, GRANULE) ?: map_guard(map.addr + len);
	if (!ret)
		ret = reach(map.addr + map.length);
	if (ret) {
		unmap(map.addr, map.length);
		return ret;
	}
	note_end(map.addr + map.length);
	*addr = map.addr;
	return 0;
}

int os_device_unmap(uintptr_t addr, size_t len)
{
	return unmap(addr, len);
}

static int remap(uintptr_t *addr, size_t old_length, size_t new_length, unsigned int flags)
{
	struct pagewell_remap re = {
		.size = sizeof(re),
		.flags = flags,
		.addr = *addr,
		.old_length = old_length,
		.new_length = new_length,
	};
	int ret = call(PAGEWELL_IOC_REMAP, &re);

	if (!ret) {
		*addr = re.addr;
		note_end(re.addr + new_length);
	}
	return ret;
}

/*
 * A block that moved cannot be moved back for certain, so the mapping is made
 * to reach wherever it may go first.
 */
int os_device_remap(uintptr_t *addr, size_t old_length, size_t new_length, bool may_move)
{
	int ret;

	if (!(features & PAGEWELL_FEATURE_REMAP) || os_anon_started())
		return -EOPNOTSUPP;
	ret = reach(*addr + new_length);
	if (!ret)
		ret = remap(addr, old_length, new_length, 0);
	if (!ret || !may_move)
		return ret;
	return reach(high + MOVE_SLACK + new_length) ?:
	       remap(addr, old_length, new_length, PAGEWELL_REMAP_MAYMOVE);
}

int os_device_advise(uintptr_t addr, size_t len, enum os_advice advice)
{
	static const uint32_t codes[] = {
		[OS_DONTNEED] = PAGEWELL_ADVISE_DONTNEED,
		[OS_POPULATE] = PAGEWELL_ADVISE_POPULATE,
		[OS_WILLNEED] = PAGEWELL_ADVISE_WILLNEED,
		[OS_FREE] = PAGEWELL_ADVISE_FREE,
		[OS_COLD] = PAGEWELL_ADVISE_COLD,
		[OS_HUGEPAGE] = PAGEWELL_ADVISE_HUGEPAGE,
		[OS_NOHUGEPAGE] = PAGEWELL_ADVISE_NOHUGEPAGE,
		[OS_COLLAPSE] = PAGEWELL_ADVISE_COLLAPSE,
	};
	struct pagewell_advise arg = {
		.size = sizeof(arg),
		.advice = codes[advice],
		.addr = addr,
		.length = len,
	};

	if (!(features & PAGEWELL_FEATURE_ADVISE))
		return -EOPNOTSUPP;
	return call(PAGEWELL_IOC_ADVISE, &arg);
}

uint64_t os_device_heap_id(void)
{
	struct pagewell_info info;

	return ask(&info) ? info.heap_id : 0;
}
