/*
 * Steps of a save's thread that fail, or wait for the test.  A program that uses this is linked
 * with the calls of t_save_steps_wraps in meson.build.
 */
#ifndef MVM_TESTS_T_SAVE_STEPS_H
#define MVM_TESTS_T_SAVE_STEPS_H

#include <stdatomic.h>
#include <stdbool.h>

struct t_save_steps {
	int fsync_errno, write_errno;
	_Atomic unsigned writes_left; /* before write_errno */
	_Atomic bool holds_fsync, holds_begin;
	_Atomic unsigned held;
	int protect_errno; /* a live save has to go by the log */
};

extern struct t_save_steps t_steps;

#endif
