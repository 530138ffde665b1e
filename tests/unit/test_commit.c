/*
 * The transaction of a snapshot's files: whatever fails and whenever the process dies, the old
 * snapshot or the new one is there, whole, and the next save leaves nothing else behind.
 */
#include "t.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/err.h"
#include "snapshot/commit.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_state.h"

static void setup(void);
static void teardown(void);

TestSuite(commit, .timeout = 6 * T_SECONDS, .init = setup, .fini = teardown);

enum { MEMORY_BYTES = 3 * 4096, DISK_BYTES = 512, NONE = 0, OLD = 1, NEW = 2, NEXT = 3 };

/* --- calls that fail, or are the last thing that the process does --- */

static struct {
	bool is_on;
	unsigned n, fail_at, kill_at;
	int error;
	const char *fail_path; /* opening this one fails, while it is on */
} step;

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real___open64_2(const char *path, int flags);
int __wrap___open64_2(const char *path, int flags);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_unlink(const char *path);
int __wrap_unlink(const char *path);
int __real_flock(int fd, int how);
int __wrap_flock(int fd, int how);
ssize_t __real_write(int fd, const void *data, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __real_fsetxattr(int fd, const char *name, const void *value, size_t len, int flags);
int __wrap_fsetxattr(int fd, const char *name, const void *value, size_t len, int flags);

static bool fails(void)
{
	if (!step.is_on)
		return false;
	step.n++;
	if (step.n == step.kill_at)
		(void)kill(getpid(), SIGKILL);
	if (step.n != step.fail_at)
		return false;
	errno = step.error;
	return true;
}

static bool open_fails(const char *path)
{
	if (step.is_on && step.fail_path && strcmp(path, step.fail_path) == 0) {
		errno = step.error;
		return true;
	}
	return fails();
}

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (flags & O_CREAT) {
		va_list args;

		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return open_fails(path) ? -1 : __real_open64(path, flags, mode);
}

int __wrap___open64_2(const char *path, int flags)
{
	return open_fails(path) ? -1 : __real___open64_2(path, flags);
}

int __wrap_fsync(int fd)
{
	return fails() ? -1 : __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
	return fails() ? -1 : __real_rename(from, to);
}

int __wrap_unlink(const char *path)
{
	return fails() ? -1 : __real_unlink(path);
}

int __wrap_flock(int fd, int how)
{
	return fails() ? -1 : __real_flock(fd, how);
}

ssize_t __wrap_write(int fd, const void *data, size_t len)
{
	return fails() ? -1 : __real_write(fd, data, len);
}

int __wrap_fsetxattr(int fd, const char *name, const void *value, size_t len, int flags)
{
	return fails() ? -1 : __real_fsetxattr(fd, name, value, len, flags);
}

/* --- snapshots: each is known by its number --- */

static char folder[] = "/tmp/mvm-test-XXXXXX";
static char state_path[64], memory_path[64], disk_path[64];
static struct err e;

static void setup(void)
{
	t_quiet();
	t_true(mkdtemp(folder) != NULL);
	(void)snprintf(state_path, sizeof(state_path), "%s/state", folder);
	(void)snprintf(memory_path, sizeof(memory_path), "%s/memory", folder);
	(void)snprintf(disk_path, sizeof(disk_path), "%s/disk-a", folder);
}

/* Removes what is in the folder; returns how many files there were. */
static unsigned sweep(bool removes)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	char path[512];
	unsigned n = 0;

	t_true(dir != NULL);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		n++;
		(void)snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (removes)
			(void)remove(path);
	}
	(void)closedir(dir);
	return n;
}

static unsigned count_files(void)
{
	return sweep(false);
}

static void teardown(void)
{
	step.is_on = false;
	(void)sweep(true);
	(void)rmdir(folder);
}

static struct snapshot *make(unsigned number)
{
	const struct t_state_shape shape = {
		.cpus = 1, .is_small = true, .drives = 1, .seed = number
	};

	return t_state_new(&shape);
}

static void id_of(unsigned number, uint8_t id[SNAPSHOT_ID_LEN])
{
	struct snapshot *s = make(number);

	memcpy(id, s->id, SNAPSHOT_ID_LEN);
	snapshot_free(s);
}

static int fill(int fd, unsigned number, size_t len)
{
	uint8_t data[MEMORY_BYTES];

	memset(data, (int)number, len);
	return write(fd, data, len) == (ssize_t)len ? 0 : -errno;
}

static struct commit commit;

