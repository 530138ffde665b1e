/*
 * Machines are saved, on a KVM that is not there: what a load of the files would give is what the
 * guest's memory held, whatever was written when, and whatever fails.
 */
#include "t.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "snapshot/ram_load.h"
#include "snapshot/state_file.h"
#include "t_kvm.h"
#include "t_machine.h"
#include "t_saved.h"

TestSuite(save, .timeout = 6 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

/* --- the steps of a save's thread that fail, or wait --- */

static struct {
	int fsync_errno, write_errno;
	_Atomic unsigned writes_left; /* before write_errno */
	_Atomic bool holds_fsync, holds_begin;
	_Atomic unsigned held;
} step;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
ssize_t __real_pwrite64(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at);

static void hold(_Atomic bool *holds)
{
	if (!atomic_load(holds))
		return;
	step.held++;
	while (atomic_load(holds))
		(void)usleep(100);
}

int __wrap_fsync(int fd)
{
	hold(&step.holds_fsync);
	if (step.fsync_errno) {
		errno = step.fsync_errno;
		return -1;
	}
	return __real_fsync(fd);
}

/* Refused where writes are to fail: then there is pwrite(). */
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
	hold(&step.holds_begin);
	return step.write_errno ? -EPERM : __real_io_uring_queue_init(entries, ring, flags);
}

ssize_t __wrap_pwrite64(int fd, const void *data, size_t len, off_t at)
{
	if (step.write_errno && step.writes_left-- == 0) {
		errno = step.write_errno;
		return -1;
	}
	return __real_pwrite64(fd, data, len, at);
}

/* --- machines --- */

static void start(struct t_saved *t, struct loop *l, bool tracked)
{
	t_saved_make(t, l);
	t_saved_put(t, tracked);
	t_saved_start(t);
}

static void start_paused(struct t_saved *t, struct loop *l, bool tracked)
{
	start(t, l, tracked);
	t_saved_pause(t);
}

static void saved(struct t_saved *t, const char *name, enum snapshot_kind kind)
{
	int rc = t_saved_save(t, name, kind);

	cr_assert(eq(int, rc, 0), "%s", t->e.text);
}

static enum snapshot_kind kind_of(const char *name)
{
	struct snapshot *s = t_saved_state(name);
	enum snapshot_kind kind = s->kind;

	snapshot_free(s);
	return kind;
}

/* The pages of a difference, as text. */
static const char *runs_of(const char *name)
{
	static char text[256];
	struct snapshot *s = t_saved_state(name);
	int n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < s->nruns; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%u+%u ",
			(unsigned)s->run[i].first, (unsigned)s->run[i].count);
	snapshot_free(s);
	return text;
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
		saved(&t, "a", SNAPSHOT_FULL);
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
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_expect(&t, "a");
		t_uint(t_saved_files(), 2);
		t_saved_resume(&t);
		t_saved_end(&t);
	}
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	T_NO_LEAKS();
}

/* --- differences of a machine whose writes are tracked --- */

Test(save, a_difference_has_exactly_the_pages_that_were_written)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		struct snapshot *base, *s;

		start_paused(&t, l, true);
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_write(&t, 1000, 1);
		t_saved_write(&t, 1001, 2);
		t_saved_write(&t, 4095, 3);
		/* The monitor's own writes are not in KVM's log. */
		t_int(mem_write(&t.in->vm->mem, 2000 * MEM_PAGE_SIZE + 4094, "abcd", 4), 0);
		*((uint8_t *)t.in->vm->mem.map + 2500 * MEM_PAGE_SIZE) = 5;
		mem_mark_dirty(
			&t.in->vm->mem, (uint8_t *)t.in->vm->mem.map + 2500 * MEM_PAGE_SIZE, 1);
		saved(&t, "b", SNAPSHOT_DIFF);
		t_str(runs_of("b"), "1000+2 2000+2 2500+1 4095+1 ");
		t_uint(t.result.pages_written, 6);
		t_saved_expect(&t, "b");
		base = t_saved_state("a");
		s = t_saved_state("b");
		t_int(s->kind, SNAPSHOT_DIFF);
		t_int(memcmp(s->base_id, base->id, sizeof(base->id)), 0);
		snapshot_free(s);
		snapshot_free(base);
		/* The next one is a difference to that, zeroes included. */
		t_saved_write(&t, 1001, 0);
		saved(&t, "c", SNAPSHOT_DIFF);
		t_str(runs_of("c"), "1001+1 ");
		t_saved_expect(&t, "c");
		saved(&t, "d", SNAPSHOT_DIFF);
		t_str(runs_of("d"), "");
		t_saved_expect(&t, "d");
		/* A full one begins a new chain. */
		t_saved_write(&t, 7, 7);
		saved(&t, "e", SNAPSHOT_FULL);
		t_saved_write(&t, 8, 8);
		saved(&t, "f", SNAPSHOT_DIFF);
		t_str(runs_of("f"), "8+1 ");
		t_saved_expect(&t, "f");
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

