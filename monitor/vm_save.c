/* A machine that stands still becomes plain values (vm.h, vm_save()). */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "vm.h"
#include "vm_state.h"

static int save_vcpus(struct vm *vm, struct vm_state *ret, struct err *e)
{
	const struct kvm *k = &vm->group.kvm;
	struct msr_list msrs;
	int rc = msr_list_get(k->dev_fd, &msrs, e);

	for (unsigned i = 0; i < vm->cfg.cpus && rc == 0; i++) {
		rc = cpu_state_save(k, vm->vcpu[i].fd, &msrs, &ret->cpu[i], e);
		if (rc < 0)
			err_prefix(e, "vCPU %u", i);
	}
	return rc;
}

int vm_save(struct vm *vm, struct vm_state *ret, struct err *e)
{
	const struct kvm *k = &vm->group.kvm;
	const struct cpuid_table *cpuid = &vm->group.cpuid;
	int rc;

	INVARIANT(ret->cpus == vm->cfg.cpus);
	if (vm->phase != VM_PAUSED || vm->is_quiet || vm_end(vm, NULL) != VM_RUNNING)
		return err_set(e, -EBUSY, "only a machine that is paused can be saved");
	ret->mem_size = vm->cfg.mem_size;
	ret->pages = vm->cfg.pages;
	ret->smt = vm->cfg.smt;
	ret->has_boot_timer = vm->cfg.has_boot_timer;
	memcpy(&ret->cpuid, cpuid,
		sizeof(cpuid->head) + cpuid->head.nent * sizeof(cpuid->entry[0]));
	/* The vCPUs' TSCs soon after the clock: they go on by the same time. */
	rc = clock_state_save(k, &ret->clock, e);
	if (rc == 0)
		rc = save_vcpus(vm, ret, e);
	if (rc == 0)
		rc = chip_state_save(k, &ret->chips, e);
	if (rc < 0)
		return rc;
	serial_save(&vm->machine.serial, &ret->serial);
	i8042_save(&vm->machine.i8042, &ret->i8042);
	ret->ndevices = vm->devices.n;
	devices_save(&vm->devices, ret->device);
	return 0;
}
