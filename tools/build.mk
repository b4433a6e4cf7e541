# SPDX-License-Identifier: GPL-2.0-only
# The command: build/pagewell, from all tools/*.c

tools-srcs	:= $(wildcard tools/*.c)
tools-objs	:= $(tools-srcs:%.c=build/%.o)
tools-deps	:= $(wildcard tools/*.h) module/uapi/pagewell.h tools/build.mk
tools-pkgs	:= libnl-3.0 libnl-genl-3.0 libcjson
tools-cflags	= -std=gnu11 -D_GNU_SOURCE -Itools -Imodule/uapi $(warnings) \
		  $(shell pkg-config --cflags $(tools-pkgs))
tools-libs	= $(shell pkg-config --libs $(tools-pkgs))

build/tools/%.o: tools/%.c $(tools-deps)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(tools-cflags) -c -o $@ $<

build/pagewell: $(tools-objs)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(tools-objs) $(tools-libs)
