/*
 * A machine that stands still, as plain values: all of it but its memory, and but what its owner
 * described (disks' paths and the like, which are the instance's).  vm_save() fills it, a vm_config
 * that points to one builds the machine from it.
 */
#ifndef MVM_VM_STATE_H
#define MVM_VM_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "core/kvm.h"
#include "legacy/i8042.h"
#include "legacy/serial.h"
#include "virtio/state.h"
#include "x86/cpu_state.h"

struct vm_state {
	uint64_t mem_size;
	enum mem_pages pages;
	bool smt, has_boot_timer;
	struct cpuid_table cpuid; /* but for the APIC id, which is the vCPU's number */
	struct chip_state chips;
	struct clock_state clock;
	struct serial_state serial;
	struct i8042_state i8042;
	unsigned ndevices; /* disks first, then network cards, in the order of their windows */
	struct virtio_state device[CONFIG_DEVICES_MAX];
	unsigned cpus;
	struct cpu_state *cpu; /* cpus of them, owned */
};

/* A zeroed state with room for cpus (1 to CONFIG_CPUS_MAX); NULL: no memory. */
struct vm_state *vm_state_new(unsigned cpus);
void vm_state_free(struct vm_state *s); /* accepts NULL */

#endif
