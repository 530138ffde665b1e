/*
 * A device in its window, seen from a guest's CPU, for the tests of mmio.c.  The test's own thread
 * is the loop's; what may wait for the loop is done on a thread of its own, as a vCPU would, while
 * the loop runs.
 */
#ifndef MVM_TESTS_T_MMIO_H
#define MVM_TESTS_T_MMIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdatomic.h>

#include "t.h"
#include "t_device.h"
#include "t_virtq.h"
#include "virtio/mmio.h"

/* The steps of a driver (virtio 1.2, 3.1.1). */
enum {
	T_ACK = VIRTIO_CONFIG_S_ACKNOWLEDGE,
	T_DRIVER = T_ACK | VIRTIO_CONFIG_S_DRIVER,
	T_FEATURES_OK = T_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
	T_RUNNING = T_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK,
	T_NEEDS_RESET = VIRTIO_CONFIG_S_NEEDS_RESET,
};

#define T_VERSION_1 (1ULL << VIRTIO_F_VERSION_1)
#define T_QUEUES_AT 0x10000ULL
#define T_BUFFERS   0x80000ULL

struct t_mmio {
	struct guest_mem m;
	struct t_device d;
	struct virtio_mmio w;
	struct loop *l;
	struct t_virtq q[T_DEVICE_QUEUES];
	int log_fd;     /* what the log said */
	bool is_second; /* the memory is another's */
};

/* A fresh device in a window that serves kicks on l; mem is in bytes. */
void t_mmio_init(struct t_mmio *t, struct loop *l, uint64_t mem);
/* Another one on the memory and the loop of from, whose driver goes on with it: paused in state s.
 */
void t_mmio_init_from(struct t_mmio *t, const struct t_mmio *from, const struct virtio_state *s);
/* As a machine ends: closes, drains, frees. */
void t_mmio_fini(struct t_mmio *t);

/* An access that may wait for the loop, on a thread of its own. */
struct t_access {
	struct t_mmio *t;
	uint64_t off;
	uint32_t value, len;
	bool is_write;
	_Atomic bool begun, done;
	pthread_t thread;
	struct loop_post post;
};

void t_mmio_begin(
	struct t_mmio *t, struct t_access *a, bool is_write, uint32_t off, uint32_t value);
/* Runs the loop until it is done; the value that was read. */
uint32_t t_mmio_end(struct t_access *a);
/* Gives it a good chance to be done: true when it still waits. */
bool t_mmio_waits(struct t_access *a);

/* One access of 32 bits; the loop serves what it needs. */
void t_mmio_write(struct t_mmio *t, uint32_t off, uint32_t value);
uint32_t t_mmio_read(struct t_mmio *t, uint32_t off);

/* Lets the loop serve all that there is. */
void t_mmio_settle(struct t_mmio *t);

/* ACKNOWLEDGE to FEATURES_OK with these features; false when they are refused. */
bool t_mmio_negotiate(struct t_mmio *t, uint64_t features);
/* Tells the window where queue q is, and that it is ready. */
void t_mmio_place(struct t_mmio *t, unsigned q, const struct virtq_layout *at);
/* All of it, with both queues of num entries: the device is active. */
void t_mmio_start(struct t_mmio *t, uint64_t features, uint16_t num);

/* Interrupts sent so far and not yet counted: 0 or more, as an eventfd counts. */
uint64_t t_mmio_interrupts(struct t_mmio *t);

/* The device needs a reset because of this rule, and of this rule only. */
void t_mmio_broke(struct t_mmio *t, enum virtio_rule rule);

#endif
