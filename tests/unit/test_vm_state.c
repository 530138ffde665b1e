/*
 * A machine as plain values, and one that goes on from them, on a KVM that is not there: what KVM
 * is told in which order, the clocks, and what is left after a failure of any step.
 */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#include "base/err.h"
#include "t_image.h"
#include "t_machine.h"
#include "vm.h"
#include "vm_state.h"
#include "x86/layout.h"

static void setup(void);

TestSuite(vm_state, .timeout = 2 * T_SECONDS, .init = setup);

#define MIB (1ULL << 20)

enum { TSC = 0x10, RIP = 0x1000, FILLED_AT = 0x300000, KHZ = 2500000 };

/* --- random bytes that may be refused, as a step of t_kvm.h is --- */

static _Atomic bool random_fails;

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
	if (random_fails) {
		errno = ENOSYS;
		return -1;
	}
	return __real_getrandom(buf, len, flags);
}

/* --- the guest: runs until it is kicked; the boot vCPU powers off when that is wanted --- */

static _Atomic unsigned runs;
static _Atomic bool powers_off;

static int run_guest(struct t_vcpu *v)
{
	if (READ_ONCE(v->run->immediate_exit))
		return -EINTR;
	runs++;
	while (!READ_ONCE(v->run->immediate_exit)) {
		if (powers_off && v->regs.rip == RIP)
			return t_machine_out(v, LAYOUT_ACPI_PM, 0x34);
		(void)usleep(50);
	}
	return -EINTR;
}

/* --- the machine --- */

static struct t_file file;
static char kernel[64], disk_path[64];
static struct vm_config config;

/* What fill_memory did. */
static struct {
	_Atomic unsigned calls;
	int code;
} filled;

static int fill_memory(void *ctx, struct guest_mem *m, struct err *e)
{
	const uint32_t word = 0x600dcafe;

	t_true(ctx == &filled);
	/* Before any vCPU's registers: some are addresses that KVM looks at. */
	t_int(t_kvm_position(KVM_SET_SREGS), -1);
	(void)usleep(2000);
	t_int(t_kvm_position(KVM_SET_SREGS), -1);
	filled.calls++;
	if (filled.code < 0)
		return err_set(e, filled.code, "the memory file is gone");
	t_int(mem_write(m, FILLED_AT, &word, sizeof(word)), 0);
	return 0;
}

struct rig {
	struct loop *l;
	struct timeline t;
	struct vm *vm;
	unsigned paused, ended;
	struct loop_op timer;
	bool expired;
};

static void boot_config(void)
{
	config_init(&config);
	config.kvm_path = T_KVM_PATH;
	config.kernel = kernel;
	config.mem_size = 32 * MIB;
}

static void setup(void)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	t_kvm_init();
	t_quiet();
	t_elf_kernel(&file);
	t_true(t_file_open(&file, kernel) >= 0);
	t_true(fd >= 0);
	t_int(ftruncate(fd, MIB), 0);
	(void)snprintf(disk_path, sizeof(disk_path), "/proc/self/fd/%d", fd);
	boot_config();
}

/* As config.c would be filled for a machine that goes on from s. */
static void state_config(const struct vm_state *s)
{
	boot_config();
	config.kernel = NULL;
	config.cpus = s->cpus;
	config.mem_size = s->mem_size;
	config.state = s;
	config.fill_memory = fill_memory;
	config.fill_ctx = &filled;
}

static void add_disk(void)
{
	config.ndisks = 1;
	config.disk[0] = (struct disk_config){ .id = "d0", .path = disk_path };
}

static void fake_kvm(void)
{
	t_kvm_init();
	t_kvm.msrs_are_kept = true;
	t_kvm.on_run = run_guest;
	runs = 0;
	powers_off = false;
	filled.calls = 0;
	filled.code = 0;
}

static void on_paused(void *ctx)
{
	((struct rig *)ctx)->paused++;
}

static void on_ended(void *ctx)
{
	((struct rig *)ctx)->ended++;
}

static void on_timer(struct loop_op *op, int res)
{
	(void)res;
	container_of(op, struct rig, timer)->expired = true;
}

static void run_for(struct rig *r, uint64_t ns)
{
	r->expired = false;
	loop_timeout(r->l, &r->timer, ns);
	while (!r->expired) {
		int rc = loop_turn(r->l);

		t_true(rc == 0 || rc == -EINTR);
	}
}

