/* vCPU threads (vcpu.h). */
#include "vcpu.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "vcpu_private.h"
#include "x86/cpu_template.h"
#include "x86/cpuid.h"
#include "x86/regs.h"

/* Enough for a CPUID table and the depth of the exit path; the default of 8 MiB would only cost
 * address space. */
enum { STACK_BYTES = 128 * 1024 };

/* The kick: it interrupts KVM_RUN and does nothing else. */
#define KICK_SIGNAL SIGRTMIN

static void on_kick(int signo)
{
	(void)signo;
}

/* --- set-up, on the vCPU's thread; -ECANCELED when told to leave --- */

/* The boot vCPU turns the host's CPUID into the guest's, for all. */
static int make_cpuid(struct vcpu *v, struct err *e)
{
	struct vcpu_group *g = v->group;
	int khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	struct cpuid_config cfg = {
		.cpus = g->cpus,
		.smt = g->smt,
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
		.tsc_deadline =
			ioctl(g->kvm.dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	};
	int rc = cpuid_apply_policy(&g->cpuid, &cfg);

	if (rc < 0)
		return err_set(e, rc, "this CPU reports more CPUID leaves than mvm has room for");
	/* On top of the policy: who asks for something has the last word. */
	if (g->cpu)
		rc = cpu_template_apply_cpuid(g->cpu, &g->cpuid, e);
	if (rc < 0)
		return rc;
	vcpu_group_enter(g, STAGE_CPUID);
	return 0;
}

static int set_cpuid(struct vcpu *v, struct err *e)
{
	const struct cpuid_table *all = &v->group->cpuid;
	struct cpuid_table UNINITIALIZED own;

	memcpy(&own, all, sizeof(all->head) + all->head.nent * sizeof(all->entry[0]));
	cpuid_set_apic_id(&own, v->id);
	if (ioctl(v->fd, KVM_SET_CPUID2, &own.head) < 0)
		return err_sys(e, -errno, NULL, "KVM_SET_CPUID2 failed for vCPU %u", v->id);
	return 0;
}

/* What every vCPU begins with.  Ours come last, because mvm's own entry relies on them. */
static int set_msrs(const struct vcpu *v, struct err *e)
{
	const struct cpu_template *t = v->group->cpu;
	int rc = t ? cpu_template_apply_msrs(t, v->fd, e) : 0;

	return rc == 0 ? regs_set_boot_msrs(v->fd, e) : rc;
}

/* What the boot vCPU's thread does for all. */
static int make_objects(struct vcpu *v, struct err *e)
{
	struct vcpu_group *g = v->group;
	int rc = g->make_objects(g->ctx, e);

	if (rc == 0)
		vcpu_group_enter(g, STAGE_OBJECTS);
	return rc;
}

static int set_up_boot(struct vcpu *v, struct err *e)
{
	struct vcpu_group *g = v->group;
	int rc = vcpu_group_wait_flag(g, &g->has_host_cpuid);

	if (rc == 0)
		rc = make_cpuid(v, e);
	if (rc == 0)
		rc = set_cpuid(v, e);
	if (rc == 0)
		rc = set_msrs(v, e);
	if (rc == 0)
		rc = vcpu_group_wait_flag(g, &g->has_entry);
	return rc == 0 ? regs_set_entry(v->fd, &g->entry, e) : rc;
}

/* An application CPU: KVM keeps it waiting for INIT, and that sets its registers. */
static int set_up_application(struct vcpu *v, struct err *e)
{
	int rc = vcpu_group_wait_stage(v->group, STAGE_CPUID);

	if (rc == 0)
		rc = set_cpuid(v, e);
	return rc == 0 ? set_msrs(v, e) : rc;
}

/* The guest's clock is told that it stood still, or its watchdogs would take it for a hang. */
static void tell_clock(struct vcpu *v)
{
	if (ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0) == 0)
		return;
	count_add(&v->count.kvmclock_ctrl_fails, 1);
	/* A guest that has no such clock is no failure. */
	if (errno != EINVAL)
		log_warning("vCPU %u: KVM_KVMCLOCK_CTRL: %s", v->id, strerror(errno));
}

