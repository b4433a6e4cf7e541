// SPDX-License-Identifier: GPL-2.0-only
/*
 * buddy_model.c - the cases of buddy_cases.c as a program
 *
 * The random part prints its seed; give a seed as argument to repeat it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "buddy_cases.h"

#define RANDOM_RUNS	60

static unsigned int nr, failed;

static void report(bool ok, const char *what)
{
	printf("%sok %u buddy: %s\n", ok ? "" : "not ", ++nr, what);
	fflush(stdout);
	failed += !ok;
}

int main(int argc, char **argv)
{
	u32 seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 20261121;
	const struct buddy_case *c;

	printf("TAP version 13\n");
	for (c = buddy_cases; c->run; c++)
		report(c->run(), c->name);
	report(buddy_random(seed, RANDOM_RUNS), "random operations agree with the model");
	printf("1..%u\n", nr);
	return failed > 0;
}
