/* Interrupt lines of legacy devices (irq.h). */
#include "core/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "base/check.h"

void irq_line_set(struct irq_line *line, bool level)
{
	struct kvm_irq_level arg = { .irq = line->gsi, .level = level };

	if (line->level == level)
		return;
	line->level = level;
	if (line->vm_fd >= 0)
		/* EIO: KVM has given this VM up, and KVM_RUN will say so.  Everything else is a GSI
		 * or an irqchip that does not exist, which would be our mistake. */
		INVARIANT(ioctl(line->vm_fd, KVM_IRQ_LINE, &arg) == 0 || errno == EIO);
}
