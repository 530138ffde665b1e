/*
 * The boot vCPU's thread before there is a machine.  Opening KVM and making a VM take as long as
 * finding out what a saved machine is, so this does the one while its caller does the other, and
 * then becomes the thread of that machine's boot vCPU.
 *
 * All calls are for the thread that began it.
 */
#ifndef MVM_VCPU_AHEAD_H
#define MVM_VCPU_AHEAD_H

#include <pthread.h>
#include <stdbool.h>

#include "core/kvm.h"

struct vcpu;

/* Embedded, zeroed; it stays where it is until vcpu_ahead_end(). */
struct vcpu_ahead {
	bool has_thread; /* that nobody has adopted */
	/* private */
	bool has_begun;
	pthread_t thread;
	const char *kvm_path;
	pthread_mutex_t lock; /* guards the two below */
	pthread_cond_t changed;
	bool is_decided;
	struct vcpu *vcpu; /* whose thread it becomes; NULL: nobody's */
	struct kvm kvm;    /* the thread's, until it is decided */
};

/* Starts it; kvm_path is borrowed.  What fails on the thread is told to whom adopts it.  Where no
 * thread can be started there is none, and a machine is made without. */
void vcpu_ahead_begin(struct vcpu_ahead *a, const char *kvm_path);

/* In place of vcpu_start(): v, the boot vCPU of a group that was initialised, has the thread from
 * now on, and its group the VM.  As there, v and its group stay until vcpu_join(). */
void vcpu_ahead_adopt(struct vcpu_ahead *a, struct vcpu *v);

/* Ends the thread and frees the VM, if nobody has adopted them; otherwise after vcpu_join().  Also
 * for one that was never begun. */
void vcpu_ahead_end(struct vcpu_ahead *a);

#endif
