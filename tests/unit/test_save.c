/*
 * Machines that stand still are saved, on a KVM that is not there; whatever fails or ends in the
 * middle, no file and no dirty page is lost.
 */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "t_kvm.h"
#include "t_save_steps.h"
#include "t_saved.h"

TestSuite(save, .timeout = 6 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

/* --- machines --- */

static void start_paused(struct t_saved *t, struct loop *l, bool tracked)
{
	t_saved_started(t, l, tracked);
	t_saved_pause(t);
}

/* --- full --- */

Test(save, a_full_snapshot_has_all_of_memory)
{
	unsigned fds = t_count_fds(), threads = t_count_threads();

	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		struct snapshot *s;
		uint64_t done, all;

		start_paused(&t, l, false);
		t_saved_write(&t, 1000, 7);
		t_saved_write(&t, 4095, 8);
		t_false(saver_progress(t.s, &done, &all));
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_false(saver_progress(t.s, &done, &all));
		t_saved_expect(&t, "a");
		s = t_saved_state("a");
		t_int(s->kind, SNAPSHOT_FULL);
		t_uint(s->vm->mem_size, T_SAVED_MIB << 20);
		t_uint(s->vm->cpus, 1);
		t_true(s->has_kernel);
		snapshot_free(s);
		t_true(t.result.pages_written >= 2);
		t_true(t.result.pages_all >= t.result.pages_written);
		t_uint(t_saved_files(), 2);
		/* It stays as it was, and can be saved again over that, and go on. */
		t_int(t.in->state, INSTANCE_PAUSED);
		t_saved_write(&t, 1000, 9);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_expect(&t, "a");
		t_uint(t_saved_files(), 2);
		t_saved_resume(&t);
		t_saved_end(&t);
	}
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	T_NO_LEAKS();
}

/* --- failures --- */

static void expect_failure(struct t_saved *t, const char *name, int rc, const char *text)
{
	unsigned files = t_saved_files();

	t_int(t_saved_save(t, name, SNAPSHOT_DIFF), rc);
	t_has(t->e.text, text);
	t_uint(t_saved_files(), files);
	t_steps.fsync_errno = t_steps.write_errno = 0;
}

Test(save, a_save_that_fails_loses_no_dirty_page_and_no_file)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start_paused(&t, l, true);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_write(&t, 10, 1);
		t_steps.fsync_errno = EIO;
		expect_failure(&t, "b", -EIO, "cannot sync '");
		t_saved_write(&t, 20, 1);
		t_steps.write_errno = ENOSPC;
		t_steps.writes_left = 1;
		expect_failure(&t, "b", -ENOSPC, "make room there");
		t_saved_write(&t, 30, 1);
		t_steps.write_errno = EIO;
		t_steps.writes_left = 2;
		expect_failure(&t, "b", -EIO, "the storage fails");
		t_saved_write(&t, 40, 1);
		expect_failure(&t, "nowhere/b", -ENOENT, "cannot make '");
		/* Also when the log itself cannot be read. */
		t_saved_write(&t, 50, 1);
		t_kvm.slot[0].flags = 0;
		t_int(t_saved_begin(&t, "b", SNAPSHOT_DIFF, false, NULL), -ENOENT);
		t_has(t.e.text, "KVM_GET_DIRTY_LOG failed");
		t_kvm.slot[0].flags = KVM_MEM_LOG_DIRTY_PAGES;
		t_saved_saved(&t, "b", SNAPSHOT_DIFF);
		t_str(t_saved_runs("b"), "10+1 20+1 30+1 40+1 50+1 ");
		t_saved_expect(&t, "b");
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

