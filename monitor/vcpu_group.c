/* What the vCPUs of a machine share (vcpu.h, vcpu_private.h). */
#include <errno.h>
#include <pthread.h>

#include "vcpu.h"
#include "vcpu_private.h"

void vcpu_group_init(struct vcpu_group *g)
{
	(void)pthread_mutex_init(&g->lock, NULL);
	(void)pthread_cond_init(&g->changed, NULL);
	(void)pthread_cond_init(&g->main_changed, NULL);
	g->kvm.dev_fd = g->kvm.vm_fd = -1;
}

void vcpu_group_fini(struct vcpu_group *g)
{
	kvm_close(&g->kvm);
	(void)pthread_cond_destroy(&g->main_changed);
	(void)pthread_cond_destroy(&g->changed);
	(void)pthread_mutex_destroy(&g->lock);
}

void vcpu_group_enter(struct vcpu_group *g, enum vcpu_stage stage)
{
	(void)pthread_mutex_lock(&g->lock);
	g->stage = stage;
	(void)pthread_cond_broadcast(&g->changed);
	if (stage == STAGE_VCPU)
		(void)pthread_cond_signal(&g->main_changed);
	(void)pthread_mutex_unlock(&g->lock);
}

static void publish(struct vcpu_group *g, bool *flag)
{
	(void)pthread_mutex_lock(&g->lock);
	*flag = true;
	(void)pthread_cond_broadcast(&g->changed);
	(void)pthread_mutex_unlock(&g->lock);
}

void vcpu_group_has_cpuid(struct vcpu_group *g)
{
	publish(g, &g->has_host_cpuid);
}

void vcpu_group_has_entry(struct vcpu_group *g)
{
	publish(g, &g->has_entry);
}

/* What set-up came to so far; under the lock. */
static int outcome(const struct vcpu_group *g, struct err *e)
{
	if (g->error.code != 0 && e)
		*e = g->error;
	return g->error.code;
}

int vcpu_group_wait_vcpu(struct vcpu_group *g, struct err *e)
{
	int rc;

	(void)pthread_mutex_lock(&g->lock);
	while (g->stage < STAGE_VCPU && g->error.code == 0)
		(void)pthread_cond_wait(&g->main_changed, &g->lock);
	rc = outcome(g, e);
	(void)pthread_mutex_unlock(&g->lock);
	return rc;
}

int vcpu_group_finish(struct vcpu_group *g, struct err *e)
{
	int rc;

	(void)pthread_mutex_lock(&g->lock);
	g->has_board = true;
	(void)pthread_cond_broadcast(&g->changed);
	while (!g->is_complete && g->error.code == 0)
		(void)pthread_cond_wait(&g->main_changed, &g->lock);
	rc = outcome(g, e);
	(void)pthread_mutex_unlock(&g->lock);
	return rc;
}

/* The waits: 0, or -ECANCELED when the thread shall leave instead. */
int vcpu_group_wait_stage(struct vcpu_group *g, enum vcpu_stage stage)
{
	bool go;

	(void)pthread_mutex_lock(&g->lock);
	while (g->stage < stage && !g->quit)
		(void)pthread_cond_wait(&g->changed, &g->lock);
	go = !g->quit;
	(void)pthread_mutex_unlock(&g->lock);
	return go ? 0 : -ECANCELED;
}

int vcpu_group_wait_flag(struct vcpu_group *g, const bool *flag)
{
	bool go;

	(void)pthread_mutex_lock(&g->lock);
	while (!*flag && !g->quit)
		(void)pthread_cond_wait(&g->changed, &g->lock);
	go = !g->quit;
	(void)pthread_mutex_unlock(&g->lock);
	return go ? 0 : -ECANCELED;
}

/* The first failure is the one that is told; under the lock. */
static void fail(struct vcpu_group *g, const struct err *e)
{
	if (g->error.code != 0)
		return;
	g->error = *e;
	(void)pthread_cond_signal(&g->main_changed);
}

/* On the thread of the last vCPU that was set up. */
static void finish(struct vcpu_group *g)
{
	struct err e = { 0 };
	int rc = vcpu_group_wait_flag(g, &g->has_board);

	if (rc == 0)
		rc = g->finish(g->ctx, &e);
	if (rc == -ECANCELED)
		return;
	(void)pthread_mutex_lock(&g->lock);
	g->is_complete = rc == 0;
	if (rc < 0)
		fail(g, &e);
	else if (g->goes)
		g->stage = STAGE_GO;
	(void)pthread_cond_broadcast(&g->changed);
	(void)pthread_cond_signal(&g->main_changed);
	(void)pthread_mutex_unlock(&g->lock);
}

void vcpu_group_report(struct vcpu_group *g, const struct err *e)
{
	bool is_last;

	(void)pthread_mutex_lock(&g->lock);
	if (e->code == 0)
		g->ready++;
	else
		fail(g, e);
	is_last = g->ready == g->cpus;
	(void)pthread_mutex_unlock(&g->lock);
	if (is_last)
		finish(g);
}

/* --- standing still, and going on --- */

void vcpu_group_pause(struct vcpu_group *g, const struct vcpu *v)
{
	(void)pthread_mutex_lock(&g->lock);
	INVARIANT(g->stage == STAGE_GO);
	g->paused = true;
	g->pauses++;
	g->standing = 0;
	for (unsigned i = 0; i < g->cpus; i++)
		vcpu_kick(&v[i]);
	(void)pthread_mutex_unlock(&g->lock);
}

void vcpu_group_resume(struct vcpu_group *g)
{
	(void)pthread_mutex_lock(&g->lock);
	g->paused = false;
	g->stage = STAGE_GO;
	(void)pthread_cond_broadcast(&g->changed);
	(void)pthread_mutex_unlock(&g->lock);
}
