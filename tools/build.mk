# SPDX-License-Identifier: GPL-2.0-only
# The command: build/pagewell

tool-srcs	:= $(wildcard tools/*.c)
tool-objs	:= $(tool-srcs:tools/%.c=build/tools/%.o)
tool-pkgs	:= libnl-genl-3.0 libcjson ncursesw
tool-cflags	= -std=gnu11 -D_GNU_SOURCE -Imodule/uapi $(warnings) \
		  -DPAGEWELL_VERSION='"$(VERSION)"' -DPAGEWELL_LIBDIR='"$(PREFIX)/lib"' \
		  $(shell pkg-config --cflags $(tool-pkgs))

build/tools/%.o: tools/%.c tools/tool.h $(wildcard module/uapi/*.h) tools/build.mk
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(tool-cflags) -c -o $@ $<

build/pagewell: $(tool-objs)
	$(CC) $(CFLAGS) -o $@ $(tool-objs) $(shell pkg-config --libs $(tool-pkgs)) $(LDFLAGS)

# What the test of the netlink family is built with.
kernel-netlink-cflags	= $(shell pkg-config --cflags libnl-genl-3.0)
kernel-netlink-libs	= $(shell pkg-config --libs libnl-genl-3.0)
kernel-compact-cflags	= $(kernel-netlink-cflags)
kernel-compact-libs	= $(kernel-netlink-libs)
