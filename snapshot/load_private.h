/* Between the parts of load.h: load.c (from files to a machine) and load_after.c (the working set,
 * once it runs). */
#ifndef MVM_SNAPSHOT_LOAD_PRIVATE_H
#define MVM_SNAPSHOT_LOAD_PRIVATE_H

#include <limits.h>
#include <stdatomic.h>

#include "base/err.h"
#include "core/job.h"
#include "core/later.h"
#include "core/loop.h"
#include "instance_change.h"
#include "snapshot/chain.h"
#include "snapshot/load.h"
#include "snapshot/uffd.h"
#include "snapshot/working_set.h"
#include "vcpu_ahead.h"

/* What is done about the working set next. */
enum loader_step { STEP_NOTHING, STEP_PREFETCH, STEP_SCORE, STEP_RECORD };

struct loader {
	struct instance *in;
	/* until it has started */
	const struct load_options *options;
	struct chain *chain;
	struct vcpu_ahead ahead;
	struct restore_source source;
	struct later tidy;
	/* for its life */
	struct saver *saver; /* may be NULL */
	struct uffd uffd;
	atomic_bool is_leaving; /* read by the watcher of uffd and by the job */
	/* the working set */
	uint8_t id[SNAPSHOT_ID_LEN];
	char path[PATH_MAX];
	int memory_fd; /* what it is read ahead from; -1: none */
	bool has_set;
	struct working_set set;
	uint64_t record_ms;
	enum loader_step step;
	struct job job;
	struct later window; /* after it comes step */
	int rc;              /* of the job, as what follows */
	struct err e;
	struct loader_counters found;
	struct loader_counters counters; /* the loop's, who may be asked while the job runs */
};

/* Reads the working set of the snapshot at the end of the chain, if there is one and it is wanted.
 */
void loader_keep_working_set(struct loader *l, const struct load_options *o, struct chain *chain);

/* Ends what is under way, before the memory goes. */
void loader_end_working_set(struct loader *l);

#endif
