/* The guest that is timed (doctor_guest.h). */
#include "doctor_guest.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "core/kvm.h"
#include "core/mem.h"
#include "x86/layout.h"

/* For each round of a measurement.  Hosts under load take their time, so it is generous; only a KVM
 * that is broken ever waits for it. */
enum { FUSE_SECONDS = 2 };

/*
 * Short tries, several of each, and the best counts: others on this CPU, or below it, can only make
 * a try slower, and one that is shorter than a scheduler's slice often escapes them.  Tries grow
 * until they are long against the cost of an exit.  The first takes half a millisecond where KVM
 * emulates.
 */
enum {
	LOOPS_FIRST = 1000, /* of two instructions each */
	LOOPS_GROWTH = 4,
	LOOPS_MAX = 1 << 30,
	LOOP_TRIES = 8,
	LOOP_LONG_ENOUGH_NS = 600000,
	LOOP_LONG_ENOUGH_EXITS = 4,

	EXITS_PER_TRY = 10,
	EXIT_TRIES_MIN = 8,
	EXIT_TRIES_MAX = 100, /* 1000 exits */
	EXIT_BUDGET_NS = 10000000,
};

#define PROBE_PORT 0x80 /* no in-kernel device answers there */

/* Entry points in the one page. */
enum { ENTRY_COUNT = 0, ENTRY_EXITS = 7 };

static const uint8_t program[] = {
	0x49,             /* 0: dec ecx */
	0x75, 0xfd,       /* 1: jnz 0 */
	0xe6, PROBE_PORT, /* 3: out PROBE_PORT, al */
	0xeb, 0xf9,       /* 5: jmp 0 */
	0xe6, PROBE_PORT, /* 7: out PROBE_PORT, al */
	0xeb, 0xfc,       /* 9: jmp 7 */
};

