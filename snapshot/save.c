/* Saving a machine (save.h). */
#include "snapshot/save.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "core/job.h"
#include "instance_change.h"
#include "snapshot/commit.h"
#include "snapshot/describe.h"
#include "snapshot/disk_copy.h"
#include "snapshot/host.h"
#include "snapshot/ram_protect.h"
#include "snapshot/ram_save.h"
#include "snapshot/save_private.h"
#include "snapshot/state_file.h"

uint64_t save_now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t save_words(const struct saver *s)
{
	return align_up(mem_pages(&s->in->vm->mem), 64) / 64;
}

/* --- making one --- */

int saver_new(struct instance *in, struct saver **ret, struct err *e)
{
	struct saver *s = calloc(1, sizeof(*s));

	if (!s)
		return err_sys(e, -ENOMEM, NULL, "cannot make what saves machines");
	s->in = in;
	*ret = s;
	return 0;
}

static void set_path(char ret[PATH_MAX], const char *path)
{
	char *whole CLEANUP(freep) = realpath(path, NULL);

	(void)snprintf(ret, PATH_MAX, "%s", whole ? whole : path);
}

static void set_base(struct save_base *b, const uint8_t id[SNAPSHOT_ID_LEN], const char *state_path,
	const char *memory_path)
{
	b->is_known = true;
	memcpy(b->id, id, sizeof(b->id));
	set_path(b->state_path, state_path);
	set_path(b->memory_path, memory_path);
}

void saver_set_base(struct saver *s, const struct snapshot *base, const char *state_path,
	const char *memory_path)
{
	set_base(&s->origin, base->id, state_path, memory_path);
	s->last = s->origin;
}

/* --- the end of a save --- */

static void free_work(struct saver *s)
{
	struct save_work *w = ptr_take(s->work);

	ram_protect_end(w->protect);
	commit_fini(&w->commit);
	snapshot_free(w->snapshot);
	free(w->bits);
	free(w->round);
	free(w->state_path);
	free(w->memory_path);
	free(w->disks_dir);
	free(w);
}

static void succeed(struct saver *s)
{
	struct save_work *w = s->work;

	set_base(&s->last, w->snapshot->id, w->state_path, w->memory_path);
	/* What was written since is in the logs, not here. */
	if (s->dirty)
		memset(s->dirty, 0, save_words(s) * sizeof(*s->dirty));
	w->result.pages_all = atomic_load(&w->progress.pages_all);
	w->result.pages_written = atomic_load(&w->progress.pages_written);
	w->result.total_us = save_now_us() - w->began_us;
}

void save_finish(struct saver *s, int rc, const struct err *e)
{
	struct save_work *w = s->work;
	struct save_result result = { 0 };
	saver_done_fn *done = w->done;
	void *ctx = w->ctx;
	struct err own = { 0 };

	if (e)
		own = *e;
	if (rc == 0)
		succeed(s);
	result = w->result;
	if (!w->is_over) {
		w->is_over = true;
		instance_finish_change(s->in, rc, &own);
	}
	free_work(s);
	done(ctx, rc, &result, rc == 0 ? NULL : &own);
}

/* The instance's word that the change has ended: by us, or because the machine has. */
static void on_change_done(void *ctx, int rc, const struct err *e)
{
	struct saver *s = ctx;
	struct save_work *w = s->work;

	(void)rc;
	(void)e;
	if (w->is_over)
		return;
	w->is_over = true;
	atomic_store(&w->progress.is_cancelled, true);
	if (!job_is_running(&w->job)) {
		struct err own = { 0 };

		save_finish(s, err_set(&own, -ECANCELED, "the machine has ended"), &own);
	}
}

void saver_free(struct saver *s)
{
	if (!s)
		return;
	if (s->work) {
		struct err e = { 0 };

		atomic_store(&s->work->progress.is_cancelled, true);
		job_forget(&s->work->job);
		save_finish(s, err_set(&e, -ECANCELED, "the process ends"), &e);
	}
	free(s->dirty);
	free(s);
}

void saver_cancel(struct saver *s)
{
	if (s->work)
		atomic_store(&s->work->progress.is_cancelled, true);
}

bool saver_progress(const struct saver *s, uint64_t *ret_done, uint64_t *ret_all)
{
	if (!s->work)
		return false;
	*ret_done = atomic_load(&s->work->progress.pages_done);
	*ret_all = atomic_load(&s->work->progress.pages_all);
	return true;
}

/* --- the state --- */

