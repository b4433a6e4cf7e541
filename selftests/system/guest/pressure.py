#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""pressure - in a small machine: a pool, heaps in it, and a hog

The pool grows far above its floor and is idle again; a heap holds pages and
promises; then a hog takes nearly all memory that is free, in the pool or
outside. With the argument "scattered": what the pool could give back lies between
pages in use. Prints TAP.
"""
import ctypes
import mmap
import os
import subprocess
import sys

MB = 1 << 20
LEAVE = 90 * MB
# What the pool may still hold beside what is used or promised.
SPARE = 40 * MB
POOL = "/sys/kernel/debug/pagewell/pool"
count = 0


def ok(passed, name):
    global count
    count += 1
    print("%sok %d %s" % ("" if passed else "not ", count, name), flush=True)


def pool(key):
    with open(POOL) as f:
        for line in f:
            if line.startswith(key + ": "):
                return int(line.split()[1]) * mmap.PAGESIZE


def available():
    with open("/proc/meminfo") as f:
        for line in f:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024


def user():
    """Runs on a heap: 64 MiB touched, 48 more promised; touches them later."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    held = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(64 * MB)))
    promised = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(48 * MB)))
    if not held.value or not promised.value:
        sys.exit(3)
    ctypes.memset(held, 0x5a, 64 * MB)
    print("ready", flush=True)
    sys.stdin.readline()
    ctypes.memset(promised, 0xa5, 48 * MB)
    whole = all(ctypes.c_ubyte.from_address(start.value + at).value == byte
                for start, size, byte in ((held, 64, 0x5a), (promised, 48, 0xa5))
                for at in range(77, size * MB, mmap.PAGESIZE))
    sys.exit(0 if whole else 4)


def not_needed():
    return pool("free_pages") - pool("promised_pages")


def hog():
    """Takes what the kernel has, and nearly all that nobody needs of the pool.

    The kernel chooses itself what of the last it takes from the pool and what
    from its caches, so a little more is taken while the pool has much.
    """
    kept = []

    def take():
        m = mmap.mmap(-1, MB)
        for at in range(0, MB, mmap.PAGESIZE):
            m[at] = 1
        kept.append(m)

    for _ in range((available() + pool("idle_pages") - LEAVE) // MB):
        take()
    while not_needed() > SPARE:
        take()
    print(len(kept), flush=True)
    sys.stdin.readline()


def start(role, *prefix):
    return subprocess.Popen([*prefix, sys.executable, __file__, role], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def events(name):
    with open("/proc/vmstat") as f:
        return sum(int(line.split()[1]) for line in f if line.split()[0] == name)


def thin():
    """Runs on a heap: 250 MiB in pages of which one in eight stays."""
    libc = ctypes.CDLL(None)
    libc.aligned_alloc.restype = ctypes.c_void_p
    libc.free.argtypes = (ctypes.c_void_p,)
    pages = [libc.aligned_alloc(ctypes.c_size_t(mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE))
             for _ in range(250 * MB // mmap.PAGESIZE)]
    if not all(pages):
        sys.exit(3)
    for number, start in enumerate(pages):
        ctypes.memset(start, number % 251, mmap.PAGESIZE)
    for number, start in enumerate(pages):
        if number % 8:
            libc.free(start)
    libc.malloc_trim(0)
    print("ready", flush=True)
    sys.stdin.readline()
    whole = all(ctypes.c_ubyte.from_address(start + 77).value == number % 251
                for number, start in enumerate(pages) if number % 8 == 0)
    sys.exit(0 if whole else 4)


def scattered():
    """What a heap has given back lies between pages in use when the hog comes."""
    heap = start("thin", "build/pagewell", "run", "--lazy", "--huge", "never")
    ok(heap.stdout.readline() == "ready\n", "a heap has pages here and there")
    before = pool("held_pages")
    print("# held %d MiB of which %d are free, %d idle, available %d MiB" % (
        before // MB, pool("free_pages") // MB, pool("idle_pages") // MB, available() // MB))
    ok(pool("free_pages") - pool("promised_pages") > 180 * MB > 4 * pool("idle_pages"),
       "the pool is thin")
    greedy = start("hog")
    took = int(greedy.stdout.readline() or 0)
    print("# the hog took %d MiB, held %d MiB" % (took, pool("held_pages") // MB))
    ok(took, "the hog lives")
    ok(pool("held_pages") < before - 100 * MB, "under pressure the pool gives back")
    heap.communicate("\n")
    ok(heap.returncode == 0, "the heap has its data")
    greedy.communicate("\n")
    ok(events("oom_kill") == 0, "the OOM killer had nothing to do")
    sound()


def sound():
    with open("/sys/kernel/debug/pagewell/check") as f:
        ok(f.read() == "check: ok\n", "the pool is sound")
    print("1..%d" % count)


def main():
    run = ("build/pagewell", "run", "--huge", "never", "--limit", "400M")
    floor = pool("floor_pages")
    heap = start("user", *run)
    ok(heap.stdout.readline() == "ready\n", "a heap gets pages and promises")
    # Another one makes the pool grow, and ends.
    subprocess.run([*run, sys.executable, "-c", "b = bytearray(160 << 20)"], check=True)
    before = pool("held_pages")
    print("# held %d MiB of which %d are idle, available %d MiB" % (
        before // MB, pool("idle_pages") // MB, available() // MB))
    ok(before > floor + 200 * MB, "the pool has grown")
    greedy = start("hog")
    took = int(greedy.stdout.readline() or 0)
    after = pool("held_pages")
    needed = pool("used_pages") + pool("promised_pages")
    print("# the hog took %d MiB, held %d MiB, of which %d are used or promised" % (
        took, after // MB, needed // MB))
    ok(after < before - 100 * MB, "under pressure the pool gives back")
    ok(after <= max(floor, needed) + SPARE + 8 * MB, "nearly all that is not needed")
    # More is refused at once; what was promised is there.
    more = subprocess.run([*run, sys.executable, "-c", "bytearray(300 << 20)"],
                          stderr=subprocess.PIPE, text=True)
    print("# status %d: %s" % (more.returncode, more.stderr.strip().split("\n")[-1]))
    ok("MemoryError" in more.stderr, "what the machine does not have is refused")
    heap.communicate("\n")
    ok(heap.returncode == 0, "the heap has its data and all it was promised")
    greedy.communicate("\n")
    ok(greedy.returncode == 0, "the hog lives")
    ok(events("oom_kill") == 0, "the OOM killer had nothing to do")
    sound()


os.chdir(os.path.dirname(os.path.realpath(__file__)) + "/../../..")
{"main": main, "scattered": scattered, "user": user, "thin": thin, "hog": hog}[
    sys.argv[1] if len(sys.argv) > 1 else "main"]()
