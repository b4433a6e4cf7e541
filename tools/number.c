// SPDX-License-Identifier: GPL-2.0-only
/* number.c - numbers as people write and read them */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

bool parse_size(const char *s, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned long long value;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	value = strtoull(s, &end, 10);
	if (errno)
		return false;
	*bytes = value;
	if (!*end)
		return true;

	unit = strchr(units, toupper((unsigned char)*end));
	if (!unit || __builtin_mul_overflow(value, 1024ULL << (10 * (unit - units)), bytes))
		return false;
	end++;
	return !*end || !strcmp(end, "B") || !strcmp(end, "iB");
}

bool parse_number(const char *s, long min, long max, long *value)
{
	char *end;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*value = strtol(s, &end, 10);
	return !errno && !*end && *value >= min && *value <= max;
}

const char *size_text(uint64_t bytes, char buf[SIZE_TEXT])
{
	static const char units[] = "KMGTPE";
	double value = bytes / 1024.0;
	unsigned int i = 0;

	if (bytes == NO_LIMIT)
		return "none";
	while (value >= 999.95 && units[i + 1]) {
		value /= 1024;
		i++;
	}
	snprintf(buf, SIZE_TEXT, bytes ? "%.1f%c" : "0", value, units[i]);
	return buf;
}

double ratio(uint64_t parts, uint64_t whole)
{
	return whole ? (double)parts / whole : 0;
}
