/*
 * Machines are loaded, on a KVM that is not there: all is checked before anything is built, and a
 * load that fails leaves the instance as it was.
 */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "snapshot/load_private.h"
#include "snapshot/save_private.h"
#include "snapshot/uffd.h"
#include "t_kvm.h"
#include "t_machine.h"
#include "t_saved.h"

TestSuite(load, .timeout = 6 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

/* --- a handler that is not there --- */

int __wrap_uffd_serve(struct uffd *u, const struct guest_mem *m, const char *path, struct err *e);
int __wrap_uffd_watch(struct uffd *u, void (*gone)(void *ctx), void *ctx, struct err *e);
void __real_uffd_hurry(struct uffd *u);
void __wrap_uffd_hurry(struct uffd *u);

static struct {
	int serve_rc, watch_rc;
	unsigned served, hurried;
} step;

int __wrap_uffd_serve(struct uffd *u, const struct guest_mem *m, const char *path, struct err *e)
{
	(void)u;
	(void)m;
	t_str(path, "/handler");
	step.served++;
	return step.serve_rc < 0 ? err_set(e, step.serve_rc, "no handler") : 0;
}

int __wrap_uffd_watch(struct uffd *u, void (*gone)(void *ctx), void *ctx, struct err *e)
{
	(void)u;
	(void)gone;
	(void)ctx;
	return step.watch_rc < 0 ? err_set(e, step.watch_rc, "no watcher") : 0;
}

void __wrap_uffd_hurry(struct uffd *u)
{
	step.hurried++;
	__real_uffd_hurry(u);
}

/* --- snapshots to load --- */

static uint8_t *page_of(const struct t_saved *t, uint64_t page)
{
	return (uint8_t *)t->in->vm->mem.map + page * MEM_PAGE_SIZE;
}

/* "a", and "b" on top of it; with a disk in the file "disk". */
static void save_two(struct loop *l)
{
	struct t_saved t;
	char disk[256];

	(void)snprintf(disk, sizeof(disk), "%s", t_saved_file("disk", 8192, 'd'));
	t_saved_make(&t, l);
	t_saved_put(&t, true);
	t_saved_put_disk(&t, "d0", disk, false);
	t_saved_start(&t);
	t_saved_pause(&t);
	t_saved_write(&t, 1000, 'a');
	cr_assert(eq(int, t_saved_save(&t, "a", SNAPSHOT_FULL), 0), "%s", t.e.text);
	t_saved_write(&t, 1001, 'b');
	cr_assert(eq(int, t_saved_save(&t, "b", SNAPSHOT_DIFF), 0), "%s", t.e.text);
	t_saved_end(&t);
}

static void loaded(struct t_saved *t, const char *name, const struct load_options *o)
{
	int rc = t_saved_load(t, name, o);

	cr_assert(eq(int, rc, 0), "%s", t->e.text);
	t_int(t->in->state, INSTANCE_PAUSED);
}

/* As instance_new() left it. */
static void expect_fresh(const struct t_saved *t)
{
	t_int(t->in->state, INSTANCE_NOT_STARTED);
	t_true(t->in->vm == NULL);
	t_true(t->loader == NULL);
	t_uint(t->in->ndrives, 0);
	t_uint(t->in->nnics, 0);
	t_true(t->in->boot.kernel == NULL);
	t_false(t->in->is_boot_path);
	t_true(t->in->let_go == NULL);
	t_uint(t->in->machine.cpus, 1);
	t_uint(t->in->machine.mem_mib, CONFIG_MEM_DEFAULT / CONFIG_MEM_STEP);
}

/* --- loads --- */

Test(load, a_machine_goes_on_from_its_snapshot)
{
	unsigned fds = t_count_fds(), threads = t_count_threads();

	T_EACH_BACKEND(l)
	{
		static const char *const names[] = { "a", "b", "b" };
		struct t_saved t;

		save_two(l);
		for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
			struct load_options o = { .pages = i == 2 ? LOAD_PAGES_THP
								  : LOAD_PAGES_SNAPSHOT };

			t_saved_make(&t, l);
			loaded(&t, names[i], &o);
			t_uint(page_of(&t, 1000)[7], 'a');
			t_uint(page_of(&t, 1001)[7], i > 0 ? 'b' : 0);
			t_uint(t.in->machine.mem_mib, T_SAVED_MIB);
			t_uint(t.in->ndrives, 1);
			t_str(t.in->drive[0].spec.disk.id, "d0");
			t_saved_resume(&t);
			t_int(t.in->state, INSTANCE_RUNNING);
			t_saved_run(&t, 2000);
			t_saved_pause(&t);
			t_saved_end(&t);
		}
	}
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	T_NO_LEAKS();
}

