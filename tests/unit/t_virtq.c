/* A driver's side of a split virtqueue (t_virtq.h). */
#include "t_virtq.h"

#include <string.h>

static void *at_gpa(const struct guest_mem *m, gpa_t gpa, uint64_t len)
{
	void *p = mem_ptr(m, gpa, len);

	INVARIANT(p != NULL);
	return p;
}

gpa_t t_virtq_init(struct t_virtq *q, const struct guest_mem *m, gpa_t at, uint16_t num)
{
	uint64_t desc = num * sizeof(struct vring_desc);
	uint64_t avail = sizeof(struct vring_avail) + (num + 1U) * sizeof(__virtio16);
	uint64_t used = sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) +
			sizeof(__virtio16);

	at = align_up(at, MEM_PAGE_SIZE);
	*q = (struct t_virtq){ .mem = m, .at = { .num = num, .desc = at } };
	q->at.avail = at + desc;
	q->at.used = align_up(q->at.avail + avail, 4);
	q->desc = at_gpa(m, q->at.desc, desc);
	q->avail = at_gpa(m, q->at.avail, avail);
	q->used = at_gpa(m, q->at.used, used);
	memset(q->desc, 0, q->at.used + used - at);
	return align_up(q->at.used + used, MEM_PAGE_SIZE);
}

void t_virtq_desc(
	struct t_virtq *q, uint16_t i, gpa_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	q->desc[i] = (struct vring_desc){ .addr = gpa, .len = len, .flags = flags, .next = next };
}

static uint16_t flags_of(const struct t_seg *seg, bool last)
{
	return (uint16_t)((seg->write ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT));
}

void t_virtq_chain(struct t_virtq *q, uint16_t head, const struct t_seg *segs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint16_t at = (uint16_t)((head + i) % q->at.num);

		t_virtq_desc(q, at, segs[i].gpa, segs[i].len, flags_of(&segs[i], i + 1 == n),
			(uint16_t)((at + 1) % q->at.num));
	}
}

void t_virtq_chain_indirect(
	struct t_virtq *q, uint16_t head, gpa_t table, const struct t_seg *segs, unsigned n)
{
	uint8_t *to = at_gpa(q->mem, table, n * sizeof(struct vring_desc));

	for (unsigned i = 0; i < n; i++) {
		struct vring_desc d = {
			.addr = segs[i].gpa,
			.len = segs[i].len,
			.flags = flags_of(&segs[i], i + 1 == n),
			.next = (uint16_t)(i + 1),
		};

		memcpy(to + i * sizeof(d), &d, sizeof(d));
	}
	t_virtq_desc(
		q, head, table, n * (uint32_t)sizeof(struct vring_desc), VRING_DESC_F_INDIRECT, 0);
}

void t_virtq_offer(struct t_virtq *q, uint16_t head)
{
	q->avail->ring[q->next_avail % q->at.num] = head;
	q->next_avail++;
}

void t_virtq_publish(struct t_virtq *q)
{
	/* The entries before the index that covers them (2.7.13.3). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	WRITE_ONCE(q->avail->idx, q->next_avail);
}

void t_virtq_send(struct t_virtq *q, uint16_t head, const struct t_seg *segs, unsigned n)
{
	t_virtq_chain(q, head, segs, n);
	t_virtq_offer(q, head);
	t_virtq_publish(q);
}

bool t_virtq_used(struct t_virtq *q, uint32_t *ret_id, uint32_t *ret_len)
{
	const struct vring_used_elem *e = &q->used->ring[q->seen_used % q->at.num];

	if (t_virtq_used_count(q) == 0)
		return false;
	if (ret_id)
		*ret_id = e->id;
	if (ret_len)
		*ret_len = e->len;
	q->seen_used++;
	return true;
}

unsigned t_virtq_used_count(const struct t_virtq *q)
{
	return (uint16_t)(READ_ONCE(q->used->idx) - q->seen_used);
}

void t_virtq_used_event(struct t_virtq *q, uint16_t event)
{
	WRITE_ONCE(q->avail->ring[q->at.num], event);
}

uint16_t t_virtq_avail_event(const struct t_virtq *q)
{
	__virtio16 event;

	memcpy(&event, &q->used->ring[q->at.num], sizeof(event));
	return event;
}
