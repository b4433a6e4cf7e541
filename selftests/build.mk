# SPDX-License-Identifier: GPL-2.0-only
#
# Each selftests/kernel/*.c and selftests/unit/*.{c,cpp} is one program of that
# name under build/selftests/. It prints TAP. Shell tests need no building.
#
# Programs in unit/ are built with the address and undefined behaviour
# sanitizers. To change what one is built with:
#
#	unit-NAME-srcs		more source files
#	unit-NAME-cflags	more flags
#	unit-NAME-libs		what to link, build/libpagewell.a for instance
#	unit-NAME-sanitize	other sanitizer flags, or nothing
#	kernel-NAME-cflags, kernel-NAME-libs	the same for kernel/

# Where kselftest.h and kselftest_harness.h are; asked for once, when needed.
kselftest	= $(eval kselftest := $(shell scripts/kernel source)/tools/testing/selftests)$(kselftest)

test-cflags	= -std=gnu11 -D_GNU_SOURCE -pthread -Imodule/uapi -Iuserlib \
		  -isystem $(kselftest) -Wall -Werror
unit-sanitize	:= -fsanitize=address,undefined -fno-sanitize-recover=all

# A program in kernel/ that tests run, and no test itself.
kernel-helpers	:= build/selftests/kernel/subject
kernel-tests	:= $(filter-out $(kernel-helpers),\
		   $(patsubst selftests/%.c,build/selftests/%,$(wildcard selftests/kernel/*.c)))
# Files in unit/ that are part of other programs.
unit-helpers	:= buddy_cases buddy_drive
# Once more with the library as HARDEN=1 builds it, which has short ways of its own.
unit-hardened	:= malloc_errors malloc_harden malloc_model malloc_oom
unit-tests	:= $(filter-out $(unit-helpers:%=build/selftests/unit/%),$(basename \
		   $(patsubst %,build/%,$(wildcard selftests/unit/*.c selftests/unit/*.cpp)))) \
		   $(unit-hardened:%=build/selftests/unit/%-hardened)
test-deps	:= $(wildcard selftests/*/*.h module/*.h module/uapi/*.h userlib/*.h) \
		   selftests/build.mk

unit-buddy_fuzz-srcs	:= selftests/unit/buddy_drive.c module/buddy.c
unit-buddy_model-srcs	:= selftests/unit/buddy_cases.c $(unit-buddy_fuzz-srcs)
unit-buddy_model-cflags	:= -Imodule
unit-buddy_fuzz-cflags	:= -Imodule
kernel-library-libs	:= build/libpagewell.a
kernel-space-libs	:= build/libpagewell.a
unit-many_threads-libs	:= build/libpagewell.a
unit-many_threads-sanitize :=
unit-resident-libs	:= build/libpagewell.a
unit-resident-sanitize :=

.PHONY: selftests list-unit-tests list-kernel-tests
selftests: $(kernel-tests) $(kernel-helpers) $(unit-tests)

# For scripts/check.
list-unit-tests:
	@echo $(unit-tests)

list-kernel-tests:
	@echo $(kernel-tests)

# A percent sign that is not the stem of the rule it stands in.
any := %

.SECONDEXPANSION:
build/selftests/kernel/%: selftests/kernel/%.c $(test-deps) $$(filter build/$$(any),$$(kernel-$$*-libs))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(test-cflags) -Iselftests/kernel $(kernel-$*-cflags) -o $@ $< $(kernel-$*-libs)

unit-flags	= $(if $(filter undefined,$(origin unit-$*-sanitize)),$(unit-sanitize),$(unit-$*-sanitize)) \
		  -Iselftests/unit $(unit-$*-cflags)

build/selftests/unit/%: selftests/unit/%.c $(test-deps) $$(unit-$$*-srcs) $$(filter build/$$(any),$$(unit-$$*-libs))
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(test-cflags) $(unit-flags) -o $@ $< $(unit-$*-srcs) $(unit-$*-libs)

build/selftests/unit/%-hardened: selftests/unit/%.c $(test-deps) $$(unit-$$*-srcs)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(test-cflags) $(unit-flags) -DPW_HARDEN -o $@ $< $(unit-$*-srcs) $(unit-$*-libs)

build/selftests/unit/%: selftests/unit/%.cpp $(test-deps) $$(unit-$$*-srcs) $$(filter build/$$(any),$$(unit-$$*-libs))
	@mkdir -p $(@D)
	$(CXX) $(CFLAGS) $(filter-out -std=%,$(test-cflags)) -std=c++20 $(unit-flags) -o $@ $< $(unit-$*-srcs) $(unit-$*-libs)