Test(load, one_may_go_on_at_once_and_its_files_are_let_go_later)
{
	unsigned fds = t_count_fds(), threads = t_count_threads();

	T_EACH_BACKEND(l)
	{
		const struct load_options o = { .goes_on = true };
		struct t_saved t;
		unsigned held;

		save_two(l);
		t_saved_make(&t, l);
		cr_assert(eq(int, t_saved_load(&t, "b", &o), 0), "%s", t.e.text);
		t_int(t.in->state, INSTANCE_RUNNING);
		/* Whoever wanted to know that it was let go has been told. */
		t_true(t.in->let_go == NULL);
		held = t_count_fds();
		while (t_count_fds() != held - 2)
			t_int(loop_turn(l), 0);
		t_uint(page_of(&t, 1000)[7], 'a');
		t_uint(page_of(&t, 1001)[7], 'b');
		t_saved_pause(&t);
		t_saved_end(&t);
	}
	t_uint(t_count_fds(), fds);
	t_uint(t_settled_threads(threads), threads);
	T_NO_LEAKS();
}

Test(load, a_machine_that_runs_is_left_alone)
{
	T_EACH_BACKEND(l)
	{
		struct load_options none = { 0 };
		struct t_saved t;
		struct loader *first;

		save_two(l);
		t_saved_make(&t, l);
		loaded(&t, "a", &none);
		first = t.loader;
		for (unsigned i = 0; i < 3; i++) {
			unsigned fds = t_count_fds();

			t_int(t_saved_load(&t, "a", &none), -EPERM);
			t_has(t.e.text, "has been started");
			t_uint(t_count_fds(), fds);
			/* It is described as before, and all of it still works. */
			t_true(t.loader == first);
			t_uint(t.in->ndrives, 1);
			t_str(t.in->drive[0].spec.disk.id, "d0");
			t_str(t.in->vm->cfg.disk[0].id, "d0");
			t_true(t.in->boot.kernel != NULL);
			if (i == 0)
				t_saved_resume(&t);
		}
		t_saved_pause(&t);
		cr_assert(eq(int, t_saved_save(&t, "c", SNAPSHOT_FULL), 0), "%s", t.e.text);
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

Test(load, what_was_described_is_kept)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		save_two(l);
		t_saved_make(&t, l);
		t_saved_put(&t, false);
		t_int(t_saved_load(&t, "a", NULL), -EPERM);
		t_has(t.e.text, "described already");
		t_uint(t.in->machine.mem_mib, T_SAVED_MIB);
		t_true(t.in->boot.kernel != NULL);
		t_saved_start(&t);
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

/* --- failures --- */

Test(load, whatever_step_fails_nothing_is_left_and_the_next_load_works)
{
	unsigned failed = 0, threads = t_count_threads();

	T_EACH_BACKEND(l)
	{
		bool has_more = true;

		save_two(l);
		for (unsigned n = 1; has_more; n++) {
			struct t_saved t;
			unsigned fds;
			int rc;

			t_saved_make(&t, l);
			fds = t_count_fds();
			t_kvm.fail_step = n;
			t_kvm_count(true);
			rc = t_saved_load(&t, "b", NULL);
			has_more = rc < 0 || t_kvm.steps >= n;
			t_kvm_count(false);
			t_kvm.fail_step = 0;
			if (rc < 0) {
				cr_assert(ne(int, (int)strlen(t.e.text), 0), "step %u: %d", n, rc);
				expect_fresh(&t);
				t_uint(t_count_fds(), fds);
				failed++;
				t_kvm.nvcpus = t_kvm.nioeventfds = t_kvm.nirqfds = 0;
				/* The same instance can be used. */
				loaded(&t, "b", NULL);
			}
			/* What is no necessity fails without harm. */
			t_uint(page_of(&t, 1001)[7], 'b');
			t_saved_end(&t);
			t_kvm.nvcpus = 0;
		}
	}
	t_true(failed > 40);
	t_uint(t_settled_threads(threads), threads);
	T_NO_LEAKS();
}

static void expect_refused(
	struct t_saved *t, const char *name, const struct load_options *o, int rc, const char *text)
{
	unsigned fds = t_count_fds();

	cr_expect(eq(int, t_saved_load(t, name, o), rc), "%s: %s", text, t->e.text);
	t_has(t->e.text, text);
	expect_fresh(t);
	t_uint(t_count_fds(), fds);
}

Test(load, what_is_wrong_with_the_files_is_said)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;
		int fd;

		save_two(l);
		t_saved_make(&t, l);
		expect_refused(&t, "none", NULL, -ENOENT, "none");
		expect_refused(&t, "disk", NULL, -EBADMSG, "disk");
		/* Memory that is too long, too short, another's, none. */
		t_int(truncate(t_saved_path("a.memory"), (T_SAVED_MIB << 20) + 4096), 0);
		expect_refused(&t, "a", NULL, -EFBIG, "belongs to another snapshot");
		t_int(truncate(t_saved_path("a.memory"), (T_SAVED_MIB << 20) - 4096), 0);
		expect_refused(&t, "a", NULL, -ENODATA, "it is cut short");
		expect_refused(&t, "b", NULL, -ENODATA, "it is cut short");
		t_int(rename(t_saved_path("b.memory"), t_saved_path("x")), 0);
		expect_refused(&t, "b", NULL, -ENOENT, "b.memory");
		t_int(rename(t_saved_path("a.memory"), t_saved_path("b.memory")), 0);
		if (getxattr(t_saved_path("x"), "user.mvm.snapshot", NULL, 0) > 0)
			expect_refused(&t, "b", NULL, -ESTALE, "belongs to another snapshot");
		/* A state that is damaged. */
		fd = open(t_saved_path("a"), O_RDWR | O_CLOEXEC);
		t_int(pwrite(fd, "x", 1, 100), 1);
		(void)close(fd);
		expect_refused(&t, "a", NULL, -EBADMSG, "a': ");
		t_saved_end(&t);
		(void)unlink(t_saved_path("a.memory"));
	}
	T_NO_LEAKS();
}

