/* A machine from vm_new() to vm_free(), on a KVM that is not there: what it tells KVM, and what is
 * left after a failure. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/log.h"
#include "t_image.h"
#include "t_machine.h"
#include "vm.h"
#include "x86/layout.h"

static void setup(void);

TestSuite(vm, .timeout = T_SECONDS, .init = setup);

#define MIB (1ULL << 20)

static struct t_file file;
static char kernel[64];
static struct vm_config config;

static void setup(void)
{
	t_kvm_init();
	t_quiet();
	t_elf_kernel(&file);
	t_true(t_file_open(&file, kernel) >= 0);
	config_init(&config);
	config.kvm_path = T_KVM_PATH;
	config.kernel = kernel;
	config.mem_size = 32 * MIB;
}

static void run_machine(struct t_outcome *o)
{
	t_machine_run(o, &config, LOOP_EPOLL, NULL);
}

/* The boot CPU ends the machine; the others are in the guest until they are kicked. */
static bool is_boot(const struct t_vcpu *v)
{
	return v->has_regs;
}

static int power_off(struct t_vcpu *v)
{
	return is_boot(v) ? t_machine_out(v, LAYOUT_ACPI_PM, 0x34) : t_machine_wait(v);
}

static int reset(struct t_vcpu *v)
{
	return is_boot(v) ? t_machine_out(v, LAYOUT_I8042_COMMAND, 0xfe) : t_machine_wait(v);
}

static int triple_fault(struct t_vcpu *v)
{
	v->run->exit_reason = KVM_EXIT_SHUTDOWN;
	return 0;
}

static int run_fails(struct t_vcpu *v)
{
	(void)v;
	return -EFAULT;
}

static int interrupted_then_off(struct t_vcpu *v)
{
	static _Atomic unsigned calls;

	return ++calls < 5 ? -EINTR : power_off(v);
}

/* --- how machines end --- */

Test(vm, a_guest_that_does_something_ends_its_machine_and_the_reason_is_told)
{
	static const struct {
		const char *name;
		int (*guest)(struct t_vcpu *v);
		enum vm_end end;
		const char *why;
	} rows[] = {
		{ "power off", power_off, VM_SHUTDOWN, "ACPI power-off" },
		{ "reset", reset, VM_RESET, "i8042" },
		{ "triple fault", triple_fault, VM_CRASHED, "triple fault" },
		{ "KVM_RUN fails", run_fails, VM_FAILED, "guest memory" },
		{ "interruptions", interrupted_then_off, VM_SHUTDOWN, "ACPI" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct t_outcome o;

		t_kvm_init();
		t_kvm.on_run = rows[i].guest;
		run_machine(&o);
		cr_expect(eq(int, o.rc, 0), "row '%s': %s", rows[i].name, o.e.text);
		t_row_int(rows[i].name, o.end, rows[i].end);
		t_row_has(rows[i].name, o.why, rows[i].why);
	}
}

Test(vm, machines_of_any_number_of_cpus_run_and_end)
{
	static const unsigned cpus[] = { 1, 2, 3, 8, 32 };

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct t_outcome o;

		t_kvm_init();
		t_kvm.on_run = power_off;
		config.cpus = cpus[i];
		run_machine(&o);
		cr_expect(eq(int, o.rc, 0), "%u CPUs: %s", cpus[i], o.e.text);
		cr_expect(eq(int, (int)o.end, VM_SHUTDOWN), "%u CPUs", cpus[i]);
		cr_expect(eq(uint, t_kvm.nvcpus, cpus[i]));
		cr_expect(eq(uint, t_kvm_calls(KVM_SET_CPUID2), cpus[i]));
	}
}

static void on_timeout(struct loop_op *op, int res)
{
	(void)res;
	loop_stop(op->loop);
}

static void run_for(struct loop *l, uint64_t ns)
{
	struct loop_op op = { .done = on_timeout };

	loop_timeout(l, &op, ns);
	t_int(loop_run(l), 0);
}

Test(vm, a_running_machine_may_be_ended_from_outside_and_the_first_reason_wins)
{
	struct timeline t = { 0 };
	struct loop *l = NULL;
	struct vm *vm = NULL;
	char why[VM_WHY_MAX];

	config.cpus = 2;
	t_int(vm_new(&config, &t, &vm, NULL), 0);
	t_int(loop_new(LOOP_EPOLL, &l, NULL, NULL), 0);
	t_int(vm_start(vm, l, NULL, &t_no_console, NULL), 0);
	t_int(vm_end(vm, NULL), VM_RUNNING);
	vm_stop(vm, VM_STOPPED, "because");
	vm_stop(vm, VM_CRASHED, "too late");
	t_int(loop_run(l), 0);
	t_int(vm_end(vm, why), VM_STOPPED);
	t_str(why, "because");
	vm_free(vm);
	loop_free(l);
	T_NO_LEAKS();
}

