/* The boot vCPU's thread before there is a machine, on a KVM that is not there. */
#include "t.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/err.h"
#include "t_kvm.h"
#include "vcpu.h"
#include "vcpu_ahead.h"

static void setup(void)
{
	t_kvm_init();
	t_quiet();
}

TestSuite(vcpu_ahead, .timeout = T_SECONDS, .init = setup);

static int make_objects(void *ctx, struct err *e)
{
	struct vcpu_group *g = ctx;

	/* The VM is there when the machine's first step begins. */
	return g->kvm.vm_fd == t_kvm.vm_fd ? 0 : err_set(e, -EINVAL, "another VM");
}

static int finish(void *ctx, struct err *e)
{
	(void)ctx;
	(void)e;
	return 0;
}

static _Atomic unsigned runs;
static cpu_set_t cpus;

static int run_guest(struct t_vcpu *v)
{
	(void)sched_getaffinity(0, sizeof(cpus), &cpus);
	runs++;
	while (!READ_ONCE(v->run->immediate_exit))
		(void)usleep(50);
	return -EINTR;
}

/* A group without a machine around it, whose vCPU goes on from s. */
struct rig {
	struct vcpu_ahead ahead;
	struct vcpu_group g;
	struct vcpu v;
	struct timeline t;
	struct cpu_state state;
};

static void begin(struct rig *r)
{
	*r = (struct rig){ 0 };
	vcpu_group_init(&r->g);
	r->g.cpus = 1;
	r->g.state = &r->state;
	r->g.timeline = &r->t;
	r->g.make_objects = make_objects;
	r->g.finish = finish;
	r->g.goes = true;
	r->g.ctx = &r->g;
	vcpu_init(&r->v, &r->g, 0);
	vcpu_ahead_begin(&r->ahead, T_KVM_PATH);
}

static void end(struct rig *r)
{
	vcpu_stop(&r->v);
	vcpu_join(&r->v);
	vcpu_ahead_end(&r->ahead);
	vcpu_group_fini(&r->g);
}

Test(vcpu_ahead, it_becomes_the_thread_of_a_vcpu_which_runs_in_its_vm)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	cpu_set_t all;
	struct err e = { 0 };
	struct rig r;

	t_kvm.on_run = run_guest;
	begin(&r);
	t_true(r.ahead.has_thread);
	vcpu_ahead_adopt(&r.ahead, &r.v);
	t_true(!r.ahead.has_thread && r.v.has_thread);
	vcpu_group_has_entry(&r.g);
	t_int(vcpu_group_wait_vcpu(&r.g, &e), 0);
	cr_assert(eq(int, vcpu_group_finish(&r.g, &e), 0), "%s", e.text);
	while (runs == 0)
		(void)usleep(50);
	/* Wherever it began, it may use what the process may. */
	t_int(sched_getaffinity(0, sizeof(all), &all), 0);
	t_true(CPU_EQUAL(&all, &cpus));
	end(&r);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
}

Test(vcpu_ahead, that_nobody_adopts_leaves_nothing)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct vcpu_ahead never = { 0 };
	struct rig r;

	for (unsigned i = 0; i < 50; i++) {
		begin(&r);
		/* At any moment of what it does. */
		(void)usleep(i * 10);
		end(&r);
	}
	vcpu_ahead_end(&r.ahead);
	vcpu_ahead_end(&never);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

static void expect_failure(int code, const char *text)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct err e = { 0 };
	struct rig r;

	begin(&r);
	vcpu_ahead_adopt(&r.ahead, &r.v);
	t_int(vcpu_group_wait_vcpu(&r.g, &e), code);
	t_has(e.text, text);
	end(&r);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
}

Test(vcpu_ahead, what_failed_is_told_to_whom_adopts_it)
{
	t_kvm.open_errno = EACCES;
	expect_failure(-EACCES, T_KVM_PATH);
	t_kvm_init();
	t_kvm.is_other_device = true;
	expect_failure(-EPROTO, T_KVM_PATH);
}

static bool begins(int code)
{
	struct rig r;
	bool has_thread;

	t_kvm_init();
	t_kvm.fail_step = 1;
	t_kvm.fail_errno = code;
	t_kvm_count(true);
	begin(&r);
	t_kvm_count(false);
	has_thread = r.ahead.has_thread;
	end(&r);
	return has_thread;
}

Test(vcpu_ahead, without_a_thread_there_is_none)
{
	unsigned fds = t_count_fds();

	t_false(begins(EAGAIN));
	/* Where a thread must not be told its CPU it is started all the same. */
	t_true(begins(EPERM));
	t_uint(t_count_fds(), fds);
}
