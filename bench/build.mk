# SPDX-License-Identifier: GPL-2.0-only
#
# bench-user counts instructions of the library, beside other allocators that
# are installed. bench-kernel measures the module in a VM that counts
# instructions too, so the figures do not depend on what else the host does.

bench-progs	:= $(patsubst bench/%.c,build/bench/%,$(wildcard bench/kernel/*.c bench/user/*.c))

build/bench/%: bench/%.c module/uapi/pagewell.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 -pthread -fno-builtin -Imodule/uapi \
		-Wall -Werror -o $@ $<

bench-user: lib $(bench-progs)	## measure the library beside the installed peers
	bench/user/count
	bench/user/run

# Sleeps first, and before each row: the boot settles, pages are zeroed ahead.
bench-kernel: modules $(bench-progs)	## measure the module
	@set -e; for k in $(KERNELS); do \
		echo "---- kernel $$k, in instructions"; \
		scripts/vm -k $$k --icount --mem 4096 --pool 1024 --timeout 3000 -- \
			build/bench/kernel/ops 60 5; \
		scripts/vm -k $$k --icount --mem 2048 --pool 512 --timeout 1200 -- \
			build/bench/kernel/regions 60; \
		echo "---- two processors, in time"; \
		scripts/vm -k $$k --smp 2 --mem 1024 --pool 256 --timeout 300 -- \
			build/bench/kernel/threads; \
		echo "---- the page pool of $$k alone"; \
		scripts/vm -k $$k --icount --no-module --timeout 600 -- bench/kernel/pool.sh; \
	done
