/*
 * States to save: filled with arbitrary values that a reader takes.  For tests, seeds and fuzz
 * targets, so without Criterion.
 */
#ifndef MVM_TESTS_T_STATE_H
#define MVM_TESTS_T_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct snapshot;

struct t_state_shape {
	unsigned cpus, drives, nics;
	unsigned runs; /* 0: a full snapshot; otherwise a difference with so many */
	bool is_small; /* as short as it can be */
	uint64_t seed;
};

/* Aborts when there is no memory. */
struct snapshot *t_state_new(const struct t_state_shape *shape);

/* Whether all values are the same, those that are not in a file included. */
bool t_state_equal(const struct snapshot *a, const struct snapshot *b);

#endif
