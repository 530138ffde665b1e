/*
 * What every unit test includes: Criterion, short assertions that show the expression, and checks
 * that nothing was left behind.
 *
 * Criterion runs each test in a process of its own, so a test may change signals, descriptors and
 * globals at will.
 */
#ifndef MVM_TESTS_T_H
#define MVM_TESTS_T_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "core/loop.h"
#include "core/mem.h"

/* A hung test is a failed one. */
enum { T_SECONDS = 20 };

#define t_true(cond)  cr_assert(eq(int, (cond) ? 1 : 0, 1), "'%s' does not hold", #cond)
#define t_false(cond) cr_assert(eq(int, (cond) ? 1 : 0, 0), "'%s' holds", #cond)
#define t_int(got, want)                                                                           \
	cr_assert(eq(i64, (int64_t)(got), (int64_t)(want)), "%s is not %s", #got, #want)
#define t_uint(got, want)                                                                          \
	cr_assert(eq(u64, (uint64_t)(got), (uint64_t)(want)), "%s is not %s", #got, #want)
#define t_hex(got, want)                                                                           \
	cr_assert(eq(u64, (uint64_t)(got), (uint64_t)(want)), "%s is 0x%llx, not 0x%llx", #got,    \
		(unsigned long long)(got), (unsigned long long)(want))
#define t_str(got, want)                                                                           \
	cr_assert(eq(int, strcmp((got), (want)), 0), "%s is \"%s\", not \"%s\"", #got, (got),      \
		(want))
#define t_has(text, part)                                                                          \
	cr_assert(ne(ptr, strstr((text), (part)), NULL), "\"%s\" does not say \"%s\"", (text),     \
		(part))

/* For the rows of a table: goes on after a failure and names the row. */
#define t_row_int(row, got, want)                                                                  \
	cr_expect(eq(i64, (int64_t)(got), (int64_t)(want)), "row '%s': %s is not %s", (row), #got, \
		#want)
#define t_row_hex(row, got, want)                                                                  \
	cr_expect(eq(u64, (uint64_t)(got), (uint64_t)(want)),                                      \
		"row '%s': %s is 0x%llx, not 0x%llx", (row), #got, (unsigned long long)(got),      \
		(unsigned long long)(want))
#define t_row_true(row, cond)                                                                      \
	cr_expect(eq(int, (cond) ? 1 : 0, 1), "row '%s': '%s' does not hold", (row), #cond)
#define t_row_has(row, text, part)                                                                 \
	cr_expect(ne(ptr, strstr((text), (part)), NULL), "row '%s': \"%s\" does not say \"%s\"",   \
		(row), (text), (part))

/*
 * Fails the test when memory has leaked, in builds with a leak checker; elsewhere nothing.  In the
 * test's body, because Criterion takes no notice of what a process reports at its end.
 */
#define T_NO_LEAKS() t_true(!t_has_leaks())
bool t_has_leaks(void);

/* Open descriptors and threads of this process. */
unsigned t_count_fds(void);
unsigned t_count_threads(void);

/* The same when it has come down to expected, or after a second: a thread that was joined stays in
 * /proc a moment longer. */
unsigned t_settled_threads(unsigned expected);

/* Log lines go nowhere: for tests that provoke them. */
void t_quiet(void);

/* Guest memory as a machine of size has it; fails the test when it cannot be had. */
void t_mem_init(struct guest_mem *m, uint64_t size);

/*
 * Every test of something on the loop runs on both backends:
 *     T_EACH_BACKEND(l) { ... }       l is a new loop, freed at the end of each turn
 * io_uring is left out, with a word in the log, only where the host refuses it.
 */
struct loop *t_loop_new(int turn);
void t_loop_done(struct loop *l);
bool t_uring_is_refused(void);

#define T_EACH_BACKEND(l)                                                                          \
	for (int turn_ = 0; turn_ < 2; turn_++)                                                    \
		for (struct loop *l = t_loop_new(turn_); l; t_loop_done(l), l = NULL)

#endif
