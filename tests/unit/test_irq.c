/* Interrupt lines of legacy devices. */
#include "t.h"

#include "core/irq.h"
#include "t_kvm.h"

TestSuite(irq, .timeout = T_SECONDS, .init = t_kvm_init);

int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_open64(const char *path, int flags, ...);

static int vm_fd(void)
{
	int dev = __wrap_open64(T_KVM_PATH, 0);

	return __wrap_ioctl(dev, KVM_CREATE_VM, NULL);
}

Test(irq, kvm_is_told_the_line_and_its_level)
{
	struct irq_line line = { .vm_fd = vm_fd(), .gsi = 4 };

	irq_line_set(&line, true);
	irq_line_set(&line, false);
	t_uint(t_kvm.nirq, 2);
	t_uint(t_kvm.irq[0].irq, 4);
	t_uint(t_kvm.irq[0].level, 1);
	t_uint(t_kvm.irq[1].irq, 4);
	t_uint(t_kvm.irq[1].level, 0);
}

Test(irq, kvm_is_told_changes_only)
{
	struct irq_line line = { .vm_fd = vm_fd(), .gsi = 4 };

	irq_line_set(&line, false);
	irq_line_set(&line, true);
	irq_line_set(&line, true);
	t_uint(t_kvm.nirq, 1);
	t_true(line.level);
}

Test(irq, a_line_that_leads_nowhere_keeps_its_level)
{
	struct irq_line line = { .vm_fd = -1, .gsi = 4 };

	irq_line_set(&line, true);
	t_true(line.level);
	t_uint(t_kvm.nirq, 0);
}

Test(irq, a_line_that_kvm_does_not_know_aborts, .signal = SIGABRT)
{
	struct irq_line line = { .vm_fd = 0, .gsi = 4 };

	irq_line_set(&line, true);
}
