/*
 * Saving and loading without files: what the API and the verbs ask for is kept, and the test says
 * what comes of it.
 *
 * A program that uses it replaces the calls of t_snapshots_wraps (meson.build).
 */
#ifndef MVM_TESTS_T_SNAPSHOTS_H
#define MVM_TESTS_T_SNAPSHOTS_H

#include <stdbool.h>

#include "base/err.h"
#include "core/loop.h"
#include "snapshot/load.h"
#include "snapshot/save.h"
#include "snapshot/snapshot.h"

struct t_snapshots {
	/* saving */
	unsigned begun;
	struct save_options save; /* of the last one */
	int begin_rc;             /* what saver_begin() says; 0: it is under way */
	bool is_held;             /* it ends with t_snapshots_done() only; otherwise at once */
	struct loop_post at_once; /* private */
	struct loop *loop;        /* private */
	saver_done_fn *done;      /* NULL: none is under way */
	void *ctx;
	uint64_t done_pages, all_pages;
	/* loading */
	unsigned loads, resumed, freed;
	struct load_options load;
	int load_rc;      /* what loader_load() says; 0 makes a machine that is paused */
	const char *text; /* of what fails */
	struct loader_counters counters;
	/* what state_read() finds; NULL: nothing */
	const struct snapshot *state;
};

extern struct t_snapshots t_snapshots;

/* Ends the save that is under way. */
void t_snapshots_done(int rc, const struct save_result *result);

#endif