Test(save, what_is_refused_before_anything_is_written)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		struct save_options o = { .state_path = t_saved_path("same"),
			.memory_path = t_saved_path("same") };

		t_saved_make(&t, l);
		t_saved_put(&t, false);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), -EPERM);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), -EPERM);
		t_has(t.e.text, "has not been started");
		t_saved_start(&t);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), -EPERM);
		t_has(t.e.text, "pause it first");
		t_saved_pause(&t);
		t_int(saver_begin(t.s, &o, NULL, NULL, &t.e), -EINVAL);
		t_has(t.e.text, "cannot be one file");
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, ""), -EINVAL);
		t_has(t.e.text, "has no name");
		t_int(mkdir(t_saved_path("dir"), 0700), 0);
		t_int(t_saved_begin(&t, "dir", SNAPSHOT_FULL, false, NULL), -EISDIR);
		t_int(mkdir(t_saved_path("b.memory"), 0700), 0);
		t_int(t_saved_save(&t, "b", SNAPSHOT_FULL), -EISDIR);
		/* One at a time. */
		atomic_store(&t_steps.holds_fsync, true);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), -EBUSY);
		t_has(t.e.text, "is being saved");
		t_int(instance_resume(t.in, &t.e), -EBUSY);
		atomic_store(&t_steps.holds_fsync, false);
		T_SAVED_UNTIL(&t, t.done == 2);
		t_int(t.rc, 0);
		t_saved_resume(&t);
		instance_stop(t.in, "test");
		T_SAVED_UNTIL(&t, t.ended == 1);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), -EPERM);
		t_has(t.e.text, "has ended");
		t_saved_end(&t);
		(void)rmdir(t_saved_path("dir"));
		(void)rmdir(t_saved_path("b.memory"));
	}
	T_NO_LEAKS();
}

/* --- the machine's own disks --- */

Test(save, the_file_of_a_disk_is_never_replaced)
{
	T_EACH_BACKEND(l)
	{
		char disk[256];
		struct t_saved t;
		struct stat st;

		(void)snprintf(disk, sizeof(disk), "%s", t_saved_file("disk", 4096, 'd'));
		t_saved_make(&t, l);
		t_saved_put(&t, false);
		t_saved_put_disk(&t, "d0", disk, false);
		t_saved_start(&t);
		t_saved_pause(&t);
		t_int(link(disk, t_saved_path("hard.memory")), 0);
		t_int(link(disk, t_saved_path("disk-d0")), 0);
		t_int(symlink(disk, t_saved_path("soft.memory")), 0);
		t_int(symlink("disk", t_saved_path("soft")), 0);
		t_int(t_saved_save(&t, "disk", SNAPSHOT_FULL), -EBUSY);
		t_has(t.e.text, "is the file of the machine's disk 'd0'");
		t_int(t_saved_save(&t, "hard", SNAPSHOT_FULL), -EBUSY);
		t_int(t_saved_save(&t, "soft", SNAPSHOT_FULL), -EBUSY);
		/* A captured disk, too. */
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, t_saved_path("")), 0);
		T_SAVED_UNTIL(&t, t.done == 4);
		t_int(t.rc, -EBUSY);
		t_int(stat(disk, &st), 0);
		t_uint(st.st_size, 4096);
		t_uint(st.st_nlink, 3);
		t_uint(t_saved_files(), 5);
		t_saved_end(&t);
		(void)unlink(t_saved_path("hard.memory"));
		(void)unlink(t_saved_path("disk-d0"));
		(void)unlink(t_saved_path("soft.memory"));
		(void)unlink(t_saved_path("soft"));
	}
}

static bool is_filled(const char *path, size_t len, int value)
{
	uint8_t data[8192];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));

	(void)close(fd);
	for (ssize_t i = 0; i < n; i++) {
		if (data[i] != value)
			return false;
	}
	return n == (ssize_t)len;
}

/* Disks that are in memory, so that nothing can be cloned and all is copied. */
static void start_with_disks(struct t_saved *t, struct loop *l)
{
	static char path[2][64];

	for (unsigned i = 0; i < 2; i++) {
		int fd = memfd_create("disk", MFD_CLOEXEC);
		char data[4096];

		memset(data, 'a' + (int)i, sizeof(data));
		t_int(write(fd, data, sizeof(data)), sizeof(data));
		(void)snprintf(path[i], sizeof(path[i]), "/proc/self/fd/%d", fd);
	}
	t_saved_make(t, l);
	t_saved_put(t, false);
	t_saved_put_disk(t, "d0", path[0], false);
	t_saved_put_disk(t, "d1", path[1], true);
	t_saved_start(t);
}

