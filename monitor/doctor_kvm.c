/* The checks of KVM (doctor.h). */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "core/kvm.h"
#include "doctor.h"
#include "doctor_guest.h"

/* Far from both sides: 4 million instructions a second were seen where KVM emulates them, 900
 * million in the lab, billions on a CPU. */
#define EMULATING_BELOW 50e6

/* One exit to the monitor and back takes 1 to 2 us on a CPU, and ten times that where another
 * hypervisor has to look at it first. */
#define EXIT_SLOW_US 8.0

/* VM, memory, vCPU and first instructions: 0.5 ms where nothing waits for an RCU grace period. */
#define CREATE_SLOW_MS 8.0

static const char *const DEVICE = "/dev/kvm";

#define NEVER_ADVICE "boot with kvm.nx_huge_pages=never if the CPU is not open to iTLB multihit"

struct cpu {
	char vendor[13];
	bool has_vmx, has_svm, is_virtual;
};

static struct cpu read_cpu(void)
{
	struct cpu c = { 0 };
	unsigned a, b, cx, d;

	if (__get_cpuid(0, &a, &b, &cx, &d)) {
		memcpy(c.vendor, &b, 4);
		memcpy(c.vendor + 4, &d, 4);
		memcpy(c.vendor + 8, &cx, 4);
	}
	if (__get_cpuid(1, &a, &b, &cx, &d)) {
		c.has_vmx = cx & (1U << 5);
		c.is_virtual = cx & (1U << 31);
	}
	if (__get_cpuid(0x80000001, &a, &b, &cx, &d))
		c.has_svm = cx & (1U << 2);
	return c;
}

static const char *virtualisation_advice(const struct cpu *c)
{
	return c->is_virtual ? "enable nested virtualisation for this machine where it is hosted, "
			       "or take one that has it"
			     : "enable virtualisation (VT-x, AMD-V) in the firmware's setup";
}

void doctor_check_cpu(struct doctor *d, struct doctor_result *r)
{
	struct cpu c = read_cpu();
	const char *where = c.is_virtual ? " in a virtual machine" : "";

	(void)d;
	if (c.has_vmx || c.has_svm) {
		doctor_found(
			r, DOCTOR_OK, "%s%s with %s", c.vendor, where, c.has_vmx ? "VMX" : "SVM");
		return;
	}
	doctor_found(r, DOCTOR_MISSING, "%s%s without VMX or SVM", c.vendor, where);
	doctor_advise(r, "%s", virtualisation_advice(&c));
}

static void advise_on_device(struct doctor_result *r, int code)
{
	struct cpu c = read_cpu();

	switch (code) {
	case EACCES:
	case EPERM:
		doctor_advise(r, "join the group that owns it, usually 'usermod -aG kvm USER' and "
				 "a new login");
		break;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		if (access("/sys/class/misc/kvm", F_OK) == 0)
			doctor_advise(r,
				"the kernel has it: 'mknod -m 660 %s c 10 232', or pass it into "
				"the "
				"container (--device %s)",
				DEVICE, DEVICE);
		else if (c.has_vmx || c.has_svm)
			doctor_advise(r, "run 'modprobe %s'", c.has_vmx ? "kvm_intel" : "kvm_amd");
		else
			doctor_advise(r, "%s", virtualisation_advice(&c));
		break;
	default: doctor_advise(r, "see the kernel's messages (dmesg | grep -i kvm)"); break;
	}
}

void doctor_check_kvm_device(struct doctor *d, struct doctor_result *r)
{
	int code;

	d->kvm_fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (d->kvm_fd >= 0) {
		doctor_found(r, DOCTOR_OK, "can be opened for reading and writing");
		return;
	}
	code = errno;
	doctor_found(r, DOCTOR_MISSING, "cannot be opened (%s)", strerror(code));
	advise_on_device(r, code);
}

void doctor_check_kvm_api(struct doctor *d, struct doctor_result *r)
{
	int version;

	if (d->kvm_fd < 0)
		return;
	version = ioctl(d->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version == KVM_API_VERSION) {
		doctor_found(r, DOCTOR_OK, "version %d", version);
		return;
	}
	if (version < 0)
		doctor_found(r, DOCTOR_MISSING, "%s is not a KVM device", DEVICE);
	else
		doctor_found(r, DOCTOR_MISSING, "version %d, not %d", version, KVM_API_VERSION);
	doctor_advise(r, "have %s made anew: 'rm %s && mknod -m 660 %s c 10 232'", DEVICE, DEVICE,
		DEVICE);
	/* Whatever answers there, nothing else can be asked. */
	(void)close(d->kvm_fd);
	d->kvm_fd = -1;
}

static bool has_capability(const struct doctor *d, unsigned index)
{
	return ioctl(d->kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)kvm_caps[index].number) > 0;
}

