# SPDX-License-Identifier: GPL-2.0-only
#
# Everything that is built goes to build/. Kernels and their headers come from
# scripts/kernel, packages from scripts/setup. Each directory says what it
# builds in its own build.mk.

VERSION		:= 1.0
PREFIX		?= /usr/local
DESTDIR		?=
# Kernel series to build the module for, and to test in.
KERNELS		?= 6.1 6.12
CFLAGS		?= -O2 -g

warnings	:= -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes
USERLIB_VERSION	:= $(VERSION)
USERLIB_CFLAGS	= $(CFLAGS) -Werror

.DEFAULT_GOAL	:= all
.DELETE_ON_ERROR:
MAKEFLAGS	+= --no-print-directory
# As many jobs as processors, where nobody said how many.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS	+= -j$(shell nproc)
endif

# Packages first: what follows asks pkg-config and compilers.
ifneq ($(filter-out clean help uninstall,$(or $(MAKECMDGOALS),all)),)
ifndef NO_SETUP
setup_done	:= $(shell scripts/setup >&2 && echo yes)
ifneq ($(setup_done),yes)
$(error set-up failed; NO_SETUP=1 builds with what there is)
endif
endif
endif

include userlib/build.mk tools/build.mk selftests/build.mk \
	bench/build.mk

.PHONY: all lib lib-hardened tools modules tests run check check-debug bench bench-user \
	bench-kernel install uninstall clean help FORCE

all: lib tools modules tests	## build everything

lib: userlib			## build/libpagewell.so and .a

lib-hardened:			## build/hardened/: the library, hardened without being asked to be
	$(MAKE) -f userlib/build.mk USERLIB_BUILD=build/hardened HARDEN=1 userlib

tools: build/pagewell		## build/pagewell

# KDIR=/lib/modules/$(uname -r)/build builds for the machine's own kernel.
ifdef KDIR
modules: FORCE			## build/<release>/pagewell.ko for KERNELS, or for KDIR
	scripts/module "$(KDIR)"
else
modules: $(KERNELS:%=module-%)
endif

module-%: FORCE
	@scripts/module "$$(scripts/kernel build $*)"

tests: selftests		## the test programs

run: lib tools module-6.12	## real programs on our pages, beside glibc's malloc
	scripts/demo

export UNIT_TESTS = $(unit-tests)
export KERNEL_TESTS = $(kernel-tests)

# T=NAME runs only the tests whose name contains it.
check: all			## all tests; ends in "N passed, N failed, N skipped"
	scripts/check $(if $(T),--only '$(T)') host $(KERNELS)

check-debug: lib tools tests module-debug	## the kernel tests in the debug kernel
	scripts/check $(if $(T),--only '$(T)') debug

bench: bench-user bench-kernel	## measure the library and the module

install: lib tools		## into DESTDIR and PREFIX (/usr/local)
	scripts/install install "$(DESTDIR)" "$(PREFIX)" $(VERSION)

uninstall:			## take it away again
	scripts/install uninstall "$(DESTDIR)" "$(PREFIX)" $(VERSION)

clean:				## remove build/; kernels stay in their cache
	rm -rf build

help:				## this list
	@sed -nE 's/^([a-z-]+):[^#]*##[[:space:]]*(.*)/\1|\2/p' Makefile bench/build.mk | \
		awk -F'|' '!seen[$$1]++ { printf "make %-14s%s\n", $$1, $$2 }'
