/* How a snapshot's files come into being (commit.h). */
#include "snapshot/commit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "snapshot/state_file.h"

static const char attribute[] = "user.mvm.snapshot";

enum { SUFFIX_LEN = 1 + COMMIT_HEX_LEN, NAME_LEN = PATH_MAX + SUFFIX_LEN + 1 };

static void dir_closep(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

void commit_hex(const uint8_t id[SNAPSHOT_ID_LEN], char ret[COMMIT_HEX_LEN + 1])
{
	for (unsigned i = 0; i < SNAPSHOT_ID_LEN; i++)
		(void)snprintf(ret + (size_t)2 * i, 3, "%02x", id[i]);
}

static void other_name(const char *path, const char *hex, char ret[NAME_LEN])
{
	(void)snprintf(ret, NAME_LEN, "%s.%s", path, hex);
}

/* The folder that path is in, and where its last part begins. */
static const char *split(const char *path, char folder[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (!slash) {
		(void)snprintf(folder, PATH_MAX, ".");
		return path;
	}
	(void)snprintf(folder, PATH_MAX, "%.*s", len == 0 ? 1 : (int)len, path);
	return slash + 1;
}

static int sync_folder_of(const char *path, struct err *e)
{
	char folder[PATH_MAX];
	int fd CLEANUP(fd_closep) = -1;

	(void)split(path, folder);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0) {
		int rc = -errno;

		/* A file system without such a thing has nothing that could be lost. */
		if (fd >= 0 && rc == -EINVAL)
			return 0;
		return err_sys(e, rc, NULL, "cannot sync the folder '%s'", folder);
	}
	return 0;
}

/* --- what earlier saves left --- */

/* The id of the snapshot that path holds now, "" for none: 0; or -errno, and then nobody knows
 * which of the files belong to it. */
static int committed_id(const char *state_path, char hex[COMMIT_HEX_LEN + 1])
{
	struct snapshot *s = NULL;
	int rc = state_read(state_path, &s, NULL);

	hex[0] = '\0';
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	commit_hex(s->id, hex);
	snapshot_free(s);
	return 0;
}

static bool is_leftover(const char *name, const char *of)
{
	size_t len = strlen(of);

	return strncmp(name, of, len) == 0 && name[len] == '.' &&
	       strlen(name) == len + SUFFIX_LEN &&
	       strspn(name + len + 1, "0123456789abcdef") == COMMIT_HEX_LEN;
}

/* One whose writer lives has its lock. */
static bool is_abandoned(const char *path)
{
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* What cannot be removed is in nobody's way.  committed: the id whose file is whole, "" for none.
 */
static void clean(const char *path, const char *committed)
{
	char folder[PATH_MAX], other[NAME_LEN];
	const char *name = split(path, folder);
	DIR *dir CLEANUP(dir_closep) = opendir(folder);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (!is_leftover(entry->d_name, name))
			continue;
		other_name(path, entry->d_name + strlen(name) + 1, other);
		if (!is_abandoned(other))
			continue;
		if (strcmp(entry->d_name + strlen(name) + 1, committed) == 0)
			(void)rename(other, path);
		else
			(void)unlink(other);
	}
}

/* --- the transaction --- */

/* A rename takes the place of whatever is there: of a file or a link, but not of /dev/null. */
static int check_path(const char *path, struct err *e)
{
	struct stat st;

	if (path[0] == '\0')
		return err_set(e, -ENOENT, "a file of the snapshot has an empty path");
	if (strlen(path) + SUFFIX_LEN >= PATH_MAX)
		return err_set(e, -ENAMETOOLONG, "the path '%.64s...' is too long", path);
	if (path[strlen(path) - 1] == '/' || (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)))
		return err_set(e, -EISDIR, "'%s' is a folder", path);
	if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return err_set(e, -EINVAL, "'%s' is no regular file", path);
	return 0;
}

int commit_init(
	struct commit *c, const uint8_t id[SNAPSHOT_ID_LEN], const char *state_path, struct err *e)
{
	int rc = check_path(state_path, e);

	c->n = 0;
	commit_hex(id, c->hex);
	if (rc < 0)
		return rc;
	(void)snprintf(c->state_path, sizeof(c->state_path), "%s", state_path);
	return 0;
}

static int create(const char *name, int *ret, struct err *e)
{
	int fd CLEANUP(fd_closep) = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot make '%s'", name);
	(void)flock(fd, LOCK_EX | LOCK_NB);
	*ret = fd_take(&fd);
	return 0;
}

int commit_create(struct commit *c, const char *path, int *ret_fd, struct err *e)
{
	struct commit_file *f = &c->file[c->n];
	char name[NAME_LEN], committed[COMMIT_HEX_LEN + 1];
	int rc;

	INVARIANT(c->n < COMMIT_FILES_MAX);
	rc = check_path(path, e);
	if (rc < 0)
		return rc;
	if (committed_id(c->state_path, committed) == 0)
		clean(path, committed);
	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	other_name(path, c->hex, name);
	rc = create(name, &f->fd, e);
	if (rc < 0)
		return rc;
	c->n++;
	(void)fsetxattr(f->fd, attribute, c->hex, COMMIT_HEX_LEN, 0);
	*ret_fd = f->fd;
	return 0;
}

