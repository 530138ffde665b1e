/*
 * The virtio devices of a machine: each with its window, its interrupt and its place in the order
 * in which the guest finds them.  Disks come first, then network interfaces, as they were given.
 *
 *     devices_init      opens files and taps, makes devices and windows
 *     devices_connect   tells KVM their kicks and interrupts
 *     devices_start     on the loop; from now on the guest may use them
 *     devices_pause     nothing is in flight and nothing new is begun; devices_resume
 *     devices_close     vCPUs that wait for a device go on
 *     devices_drain     nothing is in flight any more
 *     devices_fini
 *
 * All calls are for the loop's thread.
 */
#ifndef MVM_DEVICES_H
#define MVM_DEVICES_H

#include "config.h"
#include "core/bus.h"
#include "core/kvm.h"
#include "virtio/mmio.h"
#include "virtio/state.h"
#include "x86/acpi.h"

struct err;
struct loop;

struct device_slot {
	struct devices *owner;
	struct virtio_device *dev; /* owned */
	struct virtio_mmio window;
	const char *id; /* borrowed from the config */
	gpa_t base;
	uint32_t gsi;
	bool is_disk;
};

/* Whom news of devices are told: vm.h, struct vm_host. */
struct devices_host {
	void (*news)(void *ctx, const char *id, enum virtio_news news, uint64_t number,
		const char *text);
	void *ctx;
};

struct devices {
	unsigned n;
	struct device_slot slot[CONFIG_DEVICES_MAX];
	struct loop *loop; /* NULL until the start */
	struct devices_host host;
	unsigned awaited; /* devices that a pause waits for, and one more while it begins */
	void (*paused)(void *ctx);
	void *paused_ctx;
};

/* Takes over what c has open, and leaves NULL there, in any case.  c and m outlive d.  0, or -errno
 * with e filled and nothing left behind. */
MUST_CHECK int devices_init(
	struct devices *d, struct vm_config *c, const struct guest_mem *m, struct err *e);

/* Accepts a zeroed or half-built d; after devices_drain() where it was started. */
void devices_fini(struct devices *d);

/* What ACPI is to say of them. */
void devices_describe(const struct devices *d, struct acpi_config *ret);

/* KVM_IOEVENTFD for every queue and KVM_IRQFD for every device; before the first KVM_RUN. */
MUST_CHECK int devices_connect(const struct devices *d, const struct kvm *k, struct err *e);

/* Puts the windows on the bus. */
void devices_add_to_bus(struct devices *d, struct bus *mmio);

/* host may be NULL. */
void devices_start(struct devices *d, struct loop *l, const struct devices_host *host);

/*
 * Brings all devices to rest; no vCPU runs or waits for a device.  done is called when they are,
 * maybe from inside; not at all when devices_drain() comes first.  Not twice without a resume.
 */
void devices_pause(struct devices *d, void (*done)(void *ctx), void *ctx);

/* After devices_pause() is done: each device looks at its queues and goes on. */
void devices_resume(struct devices *d);

/* All devices as plain values, while they are paused; the number is d->n. */
void devices_save(const struct devices *d, struct virtio_state *ret);

/*
 * Devices that were just made become what they were: after devices_init() and before
 * devices_start(), which then begins with devices_pause() done: devices_resume() lets them go on,
 * and each that is active interrupts its driver once, because what was on its way when the machine
 * was saved is not in the state.  0, or -errno with e filled (device, and what does not fit it).
 */
MUST_CHECK int devices_load(
	struct devices *d, const struct virtio_state *s, unsigned n, struct err *e);

void devices_close(struct devices *d);

/* Runs the loop until all I/O has ended: no vCPU runs any more. */
void devices_drain(struct devices *d);

/* Looks at the sizes of all disks again and tells the guest; what fails is logged. */
void devices_rescan(struct devices *d);

#endif
