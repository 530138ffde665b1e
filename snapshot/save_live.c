/*
 * Saving a machine that runs on (save.h).  By write protection (ram_protect.h), where that can be
 * had:
 *
 *     stop, state, protect all pages, go on -> copy them behind the guest -> commit
 *
 * Otherwise by the log of dirty pages:
 *
 *     stop, begin to log, go on -> copy all -> copy what was written meanwhile, a few rounds ->
 * stop, state -> copy the rest -> go on -> commit
 *
 * There the snapshot is the machine at the second stop.  It is short when a round has little left
 * to copy; a guest that writes faster than pages are copied is stopped after some rounds all the
 * same, for as long as its last pages take.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "instance_change.h"
#include "snapshot/disk_copy.h"
#include "snapshot/ram_protect.h"
#include "snapshot/save_private.h"

enum {
	ROUNDS_MAX = 6,
	REST_PAGES = 512, /* so few are copied in about a millisecond */
};

static void fail(struct saver *s, int rc, const struct err *e);

/* --- the log --- */

static int begin_log(struct saver *s, struct err *e)
{
	struct vm *vm = s->in->vm;

	if (save_is_tracked(s))
		return 0;
	if (!vm->mem.dirty && mem_track_dirty(&vm->mem) < 0)
		return err_sys(e, -ENOMEM, NULL, "cannot note dirty pages");
	return kvm_set_memory(&vm->group.kvm, &vm->mem, true, e);
}

/* A log that nobody reads costs the guest a fault for each page it writes to. */
static void end_log(struct saver *s)
{
	struct vm *vm = s->in->vm;

	if (!save_is_tracked(s))
		(void)!kvm_set_memory(&vm->group.kvm, &vm->mem, false, NULL);
}

static uint64_t count_bits(const uint64_t *bits, uint64_t words)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < words; i++)
		n += (uint64_t)__builtin_popcountll(bits[i]);
	return n;
}

/* What was written since the last look becomes the next round, and part of what the file has. */
static int take_round(struct saver *s, bool are_devices_at_rest, uint64_t *ret_pages, struct err *e)
{
	struct save_work *w = s->work;
	uint64_t words = save_words(s);
	int rc;

	memset(w->round, 0, words * sizeof(*w->round));
	rc = save_take_dirty(s, w->round, are_devices_at_rest, e);
	for (uint64_t i = 0; i < words; i++)
		w->bits[i] |= w->round[i];
	*ret_pages = count_bits(w->round, words);
	return rc;
}

/* --- standing still --- */

static void stop(struct saver *s, void (*then)(void *ctx))
{
	s->work->stopped_us = save_now_us();
	vm_pause(s->in->vm, then, s);
}

static void go_on(struct saver *s)
{
	struct save_work *w = s->work;

	if (s->in->state != INSTANCE_RUNNING)
		return;
	vm_resume(s->in->vm);
	w->result.pause_us += save_now_us() - w->stopped_us;
}

/* --- the end: in reverse order --- */

static void committed(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	save_finish(w->saver, w->rc, &w->e);
}

static void work_commit(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	w->rc = save_commit(w, &w->e);
}

/* The rest is copied: the guest need not wait for the storage to say that all is safe. */
static void rest_copied(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);
	struct saver *s = w->saver;
	struct err e = { 0 };
	int rc;

	go_on(s);
	/* Which may wait for an SRCU grace period: not while the guest stands still. */
	end_log(s);
	if (w->rc < 0) {
		fail(s, w->rc, &w->e);
		return;
	}
	rc = save_start_job(s, work_commit, committed, &e);
	if (rc < 0)
		fail(s, rc, &e);
}

static void work_round(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	w->rc = ram_save_again(w->mem, w->round, w->memory_fd, &w->progress, &w->e);
}

/* A copy would keep the guest waiting for as long as the disk is large. */
static int clone_disks(struct save_work *w, struct err *e)
{
	for (unsigned i = 0; i < w->ndisks; i++) {
		int rc = w->disk[i].to < 0 ? 0 : disk_clone(w->disk[i].from, w->disk[i].to);

		if (rc < 0)
			return err_sys(e, rc,
				"its file system cannot clone files: pause the machine and save "
				"it with its disks then",
				"disk '%s' cannot be captured while the guest runs", w->disk[i].id);
	}
	return 0;
}

