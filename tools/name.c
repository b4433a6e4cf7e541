// SPDX-License-Identifier: GPL-2.0-only
/*
 * name.c - names of processes and cgroups, which anybody may choose
 */
#include <string.h>

#include "tool.h"

void print_name(const char *name, const char *also)
{
	for (; *name; name++) {
		if (*name < ' ' || *name > '~' || strchr(also, *name))
			printf("\\%03o", (unsigned char)*name);
		else
			putchar(*name);
	}
}
