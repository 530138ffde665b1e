/*
 * Saving a machine: a transaction that ends with the rename of the state file.
 *
 *     memory.ID (new file) --fsync--> state (new file) --fsync, rename: the commit--> memory.ID
 * renamed to memory
 *
 * ID is the snapshot's.  A reader looks for memory.ID first, so whatever happens at whatever
 * moment, a state file has the memory that belongs to it: the old snapshot at the same paths is
 * whole until the commit, the new one from then on.  What was left of a save that did not come to
 * its end is removed by the next one.
 *
 * The loop's thread; what takes long is done on a thread of its own, and the API goes on.
 */
#ifndef MVM_SNAPSHOT_SAVE_H
#define MVM_SNAPSHOT_SAVE_H

#include "instance.h"
#include "snapshot/snapshot.h"

struct save_options {
	const char *state_path; /* borrowed until done, as all texts here */
	const char *memory_path;
	const char
		*disks_dir; /* captured disks go there as "disk-ID"; NULL: disks are not captured */
	enum snapshot_kind kind;
	bool is_live; /* the machine runs, stands still only for its state, and runs on */
};

struct save_result {
	uint64_t pages_all, pages_written;
	uint64_t pause_us; /* how long the guest stood still for it */
	uint64_t total_us;
};

/* A machine's saves, beside its instance: what it needs to know of the last snapshot for the next
 * difference. */
struct saver;

MUST_CHECK int saver_new(struct instance *in, struct saver **ret, struct err *e);
/* Waits for a save that is under way, which then fails.  When the loop runs no more.  Accepts NULL.
 */
void saver_free(struct saver *s);

/* This machine came from that snapshot: what a difference is a difference to. */
void saver_set_base(struct saver *s, const struct snapshot *base, const char *state_path,
	const char *memory_path);

typedef void saver_done_fn(void *ctx, int rc, const struct save_result *r, const struct err *e);

/*
 * Begins: 0, and done is called later; or -errno with e filled and done is not called: -EPERM in a
 * state that does not allow it (is_live: a machine that runs or is paused; otherwise only one that
 * is paused), -EBUSY while it is being saved or changed. A failed save changes nothing: not the
 * machine, not the files that were there, and no difference is lost.
 */
MUST_CHECK int saver_begin(struct saver *s, const struct save_options *o, saver_done_fn *done,
	void *ctx, struct err *e);

/* A save that is under way ends with an error as soon as it can, and has no effect from now on
 * unless it was committed already. */
void saver_cancel(struct saver *s);

/* How far it is, in pages; false: none is under way. */
bool saver_progress(const struct saver *s, uint64_t *ret_done, uint64_t *ret_all);

#endif
