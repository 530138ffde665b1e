/* Snapshots on top of each other become one (merge.h). */
#include "snapshot/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "snapshot/commit.h"
#include "snapshot/disk_copy.h"
#include "snapshot/ram_load.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"

enum { COPY_CHUNK = 1 << 20 };

struct merge {
	unsigned n;
	const char *const *dir;
	struct snapshot *snapshot[RAM_LAYERS_MAX];
	struct commit commit;
	bool has_commit;
	uint64_t len;  /* of the memory */
	uint8_t *data; /* COPY_CHUNK bytes */
};

static int join(const char *dir, const char *name, char ret[PATH_MAX], struct err *e)
{
	if (snprintf(ret, PATH_MAX, "%s/%s", dir, name) < PATH_MAX)
		return 0;
	return err_set(e, -ENAMETOOLONG, "the path '%.64s...' is too long", dir);
}

/* --- what is merged --- */

static int check_link(const struct merge *m, unsigned i, struct err *e)
{
	const struct snapshot *s = m->snapshot[i], *below = i > 0 ? m->snapshot[i - 1] : NULL;

	if (!below && s->kind != SNAPSHOT_FULL)
		return err_set(e, -EINVAL, "'%s' is a difference: begin with its base", m->dir[i]);
	if (!below)
		return 0;
	if (s->kind != SNAPSHOT_DIFF)
		return err_set(e, -EINVAL, "'%s' is a full snapshot: only the first one may be",
			m->dir[i]);
	if (memcmp(s->base_id, below->id, sizeof(s->base_id)) != 0)
		return err_set(e, -ESTALE, "'%s' is not a difference to '%s', but to '%s'",
			m->dir[i], m->dir[i - 1], s->base_path);
	if (s->vm->mem_size != below->vm->mem_size)
		return err_set(e, -EBADMSG, "'%s' and '%s' are of machines with different memory",
			m->dir[i], m->dir[i - 1]);
	return 0;
}

static int read_states(struct merge *m, struct err *e)
{
	char path[PATH_MAX];

	for (unsigned i = 0; i < m->n; i++) {
		int rc = join(m->dir[i], "state", path, e);

		if (rc == 0)
			rc = state_read(path, &m->snapshot[i], e);
		if (rc == 0)
			rc = check_link(m, i, e);
		if (rc < 0)
			return rc;
	}
	INVARIANT(m->snapshot[0]);
	m->len = m->snapshot[0]->vm->mem_size;
	return 0;
}

/* The result's files would have the names of those that are read, and be found in their place. */
static int check_out(const struct merge *m, const char *out, struct err *e)
{
	struct snapshot *old = NULL;
	struct stat to, from;
	bool is_same;
	int rc;

	if (stat(out, &to) < 0)
		return err_sys(e, -errno, NULL, "cannot write to '%s'", out);
	if (!S_ISDIR(to.st_mode))
		return err_set(e, -ENOTDIR, "'%s' is no folder", out);
	for (unsigned i = 0; i < m->n; i++) {
		if (stat(m->dir[i], &from) == 0 && from.st_dev == to.st_dev &&
			from.st_ino == to.st_ino)
			return err_set(
				e, -EINVAL, "'%s' is itself one of those that are merged", out);
	}
	rc = state_read(out, &old, NULL);
	is_same = rc == 0 && memcmp(old->id, m->snapshot[m->n - 1]->id, sizeof(old->id)) == 0;
	snapshot_free(old);
	return is_same ? err_set(e, -EEXIST, "'%s' has this snapshot already", out) : 0;
}

/* --- memory --- */

static int punch(const struct merge *m, int fd, uint64_t from, uint64_t to)
{
	int rc;

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		    (off_t)(to - from)) == 0)
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	/* A file system without holes. */
	memset(m->data, 0, COPY_CHUNK);
	for (; from < to; from += (uint64_t)rc) {
		rc = (int)MIN(to - from, COPY_CHUNK);
		if (pwrite(fd, m->data, (size_t)rc, (off_t)from) != rc)
			return errno ? -errno : -EIO;
	}
	return 0;
}

/* Within the kernel where that is possible: between some file systems the blocks are only shared.
 */
static int copy_data(const struct merge *m, int from_fd, int fd, uint64_t from, uint64_t to)
{
	while (from < to) {
		loff_t in = (loff_t)from, out = (loff_t)from;
		ssize_t n = copy_file_range(from_fd, &in, fd, &out, to - from, 0);
		size_t len = MIN(to - from, COPY_CHUNK);
		int rc;

		if (n > 0) {
			from += (uint64_t)n;
			continue;
		}
		rc = io_pread_full(from_fd, m->data, len, from);
		if (rc < 0)
			return rc;
		n = pwrite(fd, m->data, len, (off_t)from);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += (uint64_t)n;
	}
	return 0;
}