/* One that goes on where it stood. */
static int set_up_state(struct vcpu *v, struct err *e)
{
	struct vcpu_group *g = v->group;
	int rc = set_cpuid(v, e);

	/* Some of its registers are addresses that KVM looks at, and writes to. */
	if (rc == 0)
		rc = vcpu_group_wait_flag(g, &g->has_entry);
	if (rc == 0)
		rc = cpu_state_load(&g->kvm, v->fd, &g->state[v->id], g->advance_ns, e);
	if (rc == 0)
		tell_clock(v);
	else if (rc != -ECANCELED)
		err_prefix(e, "vCPU %u", v->id);
	return rc;
}

static int set_up(struct vcpu *v, struct err *e)
{
	struct vcpu_group *g = v->group;
	bool is_boot = v->id == 0;
	int rc = is_boot ? make_objects(v, e) : vcpu_group_wait_stage(g, STAGE_OBJECTS);

	if (rc == 0)
		rc = kvm_create_vcpu(&g->kvm, v->id, &v->fd, &v->run, e);
	if (rc < 0)
		return rc;
	if (is_boot)
		vcpu_group_enter(g, STAGE_VCPU);
	if (g->state)
		return set_up_state(v, e);
	return is_boot ? set_up_boot(v, e) : set_up_application(v, e);
}

/* --- standing still --- */

/*
 * After a kick: stands still while the group does.  KVM_RUN was interrupted by immediate_exit,
 * which KVM looks at when it has finished what the last exit began, so the guest's state is whole
 * (api.rst, section 5, "the corresponding operations").
 */
static void stand_still(struct vcpu *v)
{
	struct vcpu_group *g = v->group;
	unsigned stood = 0;

	(void)pthread_mutex_lock(&g->lock);
	while (g->paused && !g->quit) {
		/* Once for each pause: one may follow the other before this thread has woken up. */
		if (stood != g->pauses && ++g->standing == g->cpus)
			loop_post(g->loop, &g->standing_post);
		stood = g->pauses;
		(void)pthread_cond_wait(&g->changed, &g->lock);
	}
	/* Under the lock, as it is set: no kick is lost. */
	if (!g->quit)
		WRITE_ONCE(v->run->immediate_exit, 0);
	(void)pthread_mutex_unlock(&g->lock);
	if (stood)
		tell_clock(v);
}

void vcpu_kick(const struct vcpu *v)
{
	/* Before the signal: if that arrives before KVM_RUN begins, the flag makes KVM_RUN return.
	 */
	WRITE_ONCE(v->run->immediate_exit, 1);
	(void)pthread_kill(v->thread, KICK_SIGNAL);
}

/* --- running --- */

void vcpu_add_counters(
	const struct vcpu *v, const struct tick_clock *clock, struct vcpu_totals *ret)
{
	ret->exits += count_get(&v->count.exits);
	ret->failures += count_get(&v->count.failures);
	ret->kvmclock_ctrl_fails += count_get(&v->count.kvmclock_ctrl_fails);
	for (unsigned i = 0; i < VCPU_ACCESSES; i++) {
		struct tally_us us = tally_read(&v->count.access[i], clock);

		tally_us_merge(&ret->access[i], &us);
	}
}

static void run_guest(struct vcpu *v)
{
	struct timeline *t = v->group->timeline;
	bool go = true, first = v->id == 0;

	if (first)
		timeline_set(t, TIMELINE_ENTERED);
	while (go && !atomic_load_explicit(&v->stop, memory_order_relaxed) &&
		!atomic_load_explicit(&v->group->over, memory_order_relaxed)) {
		int rc = ioctl(v->fd, KVM_RUN, 0);

		if (first) {
			timeline_set(t, TIMELINE_EXITED);
			first = false;
		}
		count_add(&v->count.exits, 1);
		if (rc < 0 && errno == EINTR)
			stand_still(v);
		else
			go = rc < 0 ? vcpu_handle_error(v, -errno) : vcpu_handle_exit(v);
	}
}

