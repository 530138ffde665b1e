/* The table of checks, and what they amount to (doctor.h). */
#include "doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/kvm.h"

/* In the order of printing.  What a check uses of another stands after it. */
static const struct {
	const char *name;
	void (*run)(struct doctor *d, struct doctor_result *r);
	bool blocks;
} checks[] = {
	{ "kernel", doctor_check_kernel, true },
	{ "cpu", doctor_check_cpu, false }, /* the guest that is timed knows better */
	{ "/dev/kvm", doctor_check_kvm_device, true },
	{ "kvm-api", doctor_check_kvm_api, true },
	{ "kvm-capabilities", doctor_check_capabilities, true },
	{ "guest-code", doctor_check_guest_code, true },
	{ "vm-exit", doctor_check_exit_cost, false },
	{ "vm-creation", doctor_check_creation, false },
	{ "cgroup", doctor_check_cgroup, false },
	{ "nx_huge_pages", doctor_check_nx_huge_pages, false },
	{ "halt-polling", doctor_check_halt_poll, false },
	{ "io_uring", doctor_check_io_uring, false },
	{ "userfaultfd", doctor_check_userfaultfd, false },
	{ "/dev/net/tun", doctor_check_tun, false },
	{ "memory", doctor_check_memory, false },
	{ "transparent-huge-pages", doctor_check_thp, false },
	{ "huge-pages", doctor_check_hugetlb, false },
};

void doctor_found(struct doctor_result *r, enum doctor_state state, const char *fmt, ...)
{
	va_list args;

	r->state = state;
	va_start(args, fmt);
	(void)vsnprintf(r->found, sizeof(r->found), fmt, args);
	va_end(args);
}

void doctor_advise(struct doctor_result *r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(r->advice, sizeof(r->advice), fmt, args);
	va_end(args);
}

static void keep(struct doctor *d, const struct doctor_result *r)
{
	INVARIANT(d->n < DOCTOR_RESULTS_MAX);
	if (r->state != DOCTOR_SKIPPED)
		d->result[d->n++] = *r;
}

static void check_each_capability(struct doctor *d)
{
	for (unsigned i = 0; i < kvm_caps_count; i++) {
		struct doctor_result r = {
			.name = kvm_caps[i].name, .detail = true, .blocks = kvm_caps[i].required
		};

		doctor_check_capability(d, i, &r);
		keep(d, &r);
	}
}

/* Why the lab cannot run here either, or NULL. */
static const char *lab_obstacle(void)
{
	struct utsname u;

	if (uname(&u) == 0 && strcmp(u.machine, "x86_64") != 0)
		return "it is not an x86-64 machine";
	if (getenv("MVM_IN_LAB"))
		return "it is the lab already, which does not nest";
	return NULL;
}

const struct doctor_result *doctor_first_obstacle(const struct doctor *d)
{
	for (unsigned i = 0; i < d->n; i++) {
		if (d->result[i].blocks && d->result[i].state == DOCTOR_MISSING)
			return &d->result[i];
	}
	return NULL;
}

void doctor_run(struct doctor *d)
{
	*d = (struct doctor){ .kvm_fd = -1 };
	for (unsigned i = 0; i < ARRAY_SIZE(checks); i++) {
		struct doctor_result r = { .name = checks[i].name, .blocks = checks[i].blocks };

		checks[i].run(d, &r);
		keep(d, &r);
		if (checks[i].run == doctor_check_capabilities)
			check_each_capability(d);
	}
	if (d->kvm_fd >= 0)
		(void)close(d->kvm_fd);
	d->kvm_fd = -1;
	if (!doctor_first_obstacle(d))
		return;
	d->why_not = lab_obstacle();
	d->verdict = d->why_not ? DOCTOR_NO : DOCTOR_LAB;
}
