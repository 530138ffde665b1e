/*
 * Devices that are saved and loaded: any device in a window of its own, brought up from a state
 * instead of by a driver, so that no test needs a second thread for it; and guest memory in which
 * each page that was written to must be marked.  The test's thread is the loop's.
 */
#ifndef MVM_TESTS_T_VIRTIO_STATE_H
#define MVM_TESTS_T_VIRTIO_STATE_H

#include "t.h"
#include "t_virtq.h"
#include "virtio/mmio.h"

/* A driver that has agreed on those of the offered features that are in features, and whose queues
 * are these, one for each of the device: running, and nothing done yet. */
void t_virtio_state_begin(struct virtio_state *ret, struct virtio_device *dev, uint64_t features,
	const struct t_virtq *q);

/* Fails the test where two states differ in anything. */
void t_virtio_state_equal(const struct virtio_state *a, const struct virtio_state *b);

/* Puts dev, which is new and has its memory, into a window and gives it state s: it is paused. */
void t_virtio_state_load(struct virtio_mmio *w, struct virtio_device *dev, struct loop *l,
	const struct virtio_state *s);

/* Brings the device to rest, and saves it. */
void t_virtio_state_pause(struct virtio_mmio *w);
void t_virtio_state_save(struct virtio_mmio *w, struct virtio_state *ret);

/* The driver kicks queue q, and the loop serves what there is without waiting. */
void t_virtio_state_kick(struct virtio_mmio *w, unsigned q);
void t_virtio_state_turn(struct virtio_mmio *w);

/* Interrupts since the last time. */
uint64_t t_virtio_state_interrupts(struct virtio_mmio *w);

/* As a machine ends: drains the device and frees it. */
void t_virtio_state_end(struct virtio_mmio *w);

/* Pages of guest memory as they are now; from now on what writes to them has to say so. */
struct t_dirty {
	struct guest_mem *m;
	uint8_t *before;
	uint64_t *bits;
};
void t_dirty_begin(struct t_dirty *d, struct guest_mem *m);

/* Every page that has changed since then is marked, and how many are; name: of the row. */
unsigned t_dirty_end(struct t_dirty *d, const char *name);

#endif
