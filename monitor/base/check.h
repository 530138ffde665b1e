/*
 * Small tools that every file uses: counting, container_of, invariants, single loads of shared
 * memory.
 */
#ifndef MVM_BASE_CHECK_H
#define MVM_BASE_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* The one way to count the elements of an array; "sizeof array" never bounds a loop (tests/lint).
 */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Exactly one load or store of a location that somebody else may change at the same time. */
#define READ_ONCE(x)       (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, val) (*(volatile __typeof__(x) *)&(x) = (val))

/* For a large buffer on a path that is taken often, and that is written before it is read: it is
 * not zeroed as all other locals are. */
#define UNINITIALIZED __attribute__((uninitialized))

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK             __attribute__((warn_unused_result))

/*
 * Our own bug, in release builds too: names the place and aborts.  Never on data of the guest, of a
 * file or of an API caller; those are errors, not invariants.
 */
#define INVARIANT(cond)                                                                            \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			invariant_failed(#cond, __FILE__, __LINE__);                               \
	} while (0)

_Noreturn void invariant_failed(const char *cond, const char *file, int line);

/* Rounds up or down to a power of two. */
static inline uint64_t align_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) & ~(to - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t to)
{
	return value & ~(to - 1);
}

/* True when [a, a + alen) and [b, b + blen) share a byte; the caller has checked both sums for
 * overflow. */
static inline int ranges_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a < b + blen && b < a + alen;
}

#endif
