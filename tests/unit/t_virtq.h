/*
 * A driver's side of a split virtqueue (virtio 1.2, 2.7) in plain memory: builds chains, makes them
 * available, looks at what came back, and breaks any of it on request.  It knows nothing of the
 * device's side and checks nothing that it is told to write.  Without Criterion, so that fuzz
 * targets can use it too.
 *
 *     struct t_virtq q;
 *     gpa_t behind = t_virtq_init(&q, &mem, 0x1000, 16);
 *     struct t_seg segs[] = { { 0x8000, 16, false }, { 0x9000, 512, true } };
 *     t_virtq_send(&q, 0, segs, 2);
 *     virtq_start(&vq, &mem, &q.at, features); ...
 *     t_virtq_used(&q, &id, &len);
 */
#ifndef MVM_TESTS_T_VIRTQ_H
#define MVM_TESTS_T_VIRTQ_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/queue.h"

struct t_seg {
	gpa_t gpa;
	uint32_t len;
	bool write; /* by the device */
};

struct t_virtq {
	const struct guest_mem *mem;
	struct virtq_layout at; /* for virtq_start() or a transport */
	/* the three parts; any field may be changed directly */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail; /* the next entry of the available ring to fill */
	uint16_t seen_used;  /* used entries below it have been looked at */
};

/* Lays out a zeroed queue of num entries (a power of two) from at on, which is rounded up to 4096;
 * returns the first page behind it.  Aborts where that is not RAM. */
gpa_t t_virtq_init(struct t_virtq *q, const struct guest_mem *m, gpa_t at, uint16_t num);

/* One descriptor of the queue's table. */
void t_virtq_desc(
	struct t_virtq *q, uint16_t i, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next);

/* A chain in descriptors head, head + 1, ... (wrapping): n at least 1. */
void t_virtq_chain(struct t_virtq *q, uint16_t head, const struct t_seg *segs, unsigned n);

/* A chain in a table at table (16 bytes for each segment), named by descriptor head. */
void t_virtq_chain_indirect(
	struct t_virtq *q, uint16_t head, gpa_t table, const struct t_seg *segs, unsigned n);

/* Puts head into the available ring; the device sees it after t_virtq_publish(). */
void t_virtq_offer(struct t_virtq *q, uint16_t head);
void t_virtq_publish(struct t_virtq *q);

/* A direct chain, offered and published. */
void t_virtq_send(struct t_virtq *q, uint16_t head, const struct t_seg *segs, unsigned n);

/* The oldest used entry that was not looked at yet; false when there is none. */
bool t_virtq_used(struct t_virtq *q, uint32_t *ret_id, uint32_t *ret_len);

/* Used entries that t_virtq_used() has yet to return. */
unsigned t_virtq_used_count(const struct t_virtq *q);

/* Event index: asks for an interrupt when the used index passes event. */
void t_virtq_used_event(struct t_virtq *q, uint16_t event);

/* Event index: the device wants a kick when the available index passes this. */
uint16_t t_virtq_avail_event(const struct t_virtq *q);

#endif
