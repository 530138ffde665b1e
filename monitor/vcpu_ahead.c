/* The boot vCPU's thread before there is a machine (vcpu_ahead.h). */
#include "vcpu_ahead.h"

#include "base/err.h"
#include "vcpu_private.h"
#include "x86/layout.h"

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

/* Nothing here is allocated or freed: a thread's first time makes a heap for it, which takes longer
 * than being woken up. */
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
	vcpu_live(v, rc, &e);
	return NULL;
}

void vcpu_ahead_begin(struct vcpu_ahead *a, const char *kvm_path)
{
	a->kvm_path = kvm_path;
	a->kvm.dev_fd = a->kvm.vm_fd = -1;
	(void)pthread_mutex_init(&a->lock, NULL);
	(void)pthread_cond_init(&a->changed, NULL);
	a->has_begun = true;
	a->has_thread = vcpu_thread_create(&a->thread, true, ahead_main, a) == 0;
}

static void decide(struct vcpu_ahead *a, struct vcpu *v)
{
	a->has_thread = false;
	(void)pthread_mutex_lock(&a->lock);
	a->vcpu = v;
	a->is_decided = true;
	(void)pthread_cond_signal(&a->changed);
	(void)pthread_mutex_unlock(&a->lock);
}

void vcpu_ahead_adopt(struct vcpu_ahead *a, struct vcpu *v)
{
	v->thread = a->thread;
	v->has_thread = true;
	decide(a, v);
}

void vcpu_ahead_end(struct vcpu_ahead *a)
{
	if (!a->has_begun)
		return;
	if (a->has_thread) {
		decide(a, NULL);
		(void)pthread_join(a->thread, NULL);
	}
	kvm_close(&a->kvm);
	(void)pthread_cond_destroy(&a->changed);
	(void)pthread_mutex_destroy(&a->lock);
	*a = (struct vcpu_ahead){ 0 };
}
