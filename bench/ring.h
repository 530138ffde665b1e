/*
 * The cheapest driver of a virtqueue that there can be, for benchmarks: its chains are laid out
 * once and made available again and again.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/mem.h"
#include "virtio/virtio.h"

enum { RING_NUM = 256, RING_ROOM = 4 * MEM_PAGE_SIZE /* of guest memory */ };

struct ring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_avail, seen;
};

/* Lays a queue out at gpa and starts it as queue q of dev, with the features in dev->acked. */
void ring_init(struct ring *r, struct virtio_device *dev, unsigned q, gpa_t gpa);

/* Descriptor i, which goes on at i + 1 where more is set. */
void ring_desc(struct ring *r, uint16_t i, gpa_t gpa, uint32_t len, bool write, bool more);

/* Makes the chain at head available, from the next ring_publish() on. */
static inline void ring_offer(struct ring *r, uint16_t head)
{
	r->avail->ring[r->next_avail++ % RING_NUM] = head;
}

/* Shows the device what was offered: true when it wants to be kicked.  Every answer is to come with
 * an interrupt. */
static inline bool ring_publish(struct ring *r)
{
	uint16_t old = r->avail->idx;
	const __virtio16 *event = (const __virtio16 *)(const void *)&r->used->ring[RING_NUM];

	WRITE_ONCE(r->avail->ring[RING_NUM], r->seen);
	__atomic_store_n(&r->avail->idx, r->next_avail, __ATOMIC_SEQ_CST);
	return vring_need_event(READ_ONCE(*event), r->next_avail, old);
}

/* The next chain that came back; false when there is none. */
static inline bool ring_take(struct ring *r, uint16_t *ret_head, uint32_t *ret_len)
{
	if (r->seen == __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE))
		return false;
	*ret_head = (uint16_t)r->used->ring[r->seen % RING_NUM].id;
	*ret_len = r->used->ring[r->seen % RING_NUM].len;
	r->seen++;
	return true;
}

#endif
