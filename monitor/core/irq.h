/*
 * An interrupt line of a legacy device: a level on a GSI of the in-kernel interrupt controllers.
 *
 * The device keeps the level true to its registers; a rising edge is then what the edge-triggered
 * ISA pins latch. Callers hold the device's lock, so that levels reach KVM in the order in which
 * the device set them.
 */
#ifndef MVM_CORE_IRQ_H
#define MVM_CORE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct irq_line {
	int vm_fd; /* borrowed; -1 for a line that leads nowhere, as in tests without KVM */
	uint32_t gsi;
	bool level; /* what KVM was told last */
};

/* Tells KVM when the level changes (KVM_IRQ_LINE).  Any thread. */
void irq_line_set(struct irq_line *line, bool level);

#endif