#define UNTIL(r, cond)                                                                             \
	do {                                                                                       \
		while (!(cond))                                                                    \
			run_for(r, 200000);                                                        \
	} while (0)

static void start(struct rig *r)
{
	const struct vm_host host = { .ended = on_ended, .ctx = r };
	static int turn; /* both backends, one after the other */
	struct err e = { 0 };

	*r = (struct rig){ .timer.done = on_timer };
	fake_kvm();
	cr_assert(eq(int, vm_new(&config, &r->t, &r->vm, &e), 0), "%s", e.text);
	r->l = t_loop_new(turn++ % 2);
	if (!r->l)
		r->l = t_loop_new(0);
	cr_assert(eq(int, vm_start(r->vm, r->l, &host, &t_no_console, &e), 0), "%s", e.text);
}

static void stop(struct rig *r)
{
	vm_free(r->vm);
	run_for(r, 1000000);
	loop_free(r->l);
}

static void pause_it(struct rig *r)
{
	unsigned before = r->paused;

	vm_pause(r->vm, on_paused, r);
	UNTIL(r, r->paused == before + 1);
}

static struct vm_state *save(struct rig *r)
{
	struct vm_state *s = vm_state_new(r->vm->cfg.cpus);
	struct err e = { 0 };

	t_true(s);
	cr_assert(eq(int, vm_save(r->vm, s, &e), 0), "%s", e.text);
	return s;
}

/* A machine that ran and was saved, with marks by which its vCPUs are known again. */
static struct vm_state *saved(unsigned cpus, bool has_disk)
{
	struct vm_state *s;
	struct rig r;

	boot_config();
	config.cpus = cpus;
	if (has_disk)
		add_disk();
	start(&r);
	UNTIL(&r, runs >= cpus);
	pause_it(&r);
	s = save(&r);
	stop(&r);
	for (unsigned i = 0; i < cpus; i++) {
		struct cpu_state *c = &s->cpu[i];

		c->regs.rip = RIP + i;
		memset(&c->lapic, (int)(0x10 + i), sizeof(c->lapic));
		memset(&c->events, (int)(0x20 + i), sizeof(c->events));
		memset(c->xsave, (int)(0x30 + i), c->xsave_len);
		c->mp_state.mp_state = i;
		c->msr[c->nmsrs++] = (struct kvm_msr_entry){ .index = 0x175, .data = 0x40 + i };
	}
	memset(&s->chips.irqchip[2].chip, 0x55, sizeof(s->chips.irqchip[2].chip));
	s->chips.pit.channels[0].count = 1234;
	state_config(s);
	if (has_disk)
		add_disk();
	return s;
}

static const struct t_vcpu *vcpu_at(uint64_t rip)
{
	for (unsigned i = 0; i < t_kvm.nvcpus; i++) {
		if (t_kvm.vcpu[i].regs.rip == rip)
			return &t_kvm.vcpu[i];
	}
	cr_fatal("no vCPU is at 0x%llx", (unsigned long long)rip);
	return NULL;
}

static uint64_t msr_of(const struct t_vcpu *v, uint32_t index)
{
	for (unsigned i = 0; i < v->nkept; i++) {
		if (v->kept[i].index == index)
			return v->kept[i].data;
	}
	return UINT64_MAX;
}

static uint64_t saved_msr(const struct cpu_state *s, uint32_t index)
{
	for (unsigned i = 0; i < s->nmsrs; i++) {
		if (s->msr[i].index == index)
			return s->msr[i].data;
	}
	return UINT64_MAX;
}

/* --- saving --- */

Test(vm_state, only_a_machine_that_is_paused_can_be_saved)
{
	struct vm_state *s = vm_state_new(1);
	struct err e = { 0 };
	struct rig r;

	start(&r);
	t_int(vm_save(r.vm, s, &e), -EBUSY);
	t_has(e.text, "paused");
	pause_it(&r);
	t_int(vm_save(r.vm, s, NULL), 0);
	vm_resume(r.vm);
	t_int(vm_save(r.vm, s, NULL), -EBUSY);
	pause_it(&r);
	vm_stop(r.vm, VM_STOPPED, "enough");
	t_int(vm_save(r.vm, s, NULL), -EBUSY);
	vm_quiet(r.vm);
	t_int(vm_save(r.vm, s, NULL), -EBUSY);
	stop(&r);
	vm_state_free(s);
}