Test(load, memory_by_a_handler)
{
	T_EACH_BACKEND(l)
	{
		struct load_options o = { .backend = LOAD_BACKEND_UFFD, .uffd_path = "/handler" };
		struct t_saved t;

		save_two(l);
		t_saved_make(&t, l);
		expect_refused(&t, "b", &o, -EINVAL, "a difference cannot be served");
		step.serve_rc = -ECONNREFUSED;
		expect_refused(&t, "a", &o, -ECONNREFUSED, "no handler");
		step.serve_rc = 0;
		step.watch_rc = -EAGAIN;
		expect_refused(&t, "a", &o, -EAGAIN, "no watcher");
		step.watch_rc = 0;
		t_int(unlink(t_saved_path("a.memory")), 0);
		loaded(&t, "a", &o);
		t_true(t.s->origin.is_known && t.s->last.is_known);
		t_str(t.s->origin.state_path, t_saved_path("a"));
		t_str(t.s->origin.memory_path, "");
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

/*
 * From the moment at which the handler's connection goes, pages read as zeroes: a save that was
 * under way must not take them for the guest's, and take the place of a good one.
 */
Test(load, no_save_is_committed_after_the_handler_was_let_go)
{
	T_EACH_BACKEND(l)
	{
		struct load_options o = { .backend = LOAD_BACKEND_UFFD, .uffd_path = "/handler" };
		struct snapshot *before, *after;
		struct t_saved t;

		save_two(l);
		before = t_saved_state("a");
		t_saved_make(&t, l);
		loaded(&t, "a", &o);
		step.hurried = 0;
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), 0);
		instance_quiet(t.in);
		t_true(step.hurried > 0);
		t_true(!t.s->work || atomic_load(&t.s->work->progress.is_cancelled));
		t_saved_end(&t);
		t_uint(t.done, 1);
		t_int(t.rc, -ECANCELED);
		after = t_saved_state("a");
		/* Unless it was done before that. */
		if (memcmp(before->id, after->id, sizeof(before->id)) != 0)
			cr_log_warn("the save was faster than the end");
		snapshot_free(before);
		snapshot_free(after);
	}
	T_NO_LEAKS();
}

