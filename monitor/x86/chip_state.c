/* The state of interrupt controllers, timer and clock (cpu_state.h). */
#include <errno.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/err.h"
#include "x86/cpu_state.h"

_Static_assert((int)CHIP_IRQCHIPS == (int)KVM_NR_IRQCHIPS, "KVM has these three");

int chip_state_save(const struct kvm *k, struct chip_state *ret, struct err *e)
{
	for (unsigned i = 0; i < CHIP_IRQCHIPS; i++) {
		ret->irqchip[i].chip_id = i;
		if (ioctl(k->vm_fd, KVM_GET_IRQCHIP, &ret->irqchip[i]) < 0)
			return err_sys(e, -errno, NULL, "KVM_GET_IRQCHIP failed for chip %u", i);
	}
	if (ioctl(k->vm_fd, KVM_GET_PIT2, &ret->pit) < 0)
		return err_sys(e, -errno, NULL, "KVM_GET_PIT2 failed");
	return 0;
}

int chip_state_load(const struct kvm *k, const struct chip_state *s, struct err *e)
{
	for (unsigned i = 0; i < CHIP_IRQCHIPS; i++) {
		if (ioctl(k->vm_fd, KVM_SET_IRQCHIP, &s->irqchip[i]) < 0)
			return err_sys(e, -errno, NULL, "KVM_SET_IRQCHIP failed for chip %u",
				s->irqchip[i].chip_id);
	}
	if (ioctl(k->vm_fd, KVM_SET_PIT2, &s->pit) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_PIT2 failed");
	return 0;
}

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int clock_state_save(const struct kvm *k, struct clock_state *ret, struct err *e)
{
	enum { TRIES = 5, NEAR_NS = 5000 };
	uint64_t best = UINT64_MAX;

	/* The two readings belong together: again where something came between. */
	for (unsigned i = 0; i < TRIES && best > NEAR_NS; i++) {
		uint64_t before = realtime_ns(), took;
		struct kvm_clock_data data = { 0 };

		if (ioctl(k->vm_fd, KVM_GET_CLOCK, &data) < 0)
			return err_sys(e, -errno, NULL, "KVM_GET_CLOCK failed");
		/* A host's clock that was set back meanwhile gives a long time, and another try. */
		took = realtime_ns() - before;
		if (i > 0 && took >= best)
			continue;
		best = took;
		ret->kvmclock_ns = data.clock;
		ret->realtime_ns = before + took / 2;
	}
	return 0;
}

int clock_state_load(
	const struct kvm *k, const struct clock_state *s, uint64_t advance_ns, struct err *e)
{
	struct kvm_clock_data data = { .clock = s->kvmclock_ns + advance_ns };

	if (ioctl(k->vm_fd, KVM_SET_CLOCK, &data) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_CLOCK failed");
	return 0;
}
