/*
 * A split virtqueue, seen from the device (virtio 1.2, 2.7).
 *
 *     driver writes:  descriptor table, available ring (+ used_event)
 *     device writes:  used ring (+ avail_event)
 *
 *     available ring --virtq_pop--> chain --(the device works)--> virtq_push --virtq_publish-->
 * used ring
 *
 * Everything in the queue is the guest's and may change at any moment: each field is read once into
 * a local, checked and then used.  What this layer has checked: indices, lengths, memory, order of
 * the segments, number of chains at work.  What the device must still check: that the segments have
 * room for what its requests need.
 *
 * A queue belongs to the loop's thread from virtq_start() until virtq_stop().
 */
#ifndef MVM_VIRTIO_QUEUE_H
#define MVM_VIRTIO_QUEUE_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/check.h"
#include "core/mem.h"
#include "virtio/rules.h"

enum { VIRTQ_SIZE_MIN = 2, VIRTQ_SIZE_MAX = 1024 };

/* Where the driver put a queue. */
struct virtq_layout {
	uint16_t num; /* entries */
	gpa_t desc, avail, used;
};

struct virtq {
	/* private */
	const struct guest_mem *mem;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t num;
	uint16_t avail_idx;  /* the driver's index as it was last read */
	uint16_t next_avail; /* the next available entry to take */
	uint16_t next_used;  /* the next used entry to write; published up to it */
	uint16_t signalled;  /* next_used when the driver was last interrupted */
	bool has_signalled;  /* signalled means something */
	bool event_idx, indirect;
	/* public, to be read only */
	bool ready;
	uint16_t inflight;       /* chains popped and not yet pushed */
	enum virtio_rule broken; /* the rule that the driver broke, after -EBADMSG */
};

/* A chain of buffers.  iov and iov_max are the caller's; the rest is filled by virtq_pop(). */
struct virtq_chain {
	struct iovec *iov; /* first the readable segments, then the writable ones */
	unsigned iov_max;
	unsigned nread, nwrite;
	uint32_t read_len, write_len; /* bytes */
	uint16_t head;
};

/*
 * Begins to use a queue.  features decide about event index and indirect tables.  RULE_NONE, or the
 * rule that the layout breaks, and then vq is untouched.  Any thread, before the device is active.
 */
enum virtio_rule virtq_start(struct virtq *vq, const struct guest_mem *m,
	const struct virtq_layout *at, uint64_t features);

void virtq_stop(struct virtq *vq);

/*
 * Where a queue stands.  What was taken and not given back counts as not taken: those chains are
 * the last ones that were taken, because the device is at rest and everything before them is done.
 */
struct virtq_position {
	uint16_t next_avail, next_used, signalled;
	bool has_signalled;
};

void virtq_get_position(const struct virtq *vq, struct virtq_position *ret);

/* Right after virtq_start(): goes on from there. */
void virtq_set_position(struct virtq *vq, const struct virtq_position *at);

/*
 * Takes the next available chain: 1 with c filled, 0 when there is none, -ENOSPC when it has more
 * than iov_max segments (it stays available), -EBADMSG when the driver broke a rule (vq->broken
 * says which; the queue is then of no use until virtq_start()).
 */
MUST_CHECK int virtq_pop(struct virtq *vq, struct virtq_chain *c);

/* Puts a chain into the used ring: written is how many bytes of its writable segments, from the
 * first on, were written.  The driver does not see it before virtq_publish(). */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t written);

/* Shows the driver what was pushed: true when it wants an interrupt for it. */
bool virtq_publish(struct virtq *vq);

/*
 * Asks the driver not to kick, or to kick again.  virtq_kicks_on() answers whether something became
 * available meanwhile, for which no kick may come: take it first.
 */
void virtq_kicks_off(struct virtq *vq);
bool virtq_kicks_on(struct virtq *vq);

#endif
