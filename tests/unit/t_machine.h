/*
 * A machine on the KVM of t_kvm.h, built, run to its end and taken apart.
 */
#ifndef MVM_TESTS_T_MACHINE_H
#define MVM_TESTS_T_MACHINE_H

#include "base/err.h"
#include "t_kvm.h"
#include "timeline.h"
#include "vm.h"

/* A console that nobody listens to. */
extern const struct serial_host t_no_console;

/* What one machine went through. */
struct t_outcome {
	int rc;
	struct err e;
	enum vm_end end;
	char why[VM_WHY_MAX];
	struct timeline t;
};

/* The guest is t_kvm.on_run; look, if not NULL, sees the machine at its end, before it is taken
 * apart. */
void t_machine_run(struct t_outcome *o, const struct vm_config *c, enum loop_backend backend,
	void (*look)(const struct vm *vm));

/* For t_kvm.on_run: one write to a port, as data in the shared page; always 0. */
int t_machine_out(struct t_vcpu *v, uint16_t port, uint8_t value);

/* For t_kvm.on_run: in the guest until the vCPU is kicked. */
int t_machine_wait(struct t_vcpu *v);

#endif