/* Up to the commit itself. */
static int prepare(unsigned number)
{
	uint8_t id[SNAPSHOT_ID_LEN];
	int fd = -1, rc;

	id_of(number, id);
	rc = commit_init(&commit, id, state_path, &e);
	if (rc == 0)
		rc = commit_create(&commit, memory_path, &fd, &e);
	if (rc == 0)
		rc = fill(fd, number, MEMORY_BYTES);
	if (rc == 0)
		rc = commit_create(&commit, disk_path, &fd, &e);
	return rc == 0 ? fill(fd, number, DISK_BYTES) : rc;
}

static int finish(unsigned number)
{
	struct snapshot *s = make(number);
	uint8_t *data = NULL;
	size_t len = 0;
	int rc;

	t_int(state_encode(s, &data, &len, &e), 0);
	rc = commit_do(&commit, data, len, &e);
	free(data);
	snapshot_free(s);
	return rc;
}

static int save(unsigned number)
{
	int rc = prepare(number);

	if (rc == 0)
		rc = finish(number);
	commit_fini(&commit);
	return rc;
}

static bool has(const char *path, const uint8_t id[SNAPSHOT_ID_LEN], unsigned number, size_t len)
{
	uint8_t data[MEMORY_BYTES + 1];
	int fd = commit_open(path, id, &e);
	ssize_t n;

	if (fd < 0)
		return false;
	n = pread(fd, data, sizeof(data), 0);
	(void)close(fd);
	if (n != (ssize_t)len)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (data[i] != number)
			return false;
	}
	return true;
}

/* Which snapshot a reader finds, all of it. */
static unsigned found(void)
{
	struct snapshot *s = NULL;

	if (state_read(state_path, &s, &e) < 0)
		return NONE;
	for (unsigned number = OLD; number <= NEXT; number++) {
		uint8_t id[SNAPSHOT_ID_LEN];

		id_of(number, id);
		if (memcmp(id, s->id, sizeof(id)) != 0)
			continue;
		snapshot_free(s);
		return has(memory_path, id, number, MEMORY_BYTES) &&
				       has(disk_path, id, number, DISK_BYTES)
			       ? number
			       : NONE;
	}
	snapshot_free(s);
	return NONE;
}

/* --- the protocol --- */