/* --- the working set --- */

static void touch(struct t_saved *t)
{
	for (unsigned i = 0; i < 50; i++)
		t_saved_write(t, 500 + 2 * i, 'w');
}

Test(load, the_working_set_is_recorded_and_used)
{
	T_EACH_BACKEND(l)
	{
		const struct load_options records = { .record_ms = 5 }, uses = { 0 },
					  skips = { .skips_working_set = true };
		struct loader_counters c;
		struct t_saved t;

		save_two(l);
		t_saved_make(&t, l);
		loaded(&t, "a", &records);
		t_int(access(t_saved_path("working-set"), F_OK), -1);
		t_saved_resume(&t);
		touch(&t);
		T_SAVED_UNTIL(&t, access(t_saved_path("working-set"), F_OK) == 0);
		t_saved_run(&t, 2000);
		t_saved_end(&t);
		t_saved_make(&t, l);
		loaded(&t, "a", &uses);
		t_true(t.loader->has_set);
		t_saved_resume(&t);
		do {
			t_saved_run(&t, 1000);
			loader_get_counters(t.loader, &c);
		} while (c.prefetched_pages < 50);
		t_saved_end(&t);
		t_saved_make(&t, l);
		loaded(&t, "a", &skips);
		t_false(t.loader->has_set);
		t_saved_end(&t);
		/* Another snapshot's is left alone. */
		t_saved_make(&t, l);
		loaded(&t, "b", &uses);
		t_false(t.loader->has_set);
		t_saved_end(&t);
		(void)unlink(t_saved_path("working-set"));
	}
	T_NO_LEAKS();
}

Test(load, the_end_comes_at_any_moment_of_a_recording_and_of_a_save)
{
	unsigned fds = t_count_fds();

	T_EACH_BACKEND(l)
	{
		save_two(l);
		for (unsigned i = 0; i < 30; i++) {
			const struct load_options o = { .record_ms = i < 10   ? 2
								     : i < 20 ? 0
									      : 60000 };
			struct t_saved t;

			t_saved_make(&t, l);
			loaded(&t, "a", &o);
			t_saved_resume(&t);
			touch(&t);
			t_saved_run(&t, 400 * (i % 10));
			if (i % 2)
				t_int(t_saved_begin(&t, "c", SNAPSHOT_FULL, true, NULL), 0);
			if (i % 4 == 1)
				t_saved_run(&t, 3000);
			t_saved_end(&t);
			t_uint(t.done, i % 2);
		}
		(void)unlink(t_saved_path("working-set"));
	}
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}