void doctor_check_capabilities(struct doctor *d, struct doctor_result *r)
{
	/* [0] optional, [1] required */
	unsigned have[2] = { 0 }, all[2] = { 0 };

	if (d->kvm_fd < 0)
		return;
	for (unsigned i = 0; i < kvm_caps_count; i++) {
		all[kvm_caps[i].required]++;
		have[kvm_caps[i].required] += has_capability(d, i);
	}
	if (have[1] < all[1])
		r->state = DOCTOR_MISSING;
	else
		r->state = have[0] < all[0] ? DOCTOR_SLOW : DOCTOR_OK;
	doctor_found(r, r->state, "%u of %u required, %u of %u optional", have[1], all[1], have[0],
		all[0]);
	if (r->state != DOCTOR_OK)
		doctor_advise(r, "see below");
}

void doctor_check_capability(struct doctor *d, unsigned index, struct doctor_result *r)
{
	const struct kvm_cap *cap = &kvm_caps[index];

	if (d->kvm_fd < 0)
		return;
	if (has_capability(d, index)) {
		doctor_found(r, DOCTOR_OK, "KVM_CAP_%s: %s", cap->name, cap->use);
	} else if (cap->required) {
		doctor_found(r, DOCTOR_MISSING, "KVM_CAP_%s is absent (%s)", cap->name, cap->use);
		doctor_advise(r, "use a newer host kernel");
	} else {
		doctor_found(
			r, DOCTOR_SLOW, "KVM_CAP_%s is absent, optional (%s)", cap->name, cap->use);
		doctor_advise(r, "a newer host kernel or CPU may have it");
	}
}

/* The one check that runs a guest; the next two tell the rest of what it measured. */
void doctor_check_guest_code(struct doctor *d, struct doctor_result *r)
{
	struct err e = { 0 };
	double per_second;

	if (d->kvm_fd < 0)
		return;
	if (doctor_guest_measure(d->kvm_fd, &d->figures, &e) < 0) {
		doctor_found(r, DOCTOR_MISSING, "%s", e.text);
		doctor_advise(r, "see the kernel's messages (dmesg | grep -i kvm)");
		return;
	}
	per_second = d->figures.instructions_per_second;
	if (per_second < EMULATING_BELOW) {
		doctor_found(r, DOCTOR_MISSING,
			"this KVM emulates every guest instruction (%.1f M/s)", per_second / 1e6);
		doctor_advise(r, "Linux guests need real KVM; use tests/lab/run");
		return;
	}
	doctor_found(
		r, DOCTOR_OK, "real KVM, %.0f million instructions a second", per_second / 1e6);
}

void doctor_check_exit_cost(struct doctor *d, struct doctor_result *r)
{
	double us = d->figures.exit_us;

	if (us <= 0)
		return;
	doctor_found(r, us < EXIT_SLOW_US ? DOCTOR_OK : DOCTOR_SLOW,
		"%.1f us from the guest to mvm and back", us);
	if (us >= EXIT_SLOW_US)
		doctor_advise(
			r, "nested virtualisation costs this; a CPU of one's own takes 1 to 2 us");
}

void doctor_check_creation(struct doctor *d, struct doctor_result *r)
{
	double ms = d->figures.create_ms;

	if (ms <= 0)
		return;
	doctor_found(r, ms < CREATE_SLOW_MS ? DOCTOR_OK : DOCTOR_SLOW,
		"%.1f ms from nothing to the first guest instructions", ms);
	if (ms >= CREATE_SLOW_MS)
		doctor_advise(r, "see nx_huge_pages; if that is ok, try again on a quiet host");
}

/*
 * KVM starts a thread for each VM that reunites huge pages, unless told "never", and moved it into
 * the caller's cgroup until 6.13.  That move waits for tens of milliseconds unless the cgroups are
 * mounted to favour such changes.
 */
void doctor_check_nx_huge_pages(struct doctor *d, struct doctor_result *r)
{
	char text[32];
	int n = io_read_text("/sys/module/kvm/parameters/nx_huge_pages", text, sizeof(text));

	if (n <= 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, "never") == 0) {
		doctor_found(r, DOCTOR_OK, "never");
		return;
	}
	if (d->kernel >= KERNEL(6, 13) || d->cgroups.favordynmods) {
		doctor_found(r, DOCTOR_OK, "%s; does not delay a VM's creation here", text);
		return;
	}
	doctor_found(r, DOCTOR_SLOW, "%s: a VM's creation may wait tens of milliseconds", text);
	/* KVM before 6.1 does not know "never" and would refuse to load. */
	if (d->kernel < KERNEL(6, 1))
		doctor_advise(r, "use Linux 6.13 or newer, which does not wait");
	else if (d->cgroups.has_v2)
		doctor_advise(r, "'mount -o remount,favordynmods %s', or " NEVER_ADVICE,
			d->cgroups.v2_path);
	else
		doctor_advise(r, NEVER_ADVICE);
}

void doctor_check_halt_poll(struct doctor *d, struct doctor_result *r)
{
	char text[32];
	uint64_t ns;

	(void)d;
	if (io_read_text("/sys/module/kvm/parameters/halt_poll_ns", text, sizeof(text)) <= 0 ||
		doctor_parse_number(text, &ns) < 0)
		return;
	if (ns > 0)
		doctor_found(r, DOCTOR_OK, "a halted vCPU is polled for up to %" PRIu64 " us",
			ns / 1000);
	else
		doctor_found(r, DOCTOR_OK, "a halted vCPU sleeps at once");
}
