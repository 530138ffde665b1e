/* Split virtqueues (queue.h; virtio 1.2, 2.7). */
#include "virtio/queue.h"

#include <errno.h>
#include <stdatomic.h>

enum { DESC_ALIGN = 16, AVAIL_ALIGN = 2, USED_ALIGN = 4 };

#define BIT(n) (1ULL << (n))

/* --- set-up --- */

static uint64_t desc_bytes(uint64_t num)
{
	return num * sizeof(struct vring_desc);
}

/* The rings end with the event index, which is part of the layout whether it is agreed or not. */
static uint64_t avail_bytes(uint64_t num)
{
	return sizeof(struct vring_avail) + (num + 1) * sizeof(__virtio16);
}

static uint64_t used_bytes(uint64_t num)
{
	return sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) +
	       sizeof(__virtio16);
}

static bool is_power_of_two(unsigned n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static bool parts_overlap(const struct virtq_layout *at)
{
	uint64_t desc = desc_bytes(at->num), avail = avail_bytes(at->num),
		 used = used_bytes(at->num);

	return ranges_overlap(at->desc, desc, at->avail, avail) ||
	       ranges_overlap(at->desc, desc, at->used, used) ||
	       ranges_overlap(at->avail, avail, at->used, used);
}

enum virtio_rule virtq_start(struct virtq *vq, const struct guest_mem *m,
	const struct virtq_layout *at, uint64_t features)
{
	struct virtq fresh = {
		.mem = m,
		.num = at->num,
		.event_idx = features & BIT(VIRTIO_RING_F_EVENT_IDX),
		.indirect = features & BIT(VIRTIO_RING_F_INDIRECT_DESC),
		.ready = true,
	};

	if (at->num < VIRTQ_SIZE_MIN || at->num > VIRTQ_SIZE_MAX || !is_power_of_two(at->num))
		return RULE_QUEUE_SIZE;
	if (at->desc % DESC_ALIGN != 0 || at->avail % AVAIL_ALIGN != 0 ||
		at->used % USED_ALIGN != 0)
		return RULE_QUEUE_ALIGN;
	fresh.desc = mem_ptr(m, at->desc, desc_bytes(at->num));
	fresh.avail = mem_ptr(m, at->avail, avail_bytes(at->num));
	fresh.used = mem_ptr(m, at->used, used_bytes(at->num));
	if (!fresh.desc || !fresh.avail || !fresh.used)
		return RULE_QUEUE_MEMORY;
	/* All three lie in RAM, so none of the sums wraps. */
	if (parts_overlap(at))
		return RULE_QUEUE_OVERLAP;
	*vq = fresh;
	return RULE_NONE;
}

void virtq_stop(struct virtq *vq)
{
	*vq = (struct virtq){ 0 };
}

/* --- where it stands --- */

void virtq_get_position(const struct virtq *vq, struct virtq_position *ret)
{
	*ret = (struct virtq_position){ .next_avail = (uint16_t)(vq->next_avail - vq->inflight),
		.next_used = vq->next_used,
		.signalled = vq->signalled,
		.has_signalled = vq->has_signalled };
}

void virtq_set_position(struct virtq *vq, const struct virtq_position *at)
{
	/* Our copy of the driver's index is used up, so that the first virtq_pop() looks at it, and
	 * checks it against where we are. */
	vq->avail_idx = vq->next_avail = at->next_avail;
	vq->next_used = at->next_used;
	vq->signalled = at->signalled;
	vq->has_signalled = at->has_signalled;
}

/* --- taking chains --- */

static int broken(struct virtq *vq, enum virtio_rule rule)
{
	vq->broken = rule;
	vq->ready = false;
	return -EBADMSG;
}

/* A descriptor in our own memory: two loads, whatever the guest does meanwhile.  An indirect table
 * may lie at any address. */
static struct vring_desc load_desc(const struct vring_desc *at)
{
	typedef uint64_t word __attribute__((aligned(1), may_alias));
	union {
		word raw[2];
		struct vring_desc desc;
	} copy;
	const word *from = (const word *)(const void *)at;

	copy.raw[0] = READ_ONCE(from[0]);
	copy.raw[1] = READ_ONCE(from[1]);
	return copy.desc;
}

/* Where a walk is: a table of descriptors, and how many more a chain may have. */
struct walk {
	const struct vring_desc *table;
	uint32_t entries;
	uint32_t left;
	uint64_t bytes;
	bool is_indirect;
};

static enum virtio_rule enter_indirect(
	const struct virtq *vq, struct walk *w, const struct vring_desc *d)
{
	if (!vq->indirect)
		return RULE_INDIRECT_NOT_AGREED;
	if (w->is_indirect)
		return RULE_INDIRECT_NESTED;
	if (d->flags & VRING_DESC_F_NEXT)
		return RULE_INDIRECT_NEXT;
	if (d->len == 0 || d->len % sizeof(*d) != 0)
		return RULE_INDIRECT_LENGTH;
	w->table = mem_ptr(vq->mem, d->addr, d->len);
	if (!w->table)
		return RULE_INDIRECT_MEMORY;
	w->entries = d->len / (uint32_t)sizeof(*d);
	w->is_indirect = true;
	return RULE_NONE;
}

/* RULE_NONE and *ret_full when the caller's array has no room for one more. */
static enum virtio_rule add_segment(const struct virtq *vq, struct walk *w, struct virtq_chain *c,
	const struct vring_desc *d, bool *ret_full)
{
	unsigned n = c->nread + c->nwrite;
	void *hva;

	if (w->left == 0)
		return RULE_CHAIN_LENGTH;
	w->left--;
	if (d->len == 0)
		return RULE_SEGMENT_EMPTY;
	hva = mem_ptr(vq->mem, d->addr, d->len);
	if (!hva)
		return RULE_SEGMENT_MEMORY;
	w->bytes += d->len;
	if (w->bytes > UINT32_MAX)
		return RULE_CHAIN_BYTES;
	if (!(d->flags & VRING_DESC_F_WRITE) && c->nwrite > 0)
		return RULE_READ_AFTER_WRITE;
	if (n == c->iov_max) {
		*ret_full = true;
		return RULE_NONE;
	}
	c->iov[n] = (struct iovec){ .iov_base = hva, .iov_len = d->len };
	if (d->flags & VRING_DESC_F_WRITE) {
		c->nwrite++;
		c->write_len += d->len;
	} else {
		c->nread++;
		c->read_len += d->len;
	}
	return RULE_NONE;
}

/*
 * Follows a chain from head.  It ends after at most num segments and one indirect table, so a loop
 * is only a chain that is too long.
 */
static enum virtio_rule follow(
	const struct virtq *vq, struct virtq_chain *c, uint16_t head, bool *ret_full)
{
	struct walk w = { .table = vq->desc, .entries = vq->num, .left = vq->num };
	uint32_t at = head;
	bool more = true;

	*ret_full = false;
	while (more && !*ret_full) {
		struct vring_desc d;
		enum virtio_rule rule;

		if (at >= w.entries)
			return RULE_NEXT_RANGE;
		d = load_desc(&w.table[at]);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			rule = enter_indirect(vq, &w, &d);
			at = 0;
		} else {
			rule = add_segment(vq, &w, c, &d, ret_full);
			at = d.next;
			more = d.flags & VRING_DESC_F_NEXT;
		}
		if (rule != RULE_NONE)
			return rule;
	}
	return RULE_NONE;
}