Test(commit, a_snapshot_is_found_under_its_names_and_takes_the_place_of_the_last)
{
	unsigned fds = t_count_fds();
	struct stat st;

	for (unsigned number = OLD; number <= NEXT; number++) {
		t_int(save(number), 0);
		t_uint(found(), number);
		t_uint(count_files(), 3);
	}
	t_int(stat(memory_path, &st), 0);
	t_uint(st.st_mode & 07777, 0600);
	t_int(stat(state_path, &st), 0);
	t_uint(st.st_mode & 07777, 0600);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(commit, until_the_commit_only_other_names_are_touched)
{
	t_int(save(OLD), 0);
	t_int(prepare(NEW), 0);
	t_uint(found(), OLD);
	t_uint(count_files(), 5);
	commit_fini(&commit);
	t_uint(found(), OLD);
	t_uint(count_files(), 3);
}

Test(commit, one_that_is_being_written_is_no_leftover)
{
	static struct commit first;

	t_int(save(OLD), 0);
	t_int(prepare(NEW), 0);
	first = commit;
	t_int(save(NEXT), 0);
	t_uint(found(), NEXT);
	t_uint(count_files(), 5);
	commit = first;
	t_int(finish(NEW), 0);
	t_uint(found(), NEW);
	t_uint(count_files(), 3);
}

/* --- every call fails in turn --- */

static void fail_each(int error)
{
	unsigned failed = 0, passed = 0, fds = t_count_fds();

	for (unsigned n = 1;; n++) {
		int rc;

		(void)sweep(true);
		t_int(save(OLD), 0);
		step.n = 0;
		step.fail_at = n;
		step.error = error;
		step.is_on = true;
		e.text[0] = '\0';
		rc = save(NEW);
		step.is_on = false;
		cr_assert(eq(u32, found(), rc < 0 ? OLD : NEW), "step %u gave %d (%s)", n, rc,
			e.text);
		if (rc < 0)
			t_uint(count_files(), 3);
		failed += rc < 0;
		passed += rc == 0;
		t_uint(t_count_fds(), fds);
		t_int(save(NEXT), 0);
		t_uint(found(), NEXT);
		t_uint(count_files(), 3);
		if (step.n < n)
			break;
	}
	/* Two files made, filled and synced, their folder, the state; and what is no necessity. */
	t_true(failed >= 10);
	t_true(passed >= 4);
	T_NO_LEAKS();
}

Test(commit, whatever_call_fails_the_old_snapshot_stays_or_the_new_one_is_whole)
{
	fail_each(EIO);
	fail_each(ENOSPC);
	fail_each(EMFILE);
}

Test(commit, a_folder_that_cannot_be_synced_after_the_commit_keeps_both_memories)
{
	uint8_t id[SNAPSHOT_ID_LEN];
	unsigned n;

	/* The first step after which the new one is found although it failed, and the old memory
	 * is still there under its name. */
	for (n = 1; n < 100; n++) {
		(void)sweep(true);
		t_int(save(OLD), 0);
		step.n = 0;
		step.fail_at = n;
		step.error = EIO;
		step.is_on = true;
		int rc = save(NEW);

		step.is_on = false;
		id_of(OLD, id);
		if (rc == 0 && count_files() == 5 && has(memory_path, id, OLD, MEMORY_BYTES))
			break;
	}
	t_true(n < 100);
	t_uint(found(), NEW);
	/* The next one gives them their names even if it comes to nothing itself. */
	t_int(prepare(NEXT), 0);
	commit_fini(&commit);
	t_uint(found(), NEW);
	t_uint(count_files(), 3);
}

/* --- the process is killed --- */

/* True when it was killed. */
static bool killed_at(unsigned n)
{
	int status = 0;
	pid_t child = fork();

	t_true(child >= 0);
	if (child == 0) {
		step.n = 0;
		step.kill_at = n;
		step.is_on = true;
		_exit(save(NEW) == 0 ? 0 : 1);
	}
	t_int(waitpid(child, &status, 0), child);
	t_true(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
	return WIFSIGNALED(status);
}

static void kill_each(bool then_fails)
{
	unsigned last = OLD, n = 1;
	bool was_killed = true;

	for (; was_killed; n++) {
		unsigned now;

		(void)sweep(true);
		t_int(save(OLD), 0);
		was_killed = killed_at(n);
		now = found();
		cr_assert(eq(int, now == OLD || now == NEW, 1), "killed at step %u", n);
		/* Once it is committed it stays so. */
		t_true(now >= last);
		last = now;
		if (then_fails) {
			t_int(prepare(NEXT), 0);
			t_uint(found(), now);
			commit_fini(&commit);
			t_uint(found(), now);
		}
		t_int(save(NEXT), 0);
		t_uint(found(), NEXT);
		t_uint(count_files(), 3);
	}
	t_uint(last, NEW);
	t_true(n > 15);
}

Test(commit, killed_at_any_step_leaves_the_old_or_the_new_snapshot)
{
	kill_each(false);
}

Test(commit, a_save_that_fails_after_one_that_was_killed_loses_nothing)
{
	kill_each(true);
}

/* As a process that was killed behind the commit leaves them. */
static void take_name_away(unsigned number)
{
	uint8_t id[SNAPSHOT_ID_LEN];
	char hex[COMMIT_HEX_LEN + 1], path[128];

	id_of(number, id);
	commit_hex(id, hex);
	(void)snprintf(path, sizeof(path), "%s.%s", memory_path, hex);
	t_int(rename(memory_path, path), 0);
}

/* Who cannot read the state file does not know that this memory belongs to it. */
Test(commit, memory_is_no_leftover_where_the_state_file_cannot_be_read)
{
	t_int(save(OLD), 0);
	take_name_away(OLD);
	t_uint(found(), OLD);
	step.fail_path = state_path;
	step.error = EMFILE;
	step.is_on = true;
	t_int(prepare(NEW), 0);
	step.is_on = false;
	commit_fini(&commit);
	t_uint(found(), OLD);
	t_uint(count_files(), 3);
	t_int(save(NEW), 0);
	t_uint(found(), NEW);
	t_uint(count_files(), 3);
}

Test(commit, a_file_that_was_removed_while_it_was_written_is_not_committed)
{
	uint8_t id[SNAPSHOT_ID_LEN];
	char hex[COMMIT_HEX_LEN + 1], path[128];

	t_int(save(OLD), 0);
	t_int(prepare(NEW), 0);
	id_of(NEW, id);
	commit_hex(id, hex);
	(void)snprintf(path, sizeof(path), "%s.%s", memory_path, hex);
	t_int(unlink(path), 0);
	t_int(finish(NEW), -ESTALE);
	t_has(e.text, "was removed while it was written");
	commit_fini(&commit);
	t_uint(found(), OLD);
	t_uint(count_files(), 3);
}

/* --- paths --- */

static int init_at(const char *path)
{
	static const uint8_t id[SNAPSHOT_ID_LEN] = { 1 };

	return commit_init(&commit, id, path, &e);
}

static int create_at(const char *path)
{
	int fd = -1, rc;

	t_int(init_at(state_path), 0);
	rc = commit_create(&commit, path, &fd, &e);
	commit_fini(&commit);
	return rc;
}

Test(commit, what_no_file_can_take_the_place_of_is_refused_at_once)
{
	char fifo[128], dir[128], slash[128], longest[PATH_MAX + 8], link[128];
	const struct row {
		const char *path;
		int rc;
		const char *text;
	} rows[] = {
		{ "", -ENOENT, "empty path" },
		{ fifo, -EINVAL, "is no regular file" },
		{ "/dev/null", -EINVAL, "'/dev/null' is no regular file" },
		{ dir, -EISDIR, "is a folder" },
		{ slash, -EISDIR, "is a folder" },
		{ longest, -ENAMETOOLONG, "is too long" },
	};

	(void)snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	(void)snprintf(dir, sizeof(dir), "%s/dir", folder);
	(void)snprintf(slash, sizeof(slash), "%s/none/", folder);
	(void)snprintf(link, sizeof(link), "%s/link", folder);
	memset(longest, 'x', sizeof(longest));
	longest[PATH_MAX - 20] = '\0';
	t_int(mkfifo(fifo, 0600), 0);
	t_int(mkdir(dir, 0700), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		t_row_int(rows[i].path, init_at(rows[i].path), rows[i].rc);
		t_row_has(rows[i].path, e.text, rows[i].text);
		t_row_int(rows[i].path, create_at(rows[i].path), rows[i].rc);
		t_row_has(rows[i].path, e.text, rows[i].text);
	}
	(void)snprintf(link, sizeof(link), "%s/nowhere/memory", folder);
	t_int(create_at(link), -ENOENT);
	t_has(e.text, "cannot make '");
	t_uint(count_files(), 2);
}

Test(commit, a_link_is_replaced_and_what_it_leads_to_is_left_alone)
{
	char target[128], dangling[128];
	struct stat st;
	int fd;

	(void)snprintf(target, sizeof(target), "%s/precious", folder);
	(void)snprintf(dangling, sizeof(dangling), "%s/nothing", folder);
	fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	t_int(write(fd, "x", 1), 1);
	(void)close(fd);
	t_int(symlink(target, memory_path), 0);
	t_int(symlink(dangling, state_path), 0);
	t_int(save(NEW), 0);
	t_uint(found(), NEW);
	t_int(lstat(memory_path, &st), 0);
	t_true(S_ISREG(st.st_mode));
	t_int(lstat(state_path, &st), 0);
	t_true(S_ISREG(st.st_mode));
	t_int(stat(target, &st), 0);
	t_uint(st.st_size, 1);
	t_int(stat(dangling, &st), -1);
}

/* --- the reader --- */

Test(commit, a_file_of_another_snapshot_is_refused)
{
	uint8_t id[SNAPSHOT_ID_LEN];
	char mark[64];

	t_int(save(OLD), 0);
	if (getxattr(memory_path, "user.mvm.snapshot", mark, sizeof(mark)) < 0)
		cr_skip_test("no extended attributes here");
	id_of(NEW, id);
	t_int(commit_open(memory_path, id, &e), -ESTALE);
	t_has(e.text, "belongs to another snapshot (");
	/* A copy without attributes says nothing. */
	t_int(removexattr(memory_path, "user.mvm.snapshot"), 0);
	t_true(has(memory_path, id, OLD, MEMORY_BYTES));
}

Test(commit, what_is_no_regular_file_is_not_read_and_nobody_waits_for_it)
{
	static const uint8_t id[SNAPSHOT_ID_LEN] = { 1 };
	unsigned fds = t_count_fds();
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/fifo", folder);
	t_int(mkfifo(path, 0600), 0);
	t_int(commit_open(path, id, &e), -EINVAL);
	t_has(e.text, "is no regular file");
	t_int(commit_open(folder, id, &e), -EINVAL);
	t_int(commit_open(memory_path, id, &e), -ENOENT);
	t_has(e.text, memory_path);
	t_uint(t_count_fds(), fds);
}

/* Nobody can save to it, but it can be given by hand. */
Test(commit, a_name_without_room_for_the_id_can_be_read)
{
	static const uint8_t id[SNAPSHOT_ID_LEN] = { 1 };
	char path[512];
	int fd, n = snprintf(path, sizeof(path), "%s/", folder);

	memset(path + n, 'm', NAME_MAX);
	path[n + NAME_MAX] = '\0';
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	t_true(fd >= 0);
	(void)close(fd);
	fd = commit_open(path, id, &e);
	cr_assert(ge(int, fd, 0), "%s", e.text);
	(void)close(fd);
	t_int(create_at(path), -ENAMETOOLONG);
}