Test(vm_state, a_saved_machine_is_described_and_goes_on_as_before)
{
	struct vm_state *s;
	struct rig r;
	unsigned before;

	config.cpus = 4;
	config.smt = true;
	config.has_boot_timer = true;
	config.pages = MEM_PAGES_4K;
	add_disk();
	start(&r);
	UNTIL(&r, runs >= 4);
	pause_it(&r);
	s = save(&r);
	t_uint(s->mem_size, 32 * MIB);
	t_int(s->pages, MEM_PAGES_4K);
	t_true(s->smt && s->has_boot_timer);
	t_uint(s->cpus, 4);
	t_uint(s->ndevices, 1);
	t_uint(s->device[0].type, 2);
	t_true(s->cpuid.head.nent > 3);
	t_int(memcmp(s->cpuid.entry, r.vm->group.cpuid.entry,
		      s->cpuid.head.nent * sizeof(s->cpuid.entry[0])),
		0);
	t_uint(s->cpu[0].tsc_khz, KHZ);
	t_true(s->clock.realtime_ns > 0);
	before = runs;
	vm_resume(r.vm);
	UNTIL(&r, runs >= before + 4);
	stop(&r);
	vm_state_free(s);
	T_NO_LEAKS();
}

static void fail_each_step_of_a_save(unsigned cpus)
{
	unsigned step = 0;
	int rc = -1;

	config.cpus = cpus;
	while (rc < 0 && step < 200) {
		struct vm_state *s = vm_state_new(cpus);
		struct err e = { 0 };
		struct rig r;
		unsigned before;

		start(&r);
		pause_it(&r);
		t_kvm.fail_errno = EIO;
		t_kvm.fail_step = ++step;
		t_kvm_count(true);
		rc = vm_save(r.vm, s, &e);
		t_kvm_count(false);
		cr_expect(eq(int, e.code, rc), "step %u", step);
		/* The machine is none the worse. */
		before = runs;
		vm_resume(r.vm);
		UNTIL(&r, runs >= before + cpus);
		stop(&r);
		vm_state_free(s);
	}
	t_int(rc, 0);
	t_true(step > 6 + 9 * cpus);
	T_NO_LEAKS();
}

Test(vm_state, every_step_of_a_save_that_fails_is_an_error_and_the_machine_goes_on)
{
	fail_each_step_of_a_save(1);
	fail_each_step_of_a_save(3);
}

/* --- going on --- */

static void expect_loaded(const struct vm_state *s)
{
	for (unsigned i = 0; i < s->cpus; i++) {
		const struct t_vcpu *v = vcpu_at(RIP + i);
		const struct cpu_state *c = &s->cpu[i];

		t_int(memcmp(&v->sregs, &c->sregs, sizeof(c->sregs)), 0);
		t_int(memcmp(&v->lapic, &c->lapic, sizeof(c->lapic)), 0);
		t_int(memcmp(&v->events, &c->events, sizeof(c->events)), 0);
		t_int(memcmp(v->xsave, c->xsave, c->xsave_len), 0);
		t_uint(v->mp_state.mp_state, i);
		t_uint(msr_of(v, 0x175), 0x40 + i);
	}
	t_int(memcmp(&t_kvm.irqchip[2].chip, &s->chips.irqchip[2].chip, 512), 0);
	t_uint(t_kvm.pit_state.channels[0].count, 1234);
}