int save_collect(struct saver *s, struct err *e)
{
	struct instance *in = s->in;
	struct snapshot *snap = s->work->snapshot;
	struct timespec now;
	int rc = vm_save(in->vm, snap->vm, e);

	if (rc == 0)
		rc = describe_instance(in, snap, e);
	if (rc < 0)
		return rc;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	snap->created_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	(void)snprintf(snap->version, sizeof(snap->version), "%s", MVM_VERSION);
	host_describe(&snap->host);
	for (unsigned i = 0; i < snap->ndrives && s->work->disks_dir; i++)
		snap->drive[i].is_captured = !snap->drive[i].read_only;
	return 0;
}

/* --- files; on the job's thread --- */

/* What the machine runs from must not be taken from under its name: a restore would look for the
 * disk there, and find a snapshot. */
static int check_is_no_disk(const struct save_work *w, const char *path, struct err *e)
{
	struct stat there, disk;

	if (stat(path, &there) < 0)
		return 0;
	for (unsigned i = 0; i < w->ndisks; i++) {
		if (fstat(w->disk[i].from, &disk) == 0 && disk.st_dev == there.st_dev &&
			disk.st_ino == there.st_ino)
			return err_set(e, -EBUSY, "'%s' is the file of the machine's disk '%s'",
				path, w->disk[i].id);
	}
	return 0;
}

static int create_disks(struct save_work *w, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; i < w->ndisks && w->disks_dir && rc == 0; i++) {
		char path[PATH_MAX];

		w->disk[i].to = -1;
		if (w->disk[i].is_read_only)
			continue;
		if (snprintf(path, sizeof(path), "%s/disk-%s", w->disks_dir, w->disk[i].id) >=
			(int)sizeof(path))
			return err_set(e, -ENAMETOOLONG, "'%s' is too long", w->disks_dir);
		rc = check_is_no_disk(w, path, e);
		if (rc == 0)
			rc = commit_create(&w->commit, path, &w->disk[i].to, e);
	}
	return rc;
}

int save_create_files(struct save_work *w, struct err *e)
{
	int rc = check_is_no_disk(w, w->state_path, e);

	if (rc == 0)
		rc = check_is_no_disk(w, w->memory_path, e);
	if (rc < 0)
		return rc;
	save_check_base(w);
	rc = commit_create(&w->commit, w->memory_path, &w->memory_fd, e);
	return rc == 0 ? create_disks(w, e) : rc;
}

int save_copy_disks(struct save_work *w, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; i < w->ndisks && w->disks_dir && rc == 0; i++) {
		const struct save_disk *d = &w->disk[i];

		if (d->to < 0)
			continue;
		rc = disk_clone(d->from, d->to);
		if (rc == -EOPNOTSUPP)
			rc = disk_copy(d->from, d->to, d->id, &w->progress.is_cancelled, e);
		else if (rc < 0)
			(void)err_sys(e, rc, NULL, "cannot clone the disk '%s'", d->id);
	}
	return rc;
}

/* What the guest wrote is in the host's page cache; a snapshot whose disk is lost with the host's
 * power is none. */
static int sync_disks(const struct save_work *w, struct err *e)
{
	for (unsigned i = 0; i < w->ndisks; i++) {
		if (!w->disk[i].is_read_only && fdatasync(w->disk[i].from) < 0)
			return err_sys(e, -errno, NULL, "cannot sync the disk '%s'", w->disk[i].id);
	}
	return 0;
}

int save_commit(struct save_work *w, struct err *e)
{
	uint8_t *state CLEANUP(freep) = NULL;
	size_t len = 0;
	int rc = sync_disks(w, e);

	if (rc == 0 && w->snapshot->kind == SNAPSHOT_DIFF) {
		rc = ram_runs(w->bits, w->pages, &w->snapshot->run, &w->snapshot->nruns);
		if (rc < 0)
			(void)err_sys(e, rc, NULL, "cannot list the pages of the difference");
	}
	if (rc == 0)
		rc = state_encode(w->snapshot, &state, &len, e);
	if (rc == 0 && atomic_load(&w->progress.is_cancelled))
		rc = err_set(e, -ECANCELED, "the save was cancelled");
	return rc == 0 ? commit_do(&w->commit, state, len, e) : rc;
}

/* A machine that stands still until the end. */
static void work_paused(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	w->rc = save_create_files(w, &w->e);
	if (w->rc == 0)
		w->rc = save_choose(w->saver, &w->e);
	if (w->rc == 0)
		w->rc = save_copy_disks(w, &w->e);
	if (w->rc == 0)
		w->rc = save_first_copy(w);
	if (w->rc == 0)
		w->rc = save_commit(w, &w->e);
}

