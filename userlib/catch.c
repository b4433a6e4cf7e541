// SPDX-License-Identifier: GPL-2.0-only
/*
 * catch.c - catch (...) for a library without a C++ runtime
 *
 * A frame says in its unwind table which function, its personality, is asked
 * whether it handles an exception (Itanium C++ ABI, "Exception Handling", 1.6).
 * C has no way to write such a frame, so the one call that may throw is made
 * from a few lines of assembly; all the functions of the runtime that are
 * needed belong to the program, and are there if something was thrown.
 */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <unwind.h>

#include "catch.h"
#include "types.h"

typedef void (*end_fn)(void);

/* Of libgcc_s and libstdc++, or LLVM's. */
extern void _Unwind_SetGR(struct _Unwind_Context *ctx, int reg, _Unwind_Word value)
	__attribute__((weak));
extern void _Unwind_SetIP(struct _Unwind_Context *ctx, _Unwind_Ptr ip) __attribute__((weak));
extern void *__cxa_begin_catch(void *exception) __attribute__((weak));
extern void __cxa_end_catch(void) __attribute__((weak));

/**
 * struct search - a function that a loaded object may define
 * @name: its name
 * @hash: of the name, as in the objects' tables
 * @found: where it is, or NULL
 */
struct search {
	const char *name;
	uint32_t hash;
	void *found;
};

/**
 * struct symbols - what an object defines
 * @table: its symbols
 * @names: their names
 * @hash: the table by which they are found, of the GNU kind
 */
struct symbols {
	const ElfW(Sym) *table;
	const char *names;
	const uint32_t *hash;
};

