/*
 * Both ends of a virtqueue in one place, for the tests of queue.c: guest memory, a driver
 * (t_virtq.h) and the device's queue.  Chains are popped into an array that has room for all of
 * them.
 */
#ifndef MVM_TESTS_T_QUEUE_H
#define MVM_TESTS_T_QUEUE_H

#include "t.h"
#include "t_virtq.h"
#include "virtio/queue.h"

enum { T_QUEUE_AT = 0x10000, T_QUEUE_DATA = 0x40000, T_QUEUE_TABLE = 0x80000 };

enum { T_W = VRING_DESC_F_WRITE, T_NEXT = VRING_DESC_F_NEXT, T_IND = VRING_DESC_F_INDIRECT };

#define T_EVENT_IDX (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define T_INDIRECT  (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define T_GIB       (1ULL << 30)
#define T_MIB       (1ULL << 20)

struct t_queue {
	struct guest_mem m;
	struct t_virtq q;
	struct virtq vq;
	struct iovec iov[VIRTQ_SIZE_MAX + 1];
	struct virtq_chain c;
};

/* Puts a fresh queue at both ends. */
static inline void t_queue_start(struct t_queue *t, uint16_t num, uint64_t features)
{
	(void)t_virtq_init(&t->q, &t->m, T_QUEUE_AT, num);
	t_int(virtq_start(&t->vq, &t->m, &t->q.at, features), RULE_NONE);
}

static inline void t_queue_init_mem(
	struct t_queue *t, uint64_t mem, uint16_t num, uint64_t features)
{
	memset(t, 0, sizeof(*t));
	t_mem_init(&t->m, mem);
	t->c.iov = t->iov;
	t->c.iov_max = ARRAY_SIZE(t->iov);
	t_queue_start(t, num, features);
}

static inline void t_queue_init(struct t_queue *t, uint16_t num, uint64_t features)
{
	t_queue_init_mem(t, 16 * T_MIB, num, features);
}

static inline void t_queue_fini(struct t_queue *t)
{
	guest_mem_fini(&t->m);
}

/* Makes the chain that begins at head available and visible. */
static inline void t_queue_offer(struct t_queue *t, uint16_t head)
{
	t_virtq_offer(&t->q, head);
	t_virtq_publish(&t->q);
}

static inline void *t_queue_hva(struct t_queue *t, gpa_t gpa)
{
	void *p = mem_ptr(&t->m, gpa, 1);

	t_true(p != NULL);
	return p;
}

/* The next chain breaks a rule: said once and for all, with nothing taken and nothing written. */
static inline void t_queue_breaks(struct t_queue *t, enum virtio_rule rule)
{
	struct vring_used before;

	memcpy(&before, t->q.used, sizeof(before));
	t_int(virtq_pop(&t->vq, &t->c), -EBADMSG);
	t_int(t->vq.broken, rule);
	t_false(t->vq.ready);
	t_int(virtq_pop(&t->vq, &t->c), -EBADMSG);
	/* Of no use any more: nothing that is done with it reaches the driver. */
	virtq_push(&t->vq, 0, 1);
	t_false(virtq_publish(&t->vq));
	virtq_kicks_off(&t->vq);
	t_false(virtq_kicks_on(&t->vq));
	t_int(memcmp(&before, t->q.used, sizeof(before)), 0);
	virtq_stop(&t->vq);
	t_int(virtq_pop(&t->vq, &t->c), 0); /* stopped, not broken */
}

static inline void t_queue_pops(struct t_queue *t, unsigned nread, unsigned nwrite)
{
	t_int(virtq_pop(&t->vq, &t->c), 1);
	t_uint(t->c.nread, nread);
	t_uint(t->c.nwrite, nwrite);
}

/* A queue in which descriptor 0 is all there is, and offered. */
static inline void t_queue_start_with(
	struct t_queue *t, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	t_queue_init(t, 8, T_INDIRECT);
	t_virtq_desc(&t->q, 0, gpa, len, flags, next);
	t_queue_offer(t, 0);
}

#endif