static void done_paused(struct job *j)
{
	struct save_work *w = container_of(j, struct save_work, job);

	save_finish(w->saver, w->rc, &w->e);
}

int save_start_job(
	struct saver *s, void (*work)(struct job *), void (*done)(struct job *), struct err *e)
{
	s->work->job.work = work;
	s->work->job.done = done;
	return job_start(s->in->loop, &s->work->job, e);
}

/* --- beginning --- */

static int copy_options(struct save_work *w, const struct save_options *o, struct err *e)
{
	w->kind = o->kind;
	w->state_path = strdup(o->state_path);
	w->memory_path = strdup(o->memory_path);
	w->disks_dir = o->disks_dir ? strdup(o->disks_dir) : NULL;
	if (!w->state_path || !w->memory_path || (o->disks_dir && !w->disks_dir))
		return err_sys(e, -ENOMEM, NULL, "cannot save the machine");
	/* It would be the root. */
	if (w->disks_dir && w->disks_dir[0] == '\0')
		return err_set(e, -EINVAL, "the folder for the disks has no name");
	if (strcmp(w->state_path, w->memory_path) == 0)
		return err_set(
			e, -EINVAL, "state and memory cannot be one file ('%s')", w->state_path);
	return 0;
}

static void list_disks(struct saver *s)
{
	struct save_work *w = s->work;
	const struct vm_config *c = &s->in->vm->cfg;

	w->ndisks = c->ndisks;
	for (unsigned i = 0; i < c->ndisks; i++)
		w->disk[i] = (struct save_disk){ .from = disk_plain_fd(describe_disk(s->in, i)),
			.to = -1,
			.is_read_only = c->disk[i].read_only,
			.id = c->disk[i].id };
}

static int make_id(uint8_t id[SNAPSHOT_ID_LEN], struct err *e)
{
	if (getrandom(id, SNAPSHOT_ID_LEN, 0) != SNAPSHOT_ID_LEN)
		return err_sys(e, -EIO, NULL, "getrandom failed");
	return 0;
}

static int prepare(struct saver *s, const struct save_options *o, struct err *e)
{
	struct save_work *w = s->work;
	uint64_t words = save_words(s);
	int rc;

	w->saver = s;
	w->mem = &s->in->vm->mem;
	w->pages = mem_pages(w->mem);
	w->began_us = save_now_us();
	w->bits = calloc(words, sizeof(*w->bits));
	w->snapshot = snapshot_new(s->in->vm->cfg.cpus);
	if (!s->dirty && save_is_tracked(s))
		s->dirty = calloc(words, sizeof(*s->dirty));
	if (!w->bits || !w->snapshot || (save_is_tracked(s) && !s->dirty))
		return err_sys(e, -ENOMEM, NULL, "cannot save the machine");
	rc = copy_options(w, o, e);
	if (rc == 0)
		rc = make_id(w->snapshot->id, e);
	if (rc == 0)
		rc = commit_init(&w->commit, w->snapshot->id, w->state_path, e);
	if (rc < 0)
		return rc;
	save_choose_base(s);
	list_disks(s);
	return 0;
}

static int begin_paused(struct saver *s, struct err *e)
{
	int rc = save_collect(s, e);

	if (rc == 0 && save_is_tracked(s))
		rc = save_take_dirty(s, NULL, true, e);
	return rc == 0 ? save_start_job(s, work_paused, done_paused, e) : rc;
}

int saver_begin(struct saver *s, const struct save_options *o, saver_done_fn *done, void *ctx,
	struct err *e)
{
	struct instance *in = s->in;
	int rc;

	if (s->work)
		return err_set(e, -EBUSY, "the machine is being saved");
	if (in->state == INSTANCE_RUNNING && !o->is_live)
		return err_set(e, -EPERM, "the machine runs: pause it first, or save it live");
	rc = instance_begin_change(in, on_change_done, s, e);
	if (rc < 0)
		return rc;
	s->work = calloc(1, sizeof(*s->work));
	if (!s->work) {
		instance_cancel_change(in);
		return err_sys(e, -ENOMEM, NULL, "cannot save the machine");
	}
	rc = prepare(s, o, e);
	if (rc == 0)
		rc = in->state == INSTANCE_PAUSED ? begin_paused(s, e) : save_begin_live(s, e);
	if (rc == 0) {
		s->work->done = done;
		s->work->ctx = ctx;
		return 0;
	}
	free_work(s);
	instance_cancel_change(in);
	return rc;
}
