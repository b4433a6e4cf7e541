// SPDX-License-Identifier: GPL-2.0-only
/*
 * subject.c - a program for others to look at: a list and a block on its heap
 *
 *	subject MIB
 *
 * Says where they are, then does what the letters on its standard input say:
 *
 *	c	say whether list and block are as they were made
 *	f	the same in a child, which also writes to all of it
 *	l	lock all memory, now and in future, and allocate a block more
 *	g	allocate 400 MiB, touch a few pages of it, and free it
 *	a, s	die by abort(), by a write to nowhere
 *	q	end
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096UL
#define ITEMS	1000

struct item {
	long number;
	char name[24];
	struct item *next;
};

/* What a debugger asks for by name. */
struct item *list;
char *block;
size_t block_len;

static void make_list(void)
{
	for (long i = ITEMS; i > 0; i--) {
		struct item *item = malloc(sizeof(*item));

		if (!item)
			exit(3);
		item->number = i;
		snprintf(item->name, sizeof(item->name), "item %ld", i);
		item->next = list;
		list = item;
	}
}

static void make_block(size_t len)
{
	block = malloc(len);
	if (!block) {
		printf("no memory\n");
		exit(3);
	}
	block_len = len;
	for (size_t at = 0; at < len; at += PAGE)
		snprintf(block + at, PAGE, "page-%08zu-of-the-block", at / PAGE);
}

static int is_whole(void)
{
	struct item *item = list;
	char text[64];

	for (long i = 1; i <= ITEMS; i++, item = item->next) {
		snprintf(text, sizeof(text), "item %ld", i);
		if (!item || item->number != i || strcmp(item->name, text))
			return 0;
	}
	for (size_t at = 0; at < block_len; at += PAGE) {
		snprintf(text, sizeof(text), "page-%08zu-of-the-block", at / PAGE);
		if (strcmp(block + at, text))
			return 0;
	}
	return 1;
}

static int child_is_whole(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (!is_whole())
			_exit(1);
		for (size_t at = 0; at < block_len; at += PAGE)
			block[at] = 'P';
		_exit(0);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status && is_whole();
}

static int locks(void)
{
	size_t len = 8 << 20;
	char *more;

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		return 0;
	more = malloc(len);
	if (!more)
		return 0;
	memset(more, 1, len);
	free(more);
	return is_whole();
}

static int goes_back(void)
{
	size_t len = 400UL << 20;
	char *more = malloc(len);

	if (!more)
		return 0;
	for (size_t at = 0; at < len; at += len / 10)
		more[at] = 1;
	free(more);
	return is_whole();
}

static void say(const char *what, int yes)
{
	printf("%s: %s\n", what, yes ? "yes" : "no");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int c;

	if (argc != 2)
		return 2;
	make_list();
	make_block(strtoul(argv[1], NULL, 0) << 20);
	printf("pid %d list %p block %p\n", getpid(), (void *)list, (void *)block);
	fflush(stdout);
	while ((c = getchar()) != EOF && c != 'q') {
		switch (c) {
		case 'c':
			say("whole", is_whole());
			break;
		case 'f':
			say("whole in a child", child_is_whole());
			break;
		case 'l':
			say("whole and locked", locks());
			break;
		case 'g':
			say("whole after that", goes_back());
			break;
		case 'a':
			abort();
		case 's':
			*(volatile char *)NULL = 1;
		}
	}
	return 0;
}
