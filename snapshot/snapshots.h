/*
 * A machine's snapshots, from the side of whoever owns the instance: the saver beside it, and what
 * it was loaded from.
 *
 *     snapshots_open --> save.h     snapshots_load --> the instance is paused
 *     the end: instance_quiet, the API's end, snapshots_close, instance_close
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

/* Zeroed before the first call. */
struct snapshots {
	struct saver *saver;   /* NULL: nobody can ask for a snapshot */
	struct loader *loader; /* NULL: the machine was not loaded */
};

/* Makes in one that can be saved.  0, or -errno with e filled. */
MUST_CHECK int snapshots_open(struct snapshots *s, struct instance *in, struct err *e);

/* loader_load() into in; what has to live as long as the machine lives here. */
MUST_CHECK int snapshots_load(
	struct snapshots *s, struct instance *in, const struct load_options *o, struct err *e);

/* The same in two steps: loader_build(), which needs no loop yet, and loader_start(). */
MUST_CHECK int snapshots_build(
	struct snapshots *s, struct instance *in, const struct load_options *o, struct err *e);
MUST_CHECK int snapshots_start(struct snapshots *s, struct err *e);

/* A save that is under way fails.  The loop runs no more, but is there; after instance_quiet() and
 * before instance_close().  Accepts a zeroed one. */
void snapshots_close(struct snapshots *s);

#endif