static uint32_t hash_of(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

static const ElfW(Dyn) *dynamic_of(const struct dl_phdr_info *object)
{
	ElfW(Half) i;

	for (i = 0; i < object->dlpi_phnum; i++)
		if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
			return (const void *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
	return NULL;
}

/* The loader has added the base already, but for the kernel's object, which it cannot write to. */
static const void *part_of(const struct dl_phdr_info *object, ElfW(Addr) value)
{
	return (const void *)(value < object->dlpi_addr ? value + object->dlpi_addr : value);
}

static bool symbols_of(const struct dl_phdr_info *object, struct symbols *s)
{
	const ElfW(Dyn) *d = dynamic_of(object);

	*s = (struct symbols){ NULL };
	for (; d && d->d_tag != DT_NULL; d++) {
		if (d->d_tag == DT_SYMTAB)
			s->table = part_of(object, d->d_un.d_ptr);
		else if (d->d_tag == DT_STRTAB)
			s->names = part_of(object, d->d_un.d_ptr);
		else if (d->d_tag == DT_GNU_HASH)
			s->hash = part_of(object, d->d_un.d_ptr);
	}
	return s->table && s->names && s->hash;
}

/* Four words, a bloom filter, the buckets, and for each symbol from @first on its hash. */
static const ElfW(Sym) *look_up(const struct symbols *s, const struct search *w)
{
	uint32_t nr_buckets = s->hash[0], first = s->hash[1], bloom = s->hash[2];
	const uint32_t *buckets = s->hash + 4 + bloom * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
	const uint32_t *hashes = buckets + nr_buckets;
	uint32_t i = nr_buckets ? buckets[w->hash % nr_buckets] : 0;
	uint32_t hash;

	if (i < first)
		return NULL;
	do {
		const ElfW(Sym) *sym = &s->table[i];

		/* Its lowest bit says that it is the last of the bucket. */
		hash = hashes[i++ - first];
		if ((hash | 1) == (w->hash | 1) && sym->st_shndx != SHN_UNDEF &&
		    same_string(s->names + sym->st_name, w->name))
			return sym;
	} while (!(hash & 1));
	return NULL;
}

static int search_object(struct dl_phdr_info *object, size_t size, void *arg)
{
	struct search *w = arg;
	const ElfW(Sym) *sym;
	struct symbols s;

	(void)size;
	sym = symbols_of(object, &s) ? look_up(&s, w) : NULL;
	if (sym)
		w->found = (void *)(object->dlpi_addr + sym->st_value);
	return !!sym;
}

/*
 * Weak symbols of a runtime that was loaded after us are not filled in. One that came with a
 * plugin is not in the global scope; dlopen() would need memory to hand it out, and there
 * is none.
 */
void *runtime_symbol(void *linked, const char *name)
{
	struct search w = { .name = name, .hash = hash_of(name) };
	__typeof__(&dl_iterate_phdr) iterate;

	if (!linked)
		linked = dlsym(RTLD_DEFAULT, name);
	iterate = linked ? NULL : dlsym(RTLD_DEFAULT, "dl_iterate_phdr");
	if (iterate)
		iterate(search_object, &w);
	return linked ? linked : w.found;
}

#define RUNTIME(name)	((__typeof__(&(name)))runtime_symbol(LINKED(name), #name))

#if defined(__x86_64__)

/* The register in which an exception arrives at its landing pad: DWARF's 0, rax. */
#define EXCEPTION_REG	0

bool pw_catch_frame(void (*fn)(void *arg), void *arg);
extern const char pw_catch_landing[];
_Unwind_Reason_Code pw_catch_personality(int version, _Unwind_Action actions,
					 _Unwind_Exception_Class class,
					 struct _Unwind_Exception *exception,
					 struct _Unwind_Context *ctx);
void pw_catch_end(void *exception);

__asm__(
	".pushsection .text\n"
	".hidden pw_catch_frame, pw_catch_landing, pw_catch_personality, pw_catch_end\n"
	".type pw_catch_frame, @function\n"
	".globl pw_catch_frame, pw_catch_landing\n"
	"pw_catch_frame:\n"
	"	.cfi_startproc\n"
	"	.cfi_personality 0x1b, pw_catch_personality\n"	/* a distance of 32 bits */
	"	sub $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rdi\n"
	"	call *%rax\n"
	"	mov $1, %eax\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"pw_catch_landing:\n"
	"	mov %rax, %rdi\n"
	"	call pw_catch_end\n"
	"	xor %eax, %eax\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size pw_catch_frame, . - pw_catch_frame\n"
	".popsection\n");

/* Everything ends here, except threads that exit or are cancelled. */
__attribute__((used))
_Unwind_Reason_Code pw_catch_personality(int version, _Unwind_Action actions,
					 _Unwind_Exception_Class class,
					 struct _Unwind_Exception *exception,
					 struct _Unwind_Context *ctx)
{
	__typeof__(&_Unwind_SetGR) set_gr = RUNTIME(_Unwind_SetGR);
	__typeof__(&_Unwind_SetIP) set_ip = RUNTIME(_Unwind_SetIP);

	(void)class;
	if (version != 1 || (actions & _UA_FORCE_UNWIND) || !set_gr || !set_ip)
		return _URC_CONTINUE_UNWIND;
	if (actions & _UA_SEARCH_PHASE)
		return _URC_HANDLER_FOUND;
	set_gr(ctx, EXCEPTION_REG, (_Unwind_Word)(uintptr_t)exception);
	set_ip(ctx, (_Unwind_Ptr)pw_catch_landing);
	return _URC_INSTALL_CONTEXT;
}

__attribute__((used))
void pw_catch_end(void *exception)
{
	__typeof__(&__cxa_begin_catch) begin = RUNTIME(__cxa_begin_catch);
	end_fn end = RUNTIME(__cxa_end_catch);

	if (!begin || !end)
		return;
	begin(exception);
	end();
}

bool catch_call(void (*fn)(void *arg), void *arg)
{
	return pw_catch_frame(fn, arg);
}

#else

bool catch_call(void (*fn)(void *arg), void *arg)
{
	fn(arg);
	return true;
}

#endif
