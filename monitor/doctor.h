/*
 * "mvm doctor": can this host run mvm, how well, and what to do about it.
 *
 * doctor_run() goes through a table of checks (doctor.c); each fills one struct doctor_result, and
 * cmd_doctor.c prints them.  doctor_kvm.c holds the checks of KVM, doctor_host.c those of the rest,
 * doctor_guest.c the guest that is timed, doctor_parse.c the readers of /proc texts.
 *
 * Nothing is changed on the host, and everything that was opened is closed again.  One thread only.
 */
#ifndef MVM_DOCTOR_H
#define MVM_DOCTOR_H

#include <stdbool.h>

#include "base/check.h"
#include "doctor_parse.h"

enum { DOCTOR_FOUND_MAX = 160, DOCTOR_ADVICE_MAX = 256, DOCTOR_RESULTS_MAX = 64 };

enum doctor_state {
	DOCTOR_SKIPPED, /* there was nothing to check; such a result is not kept */
	DOCTOR_OK,
	DOCTOR_SLOW,    /* works, but worse than it could */
	DOCTOR_MISSING, /* does not work */
};

struct doctor_result {
	const char *name; /* static text, the same in every version: scripts look for it */
	enum doctor_state state;
	bool detail; /* one of many of a kind: of interest to a person only when not ok */
	bool blocks; /* no guest can run while this is missing */
	char found[DOCTOR_FOUND_MAX];
	char advice[DOCTOR_ADVICE_MAX]; /* what to do; empty when ok */
};

/* What the timed guest told; zero is "not measured". */
struct doctor_figures {
	double instructions_per_second;
	double exit_us;   /* from OUT in the guest to the monitor and back */
	double create_ms; /* KVM_CREATE_VM up to the first exit of the first vCPU */
};

enum doctor_verdict {
	DOCTOR_HERE, /* guests run on this host */
	DOCTOR_LAB,  /* they do not, but the lab can emulate a machine on which they do */
	DOCTOR_NO,
};

struct doctor {
	int kvm_fd;      /* -1: /dev/kvm could not be opened; closed before doctor_run() returns */
	unsigned kernel; /* KERNEL_VERSION of the running one, 0 when unknown */
	struct doctor_cgroups cgroups;
	struct doctor_figures figures;
	enum doctor_verdict verdict;
	const char *why_not; /* DOCTOR_NO: why not even the lab; a static text */
	unsigned n;
	struct doctor_result result[DOCTOR_RESULTS_MAX];
};

/* Makes all checks; takes about 50 ms, and a KVM that is broken is given up after two seconds. */
void doctor_run(struct doctor *d);

/* The first result that keeps guests from running here, or NULL. */
const struct doctor_result *doctor_first_obstacle(const struct doctor *d);

/* For the checks: what was found, and what to do about it. */
void doctor_found(struct doctor_result *r, enum doctor_state state, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
void doctor_advise(struct doctor_result *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * The checks.  Each leaves r as it was when there is nothing to check.  Later ones use what earlier
 * ones wrote into d, so the order of the table in doctor.c matters.
 */
void doctor_check_cpu(struct doctor *d, struct doctor_result *r);
void doctor_check_kvm_device(struct doctor *d, struct doctor_result *r);
void doctor_check_kvm_api(struct doctor *d, struct doctor_result *r);
void doctor_check_capabilities(struct doctor *d, struct doctor_result *r);
void doctor_check_guest_code(struct doctor *d, struct doctor_result *r);
void doctor_check_exit_cost(struct doctor *d, struct doctor_result *r);
void doctor_check_creation(struct doctor *d, struct doctor_result *r);
void doctor_check_nx_huge_pages(struct doctor *d, struct doctor_result *r);
void doctor_check_halt_poll(struct doctor *d, struct doctor_result *r);

void doctor_check_kernel(struct doctor *d, struct doctor_result *r);
void doctor_check_io_uring(struct doctor *d, struct doctor_result *r);
void doctor_check_userfaultfd(struct doctor *d, struct doctor_result *r);
void doctor_check_tun(struct doctor *d, struct doctor_result *r);
void doctor_check_cgroup(struct doctor *d, struct doctor_result *r);
void doctor_check_thp(struct doctor *d, struct doctor_result *r);
void doctor_check_hugetlb(struct doctor *d, struct doctor_result *r);
void doctor_check_memory(struct doctor *d, struct doctor_result *r);

/* One line for each capability in kvm_caps[]; index is below kvm_caps_count. */
void doctor_check_capability(struct doctor *d, unsigned index, struct doctor_result *r);

#endif