static void expect_order(unsigned cpus)
{
	t_int(t_kvm_position(KVM_GET_SUPPORTED_CPUID), -1);
	t_true(t_kvm_position(KVM_SET_USER_MEMORY_REGION) < t_kvm_position(KVM_CREATE_IRQCHIP));
	t_true(t_kvm_position(KVM_CREATE_IRQCHIP) < t_kvm_position(KVM_SET_IRQCHIP));
	t_true(t_kvm_position(KVM_CREATE_PIT2) < t_kvm_position(KVM_SET_PIT2));
	t_true(t_kvm_position(KVM_SET_CLOCK) < t_kvm_position(KVM_SET_MSRS));
	t_true(t_kvm_position(KVM_SET_CPUID2) < t_kvm_position(KVM_SET_SREGS));
	t_true(t_kvm_last_position(KVM_SET_LAPIC) < t_kvm_position(KVM_IRQ_LINE));
	t_true(t_kvm_last_position(KVM_SET_IRQCHIP) < t_kvm_position(KVM_IRQ_LINE));
	t_uint(t_kvm_calls(KVM_SET_CPUID2), cpus);
	t_uint(t_kvm_calls(KVM_SET_CLOCK), 1);
	t_uint(t_kvm_calls(KVM_KVMCLOCK_CTRL), cpus);
}

static void goes_on(unsigned cpus)
{
	struct vm_state *s = saved(cpus, true);
	const uint64_t was[2] = { 0 };
	uint64_t id[2];
	uint32_t word;
	struct rig r;

	start(&r);
	t_uint(filled.calls, 1);
	t_int(r.vm->phase, VM_PAUSED);
	expect_loaded(s);
	run_for(&r, 3000000);
	t_uint(runs, 0);
	t_int(t_kvm_position(KVM_RUN), -1);
	expect_order(cpus);
	t_uint(t_kvm.irq[t_kvm.nirq - 2].irq, LAYOUT_GSI_VMGENID);
	t_int(mem_read(&r.vm->mem, &word, FILLED_AT, sizeof(word)), 0);
	t_hex(word, 0x600dcafe);
	t_int(mem_read(&r.vm->mem, id, LAYOUT_VMGENID, sizeof(id)), 0);
	t_true(memcmp(id, was, sizeof(id)) != 0);
	/* Borrowed no longer. */
	vm_state_free(s);
	t_true(!r.t.us[TIMELINE_ENTERED] && r.t.us[TIMELINE_BUILT]);
	vm_resume(r.vm);
	UNTIL(&r, runs >= cpus);
	t_true(r.t.us[TIMELINE_BUILT] <= r.t.us[TIMELINE_ENTERED]);
	t_uint(t_kvm_calls(KVM_KVMCLOCK_CTRL), cpus);
	pause_it(&r);
	vm_resume(r.vm);
	UNTIL(&r, runs >= 2 * cpus);
	powers_off = true;
	UNTIL(&r, r.ended == 1);
	t_int(vm_end(r.vm, NULL), VM_SHUTDOWN);
	stop(&r);
}

Test(vm_state, a_machine_goes_on_from_its_state_when_it_is_resumed)
{
	static const unsigned cpus[] = { 1, 2, 4, 32 };
	unsigned threads = t_count_threads(), fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++)
		goes_on(cpus[i]);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(vm_state, a_machine_may_go_on_at_once)
{
	static const unsigned cpus[] = { 1, 4 };
	unsigned threads = t_count_threads(), fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct vm_state *s = saved(cpus[i], true);
		struct rig r;

		config.goes_on = true;
		start(&r);
		vm_state_free(s);
		t_int(r.vm->phase, VM_GOING);
		UNTIL(&r, runs >= cpus[i]);
		expect_order(cpus[i]);
		/* The interrupt that announces a new generation comes before the guest can see it.
		 */
		t_true(t_kvm_last_position(KVM_IRQ_LINE) < t_kvm_position(KVM_RUN));
		t_true(r.t.us[TIMELINE_BUILT] <= r.t.us[TIMELINE_ENTERED]);
		pause_it(&r);
		vm_resume(r.vm);
		UNTIL(&r, runs >= 2 * cpus[i]);
		powers_off = true;
		UNTIL(&r, r.ended == 1);
		stop(&r);
	}
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(vm_state, each_boot_has_a_generation_id_too)
{
	const uint64_t zero[2] = { 0 };
	uint64_t id[2][2];

	for (unsigned i = 0; i < 2; i++) {
		struct rig r;

		start(&r);
		t_int(mem_read(&r.vm->mem, id[i], LAYOUT_VMGENID, sizeof(id[i])), 0);
		t_true(memcmp(id[i], zero, sizeof(zero)) != 0);
		stop(&r);
	}
	t_true(memcmp(id[0], id[1], sizeof(id[0])) != 0);
}