void vcpu_live(struct vcpu *v, int rc, struct err *e)
{
	char name[16];

	(void)snprintf(name, sizeof(name), "vcpu %u", v->id);
	(void)prctl(PR_SET_NAME, name);
	if (rc == 0)
		rc = set_up(v, e);
	if (rc == -ECANCELED)
		return;
	vcpu_group_report(v->group, e);
	if (rc == 0 && vcpu_group_wait_stage(v->group, STAGE_GO) == 0)
		run_guest(v);
}

static void *vcpu_main(void *arg)
{
	struct err e = { 0 };

	vcpu_thread_spread();
	vcpu_live(arg, 0, &e);
	return NULL;
}

/* What keep_apart() took away. */
void vcpu_thread_spread(void)
{
	cpu_set_t cpus;

	if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0)
		(void)sched_setaffinity(0, sizeof(cpus), &cpus);
}

/*
 * Some hosts start a thread on the CPU of its creator, where it waits until that one sleeps, while
 * other CPUs are idle (measured beside a creator that is busy for 600 us: after that, against
 * 110 us).  So it is kept away from there until it runs.
 */
static void keep_apart(pthread_attr_t *attr)
{
	cpu_set_t cpus;
	int here = sched_getcpu();

	if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return;
	CPU_CLR(here, &cpus);
	if (CPU_COUNT(&cpus) > 0)
		(void)pthread_attr_setaffinity_np(attr, sizeof(cpus), &cpus);
}

static int create(pthread_t *ret, bool is_apart, void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	int rc;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (is_apart)
		keep_apart(&attr);
	rc = -pthread_create(ret, &attr, run, arg);
	(void)pthread_attr_destroy(&attr);
	return rc;
}

int vcpu_thread_create(pthread_t *ret, bool is_apart, void *(*run)(void *arg), void *arg)
{
	struct sigaction act = { .sa_handler = on_kick };
	sigset_t kick, old;
	int rc;

	(void)sigaction(KICK_SIGNAL, &act, NULL);
	/* The thread inherits a mask in which only the kick is open: every other signal is the main
	 * thread's. */
	(void)sigfillset(&kick);
	(void)sigdelset(&kick, KICK_SIGNAL);
	(void)sigdelset(&kick, SIGSEGV);
	(void)sigdelset(&kick, SIGBUS);
	(void)sigdelset(&kick, SIGABRT);
	(void)sigdelset(&kick, SIGFPE);
	(void)sigdelset(&kick, SIGILL);
	(void)sigdelset(&kick, SIGSYS);
	(void)pthread_sigmask(SIG_SETMASK, &kick, &old);
	rc = create(ret, is_apart, run, arg);
	/* A host may forbid that, or have taken the CPU away meanwhile: it is only to be faster. */
	if (is_apart && (rc == -EPERM || rc == -EINVAL || rc == -ENOSYS))
		rc = create(ret, false, run, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

void vcpu_init(struct vcpu *v, struct vcpu_group *g, unsigned id)
{
	v->group = g;
	v->id = id;
	v->fd = -1;
}

int vcpu_start(struct vcpu *v, struct err *e)
{
	int rc = vcpu_thread_create(&v->thread, v->id == 0, vcpu_main, v);

	if (rc < 0)
		return err_sys(e, rc, "see RLIMIT_NPROC and the cgroup's pids.max",
			"cannot start the thread of vCPU %u", v->id);
	v->has_thread = true;
	return 0;
}

void vcpu_stop(struct vcpu *v)
{
	struct vcpu_group *g = v->group;
	bool may_run;

	if (!v->has_thread)
		return;
	(void)pthread_mutex_lock(&g->lock);
	g->quit = true;
	/* Only then is v->run known to this thread; before, the thread leaves at its next wait. */
	may_run = g->stage == STAGE_GO;
	(void)pthread_cond_broadcast(&g->changed);
	if (may_run) {
		atomic_store(&v->stop, true);
		vcpu_kick(v);
	}
	(void)pthread_mutex_unlock(&g->lock);
}

void vcpu_join(struct vcpu *v)
{
	if (!v->has_thread)
		return;
	(void)pthread_join(v->thread, NULL);
	v->has_thread = false;
	if (v->run)
		(void)munmap(v->run, v->group->kvm.run_size);
	if (v->fd >= 0)
		(void)close(v->fd);
	v->run = NULL;
	v->fd = -1;
}