static int write_state(
	const struct commit *c, const char *name, const void *state, size_t len, struct err *e)
{
	int fd CLEANUP(fd_closep) = -1;
	int rc = create(name, &fd, e);

	if (rc < 0)
		return rc;
	rc = io_write_full(fd, state, len);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0 && rename(name, c->state_path) < 0)
		rc = -errno;
	if (rc == 0)
		return 0;
	(void)unlink(name);
	return err_sys(e, rc, rc == -ENOSPC ? "make room, or save elsewhere" : NULL,
		"cannot write the state file '%s'", c->state_path);
}

static void give_names(struct commit *c)
{
	char name[NAME_LEN];

	for (unsigned i = 0; i < c->n; i++) {
		other_name(c->file[i].path, c->hex, name);
		/* A reader finds it by this name, too. */
		if (rename(name, c->file[i].path) < 0)
			log_warning("'%s' keeps this name: %s", name, strerror(errno));
	}
}

/* Who removed what is being written - by hand, or as one of a save that had not locked it yet -
 * must not get a state file without it. */
static int check_still_there(const struct commit *c, const struct commit_file *f, struct err *e)
{
	char name[NAME_LEN];
	struct stat by_name, by_fd;

	other_name(f->path, c->hex, name);
	if (lstat(name, &by_name) == 0 && fstat(f->fd, &by_fd) == 0 &&
		by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino)
		return 0;
	return err_set(e, -ESTALE, "'%s' was removed while it was written", name);
}

static int sync_file(const struct commit *c, const struct commit_file *f, struct err *e)
{
	int rc;

	if (fsync(f->fd) < 0)
		return err_sys(
			e, -errno, "is the storage full, or failing?", "cannot sync '%s'", f->path);
	rc = sync_folder_of(f->path, e);
	return rc == 0 ? check_still_there(c, f, e) : rc;
}

int commit_do(struct commit *c, const void *state, size_t len, struct err *e)
{
	char name[NAME_LEN];
	struct err unsafe = { 0 };
	int rc = 0;

	for (unsigned i = 0; i < c->n && rc == 0; i++)
		rc = sync_file(c, &c->file[i], e);
	if (rc < 0)
		return rc;
	clean(c->state_path, "");
	other_name(c->state_path, c->hex, name);
	rc = write_state(c, name, state, len, e);
	if (rc < 0)
		return rc;
	/* From here on it is done, whatever happens.  While the old state file may come back with
	 * the host's next start, its memory must be there: both keep their names then. */
	if (sync_folder_of(c->state_path, &unsafe) < 0)
		log_warning("the snapshot's files keep the names they were written under: %s",
			unsafe.text);
	else
		give_names(c);
	for (unsigned i = 0; i < c->n; i++) {
		(void)sync_folder_of(c->file[i].path, NULL);
		fd_closep(&c->file[i].fd);
	}
	c->n = 0;
	return 0;
}

void commit_fini(struct commit *c)
{
	char name[NAME_LEN];

	for (unsigned i = 0; i < c->n; i++) {
		other_name(c->file[i].path, c->hex, name);
		(void)unlink(name);
		fd_closep(&c->file[i].fd);
	}
	c->n = 0;
}

/* --- the reader --- */

static int check_file(int fd, const char *path, const char *hex, struct err *e)
{
	char mark[COMMIT_HEX_LEN];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, NULL, "fstat of '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "'%s' is no regular file", path);
	if (fgetxattr(fd, attribute, mark, sizeof(mark)) == COMMIT_HEX_LEN &&
		memcmp(mark, hex, sizeof(mark)) != 0)
		return err_set(e, -ESTALE,
			"'%s' belongs to another snapshot (%.*s) than the state file (%s)", path,
			COMMIT_HEX_LEN, mark, hex);
	return 0;
}

int commit_open(const char *path, const uint8_t id[SNAPSHOT_ID_LEN], struct err *e)
{
	/* O_NONBLOCK: a FIFO must not hold us here; files do not know it. */
	const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	char hex[COMMIT_HEX_LEN + 1], name[NAME_LEN];
	int fd CLEANUP(fd_closep) = -1;
	int rc;

	commit_hex(id, hex);
	other_name(path, hex, name);
	fd = open(name, flags);
	/* A name that has no room for the id can still have been given by hand. */
	if (fd < 0 && (errno == ENOENT || errno == ENAMETOOLONG))
		fd = open(path, flags);
	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot open '%s'", path);
	rc = check_file(fd, path, hex, e);
	return rc < 0 ? rc : fd_take(&fd);
}