Test(vm, a_machine_that_runs_may_be_freed)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct timeline t = { 0 };
	struct loop *l = NULL;
	struct vm *vm = NULL;

	config.cpus = 3;
	t_int(vm_new(&config, &t, &vm, NULL), 0);
	t_int(loop_new(LOOP_EPOLL, &l, NULL, NULL), 0);
	t_int(vm_start(vm, l, NULL, &t_no_console, NULL), 0);
	run_for(l, 1000000);
	vm_free(vm);
	loop_free(l);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
}

Test(vm, a_machine_that_never_ran_may_be_freed)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct timeline t = { 0 };
	struct vm *vm = NULL;

	config.cpus = 8;
	t_int(vm_new(&config, &t, &vm, NULL), 0);
	vm_free(vm);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	vm_free(NULL);
	T_NO_LEAKS();
}

Test(vm, a_machine_may_be_ended_before_it_starts)
{
	struct timeline t = { 0 };
	struct loop *l = NULL;
	struct vm *vm = NULL;
	char why[VM_WHY_MAX];

	t_int(vm_new(&config, &t, &vm, NULL), 0);
	vm_stop(vm, VM_STOPPED, "changed my mind");
	t_int(loop_new(LOOP_EPOLL, &l, NULL, NULL), 0);
	t_int(vm_start(vm, l, NULL, &t_no_console, NULL), 0);
	t_int(loop_run(l), 0);
	t_int(vm_end(vm, why), VM_STOPPED);
	t_str(why, "changed my mind");
	vm_free(vm);
	loop_free(l);
}

/* --- what KVM is told --- */

Test(vm, memory_slots_come_before_the_interrupt_controllers_and_those_before_vcpus)
{
	struct t_outcome o;

	t_kvm.on_run = power_off;
	run_machine(&o);
	t_int(o.rc, 0);
	t_true(t_kvm_position(KVM_CREATE_VM) < t_kvm_position(KVM_SET_USER_MEMORY_REGION));
	t_true(t_kvm_position(KVM_SET_USER_MEMORY_REGION) < t_kvm_position(KVM_CREATE_IRQCHIP));
	t_true(t_kvm_position(KVM_CREATE_IRQCHIP) < t_kvm_position(KVM_CREATE_VCPU));
	t_true(t_kvm_position(KVM_CREATE_PIT2) < t_kvm_position(KVM_RUN));
	t_true(t_kvm_position(KVM_SET_REGS) < t_kvm_position(KVM_RUN));
	t_true(t_kvm_position(KVM_SET_CPUID2) < t_kvm_position(KVM_RUN));
}

Test(vm, only_the_boot_cpu_has_entry_registers)
{
	struct t_outcome o;
	unsigned entered = 0;

	t_kvm.on_run = power_off;
	config.cpus = 4;
	run_machine(&o);
	t_int(o.rc, 0);
	for (unsigned i = 0; i < t_kvm.nvcpus; i++) {
		const struct t_vcpu *v = &t_kvm.vcpu[i];

		entered += v->has_regs;
		cr_expect(eq(int, v->has_regs, v->has_sregs));
		cr_expect(eq(uint, v->nmsrs, 2), "boot MSRs are everybody's");
		if (v->has_regs)
			cr_expect(eq(u64, v->regs.rip, T_ELF_PVH_ENTRY));
	}
	t_uint(entered, 1);
}

Test(vm, memory_above_the_hole_is_a_slot_of_its_own)
{
	struct t_outcome o;

	t_kvm.on_run = power_off;
	config.mem_size = 4096 * MIB;
	run_machine(&o);
	t_int(o.rc, 0);
	t_uint(t_kvm.nslots, 2);
	t_hex(t_kvm.slot[1].guest_phys_addr, LAYOUT_HOLE_END);
	t_hex(t_kvm.slot[1].memory_size, 1024 * MIB);
}

Test(vm, an_unknown_tsc_frequency_is_no_failure)
{
	struct t_outcome o;

	t_kvm.on_run = power_off;
	t_kvm.tsc_khz = -1;
	run_machine(&o);
	cr_assert(eq(int, o.rc, 0), "%s", o.e.text);
	t_int(o.end, VM_SHUTDOWN);
}