Test(vm_state, a_machine_that_was_never_resumed_may_be_saved_again_paused_ended_and_freed)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct vm_state *s = saved(2, true), *again;

	for (unsigned i = 0; i < 4; i++) {
		struct rig r;

		start(&r);
		pause_it(&r);
		again = save(&r);
		t_uint(again->cpuid.head.nent, s->cpuid.head.nent);
		t_int(memcmp(again->cpuid.entry, s->cpuid.entry,
			      s->cpuid.head.nent * sizeof(s->cpuid.entry[0])),
			0);
		for (unsigned k = 0; k < 2; k++) {
			t_uint(again->cpu[k].regs.rip, RIP + k);
			t_int(memcmp(&again->cpu[k].lapic, &s->cpu[k].lapic,
				      sizeof(s->cpu[k].lapic)),
				0);
		}
		t_int(memcmp(&again->device[0], &s->device[0], sizeof(s->device[0])), 0);
		vm_state_free(again);
		if (i == 1)
			vm_quiet(r.vm);
		if (i == 2) {
			vm_stop(r.vm, VM_STOPPED, "enough");
			UNTIL(&r, r.ended == 1);
			vm_resume(r.vm);
			run_for(&r, 1000000);
		}
		t_uint(runs, 0);
		stop(&r);
	}
	vm_state_free(s);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(vm_state, a_machine_may_be_ended_before_it_starts_or_freed_before)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct vm_state *s = saved(4, true);
	struct timeline t = { 0 };
	struct loop *l = NULL;
	struct vm *vm = NULL;

	fake_kvm();
	t_int(vm_new(&config, &t, &vm, NULL), 0);
	vm_free(vm);
	fake_kvm();
	t_int(vm_new(&config, &t, &vm, NULL), 0);
	vm_stop(vm, VM_STOPPED, "changed my mind");
	t_int(loop_new(LOOP_EPOLL, &l, NULL, NULL), 0);
	t_int(vm_start(vm, l, NULL, &t_no_console, NULL), 0);
	t_int(loop_run(l), 0);
	t_int(vm_end(vm, NULL), VM_STOPPED);
	vm_resume(vm);
	t_uint(runs, 0);
	vm_free(vm);
	loop_free(l);
	vm_state_free(s);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

/* --- time --- */

static uint64_t realtime_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

Test(vm_state, the_clock_and_all_tscs_go_on_by_the_same_time)
{
	const uint64_t hour = 3600ULL * 1000000000;
	struct vm_state *s = saved(4, false);
	uint64_t advance, since = realtime_ns();
	struct rig r;

	s->clock.realtime_ns = since - hour;
	s->clock.kvmclock_ns = 5000;
	start(&r);
	advance = t_kvm.clock.clock - 5000;
	t_true(advance >= hour && advance <= hour + realtime_ns() - since);
	t_uint(t_kvm.clock.flags, 0);
	for (unsigned i = 0; i < 4; i++)
		t_uint(msr_of(vcpu_at(RIP + i), TSC) - saved_msr(&s->cpu[i], TSC),
			(uint64_t)((unsigned __int128)advance * KHZ / 1000000));
	stop(&r);
	vm_state_free(s);
}

static void expect_no_advance(const struct vm_state *s)
{
	struct rig r;

	start(&r);
	t_uint(t_kvm.clock.clock, s->clock.kvmclock_ns);
	t_uint(msr_of(vcpu_at(RIP), TSC), saved_msr(&s->cpu[0], TSC));
	stop(&r);
}

Test(vm_state, a_clock_that_is_held_and_one_that_was_set_back_go_on_where_they_stood)
{
	struct vm_state *s = saved(1, false);

	s->clock.kvmclock_ns = 777;
	config.holds_clock = true;
	expect_no_advance(s);
	config.holds_clock = false;
	s->clock.realtime_ns = realtime_ns() + 3600ULL * 1000000000;
	expect_no_advance(s);
	vm_state_free(s);
}

/* --- written pages --- */

