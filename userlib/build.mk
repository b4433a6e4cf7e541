# SPDX-License-Identifier: GPL-2.0-only
# The library: build/libpagewell.so, build/libpagewell.a, build/libpagewell.pc
#
# Included by the top Makefile, or by itself: make -f userlib/build.mk

USERLIB_BUILD	?= build
OBJCOPY		?= objcopy
PREFIX		?= /usr/local
USERLIB_VERSION	?= 1.0

userlib-srcs	:= report lock env meta os os_anon os_device heap arena runs decay bins fastbin \
		   tcache large guarded depot harden malloc new catch plugin tune fork heaps pools pages trace
userlib-deps	:= $(wildcard userlib/*.h) module/uapi/pagewell.h userlib/build.mk

# No stack protector: the functions run before its canary is set. No CET
# markers, no PLT: both are instructions on the hit path.
USERLIB_CFLAGS	?= -O2 -g
userlib-cflags	:= -std=gnu11 -D_GNU_SOURCE -Iuserlib -Wall -Wextra -Wshadow \
		   -Wstrict-prototypes -Wmissing-prototypes -Wno-pedantic \
		   -fvisibility=hidden -fno-stack-protector -fcf-protection=none \
		   -fno-plt -fno-semantic-interposition -fno-builtin-malloc \
		   -fno-builtin-fprintf \
		   -fasynchronous-unwind-tables -ffunction-sections
# HARDEN=1: hardened unless PAGEWELL_HARDEN=0 says otherwise.
ifdef HARDEN
userlib-cflags	+= -DPW_HARDEN
endif
# No start files: what they do is nothing here but four symbols to look up. Our constructor
# comes before all others: fork()'s handlers that these register may wait for threads that
# wait for our locks, and so have to be called before we take them.
userlib-ldflags	:= -nostartfiles -Wl,-z,initfirst \
		   -Wl,--version-script=userlib/libpagewell.map -Wl,-soname,libpagewell.so.1 \
		   -Wl,-z,now -Wl,-z,relro -Wl,-z,nodelete -Wl,--gc-sections -Wl,-O1 -Wl,--hash-style=gnu \
		   -Wl,-z,separate-code -Wl,-T,userlib/layout.lds

userlib-objs	:= $(userlib-srcs:%=$(USERLIB_BUILD)/userlib/%.o)
userlib-pic	:= $(userlib-srcs:%=$(USERLIB_BUILD)/userlib/%.pic.o)

.PHONY: userlib
userlib: $(USERLIB_BUILD)/libpagewell.so $(USERLIB_BUILD)/libpagewell.a $(USERLIB_BUILD)/libpagewell.pc

$(USERLIB_BUILD)/userlib/%.pic.o: userlib/%.c $(userlib-deps)
	@mkdir -p $(@D)
	$(CC) $(USERLIB_CFLAGS) $(userlib-cflags) -fPIC -DPW_SHARED -c -o $@ $<

$(USERLIB_BUILD)/userlib/%.o: userlib/%.c $(userlib-deps)
	@mkdir -p $(@D)
	$(CC) $(USERLIB_CFLAGS) $(userlib-cflags) -c -o $@ $<

$(USERLIB_BUILD)/libpagewell.so: $(userlib-pic) userlib/libpagewell.map userlib/layout.lds
	$(CC) -shared $(USERLIB_CFLAGS) $(userlib-ldflags) -o $@ $(userlib-pic)
	ln -sf $(@F) $@.1

# One object: what its parts call of each other is nobody else's, and programs may have
# functions of the same names. The base of probes is one for the whole program, so
# objcopy's --localize-hidden will not do.
$(USERLIB_BUILD)/userlib/libpagewell.o: $(userlib-objs)
	$(LD) -r -o $@ $(userlib-objs)
	readelf -sW $@ | awk '$$6 == "HIDDEN" && $$7 != "UND" && $$8 != "_.stapsdt.base" \
		{ print $$8 }' >$@.hidden
	$(OBJCOPY) --localize-symbols=$@.hidden $@

$(USERLIB_BUILD)/libpagewell.a: $(USERLIB_BUILD)/userlib/libpagewell.o
	rm -f $@
	$(AR) rcs $@ $<

$(USERLIB_BUILD)/libpagewell.pc: userlib/pagewell.pc.in
	@mkdir -p $(@D)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(USERLIB_VERSION)|' $< >$@

# The unit tests have the library compiled into them under other names, with
# faults to inject into its OS boundary, and under sanitizers.
malloc-test-srcs	:= $(patsubst %,userlib/%.c,$(filter-out new catch plugin,$(userlib-srcs)))
malloc-test-cflags	:= -DPW_PREFIX -DPW_TEST -Iuserlib

define malloc-test
unit-$(1)-srcs		:= $(malloc-test-srcs)
unit-$(1)-cflags	:= $(malloc-test-cflags)
endef
$(foreach t,$(basename $(notdir $(wildcard selftests/unit/malloc_*.c))),$(eval $(call malloc-test,$(t))))
unit-malloc_model_tsan-sanitize := -fsanitize=thread