Test(vm, the_timeline_has_its_points_in_order)
{
	struct t_outcome o;

	t_kvm.on_run = power_off;
	run_machine(&o);
	t_int(o.rc, 0);
	t_true(o.t.us[TIMELINE_BUILT] > 0);
	t_true(o.t.us[TIMELINE_BUILT] <= o.t.us[TIMELINE_ENTERED]);
	t_true(o.t.us[TIMELINE_ENTERED] <= o.t.us[TIMELINE_EXITED]);
	t_true(o.t.us[TIMELINE_EXITED] <= o.t.us[TIMELINE_ENDED]);
}

/* --- failures --- */

Test(vm, a_machine_without_kvm_or_kernel_is_an_error_and_leaves_nothing)
{
	static const struct {
		const char *name;
		const char *kvm_path, *kernel, *initrd;
		int code;
	} rows[] = {
		{ "no KVM", "/nonexistent", NULL, NULL, -ENOENT },
		{ "not KVM", "/dev/null", NULL, NULL, -EPROTO },
		{ "no kernel", NULL, "/nonexistent", NULL, -ENOENT },
		{ "kernel is a directory", NULL, "/proc", NULL, -EINVAL },
		{ "no initrd", NULL, NULL, "/nonexistent", -ENOENT },
	};
	unsigned threads = t_count_threads(), fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct t_outcome o;

		t_kvm_init();
		config.cpus = 4;
		config.kvm_path = rows[i].kvm_path ? rows[i].kvm_path : T_KVM_PATH;
		config.kernel = rows[i].kernel ? rows[i].kernel : kernel;
		config.initrd = rows[i].initrd;
		run_machine(&o);
		t_row_int(rows[i].name, o.rc, rows[i].code);
		t_row_int(rows[i].name, o.e.code, rows[i].code);
		t_row_true(rows[i].name, strlen(o.e.text) > 10);
		t_row_int(rows[i].name, t_count_threads(), threads);
		t_row_int(rows[i].name, t_count_fds(), fds);
	}
	T_NO_LEAKS();
}

Test(vm, more_cpuid_leaves_than_there_is_room_for_is_an_error)
{
	struct t_outcome o;

	t_kvm.cpuid_entries = KVM_CPUID_MAX;
	run_machine(&o);
	t_int(o.rc, -EOVERFLOW);
	t_has(o.e.text, "CPUID");
	t_kvm_init();
	t_kvm.cpuid_entries = -1;
	run_machine(&o);
	t_int(o.rc, -E2BIG);
	t_has(o.e.text, "KVM_GET_SUPPORTED_CPUID");
}

Test(vm, a_refused_msr_is_an_error)
{
	struct t_outcome o;

	t_kvm.msrs_refused = 1;
	config.cpus = 2;
	run_machine(&o);
	t_int(o.rc, -EIO);
	t_has(o.e.text, "MSR");
}

/*
 * Fails step 1, 2, 3... of a machine until one is built.  Threads make the order of the steps
 * differ from run to run; whichever it is that fails, the machine must say so and go.
 */
static void fail_each_step(unsigned cpus, int code)
{
	unsigned threads = t_count_threads(), fds = t_count_fds(), step = 0;
	struct t_outcome o = { .rc = -1 };

	config.cpus = cpus;
	while (o.rc < 0 && step < 500) {
		t_kvm_init();
		t_kvm.on_run = power_off;
		t_kvm.fail_errno = code;
		t_kvm.fail_step = ++step;
		run_machine(&o);
		if (o.rc < 0) {
			cr_expect(eq(int, o.e.code, o.rc), "step %u", step);
			cr_expect(gt(sz, strlen(o.e.text), 10), "step %u", step);
		} else {
			cr_expect(eq(int, (int)o.end, VM_SHUTDOWN), "step %u", step);
		}
		cr_expect(eq(uint, t_settled_threads(threads), threads), "step %u: %s", step,
			o.e.text);
		cr_expect(eq(uint, t_count_fds(), fds), "step %u: %s", step, o.e.text);
	}
	t_int(o.rc, 0);
	t_true(step > 30 + 5 * cpus);
	T_NO_LEAKS();
}

Test(vm, every_step_of_one_cpu_that_fails_is_an_error_and_leaves_nothing)
{
	fail_each_step(1, ENOMEM);
}

Test(vm, every_step_of_four_cpus_that_fails_is_an_error_and_leaves_nothing)
{
	fail_each_step(4, EAGAIN);
}