/* Looks at the driver's index where our copy of it is used up. */
static enum virtio_rule refresh(struct virtq *vq)
{
	if (vq->avail_idx != vq->next_avail)
		return RULE_NONE;
	vq->avail_idx = READ_ONCE(vq->avail->idx);
	/* Pairs with the driver's barrier between the ring's entries and the index (2.7.13.3):
	 * entries and descriptors are read after the index that covers them. */
	atomic_thread_fence(memory_order_acquire);
	return (uint16_t)(vq->avail_idx - vq->next_avail) > vq->num ? RULE_AVAIL_JUMP : RULE_NONE;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *c)
{
	enum virtio_rule rule;
	uint16_t head;
	bool full;

	if (!vq->ready)
		return vq->broken ? -EBADMSG : 0;
	rule = refresh(vq);
	if (rule != RULE_NONE)
		return broken(vq, rule);
	if (vq->avail_idx == vq->next_avail)
		return 0;
	if (vq->inflight == vq->num)
		return broken(vq, RULE_TOO_MANY_CHAINS);
	head = READ_ONCE(vq->avail->ring[vq->next_avail & (vq->num - 1)]);
	if (head >= vq->num)
		return broken(vq, RULE_HEAD_RANGE);
	c->nread = c->nwrite = 0;
	c->read_len = c->write_len = 0;
	c->head = head;
	rule = follow(vq, c, head, &full);
	if (rule != RULE_NONE)
		return broken(vq, rule);
	if (full)
		return -ENOSPC;
	vq->next_avail++;
	vq->inflight++;
	return 1;
}