/* Bytes [from, to) of one memory file over another: data as data, holes as holes. */
static int copy_range(const struct merge *m, int from_fd, int fd, uint64_t from, uint64_t to)
{
	while (from < to) {
		off_t data = lseek(from_fd, (off_t)from, SEEK_DATA), hole;
		uint64_t begin = data < 0 ? to : MIN(MAX((uint64_t)data, from), to), end;
		int rc = 0;

		if (data < 0 && errno != ENXIO)
			return -errno;
		if (begin > from)
			rc = punch(m, fd, from, begin);
		if (rc < 0 || begin == to)
			return rc;
		hole = lseek(from_fd, (off_t)begin, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		/* A file system that says nonsense must not keep us here for ever. */
		end = (uint64_t)hole > begin ? MIN((uint64_t)hole, to) : to;
		rc = copy_data(m, from_fd, fd, begin, end);
		if (rc < 0)
			return rc;
		from = end;
	}
	return 0;
}

static int copy_layer(const struct merge *m, unsigned i, int fd, struct err *e)
{
	const struct snapshot *s = m->snapshot[i];
	int from CLEANUP(fd_closep) = -1;
	char path[PATH_MAX];
	struct stat st;
	uint64_t need = i == 0 ? m->len : 0;
	int rc = join(m->dir[i], "memory", path, e);

	if (rc < 0)
		return rc;
	from = commit_open(path, s->id, e);
	if (from < 0)
		return from;
	if (s->nruns > 0)
		need = (s->run[s->nruns - 1].first + s->run[s->nruns - 1].count) * MEM_PAGE_SIZE;
	if (fstat(from, &st) < 0)
		return err_sys(e, -errno, NULL, "fstat of '%s'", path);
	if ((uint64_t)st.st_size < need)
		return err_set(e, -ENODATA, "'%s' has been cut off: it has %llu of %llu bytes",
			path, (unsigned long long)st.st_size, (unsigned long long)need);
	if (i == 0)
		rc = copy_range(m, from, fd, 0, m->len);
	for (unsigned k = 0; k < s->nruns && rc == 0; k++)
		rc = copy_range(m, from, fd, s->run[k].first * MEM_PAGE_SIZE,
			(s->run[k].first + s->run[k].count) * MEM_PAGE_SIZE);
	return rc < 0 ? err_sys(e, rc, rc == -ENOSPC ? "make room, or merge elsewhere" : NULL,
				"cannot copy '%s'", path)
		      : 0;
}

static int merge_memory(struct merge *m, const char *out, struct err *e)
{
	char path[PATH_MAX];
	int fd = -1, rc = join(out, "memory", path, e);

	if (rc == 0)
		rc = commit_create(&m->commit, path, &fd, e);
	if (rc < 0)
		return rc;
	if (ftruncate(fd, (off_t)m->len) < 0)
		return err_sys(e, -errno, NULL, "cannot make '%s' as long as the memory", path);
	for (unsigned i = 0; i < m->n && rc == 0; i++)
		rc = copy_layer(m, i, fd, e);
	return rc;
}

/* --- disks --- */

/* What a disk held is of the last moment: the last snapshot has it. */
static int copy_disk(
	struct merge *m, const struct snapshot_drive *d, const char *out, struct err *e)
{
	static const _Atomic bool is_cancelled = false;
	const struct snapshot *last = m->snapshot[m->n - 1];
	char name[CONFIG_ID_MAX + 6], from_path[PATH_MAX], path[PATH_MAX];
	int from CLEANUP(fd_closep) = -1;
	int fd, rc;

	(void)snprintf(name, sizeof(name), "disk-%s", d->id);
	rc = join(m->dir[m->n - 1], name, from_path, e);
	if (rc == 0)
		rc = join(out, name, path, e);
	if (rc < 0)
		return rc;
	from = commit_open(from_path, last->id, e);
	if (from < 0)
		return from;
	rc = commit_create(&m->commit, path, &fd, e);
	if (rc == 0 && disk_clone(from, fd) < 0)
		rc = disk_copy(from, fd, from_path, &is_cancelled, e);
	return rc;
}

/* --- the whole --- */

static int commit(struct merge *m, struct err *e)
{
	struct snapshot *last = m->snapshot[m->n - 1];
	struct page_run *run = last->run;
	unsigned nruns = last->nruns;
	uint8_t *state = NULL;
	size_t len = 0;
	int rc;

	last->kind = SNAPSHOT_FULL;
	memset(last->base_id, 0, sizeof(last->base_id));
	memset(last->base_path, 0, sizeof(last->base_path));
	last->run = NULL;
	last->nruns = 0;
	rc = state_encode(last, &state, &len, e);
	last->run = run;
	last->nruns = nruns;
	if (rc == 0)
		rc = commit_do(&m->commit, state, len, e);
	free(state);
	return rc;
}

static int merge(struct merge *m, const char *out, struct err *e)
{
	const struct snapshot *last;
	char path[PATH_MAX];
	int rc = read_states(m, e);

	if (rc == 0)
		rc = check_out(m, out, e);
	if (rc == 0)
		rc = join(out, "state", path, e);
	if (rc < 0)
		return rc;
	last = m->snapshot[m->n - 1];
	rc = commit_init(&m->commit, last->id, path, e);
	if (rc < 0)
		return rc;
	m->has_commit = true;
	rc = merge_memory(m, out, e);
	for (unsigned i = 0; i < last->ndrives && rc == 0; i++) {
		if (last->drive[i].is_captured)
			rc = copy_disk(m, &last->drive[i], out, e);
	}
	return rc == 0 ? commit(m, e) : rc;
}

int snapshot_merge(const char *const *dirs, unsigned n, const char *out, struct err *e)
{
	struct merge *m;
	int rc;

	if (n < 2 || n > RAM_LAYERS_MAX)
		return err_set(e, -EINVAL, "2 to %d snapshots can be merged", RAM_LAYERS_MAX);
	m = calloc(1, sizeof(*m));
	if (m)
		m->data = malloc(COPY_CHUNK);
	if (!m || !m->data) {
		free(m);
		return err_sys(e, -ENOMEM, NULL, "cannot merge");
	}
	m->n = n;
	m->dir = dirs;
	rc = merge(m, out, e);
	if (m->has_commit)
		commit_fini(&m->commit);
	for (unsigned i = 0; i < n; i++)
		snapshot_free(m->snapshot[i]);
	free(m->data);
	free(m);
	return rc;
}