Test(save, the_first_difference_is_a_full_one)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct t_saved t;

			start_paused(&t, l, tracked);
			t_saved_write(&t, 99, 9);
			saved(&t, "a", SNAPSHOT_DIFF);
			t_int(kind_of("a"), SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
			t_saved_write(&t, 98, 9);
			saved(&t, "b", SNAPSHOT_DIFF);
			t_int(kind_of("b"), tracked ? SNAPSHOT_DIFF : SNAPSHOT_FULL);
			t_saved_expect(&t, "b");
			t_saved_end(&t);
		}
	}
}

/* --- differences of a machine that was loaded --- */

static void load(struct t_saved *t, struct loop *l, const char *name, bool tracked)
{
	const struct load_options o = { .track_dirty = tracked };

	t_saved_make(t, l);
	cr_assert(eq(int, t_saved_load(t, name, &o), 0), "%s", t->e.text);
}

Test(save, a_loaded_machine_is_saved_as_a_difference_to_what_it_was_loaded_from)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start_paused(&t, l, false);
		t_saved_write(&t, 3000, 3);
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_end(&t);
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct snapshot *base = t_saved_state("a"), *s;

			load(&t, l, "a", tracked);
			t_saved_resume(&t);
			t_saved_pause(&t);
			t_saved_write(&t, 100, 1);
			t_saved_write(&t, 3000, 0);
			saved(&t, "b", SNAPSHOT_DIFF);
			s = t_saved_state("b");
			t_int(s->kind, SNAPSHOT_DIFF);
			t_int(memcmp(s->base_id, base->id, sizeof(base->id)), 0);
			/* Those two, and the one with the generation's id. */
			t_true(t.result.pages_written <= 3);
			t_saved_expect(&t, "b");
			snapshot_free(s);
			t_saved_write(&t, 101, 1);
			saved(&t, "c", SNAPSHOT_DIFF);
			t_saved_expect(&t, "c");
			s = t_saved_state("c");
			/* Without a log each is one to what memory is mapped from. */
			t_int(memcmp(s->base_id, base->id, sizeof(base->id)) == 0, !tracked);
			snapshot_free(s);
			snapshot_free(base);
			saved(&t, "d", SNAPSHOT_FULL);
			t_saved_expect(&t, "d");
			t_saved_end(&t);
			/* A load of a chain, and one more on top of it. */
			load(&t, l, "c", tracked);
			t_saved_write(&t, 102, 5);
			saved(&t, "e", SNAPSHOT_DIFF);
			t_int(kind_of("e"), SNAPSHOT_DIFF);
			t_saved_expect(&t, "e");
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

/* --- differences that nobody could load are full ones --- */

Test(save, a_difference_onto_a_file_below_it_is_a_full_one)
{
	T_EACH_BACKEND(l)
	{
		static const struct {
			const char *name;
			enum snapshot_kind kind;
		} turns[] = { { "a", SNAPSHOT_FULL }, { "a", SNAPSHOT_FULL }, { "b", SNAPSHOT_DIFF },
			{ "a", SNAPSHOT_FULL }, { "b", SNAPSHOT_DIFF }, { "c", SNAPSHOT_DIFF },
			{ "b", SNAPSHOT_FULL }, { "a", SNAPSHOT_DIFF } };
		struct t_saved t;

		start_paused(&t, l, true);
		for (unsigned i = 0; i < ARRAY_SIZE(turns); i++) {
			t_saved_write(&t, 100 + i, 1 + (int)i);
			saved(&t, turns[i].name, SNAPSHOT_DIFF);
			cr_assert(
				eq(int, (int)kind_of(turns[i].name), (int)turns[i].kind), "%u", i);
			t_saved_expect(&t, turns[i].name);
		}
		t_saved_end(&t);
	}
}

