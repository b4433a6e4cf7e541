// SPDX-License-Identifier: GPL-2.0-only
/*
 * buddy_kunit.c - the cases of selftests/unit/buddy_cases.c as a KUnit suite
 *
 * The same in the kernel: its bit operations and lists, and KASAN looking on.
 * Built where the kernel has KUnit.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "buddy_cases.h"

#define RANDOM_RUNS	6

static const void *next_case(const void *last, char *name)
{
	const struct buddy_case *c = last ? (const struct buddy_case *)last + 1 : buddy_cases;

	if (!c->run)
		return NULL;
	strscpy(name, c->name, KUNIT_PARAM_DESC_SIZE);
	return c;
}

static void buddy_case(struct kunit *test)
{
	const struct buddy_case *c = test->param_value;

	KUNIT_EXPECT_TRUE(test, c->run());
}

static void buddy_model(struct kunit *test)
{
	u32 run;

	for (run = 0; run < RANDOM_RUNS; run++) {
		KUNIT_EXPECT_TRUE(test, buddy_random(run, 1));
		cond_resched();
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(buddy_case, next_case),
	KUNIT_CASE(buddy_model),
	{ }
};

static struct kunit_suite suite = {
	.name = "pagewell_buddy",
	.test_cases = cases,
};
kunit_test_suite(suite);

MODULE_DESCRIPTION("KUnit suite of Pagewell's buddy");
MODULE_AUTHOR("The Pagewell developers");
MODULE_LICENSE("GPL");
