/*
 * What a machine is made of: plain values, the limits, and the check of both.  No descriptors, no
 * KVM.
 */
#ifndef MVM_CONFIG_H
#define MVM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"
#include "virtio/blk.h"
#include "virtio/net.h"
#include "x86/boot.h"

struct cpu_template;
struct err;
struct vcpu_ahead;
struct vm_state;

/* As many devices as there are interrupt pins that nobody else has. */
enum { CONFIG_CPUS_MAX = 32, CONFIG_DEVICES_MAX = 18, CONFIG_ID_MAX = 64 };

#define CONFIG_MEM_MIN     (16ULL << 20)
#define CONFIG_MEM_MAX     (1ULL << 40)
#define CONFIG_MEM_STEP    (1ULL << 20)
#define CONFIG_MEM_DEFAULT (128ULL << 20)

/* How the guest finds its devices. */
enum describe {
	DESCRIBE_AUTO,    /* ACPI; on the command line too where that says acpi=off */
	DESCRIBE_ACPI,    /* ACPI only */
	DESCRIBE_CMDLINE, /* virtio_mmio.device= only */
	DESCRIBE_BOTH,
};

/* Which disk the guest's kernel is told to mount as its root. */
enum vm_root {
	VM_ROOT_AUTO,  /* the first one, where there is no initrd and no "root=" in cmdline */
	VM_ROOT_NONE,  /* none: cmdline says it, or nobody */
	VM_ROOT_FIRST, /* the first one, whatever cmdline says */
};

/*
 * Strings and cpu are borrowed and outlive the machine.  What disks and networks have open already
 * (disk_config, net_config) is the machine's as soon as vm_new() is called, however that ends.
 */
struct vm_config {
	const char *kvm_path; /* /dev/kvm */
	const char *kernel, *initrd, *cmdline;
	enum boot_protocol protocol;
	unsigned cpus;
	bool smt;                       /* two threads to a core; cpus is even, or 1 */
	const struct cpu_template *cpu; /* changes to the CPU; NULL: none */
	uint64_t mem_size;
	enum mem_pages pages;
	bool prefault;
	bool has_boot_timer; /* legacy/boot_timer.h */
	enum describe describe;
	enum vm_root root;
	const char
		*partuuid; /* with VM_ROOT_FIRST: a partition of it, by its UUID; NULL: all of it */
	bool track_dirty;  /* note which pages are written to, for snapshots of differences */
	/*
	 * A machine that goes on rather than boots: its state, borrowed until vm_start() has
	 * returned, with the same cpus, mem_size, smt, disks and nets as above; kernel is NULL
	 * then.  fill_memory puts its memory in place, once, when the reservation is made and
	 * before any vCPU runs.
	 */
	const struct vm_state *state;
	int (*fill_memory)(void *ctx, struct guest_mem *m, struct err *e);
	void *fill_ctx;
	/* Called when the machine ends and its vCPUs have been told to leave: one that waits for a
	 * page of memory, whoever brings it, must get on now.  NULL: none does. */
	void (*leaving)(void *ctx);
	void *leaving_ctx;
	/* The boot vCPU's thread, for a machine with a state; borrowed for its life.  NULL, or with
	 * none in it: there is none yet. */
	struct vcpu_ahead *ahead;
	bool holds_clock; /* the guest's clock goes on where it stood, not at the host's time of day
			   */
	bool goes_on;     /* vm_start() lets it go on; otherwise it is paused then */
	unsigned ndisks, nnets; /* together at most CONFIG_DEVICES_MAX */
	struct disk_config disk[CONFIG_DEVICES_MAX];
	struct net_config net[CONFIG_DEVICES_MAX];
};

/* Closes what c has open, and leaves NULL there. */
void config_close(struct vm_config *c);

/* The defaults: one CPU, 128M, the host's pages, everything else empty. */
void config_init(struct vm_config *c);

/*
 * host_mem is the host's RAM and swap in bytes, 0 when unknown.  0, or -EINVAL / -ENOMEM with e
 * naming the field, its value and what it may be.
 */
MUST_CHECK int config_check(const struct vm_config *c, uint64_t host_mem, struct err *e);

#endif