Test(save, a_difference_to_what_is_not_there_any_more_is_a_full_one)
{
	static const char *const gone[] = { "a", "a.memory" };

	T_EACH_BACKEND(l)
	{
		struct t_saved t, other;

		for (unsigned i = 0; i < ARRAY_SIZE(gone); i++) {
			start_paused(&t, l, true);
			saved(&t, "a", SNAPSHOT_FULL);
			t_int(unlink(t_saved_path(gone[i])), 0);
			t_saved_write(&t, 55, 5);
			saved(&t, "b", SNAPSHOT_DIFF);
			t_int(kind_of("b"), SNAPSHOT_FULL);
			t_saved_expect(&t, "b");
			t_saved_end(&t);
		}
		/* Another machine was saved there meanwhile. */
		start_paused(&t, l, true);
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_make(&other, l);
		t_saved_put(&other, false);
		t_saved_start(&other);
		t_saved_pause(&other);
		saved(&other, "a", SNAPSHOT_FULL);
		t_saved_end(&other);
		t_kvm.slot[0].flags = KVM_MEM_LOG_DIRTY_PAGES; /* the fake knows one VM */
		t_saved_write(&t, 55, 5);
		saved(&t, "b", SNAPSHOT_DIFF);
		t_int(kind_of("b"), SNAPSHOT_FULL);
		t_saved_expect(&t, "b");
		t_saved_end(&t);
	}
}

Test(save, a_chain_never_gets_too_long_to_be_loaded)
{
	unsigned full = 0;
	struct loop *l = t_loop_new(0);
	struct t_saved t;

	start_paused(&t, l, true);
	for (unsigned i = 0; i < RAM_LAYERS_MAX + 3; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "s%u", i);
		t_saved_write(&t, 64 + i, 1);
		saved(&t, name, SNAPSHOT_DIFF);
		full += kind_of(name) == SNAPSHOT_FULL;
		if (i >= RAM_LAYERS_MAX - 2)
			t_saved_expect(&t, name);
	}
	t_uint(full, 2);
	t_saved_end(&t);
	t_loop_done(l);
}

/* --- failures --- */

static void expect_failure(struct t_saved *t, const char *name, int rc, const char *text)
{
	unsigned files = t_saved_files();

	t_int(t_saved_save(t, name, SNAPSHOT_DIFF), rc);
	t_has(t->e.text, text);
	t_uint(t_saved_files(), files);
	step.fsync_errno = step.write_errno = 0;
}

Test(save, a_save_that_fails_loses_no_dirty_page_and_no_file)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start_paused(&t, l, true);
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_write(&t, 10, 1);
		step.fsync_errno = EIO;
		expect_failure(&t, "b", -EIO, "cannot sync '");
		t_saved_write(&t, 20, 1);
		step.write_errno = ENOSPC;
		step.writes_left = 1;
		expect_failure(&t, "b", -ENOSPC, "make room there");
		t_saved_write(&t, 30, 1);
		step.write_errno = EIO;
		step.writes_left = 2;
		expect_failure(&t, "b", -EIO, "the storage fails");
		t_saved_write(&t, 40, 1);
		expect_failure(&t, "nowhere/b", -ENOENT, "cannot make '");
		/* Also when the log itself cannot be read. */
		t_saved_write(&t, 50, 1);
		t_kvm.slot[0].flags = 0;
		t_int(t_saved_begin(&t, "b", SNAPSHOT_DIFF, false, NULL), -ENOENT);
		t_has(t.e.text, "KVM_GET_DIRTY_LOG failed");
		t_kvm.slot[0].flags = KVM_MEM_LOG_DIRTY_PAGES;
		saved(&t, "b", SNAPSHOT_DIFF);
		t_str(runs_of("b"), "10+1 20+1 30+1 40+1 50+1 ");
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
		t_int(mkdir(t_saved_path("dir"), 0700), 0);
		t_int(t_saved_begin(&t, "dir", SNAPSHOT_FULL, false, NULL), -EISDIR);
		t_int(mkdir(t_saved_path("b.memory"), 0700), 0);
		t_int(t_saved_save(&t, "b", SNAPSHOT_FULL), -EISDIR);
		/* One at a time. */
		atomic_store(&step.holds_fsync, true);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), -EBUSY);
		t_has(t.e.text, "is being saved");
		t_int(instance_resume(t.in, &t.e), -EBUSY);
		atomic_store(&step.holds_fsync, false);
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
		saved(&t, "a", SNAPSHOT_FULL);
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
		saved(&t, "a", SNAPSHOT_FULL);
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
		atomic_store(&step.holds_begin, true);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
		saver_cancel(t.s);
		atomic_store(&step.holds_begin, false);
		T_SAVED_UNTIL(&t, t.done == 1);
		t_int(t.rc, -ECANCELED);
		t_has(t.e.text, "the save was cancelled");
		t_uint(t_saved_files(), 0);
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_end(&t);
		(void)unlink(t_saved_path("a"));
		(void)unlink(t_saved_path("a.memory"));
	}
}

