/*
 * The working set of a machine that was loaded (load.h, working_set.h).
 *
 *     let go --> a set is there: bring it in, and say at the end of its window how well that was
 *           \--> recording: look at what was touched at the end of the window, write it
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "instance_change.h"
#include "snapshot/load_private.h"

static uint64_t now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static const struct guest_mem *memory(const struct loader *l)
{
	return &l->in->vm->mem;
}

/* --- work, on the job's thread --- */

static void prefetch(struct loader *l)
{
	uint64_t began = now_us();

	l->rc = working_set_prefetch(&l->set, memory(l), l->memory_fd, &l->is_leaving, &l->e);
	l->found.prefetch_us = now_us() - began;
}

static void score(struct loader *l)
{
	struct working_set_score score = { 0 };

	l->rc = working_set_score(&l->set, memory(l), &score, &l->e);
	l->found.prefetched_pages = score.brought;
	l->found.missed_pages = score.missed;
}

static void record(struct loader *l)
{
	struct working_set set = { .window_ms = l->record_ms };

	memcpy(set.id, l->id, sizeof(set.id));
	l->rc = working_set_record(&set, memory(l), &l->e);
	if (l->rc == 0)
		l->rc = working_set_write(&set, l->path, &l->e);
	working_set_fini(&set);
}

static void work(struct job *j)
{
	struct loader *l = container_of(j, struct loader, job);

	switch (l->step) {
	case STEP_PREFETCH: prefetch(l); break;
	case STEP_SCORE: score(l); break;
	case STEP_RECORD: record(l); break;
	case STEP_NOTHING: break;
	}
}

/* --- steps, on the loop --- */

static void begin_work(struct loader *l, enum loader_step step)
{
	struct err e = { 0 };

	l->step = step;
	/* All of this is only to be faster next time, or now. */
	if (job_start(l->in->loop, &l->job, &e) < 0)
		log_warning("the working set is left alone: %s", e.text);
}

static void on_window_over(struct later *window)
{
	struct loader *l = container_of(window, struct loader, window);

	if (l->in->state != INSTANCE_ENDED)
		begin_work(l, l->step);
}

static void wait_for(struct loader *l, uint64_t ms, enum loader_step then)
{
	static const uint64_t day_ms = UINT64_C(86400000);

	l->step = then;
	later_start(&l->window, l->in->loop, MIN(ms, day_ms), on_window_over);
}

static void worked(struct job *j)
{
	struct loader *l = container_of(j, struct loader, job);

	l->counters = l->found;
	if (l->rc == -ECANCELED)
		return;
	if (l->rc < 0)
		log_warning("working set: %s", l->e.text);
	else if (l->step == STEP_PREFETCH)
		wait_for(l, l->set.window_ms, STEP_SCORE);
	else if (l->step == STEP_RECORD)
		log_info("The working set is in '%s'.", l->path);
}

static void on_let_go(void *ctx)
{
	struct loader *l = ctx;

	if (l->record_ms > 0)
		wait_for(l, l->record_ms, STEP_RECORD);
	else if (l->has_set)
		begin_work(l, STEP_PREFETCH);
}

/* --- beginning and end --- */

static bool set_path(struct loader *l, const struct chain_link *link)
{
	const char *slash = strrchr(link->state_path, '/');
	int len = slash ? (int)(slash + 1 - link->state_path) : 0;

	return snprintf(l->path, sizeof(l->path), "%.*sworking-set", len, link->state_path) <
	       (int)sizeof(l->path);
}

static void read_set(struct loader *l)
{
	struct err e = { 0 };
	int rc;

	if (access(l->path, F_OK) < 0)
		return;
	rc = working_set_read(&l->set, l->path, mem_pages(memory(l)), &e);
	if (rc == 0 && memcmp(l->set.id, l->id, sizeof(l->id)) == 0)
		l->has_set = true;
	else
		log_warning("the working set '%s' is not used: %s", l->path,
			rc < 0 ? e.text : "it belongs to another snapshot");
	if (!l->has_set)
		working_set_fini(&l->set);
}

void loader_keep_working_set(struct loader *l, const struct load_options *o, struct chain *chain)
{
	struct chain_link *top = &chain->link[0];

	/* Who brings the pages himself knows best which come first. */
	if (o->backend != LOAD_BACKEND_FILE || !set_path(l, top))
		return;
	memcpy(l->id, top->snapshot->id, sizeof(l->id));
	l->record_ms = o->record_ms;
	l->job.work = work;
	l->job.done = worked;
	if (l->record_ms == 0 && !o->skips_working_set)
		read_set(l);
	if (l->has_set && chain->n == 1)
		l->memory_fd = fd_take(&top->memory_fd);
	l->in->let_go = on_let_go;
	l->in->let_go_ctx = l;
}

void loader_end_working_set(struct loader *l)
{
	l->in->let_go = NULL;
	later_end(&l->window);
	job_forget(&l->job);
	working_set_fini(&l->set);
}