/* --- giving them back --- */

void virtq_push(struct virtq *vq, uint16_t head, uint32_t written)
{
	struct vring_used_elem *at;

	/* A queue that broke while the chain was at work: nobody looks any more. */
	if (!vq->ready)
		return;
	INVARIANT(vq->inflight > 0);
	vq->inflight--;
	at = &vq->used->ring[vq->next_used & (vq->num - 1)];
	WRITE_ONCE(at->id, head);
	WRITE_ONCE(at->len, written);
	mem_mark_dirty(vq->mem, at, sizeof(*at));
	vq->next_used++;
}

bool virtq_publish(struct virtq *vq)
{
	uint16_t old = vq->signalled, now = vq->next_used;
	bool first = !vq->has_signalled;
	uint16_t event;

	if (!vq->ready || (!first && old == now) || (first && now == 0))
		return false;
	/* The entries before the index that covers them (2.7.8.2). */
	atomic_thread_fence(memory_order_release);
	WRITE_ONCE(vq->used->idx, now);
	mem_mark_dirty(vq->mem, &vq->used->idx, sizeof(vq->used->idx));
	vq->signalled = now;
	vq->has_signalled = true;
	/* The index before the look at what the driver wants: it writes its wish first and then
	 * looks at the index (2.7.13.4), so one of us sees the other. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!vq->event_idx)
		return !(READ_ONCE(vq->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	event = READ_ONCE(vq->avail->ring[vq->num]);
	return vring_need_event(event, now, old);
}

/* --- kicks --- */

static void set_avail_event(struct virtq *vq, uint16_t value)
{
	__virtio16 *at = (__virtio16 *)(void *)&vq->used->ring[vq->num];

	WRITE_ONCE(*at, value);
	mem_mark_dirty(vq->mem, at, sizeof(*at));
}

static void set_used_flags(struct virtq *vq, uint16_t value)
{
	WRITE_ONCE(vq->used->flags, value);
	mem_mark_dirty(vq->mem, &vq->used->flags, sizeof(vq->used->flags));
}

void virtq_kicks_off(struct virtq *vq)
{
	/* With the event index there is nothing to write: it stays behind what is taken, and the
	 * driver kicks only when it passes it. */
	if (vq->ready && !vq->event_idx)
		set_used_flags(vq, VRING_USED_F_NO_NOTIFY);
}

bool virtq_kicks_on(struct virtq *vq)
{
	if (!vq->ready)
		return false;
	if (vq->event_idx)
		set_avail_event(vq, vq->next_avail);
	else
		set_used_flags(vq, 0);
	/* Our wish before the look at the index; pairs with the driver's barrier between its index
	 * and the look at our wish (2.7.13.4.1). */
	atomic_thread_fence(memory_order_seq_cst);
	return READ_ONCE(vq->avail->idx) != vq->next_avail;
}
