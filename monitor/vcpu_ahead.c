/* The boot vCPU's thread before there is a machine (vcpu_ahead.h). */
#include "vcpu_ahead.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/err.h"
#include "core/kvm.h"
#include "vcpu_private.h"
#include "x86/layout.h"

struct vcpu_ahead {
	pthread_t thread;
	const char *kvm_path;
	pthread_mutex_t lock; /* guards the two below */
	pthread_cond_t changed;
	bool is_decided;
	struct vcpu *vcpu; /* whose thread it becomes; NULL: it was dropped */
	/* the thread's, until it has ended */
	struct kvm kvm;
};

static void end(struct vcpu_ahead *a)
{
	kvm_close(&a->kvm);
	(void)pthread_cond_destroy(&a->changed);
	(void)pthread_mutex_destroy(&a->lock);
	free(a);
}

static struct vcpu *wait_for_vcpu(struct vcpu_ahead *a)
{
	struct vcpu *v;

	(void)pthread_mutex_lock(&a->lock);
	while (!a->is_decided)
		(void)pthread_cond_wait(&a->changed, &a->lock);
	v = a->vcpu;
	(void)pthread_mutex_unlock(&a->lock);
	return v;
}

static void *ahead_main(void *arg)
{
	struct vcpu_ahead *a = arg;
	struct err e = { 0 };
	struct vcpu *v;
	int rc;

	vcpu_thread_spread();
	rc = kvm_open(&a->kvm, a->kvm_path, &e);
	if (rc == 0)
		rc = kvm_create_vm(&a->kvm, LAYOUT_KVM_TSS, &e);
	v = wait_for_vcpu(a);
	if (!v)
		return NULL;
	/* Nobody looks at it before the stage that this thread is still to enter. */
	v->group->kvm = a->kvm;
	a->kvm.dev_fd = a->kvm.vm_fd = -1;
	end(a);
	vcpu_live(v, rc, &e);
	return NULL;
}

struct vcpu_ahead *vcpu_ahead_begin(const char *kvm_path)
{
	struct vcpu_ahead *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->kvm_path = kvm_path;
	a->kvm.dev_fd = a->kvm.vm_fd = -1;
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->changed, NULL);
	if (vcpu_thread_create(&a->thread, true, ahead_main, a) == 0)
		return a;
	end(a);
	return NULL;
}

void vcpu_ahead_adopt(struct vcpu_ahead *a, struct vcpu *v)
{
	v->thread = a->thread;
	v->has_thread = true;
	(void)pthread_mutex_lock(&a->lock);
	a->vcpu = v;
	a->is_decided = true;
	(void)pthread_cond_signal(&a->changed);
	(void)pthread_mutex_unlock(&a->lock);
}

void vcpu_ahead_drop(struct vcpu_ahead *a)
{
	if (!a)
		return;
	(void)pthread_mutex_lock(&a->lock);
	a->is_decided = true;
	(void)pthread_cond_signal(&a->changed);
	(void)pthread_mutex_unlock(&a->lock);
	(void)pthread_join(a->thread, NULL);
	end(a);
}