struct guest {
	struct kvm kvm; /* dev_fd is the caller's */
	struct guest_mem mem;
	int vcpu_fd;
	struct kvm_run *run;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* --- the fuse --- */

struct fuse {
	sigset_t mask;
	struct sigaction action;
};

static void ignore_signal(int signo)
{
	(void)signo;
}

/*
 * SIGALRM is blocked everywhere but inside KVM_RUN (set_run_mask), so that it cannot come a moment
 * too early and be lost: it stays pending, and the next KVM_RUN returns at once.
 */
static void fuse_set(struct fuse *f)
{
	struct sigaction action = { .sa_handler = ignore_signal };
	sigset_t alarm;

	(void)sigemptyset(&alarm);
	(void)sigaddset(&alarm, SIGALRM);
	(void)sigprocmask(SIG_BLOCK, &alarm, &f->mask);
	(void)sigaction(SIGALRM, &action, &f->action);
}

/* From now on, and anew for each measurement. */
static int fuse_light(struct err *e)
{
	struct itimerval timer = { .it_value.tv_sec = FUSE_SECONDS };

	return setitimer(ITIMER_REAL, &timer, NULL) < 0
		       ? err_sys(e, -errno, NULL, "cannot set a timer")
		       : 0;
}

static bool fuse_is_blown(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 && sigismember(&pending, SIGALRM) == 1;
}

static void fuse_clear(const struct fuse *f)
{
	struct itimerval off = { 0 };
	struct timespec zero = { 0 };
	sigset_t alarm;

	(void)setitimer(ITIMER_REAL, &off, NULL);
	(void)sigemptyset(&alarm);
	(void)sigaddset(&alarm, SIGALRM);
	(void)sigtimedwait(&alarm, NULL, &zero);
	(void)sigaction(SIGALRM, &f->action, NULL);
	(void)sigprocmask(SIG_SETMASK, &f->mask, NULL);
}

/* The signals that are blocked inside KVM_RUN: the caller's, without SIGALRM. */
static int set_run_mask(int vcpu_fd, const struct fuse *f, struct err *e)
{
	enum { KERNEL_SIGSET_SIZE = 8 };
	union {
		struct kvm_signal_mask head;
		uint8_t bytes[sizeof(struct kvm_signal_mask) + KERNEL_SIGSET_SIZE];
	} arg = { .head.len = KERNEL_SIGSET_SIZE };
	sigset_t mask = f->mask;

	(void)sigdelset(&mask, SIGALRM);
	/* The C library's set is longer; it begins with the kernel's. */
	memcpy(arg.bytes + sizeof(arg.head), &mask, KERNEL_SIGSET_SIZE);
	if (ioctl(vcpu_fd, KVM_SET_SIGNAL_MASK, &arg) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_SIGNAL_MASK failed");
	return 0;
}

/* --- the guest --- */

static int enter_protected_mode(int vcpu_fd, struct err *e)
{
	struct kvm_segment code = { .limit = 0xffffffff,
		.selector = 8,
		.type = 11,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1 };
	struct kvm_segment data = code;
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return err_sys(e, -errno, NULL, "KVM_GET_SREGS failed");
	data.selector = 16;
	data.type = 3;
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 |= 1; /* PE */
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_SREGS failed");
	return 0;
}

static int guest_build(struct guest *g, const struct fuse *f, struct err *e)
{
	int size = ioctl(g->kvm.dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0), rc;

	if (size < (int)sizeof(struct kvm_run)) {
		(void)err_set(e, -EPROTO, "the vCPU page has %d bytes, too few", size);
		return -EPROTO;
	}
	g->kvm.run_size = (size_t)size;
	rc = guest_mem_init(&g->mem, MEM_PAGE_SIZE, LAYOUT_HOLE_START, LAYOUT_HOLE_END,
		MEM_PAGES_HOST, false, e);
	if (rc == 0)
		rc = mem_write(&g->mem, 0, program, sizeof(program));
	if (rc == 0)
		rc = kvm_create_vm(&g->kvm, LAYOUT_KVM_TSS, e);
	if (rc == 0)
		rc = kvm_set_memory(&g->kvm, &g->mem, false, e);
	if (rc == 0)
		rc = kvm_create_vcpu(&g->kvm, 0, &g->vcpu_fd, &g->run, e);
	if (rc == 0)
		rc = set_run_mask(g->vcpu_fd, f, e);
	return rc == 0 ? enter_protected_mode(g->vcpu_fd, e) : rc;
}

static void guest_free(struct guest *g)
{
	if (g->run)
		(void)munmap(g->run, g->kvm.run_size);
	if (g->vcpu_fd >= 0)
		(void)close(g->vcpu_fd);
	if (g->kvm.vm_fd >= 0)
		(void)close(g->kvm.vm_fd);
	guest_mem_fini(&g->mem);
}

static int set_entry(const struct guest *g, uint64_t rip, uint64_t loops, struct err *e)
{
	struct kvm_regs regs = { .rip = rip, .rcx = loops, .rflags = 2 };

	if (ioctl(g->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_REGS failed");
	return 0;
}

/* Up to the guest's next OUT. */
static int guest_run(const struct guest *g, struct err *e)
{
	while (ioctl(g->vcpu_fd, KVM_RUN, 0) < 0) {
		int code = -errno;

		if (code != -EINTR)
			return err_sys(e, code, NULL, "KVM_RUN failed");
		if (fuse_is_blown())
			return err_set(e, -ETIMEDOUT,
				"a guest of a few instructions did not end within %d s",
				FUSE_SECONDS);
	}
	if (g->run->exit_reason != KVM_EXIT_IO || g->run->io.port != PROBE_PORT)
		return err_set(e, -EIO,
			"a guest of four instructions ended with KVM exit reason %u",
			g->run->exit_reason);
	return 0;
}

/* The best of LOOP_TRIES. */
static int time_loops(const struct guest *g, uint64_t loops, uint64_t *ret_ns, struct err *e)
{
	uint64_t best = UINT64_MAX;
	int rc = fuse_light(e);

	for (unsigned i = 0; rc == 0 && i < LOOP_TRIES; i++) {
		uint64_t start;

		rc = set_entry(g, ENTRY_COUNT, loops, e);
		start = now_ns();
		if (rc == 0)
			rc = guest_run(g, e);
		best = MIN(best, now_ns() - start);
	}
	*ret_ns = best;
	return rc;
}

static int measure_speed(const struct guest *g, double *ret_per_second, struct err *e)
{
	uint64_t loops = LOOPS_FIRST, exit_ns, ns = 0;
	int rc = time_loops(g, 1, &exit_ns, e);

	if (rc == 0)
		rc = time_loops(g, loops, &ns, e);
	while (rc == 0 && loops < LOOPS_MAX &&
		ns < LOOP_LONG_ENOUGH_NS + LOOP_LONG_ENOUGH_EXITS * exit_ns) {
		loops *= LOOPS_GROWTH;
		rc = time_loops(g, loops, &ns, e);
	}
	/* The plus one keeps a clock that stands still from dividing by zero. */
	if (rc == 0)
		*ret_per_second = 2e9 * (double)loops / (double)(ns - MIN(exit_ns, ns) + 1);
	return rc;
}

static bool exits_go_on(unsigned tries, uint64_t spent)
{
	return tries < EXIT_TRIES_MIN || (tries < EXIT_TRIES_MAX && spent < EXIT_BUDGET_NS);
}

static int measure_exits(const struct guest *g, double *ret_us, struct err *e)
{
	uint64_t best = UINT64_MAX, spent = 0;
	int rc = set_entry(g, ENTRY_EXITS, 0, e);

	for (unsigned tries = 0; rc == 0 && exits_go_on(tries, spent); tries++) {
		uint64_t start = now_ns(), ns;

		for (unsigned i = 0; rc == 0 && i < EXITS_PER_TRY; i++)
			rc = guest_run(g, e);
		ns = now_ns() - start;
		spent += ns;
		best = MIN(best, ns);
	}
	if (rc == 0)
		*ret_us = (double)best / EXITS_PER_TRY / 1000;
	return rc;
}

static int measure(struct guest *g, const struct fuse *f, struct doctor_figures *ret, struct err *e)
{
	uint64_t start = now_ns();
	int rc = guest_build(g, f, e);

	if (rc == 0)
		rc = fuse_light(e);
	if (rc == 0)
		rc = set_entry(g, ENTRY_COUNT, 1, e);
	if (rc == 0)
		rc = guest_run(g, e);
	if (rc < 0)
		return rc;
	ret->create_ms = (double)(now_ns() - start) / 1e6;
	rc = measure_speed(g, &ret->instructions_per_second, e);
	if (rc == 0)
		rc = fuse_light(e);
	if (rc == 0)
		rc = measure_exits(g, &ret->exit_us, e);
	return rc;
}

int doctor_guest_measure(int kvm_fd, struct doctor_figures *ret, struct err *e)
{
	struct guest g = { .kvm = { .dev_fd = kvm_fd, .vm_fd = -1 }, .vcpu_fd = -1 };
	struct fuse fuse;
	int rc;

	fuse_set(&fuse);
	rc = measure(&g, &fuse, ret, e);
	guest_free(&g);
	fuse_clear(&fuse);
	return rc;
}
