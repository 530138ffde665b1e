/*
 * A machine's snapshots, from the side of whoever owns the instance: the saver beside it, and what
 * it was loaded from.
 *
 *     snapshots_open --> save.h                      snapshots_load --> the instance is paused
 *                                                      first instance_resume() --> loader_resumed()
 *     the end: snapshots_quiet, instance_close, snapshots_close
 *
 * The loop's thread.
 */
#ifndef MVM_SNAPSHOT_SNAPSHOTS_H
#define MVM_SNAPSHOT_SNAPSHOTS_H

#include "base/check.h"

struct err;
struct instance;
struct load_options;
struct loader;
struct saver;

/* Zeroed before the first call; stays where it is. */
struct snapshots {
	struct instance *instance;
	struct saver *saver;   /* NULL: nobody can ask for a snapshot */
	struct loader *loader; /* NULL: the machine was not loaded */
};

/* Makes in one that can be saved.  0, or -errno with e filled. */
MUST_CHECK int snapshots_open(struct snapshots *s, struct instance *in, struct err *e);

/* loader_load() into in; what it leaves behind lives here.  opened before or not. */
MUST_CHECK int snapshots_load(
	struct snapshots *s, struct instance *in, const struct load_options *o, struct err *e);

/* A save that is under way fails.  The loop runs no more; before instance_close(). */
void snapshots_quiet(struct snapshots *s);

/* After instance_close(), while there is still a loop. */
void snapshots_close(struct snapshots *s);

#endif