static void stopped_for_state(void *ctx)
{
	struct saver *s = ctx;
	struct err e = { 0 };
	uint64_t pages;
	int rc = save_collect(s, &e);

	if (rc == 0)
		rc = clone_disks(s->work, &e);
	if (rc == 0)
		rc = take_round(s, true, &pages, &e);
	if (rc == 0)
		rc = save_start_job(s, work_round, rest_copied, &e);
	if (rc == 0)
		return;
	go_on(s);
	fail(s, rc, &e);
}

/* --- rounds --- */

static void last_round_copied(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);
	struct err e = w->e;

	if (w->rc == 0 && !w->is_over)
		stop(w->saver, stopped_for_state);
	else
		fail(w->saver, w->rc < 0 ? w->rc : err_set(&e, -ECANCELED, "the machine has ended"),
			&e);
}

static void round_copied(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);
	struct saver *s = w->saver;
	struct err e = w->e;
	uint64_t pages = 0;
	int rc = w->rc;

	/* A machine that has ended is not asked any more. */
	if (rc == 0 && w->is_over)
		rc = err_set(&e, -ECANCELED, "the machine has ended");
	if (rc == 0)
		rc = take_round(s, false, &pages, &e);
	if (rc == 0)
		rc = save_start_job(s, work_round,
			pages > REST_PAGES && ++w->rounds < ROUNDS_MAX ? round_copied
								       : last_round_copied,
			&e);
	if (rc < 0)
		fail(s, rc, &e);
}

static void work_all(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	w->rc = save_first_copy(w);
}

/* The machine stands still; it goes on here. */
static void begin_logged(struct saver *s)
{
	struct err e = { 0 };
	int rc = begin_log(s, &e);

	/* In this order: what is written behind the choice is in the log. */
	if (rc == 0)
		rc = save_take_dirty(s, NULL, true, &e);
	if (rc == 0)
		rc = save_choose(s, &e);
	go_on(s);
	if (rc == 0)
		rc = save_start_job(s, work_all, round_copied, &e);
	if (rc < 0)
		fail(s, rc, &e);
}

/* The machine runs, or has ended. */
static void fail(struct saver *s, int rc, const struct err *e)
{
	if (!s->work->is_over)
		end_log(s);
	save_finish(s, rc, e);
}

/* --- write protection --- */

static void work_protected(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	w->rc = ram_protect_save(w->protect, w->memory_fd, &w->progress, &w->e);
	if (w->rc == 0)
		w->rc = save_commit(w, &w->e);
}

/* Stopped, and the pages of bits are protected: the snapshot is the machine as it is now. */
static void begin_protected(struct saver *s)
{
	struct err e = { 0 };
	int rc = save_collect(s, &e);

	if (rc == 0)
		rc = clone_disks(s->work, &e);
	if (rc == 0)
		rc = save_start_job(s, work_protected, committed, &e);
	if (rc < 0)
		ram_protect_end(ptr_take(s->work->protect));
	go_on(s);
	if (rc < 0)
		save_finish(s, rc, &e);
}

/* The kernel has no such thing, for this memory or for this user: most have no right to it. */
static bool is_refused(int rc)
{
	return rc == -EOPNOTSUPP || rc == -EPERM || rc == -EACCES || rc == -ENOSYS;
}

static void stopped(void *ctx)
{
	struct saver *s = ctx;
	struct save_work *w = s->work;
	struct err e = { 0 };
	int rc = save_is_tracked(s) ? save_take_dirty(s, NULL, true, &e) : 0;

	if (rc == 0)
		rc = save_choose(s, &e);
	if (rc == 0)
		rc = ram_protect_begin(w->mem, w->bits, &w->protect, &e);
	if (rc == 0) {
		begin_protected(s);
	} else if (is_refused(rc)) {
		memset(w->bits, 0, save_words(s) * sizeof(*w->bits));
		begin_logged(s);
	} else {
		go_on(s);
		save_finish(s, rc, &e);
	}
}

/* --- beginning --- */

static void work_files(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	w->rc = save_create_files(w, &w->e);
}

/* Before the guest is stopped, because storage may take its time. */
static void files_created(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);
	struct err e = w->e;
	int rc = w->rc;

	if (rc == 0 && w->is_over)
		rc = err_set(&e, -ECANCELED, "the machine has ended");
	if (rc < 0)
		save_finish(w->saver, rc, &e);
	else
		stop(w->saver, stopped);
}

int save_begin_live(struct saver *s, struct err *e)
{
	s->work->round = calloc(save_words(s), sizeof(*s->work->round));
	if (!s->work->round)
		return err_sys(e, -ENOMEM, NULL, "cannot save the machine");
	return save_start_job(s, work_files, files_created, e);
}