static void end_while(struct loop *l, _Atomic bool *holds, int rc)
{
	unsigned held = step.held;
	struct t_saved t;

	start_paused(&t, l, false);
	saved(&t, "a", SNAPSHOT_FULL);
	t_saved_write(&t, 77, 7);
	atomic_store(holds, true);
	t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
	while (step.held == held)
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
		end_while(l, &step.holds_begin, -ECANCELED);
		/* Whose files were all written already. */
		end_while(l, &step.holds_fsync, 0);
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

/* --- live --- */

/* The guest writes between two looks at the log. */
static struct {
	struct t_saved *t;
	unsigned looks, many; /* so many looks find many pages */
	bool was_logging;
} live;

static void (*take_kept)(unsigned slot, uint64_t *bits);

static void write_and_take(unsigned slot, uint64_t *bits)
{
	unsigned pages = live.looks++ < live.many ? 1000 : 3;

	live.was_logging = true;
	for (unsigned i = 0; i < pages; i++)
		t_saved_write(live.t, 2000 + i, (int)(1 + (live.looks + i) % 250));
	/* To zero, and from it. */
	t_saved_write(live.t, 3500, live.looks % 2 ? 1 : 0);
	t_saved_write(live.t, 3501, live.looks % 2 ? 0 : 1);
	take_kept(slot, bits);
}

static void begin_live(struct t_saved *t, unsigned many)
{
	take_kept = t_kvm.take_log;
	t_kvm.take_log = write_and_take;
	live.t = t;
	live.looks = 0;
	live.many = many;
	live.was_logging = false;
}

static void end_live(void)
{
	t_kvm.take_log = take_kept;
}

Test(save, a_machine_that_runs_is_saved_as_it_was_at_the_second_stop)
{
	T_EACH_BACKEND(l)
	{
		static const unsigned many[] = { 0, 3, 100 };

		for (unsigned i = 0; i < 2 * ARRAY_SIZE(many); i++) {
			bool tracked = i % 2;
			struct t_saved t;

			start(&t, l, tracked);
			t_saved_write(&t, 2001, 99);
			begin_live(&t, many[i / 2]);
			saved(&t, "a", SNAPSHOT_FULL);
			end_live();
			t_true(live.was_logging);
			t_true(live.looks >= 3 && live.looks <= 9);
			t_int(kind_of("a"), SNAPSHOT_FULL);
			t_saved_expect(&t, "a");
			t_int(t.in->state, INSTANCE_RUNNING);
			t_true(t.result.pause_us > 0 && t.result.pause_us <= t.result.total_us);
			t_true(t.result.pages_written <= t.result.pages_all);
			/* The log goes on where it was before. */
			t_uint(t_kvm.slot[0].flags, tracked ? KVM_MEM_LOG_DIRTY_PAGES : 0);
			if (tracked) {
				t_saved_write(&t, 1, 1);
				saved(&t, "b", SNAPSHOT_DIFF);
				t_str(runs_of("b"), "1+1 ");
				t_saved_expect(&t, "b");
			}
			t_saved_pause(&t);
			saved(&t, "c", SNAPSHOT_FULL);
			t_saved_expect(&t, "c");
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

Test(save, a_difference_of_a_machine_that_runs)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start(&t, l, true);
		saved(&t, "a", SNAPSHOT_FULL);
		t_saved_write(&t, 10, 1);
		begin_live(&t, 2);
		saved(&t, "b", SNAPSHOT_DIFF);
		end_live();
		t_str(runs_of("b"), "10+1 2000+1000 3500+2 ");
		t_saved_expect(&t, "b");
		/* One onto its base is full, and chosen while the guest runs. */
		t_saved_write(&t, 11, 1);
		begin_live(&t, 2);
		saved(&t, "a", SNAPSHOT_DIFF);
		end_live();
		t_int(kind_of("a"), SNAPSHOT_FULL);
		t_saved_expect(&t, "a");
		t_saved_end(&t);
	}
}

Test(save, a_live_save_that_fails_lets_the_machine_go_on_and_loses_nothing)
{
	T_EACH_BACKEND(l)
	{
		for (unsigned tracked = 0; tracked < 2; tracked++) {
			struct t_saved t;

			start(&t, l, tracked);
			saved(&t, "a", SNAPSHOT_FULL);
			for (unsigned left = 0; left < 8; left += 1) {
				t_saved_write(&t, 10 + left, 1);
				begin_live(&t, 2);
				step.write_errno = ENOSPC;
				step.writes_left = left;
				t_int(t_saved_save(&t, "b", SNAPSHOT_DIFF),
					left < 2 ? -ENOSPC : t.rc);
				step.write_errno = 0;
				end_live();
				t_int(t.in->state, INSTANCE_RUNNING);
				t_uint(t_kvm.slot[0].flags, tracked ? KVM_MEM_LOG_DIRTY_PAGES : 0);
				t_false(t.in->is_changing);
			}
			step.fsync_errno = EIO;
			t_int(t_saved_save(&t, "c", SNAPSHOT_DIFF), -EIO);
			step.fsync_errno = 0;
			saved(&t, "d", SNAPSHOT_DIFF);
			t_saved_expect(&t, "d");
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

/* A vCPU that does not leave the guest when it is told to. */
static _Atomic bool is_stubborn, may_stop;

static int stubborn(struct t_vcpu *v)
{
	while (atomic_load(&is_stubborn) && !atomic_load(&may_stop))
		(void)usleep(100);
	return t_machine_wait(v);
}

Test(save, the_machine_ends_while_it_is_to_stop_for_a_live_save)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		atomic_store(&is_stubborn, true);
		atomic_store(&may_stop, false);
		t_kvm.on_run = stubborn;
		start(&t, l, false);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), 0);
		t_saved_run(&t, 5000);
		t_uint(t.done, 0);
		instance_stop(t.in, "test");
		T_SAVED_UNTIL(&t, t.done == 1);
		t_int(t.rc, -ECANCELED);
		t_has(t.e.text, "the machine has ended");
		t_uint(t_saved_files(), 0);
		atomic_store(&may_stop, true);
		t_saved_end(&t);
		t_uint(t.done, 1);
		t_kvm.on_run = NULL;
	}
	T_NO_LEAKS();
}

Test(save, the_machine_ends_in_a_round_of_a_live_save)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		start(&t, l, true);
		atomic_store(&step.holds_begin, true);
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), 0);
		T_SAVED_UNTIL(&t, step.held > 0);
		instance_stop(t.in, "test");
		T_SAVED_UNTIL(&t, t.ended == 1);
		t_uint(t.done, 0);
		atomic_store(&step.holds_begin, false);
		T_SAVED_UNTIL(&t, t.done == 1);
		t_int(t.rc, -ECANCELED);
		t_uint(t_saved_files(), 0);
		t_saved_end(&t);
		t_uint(t.done, 1);
		step.held = 0;
	}
	T_NO_LEAKS();
}

/* Whenever it ends: once done, with one of the two results, and nothing but whole files. */
Test(save, the_machine_ends_at_any_moment_of_a_live_save)
{
	unsigned fds = t_count_fds();

	T_EACH_BACKEND(l)
	{
		for (unsigned us = 0; us < 12000; us += 300) {
			struct t_saved t;
			bool ends_by_quiet = us / 300 % 2;

			start(&t, l, us / 600 % 2);
			t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, true, NULL), 0);
			t_saved_run(&t, us);
			if (!ends_by_quiet) {
				instance_stop(t.in, "test");
				T_SAVED_UNTIL(&t, t.done == 1 && t.ended == 1);
			}
			t_saved_end(&t);
			t_uint(t.done, 1);
			t_true(t.rc == 0 || t.rc == -ECANCELED || t.rc == -EBUSY);
			if (t.rc == 0)
				t_int(kind_of("a"), SNAPSHOT_FULL);
			t_true(t_saved_files() == 0 || t_saved_files() == 2);
		}
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}
