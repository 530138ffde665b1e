/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2): one window of registers for one device.
 *
 *     vCPU threads:  register accesses, under this window's lock
 *     loop thread:   the device; kicks arrive by ioeventfd and never take the lock
 *
 * What concerns the device itself - DRIVER_OK, reset, stopping a queue - is handed to the loop, and
 * the vCPU that wrote the register waits until it is done, because the driver relies on that: after
 * a reset nothing may touch its memory any more.  The wait ends when the device has no request in
 * flight; virtio_mmio_close() ends it at once.
 */
#ifndef MVM_VIRTIO_MMIO_H
#define MVM_VIRTIO_MMIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/loop.h"
#include "virtio/state.h"
#include "virtio/virtio.h"

struct err;

enum { VIRTIO_MMIO_LEN = 0x200, VIRTIO_MMIO_NOTIFY = 0x50 };

/* What the driver has set for a queue. */
struct virtio_mmio_queue {
	uint32_t num;
	gpa_t desc, avail, used;
	bool ready;
	struct virtio_mmio *transport;
	int kick_fd; /* eventfd: KVM signals it for a write of the queue's number to QueueNotify */
	struct loop_op watch;
};

/* Whether the device rests because the machine does. */
enum mmio_pause { MMIO_GOES, MMIO_PAUSES, MMIO_PAUSED };

enum mmio_request { MMIO_NOTHING, MMIO_ACTIVATE, MMIO_RESET, MMIO_STOP_QUEUE };

struct virtio_mmio {
	struct virtio_device *dev;
	struct virtio_mmio_queue queue[VIRTIO_QUEUES_MAX];
	struct loop_post post; /* brings request to the loop */
	enum mmio_pause pause; /* the loop's thread only */
	void (*paused)(struct virtio_mmio *t);
	bool is_loaded; /* and has not gone on since; the loop's thread only */
	/* private, under lock but for what says otherwise */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum mmio_request request; /* what the loop is to do, or is doing */
	unsigned request_queue;
	bool is_busy; /* a vCPU is in the middle of an access that needs the loop */
	bool closing;
	uint32_t status, device_features_sel, driver_features_sel, queue_sel;
	uint64_t driver_features;
	bool has_excess_features; /* bits beyond 63, which no device offers */
};

/*
 * Makes the window of dev and its eventfds, before any vCPU runs.  dev stays the caller's, outlives
 * t, and has dev->mem and dev->loop set before the first access.  0 or -errno with e filled, and
 * then nothing is left behind.
 */
MUST_CHECK int virtio_mmio_init(struct virtio_mmio *t, struct virtio_device *dev, struct err *e);

/* Serves kicks from now on.  The loop's thread, before any vCPU runs. */
void virtio_mmio_start(struct virtio_mmio *t, struct loop *l);

/*
 * Stops serving kicks; the watches end in the loop's next round.  The loop's thread.
 */
void virtio_mmio_stop(struct virtio_mmio *t);

/*
 * Brings the device to rest: done(t) is called when nothing of it is in flight, maybe from inside.
 * The loop's thread, while no vCPU runs or is in the middle of an access: so a pause never meets a
 * reset, the stop of a queue or an activation.  A device that is not active has nothing to do.
 */
void virtio_mmio_pause(struct virtio_mmio *t, void (*done)(struct virtio_mmio *t));

/* After that: the device looks at its queues and goes on. */
void virtio_mmio_resume(struct virtio_mmio *t);

/* Transport and device as plain values; the device is paused, and can go on afterwards. */
void virtio_mmio_save(const struct virtio_mmio *t, struct virtio_state *ret);

/*
 * The other way, into a transport that was just made: its queues are checked as the driver's would
 * be.  The device is then paused; an active one is activated by virtio_mmio_start(), and interrupts
 * its driver once when it goes on.  The configuration space is the device's own; a driver that knew
 * another is told of a change.  0, or -errno with e filled (it does not name the device): -EBADMSG
 * for values that cannot be, -EOPNOTSUPP when the driver had agreed on features that this device
 * does not offer; t and its device are then of no use but to be freed.
 */
MUST_CHECK int virtio_mmio_load(struct virtio_mmio *t, const struct virtio_state *s, struct err *e);

/* Lets go every vCPU that waits for the device: nothing happens on the window any more.  Any
 * thread. */
void virtio_mmio_close(struct virtio_mmio *t);

/* No vCPU and no loop runs any more, and the device has nothing in flight.  Accepts a zeroed t. */
void virtio_mmio_fini(struct virtio_mmio *t);

/* The registers, for a bus; dev is the struct virtio_mmio. */
extern const struct bus_ops virtio_mmio_bus_ops;

#endif
