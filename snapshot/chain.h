/*
 * The files of a snapshot: its own state and memory, and those of the bases below a difference.
 */
#ifndef MVM_SNAPSHOT_CHAIN_H
#define MVM_SNAPSHOT_CHAIN_H

#include <limits.h>
#include <sys/stat.h>

#include "base/check.h"
#include "snapshot/ram_load.h"
#include "snapshot/snapshot.h"

struct err;

struct chain_link {
	struct snapshot *snapshot;
	int memory_fd;      /* -1: not opened */
	struct stat before; /* the state file's, from before it was read */
	char state_path[PATH_MAX], memory_path[PATH_MAX]; /* memory_path "": not opened */
};

/* link[0] is what was asked for, the last one is full. */
struct chain {
	unsigned n;
	struct chain_link link[RAM_LAYERS_MAX];
};

/*
 * Reads the state file (or the one named "state" in a folder) and those of its bases, each by its
 * id: where it was, in a folder of the same name beside that of the difference, or in the same
 * folder; and opens their memory files, memory_path (NULL: "memory" beside the state) being the
 * first one's, unless opens_memory is false.  All have the same size of memory.  0, or -errno with
 * e filled and nothing open.
 */
MUST_CHECK int chain_open(struct chain **ret, const char *state_path, const char *memory_path,
	bool opens_memory, struct err *e);

void chain_free(struct chain *c); /* accepts NULL */

/* As layers for ram_load(), the base first; they point into c. */
unsigned chain_layers(const struct chain *c, struct ram_layer ret[RAM_LAYERS_MAX]);

#endif
