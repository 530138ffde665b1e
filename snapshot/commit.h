/*
 * The transaction by which a snapshot's files come into being.
 *
 *     FILE.ID  new, locked, written, synced      (memory, captured disks)
 *     STATE.ID new, synced, renamed to STATE     the commit
 *     FILE.ID  renamed to FILE
 *
 * ID is the snapshot's, in hex.  A reader that has STATE looks for FILE.ID before FILE
 * (commit_open()), so it finds what belongs to it whether the last step was done or not; and until
 * the commit the old STATE finds the old FILE.  Where the file system keeps extended attributes, a
 * file also carries the id, and one of another snapshot is refused.
 *
 * What a save left behind that did not come to its end is removed by the next one to the same names
 * - or, behind a commit, renamed.  The lock on a FILE.ID tells one that is still being written.
 *
 * May block: not the loop's thread.
 */
#ifndef MVM_SNAPSHOT_COMMIT_H
#define MVM_SNAPSHOT_COMMIT_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "snapshot/snapshot.h"

struct err;

enum {
	COMMIT_FILES_MAX = 1 + CONFIG_DEVICES_MAX,
	COMMIT_HEX_LEN = 2 * SNAPSHOT_ID_LEN,
};

struct commit_file {
	char path[PATH_MAX]; /* its final name */
	int fd;
};

struct commit {
	char hex[COMMIT_HEX_LEN + 1];
	char state_path[PATH_MAX];
	unsigned n;
	struct commit_file file[COMMIT_FILES_MAX];
};

/* Nothing is touched yet.  -errno with e filled: -ENAMETOOLONG for a path that leaves no room for the
 * id, -EISDIR and -EINVAL for one that is neither a regular file's nor a link's nor free. */
MUST_CHECK int commit_init(
	struct commit *c, const uint8_t id[SNAPSHOT_ID_LEN], const char *state_path, struct err *e);

/* A new empty file, mode 0600, that will be path; the descriptor stays the transaction's.  0 or
 * -errno with e filled, paths as above. */
MUST_CHECK int commit_create(struct commit *c, const char *path, int *ret_fd, struct err *e);

/*
 * Syncs the files, writes the state file and makes all of it what its paths name.  0, or -errno
 * with e filled: then nothing has happened, and commit_fini() removes what was written.
 */
MUST_CHECK int commit_do(struct commit *c, const void *state, size_t len, struct err *e);

/* Closes the files; those that were not committed are removed. */
void commit_fini(struct commit *c);

/*
 * Opens a file of the snapshot with this id for reading, under either name.  The descriptor; or
 * -errno with e filled: -ESTALE for a file that says it belongs to another snapshot, -EINVAL for
 * what is no regular file.
 */
MUST_CHECK int commit_open(const char *path, const uint8_t id[SNAPSHOT_ID_LEN], struct err *e);

void commit_hex(const uint8_t id[SNAPSHOT_ID_LEN], char ret[COMMIT_HEX_LEN + 1]);

#endif
