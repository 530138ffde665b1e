/* A driver's side of a virtqueue (ring.h). */
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>

void ring_init(struct ring *r, struct virtio_device *dev, unsigned q, gpa_t gpa)
{
	struct virtq_layout at = { .num = RING_NUM,
		.desc = gpa,
		.avail = gpa + MEM_PAGE_SIZE,
		.used = gpa + 2 * MEM_PAGE_SIZE };

	_Static_assert(RING_NUM * sizeof(struct vring_desc) <= MEM_PAGE_SIZE, "a page holds it");
	*r = (struct ring){ .desc = mem_ptr(dev->mem, at.desc, MEM_PAGE_SIZE),
		.avail = mem_ptr(dev->mem, at.avail, MEM_PAGE_SIZE),
		.used = mem_ptr(dev->mem, at.used, MEM_PAGE_SIZE) };
	if (!r->desc || !r->avail || !r->used ||
		virtq_start(&dev->vq[q], dev->mem, &at, dev->acked) != RULE_NONE) {
		(void)fprintf(stderr, "bench: %s: no queue %u\n", dev->name, q);
		exit(1);
	}
}

void ring_desc(struct ring *r, uint16_t i, gpa_t gpa, uint32_t len, bool write, bool more)
{
	r->desc[i] = (struct vring_desc){ gpa, len,
		(uint16_t)((write ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0)),
		(uint16_t)(i + 1) };
}
