// SPDX-License-Identifier: GPL-2.0-only
/*
 * buddy_fuzz.c - entry for fuzzers, and for the same inputs every time
 *
 * Built with clang -fsanitize=fuzzer -DPW_LIBFUZZER it is a libFuzzer target.
 * Otherwise: with file arguments it runs those ("-" is standard input), as
 * other fuzzers and whoever replays a crash want it; without, it runs a fixed
 * set of inputs and reports in TAP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buddy_drive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *bad = buddy_drive(data, len);

	if (bad) {
		fprintf(stderr, "%s\n", bad);
		abort();
	}
	return 0;
}

#ifndef PW_LIBFUZZER
static uint8_t buf[1 << 16];

static int run_file(const char *name)
{
	FILE *f = strcmp(name, "-") ? fopen(name, "rb") : stdin;
	size_t len;

	if (!f) {
		perror(name);
		return 1;
	}
	len = fread(buf, 1, sizeof(buf), f);
	if (f != stdin)
		fclose(f);
	return LLVMFuzzerTestOneInput(buf, len);
}

static void report(int nr, const char *what, const char *bad)
{
	if (bad)
		printf("# %s\n", bad);
	printf("%sok %d %s\n", bad ? "not " : "", nr, what);
	fflush(stdout);
}

/* Every byte the same: one operation over and over. */
static const char *constants(void)
{
	const char *bad = NULL;
	int byte;

	for (byte = 0; byte < 256 && !bad; byte++) {
		memset(buf, byte, 400);
		bad = buddy_drive(buf, 400);
	}
	return bad;
}

/* Byte n is n times a step: all operations in many orders. */
static const char *steps(void)
{
	const char *bad = NULL;
	int step, i;

	for (step = 1; step < 256 && !bad; step += 2) {
		for (i = 0; i < 1000; i++)
			buf[i] = i * step + i / 256;
		bad = buddy_drive(buf, 1000);
	}
	return bad;
}

/* Add all, then one operation for the rest, on pages and orders at random. */
static const char *phases(void)
{
	const char *bad = NULL;
	unsigned int op, i;

	srand(1);
	for (op = 0; op < 16 && !bad; op++) {
		for (i = 0; i < 6000; i++)
			buf[i] = rand() >> 8;
		for (i = 0; i < 1500; i += 5)
			buf[i] = 0;
		for (i = 1500; i + 5 <= 6000; i += 5)
			buf[i] = i % 3 ? op : 9;
		bad = buddy_drive(buf, 6000);
	}
	return bad;
}

int main(int argc, char **argv)
{
	const char *bad[3];
	int i, err = 0;

	if (argc > 1) {
		for (i = 1; i < argc; i++)
			err |= run_file(argv[i]);
		return err;
	}
	printf("TAP version 13\n1..3\n");
	report(1, "buddy: the same operation over and over", bad[0] = constants());
	report(2, "buddy: operations in many orders", bad[1] = steps());
	report(3, "buddy: long phases of one operation", bad[2] = phases());
	return bad[0] || bad[1] || bad[2];
}
#endif