Test(vm_state, written_pages_are_noted_where_that_was_asked_for)
{
	struct vm_state *s = saved(1, false);
	uint64_t bits[32 * MIB / MEM_PAGE_SIZE / 64] = { 0 };
	struct rig r;

	start(&r);
	t_true(!r.vm->mem.dirty);
	t_uint(t_kvm.slot[0].flags, 0);
	stop(&r);
	config.track_dirty = true;
	start(&r);
	t_true(r.vm->mem.dirty);
	t_uint(t_kvm.slot[0].flags, KVM_MEM_LOG_DIRTY_PAGES);
	mem_take_dirty(&r.vm->mem, bits);
	t_true(bits[LAYOUT_VMGENID / MEM_PAGE_SIZE / 64] >> LAYOUT_VMGENID / MEM_PAGE_SIZE % 64 &
		1);
	stop(&r);
	vm_state_free(s);
	T_NO_LEAKS();
}

/* --- failures --- */

static int try(struct err *e)
{
	struct timeline t = { 0 };
	struct loop *l = NULL;
	struct vm *vm = NULL;
	int rc;

	t_kvm_count(true);
	rc = vm_new(&config, &t, &vm, e);
	if (rc == 0)
		rc = loop_new(LOOP_EPOLL, &l, NULL, e);
	if (rc == 0)
		rc = vm_start(vm, l, NULL, &t_no_console, e);
	t_kvm_count(false);
	if (rc == 0) {
		powers_off = true;
		vm_resume(vm);
		t_int(loop_run(l), 0);
		t_int(vm_end(vm, NULL), VM_SHUTDOWN);
	}
	vm_free(vm);
	loop_free(l);
	return rc;
}

static void fail_each_step(unsigned cpus, int code)
{
	unsigned threads = t_count_threads(), fds, step = 0;
	struct vm_state *s = saved(cpus, true);
	int rc = -1;

	config.track_dirty = true;
	fds = t_count_fds();
	while (rc < 0 && step < 500) {
		struct err e = { 0 };

		fake_kvm();
		t_kvm.fail_errno = code;
		t_kvm.fail_step = ++step;
		rc = try(&e);
		cr_expect(eq(int, e.code, rc), "step %u", step);
		cr_expect(rc == 0 || strlen(e.text) > 10, "step %u", step);
		cr_expect(
			eq(uint, t_settled_threads(threads), threads), "step %u: %s", step, e.text);
		cr_expect(eq(uint, t_count_fds(), fds), "step %u: %s", step, e.text);
	}
	t_int(rc, 0);
	t_true(step > 30 + 14 * cpus);
	vm_state_free(s);
	T_NO_LEAKS();
}

Test(vm_state, every_step_of_one_cpu_that_fails_is_an_error_and_leaves_nothing)
{
	fail_each_step(1, ENOMEM);
}

Test(vm_state, every_step_of_four_cpus_that_fails_is_an_error_and_leaves_nothing)
{
	fail_each_step(4, EIO);
}

static void expect_failure(int code, const char *words)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct err e = { 0 };

	t_int(try(&e), code);
	t_int(e.code, code);
	t_has(e.text, words);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(vm_state, what_does_not_fit_this_machine_or_host_is_an_error_and_leaves_nothing)
{
	struct vm_state *s = saved(2, true);

	fake_kvm();
	filled.code = -ENODATA;
	expect_failure(-ENODATA, "the memory file is gone");
	fake_kvm();
	random_fails = true;
	expect_failure(-ENOSYS, "random");
	random_fails = false;
	fake_kvm();
	t_kvm.odd_msr[0] = 0x175;
	expect_failure(-EOPNOTSUPP, "MSR 0x175");
	fake_kvm();
	t_kvm.tsc_khz = KHZ / 2;
	expect_failure(-EOPNOTSUPP, "kHz");
	fake_kvm();
	s->serial.count = SERIAL_FIFO + 1;
	expect_failure(-EBADMSG, "serial");
	s->serial.count = 0;
	fake_kvm();
	s->i8042.count = I8042_QUEUE + 1;
	expect_failure(-EBADMSG, "keyboard");
	s->i8042.count = 0;
	fake_kvm();
	s->device[0].type = 77;
	t_true(try(NULL) < 0);
	vm_state_free(s);
	T_NO_LEAKS();
}

Test(vm_state, each_vcpus_error_says_whose_it_is)
{
	struct vm_state *s = saved(1, false);

	fake_kvm();
	t_kvm.odd_msr[0] = 0x175;
	expect_failure(-EOPNOTSUPP, "vCPU 0: ");
	vm_state_free(s);
}