Test(save, disks_are_captured_where_that_is_asked_for)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		struct snapshot *s;

		start_with_disks(&t, l);
		t_saved_pause(&t);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		s = t_saved_state("a");
		t_uint(s->ndrives, 2);
		t_false(s->drive[0].is_captured || s->drive[1].is_captured);
		snapshot_free(s);
		t_int(t_saved_begin(&t, "b", SNAPSHOT_FULL, false, t_saved_path("")), 0);
		T_SAVED_UNTIL(&t, t.done == 2);
		cr_assert(eq(int, t.rc, 0), "%s", t.e.text);
		s = t_saved_state("b");
		t_true(s->drive[0].is_captured);
		t_false(s->drive[1].is_captured);
		snapshot_free(s);
		t_true(is_filled(t_saved_path("disk-d0"), 4096, 'a'));
		t_int(access(t_saved_path("disk-d1"), F_OK), -1);
		/* While the guest runs it would have to wait for the copy. */
		t_saved_resume(&t);
		t_int(t_saved_begin(&t, "c", SNAPSHOT_FULL, true, t_saved_path("")), 0);
		T_SAVED_UNTIL(&t, t.done == 3);
		t_int(t.rc, -EOPNOTSUPP);
		t_has(t.e.text, "disk 'd0' cannot be captured while the guest runs");
		t_int(t.in->state, INSTANCE_RUNNING);
		t_true(is_filled(t_saved_path("disk-d0"), 4096, 'a'));
		t_int(access(t_saved_path("c"), F_OK), -1);
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

/* --- the end in the middle --- */

Test(save, a_save_is_over_when_the_saver_goes)
{
	unsigned fds = t_count_fds();

	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start_paused(&t, l, false);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_int(t_saved_begin(&t, "b", SNAPSHOT_FULL, false, NULL), 0);
		t_saved_end(&t);
		t_uint(t.done, 2);
		t_int(t.rc, -ECANCELED);
		t_has(t.e.text, "the process ends");
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(save, a_save_that_is_cancelled_writes_no_state)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start_paused(&t, l, false);
		saver_cancel(t.s);
		atomic_store(&t_steps.holds_begin, true);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
		saver_cancel(t.s);
		atomic_store(&t_steps.holds_begin, false);
		T_SAVED_UNTIL(&t, t.done == 1);
		t_int(t.rc, -ECANCELED);
		t_has(t.e.text, "the save was cancelled");
		t_uint(t_saved_files(), 0);
		t_saved_saved(&t, "a", SNAPSHOT_FULL);
		t_saved_end(&t);
		(void)unlink(t_saved_path("a"));
		(void)unlink(t_saved_path("a.memory"));
	}
}

static void end_while(struct loop *l, _Atomic bool *holds, int rc)
{
	unsigned held = t_steps.held;
	struct t_saved t;

	start_paused(&t, l, false);
	t_saved_saved(&t, "a", SNAPSHOT_FULL);
	t_saved_write(&t, 77, 7);
	atomic_store(holds, true);
	t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
	while (t_steps.held == held)
		(void)usleep(100);
	instance_stop(t.in, "test");
	T_SAVED_UNTIL(&t, t.ended == 1);
	t_uint(t.done, 1);
	t_int(t.in->state, INSTANCE_ENDED);
	atomic_store(holds, false);
	T_SAVED_UNTIL(&t, t.done == 2);
	t_int(t.rc, rc);
	if (rc == 0)
		t_saved_expect(&t, "a");
	t_uint(t_saved_files(), 2);
	t_saved_end(&t);
	t_uint(t.done, 2);
}

Test(save, the_machine_ends_in_the_middle)
{
	unsigned fds = t_count_fds();

	T_EACH_BACKEND(l)
	{
		end_while(l, &t_steps.holds_begin, -ECANCELED);
		/* Whose files were all written already. */
		end_while(l, &t_steps.holds_fsync, 0);
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}
