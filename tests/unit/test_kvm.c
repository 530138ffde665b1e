/* The KVM calls that build a machine. */
#include "t.h"

#include <sys/mman.h>

#include "base/err.h"
#include "core/kvm.h"
#include "t_kvm.h"
#include "x86/layout.h"

TestSuite(kvm, .timeout = T_SECONDS, .init = t_kvm_init);

/* Opens the fake device; a failure must be code, say words, and leave nothing open. */
static void refuses(int code, const char *words)
{
	unsigned fds = t_count_fds();
	struct kvm k;
	struct err e = { 0 };

	t_int(kvm_open(&k, T_KVM_PATH, &e), code);
	t_int(e.code, code);
	t_has(e.text, T_KVM_PATH);
	t_has(e.text, words);
	t_int(k.dev_fd, -1);
	t_int(k.vm_fd, -1);
	t_uint(t_count_fds(), fds);
}

Test(kvm, a_good_device_is_opened)
{
	struct kvm k;
	struct err e = { 0 };

	cr_assert(eq(int, kvm_open(&k, T_KVM_PATH, &e), 0), "%s", e.text);
	t_true(k.dev_fd >= 0);
	t_int(k.vm_fd, -1);
	t_uint(k.run_size, t_kvm.run_size);
	kvm_close(&k);
}

Test(kvm, an_absent_device_is_enoent_with_the_remedy)
{
	t_kvm.open_errno = ENOENT;
	refuses(-ENOENT, "modprobe");
}

Test(kvm, a_forbidden_device_is_eacces_with_the_remedy)
{
	t_kvm.open_errno = EACCES;
	refuses(-EACCES, "group");
}

Test(kvm, another_failure_of_open_is_passed_on)
{
	t_kvm.open_errno = EMFILE;
	refuses(-EMFILE, "doctor");
}

Test(kvm, another_api_version_is_eproto_with_both_numbers)
{
	t_kvm.api_version = 11;
	refuses(-EPROTO, "version 11");
	t_kvm.api_version = 13;
	refuses(-EPROTO, "needs 12");
}

Test(kvm, a_device_that_is_not_kvm_is_eproto)
{
	t_kvm.is_other_device = true;
	refuses(-EPROTO, "not a KVM device");
}

Test(kvm, a_path_that_is_no_device_is_eproto)
{
	struct kvm k;
	struct err e = { 0 };

	t_int(kvm_open(&k, "/dev/null", &e), -EPROTO);
	t_has(e.text, "/dev/null is not a KVM device");
}

Test(kvm, each_required_capability_that_is_missing_is_named)
{
	for (unsigned i = 0; i < kvm_caps_count; i++) {
		struct kvm k;
		struct err e = { 0 };
		int rc;

		t_kvm.missing_cap = kvm_caps[i].number;
		rc = kvm_open(&k, T_KVM_PATH, &e);
		t_row_int(kvm_caps[i].name, rc, kvm_caps[i].required ? -EOPNOTSUPP : 0);
		if (kvm_caps[i].required) {
			t_row_has(kvm_caps[i].name, e.text, kvm_caps[i].name);
			t_row_has(kvm_caps[i].name, e.text, kvm_caps[i].use);
		}
		kvm_close(&k);
	}
}

Test(kvm, a_vcpu_page_that_is_too_small_is_eproto)
{
	t_kvm.run_size = (int)sizeof(struct kvm_run) - 1;
	refuses(-EPROTO, "too small");
	t_kvm.run_size = 0;
	refuses(-EPROTO, "too small");
}

Test(kvm, closing_what_was_never_open_is_allowed_and_twice_too)
{
	struct kvm k = { .dev_fd = -1, .vm_fd = -1 };
	unsigned fds = t_count_fds();

	kvm_close(&k);
	kvm_close(&k);
	t_uint(t_count_fds(), fds);
}

static struct kvm opened(void)
{
	struct kvm k;
	struct err e = { 0 };

	cr_assert(eq(int, kvm_open(&k, T_KVM_PATH, &e), 0), "%s", e.text);
	return k;
}

static struct kvm created(void)
{
	struct kvm k = opened();
	struct err e = { 0 };

	cr_assert(eq(int, kvm_create_vm(&k, LAYOUT_KVM_TSS, &e), 0), "%s", e.text);
	return k;
}

Test(kvm, a_vm_gets_its_tss_address)
{
	struct kvm k = created();

	t_hex(t_kvm.tss, LAYOUT_KVM_TSS);
	kvm_close(&k);
}

Test(kvm, closing_a_vm_closes_both_descriptors)
{
	unsigned fds = t_count_fds();
	struct kvm k = created();

	t_uint(t_count_fds(), fds + 2);
	kvm_close(&k);
	t_uint(t_count_fds(), fds);
	t_int(k.vm_fd, -1);
}

Test(kvm, an_interrupted_creation_is_tried_again)
{
	struct kvm k = opened();
	struct err e = { 0 };

	t_kvm.fail_step = 1;
	t_kvm.fail_errno = EINTR;
	t_kvm_count(true);
	cr_assert(eq(int, kvm_create_vm(&k, LAYOUT_KVM_TSS, &e), 0), "%s", e.text);
	t_uint(t_kvm_calls(KVM_CREATE_VM), 2);
	kvm_close(&k);
}

Test(kvm, memory_becomes_one_slot_for_each_region_in_order)
{
	struct kvm k = created();
	struct guest_mem m;

	t_mem_init(&m, 6ULL << 30);
	t_int(kvm_set_memory(&k, &m, false, NULL), 0);
	t_uint(t_kvm.nslots, 2);
	for (unsigned i = 0; i < 2; i++) {
		cr_expect(eq(u32, t_kvm.slot[i].slot, i));
		cr_expect(eq(u32, t_kvm.slot[i].flags, 0));
		cr_expect(eq(u64, t_kvm.slot[i].guest_phys_addr, m.r[i].gpa));
		cr_expect(eq(u64, t_kvm.slot[i].memory_size, m.r[i].len));
		cr_expect(eq(u64, t_kvm.slot[i].userspace_addr, (uintptr_t)m.r[i].hva));
	}
	guest_mem_fini(&m);
	kvm_close(&k);
}

Test(kvm, the_timer_comes_with_the_dummy_speaker_port)
{
	struct kvm k = created();

	t_int(kvm_create_irqchip(&k, NULL), 0);
	t_int(kvm_create_pit(&k, NULL), 0);
	t_uint(t_kvm.pit.flags, KVM_PIT_SPEAKER_DUMMY);
	t_true(t_kvm_position(KVM_CREATE_IRQCHIP) < t_kvm_position(KVM_CREATE_PIT2));
	kvm_close(&k);
}

Test(kvm, the_supported_cpuid_is_asked_with_room_for_all)
{
	struct kvm k = opened();
	struct cpuid_table table;

	t_int(kvm_get_supported_cpuid(&k, &table, NULL), 0);
	t_uint(table.head.nent, 3);
	kvm_close(&k);
}

Test(kvm, a_vcpu_comes_with_its_shared_page)
{
	struct kvm k = created();
	struct kvm_run *run = NULL;
	int fd = -1;

	t_int(kvm_create_vcpu(&k, 0, &fd, &run, NULL), 0);
	run->immediate_exit = 1;
	t_uint(t_kvm.vcpu[0].run->immediate_exit, 1);
	(void)munmap(run, k.run_size);
	(void)close(fd);
	kvm_close(&k);
}

Test(kvm, a_kick_is_a_write_of_one_value_at_one_address_and_no_other)
{
	struct kvm k = created();

	t_int(kvm_add_ioeventfd(&k, 0xc0001050, 4, 2, 77, NULL), 0);
	t_uint(t_kvm.nioeventfds, 1);
	t_hex(t_kvm.ioeventfd[0].addr, 0xc0001050);
	t_uint(t_kvm.ioeventfd[0].len, 4);
	t_uint(t_kvm.ioeventfd[0].datamatch, 2);
	t_int(t_kvm.ioeventfd[0].fd, 77);
	/* Memory-mapped, and kept. */
	t_hex(t_kvm.ioeventfd[0].flags, KVM_IOEVENTFD_FLAG_DATAMATCH);
	kvm_close(&k);
}

Test(kvm, an_interrupt_is_an_edge_of_its_pin)
{
	struct kvm k = created();

	t_int(kvm_add_irqfd(&k, 23, 78, NULL), 0);
	t_uint(t_kvm.nirqfds, 1);
	t_uint(t_kvm.irqfd[0].gsi, 23);
	t_int(t_kvm.irqfd[0].fd, 78);
	t_hex(t_kvm.irqfd[0].flags, 0); /* no resampling, not taken away */
	kvm_close(&k);
}

Test(kvm, eventfds_that_kvm_refuses_are_errors_that_name_the_place)
{
	struct kvm k = created();
	struct err e = { 0 };

	t_kvm.fail_errno = ENOSPC;
	t_kvm.fail_step = 1;
	t_kvm_count(true);
	t_int(kvm_add_ioeventfd(&k, 0xc0001050, 4, 0, 3, &e), -ENOSPC);
	t_has(e.text, "KVM_IOEVENTFD");
	t_has(e.text, "0xc0001050");
	t_kvm.fail_errno = EBUSY;
	t_kvm.fail_step = 1;
	t_kvm_count(true);
	t_int(kvm_add_irqfd(&k, 23, 3, &e), -EBUSY);
	t_has(e.text, "KVM_IRQFD");
	t_has(e.text, "GSI 23");
	t_kvm_count(false);
	t_uint(t_kvm.nioeventfds + t_kvm.nirqfds, 0);
	kvm_close(&k);
}

/* Everything from open to the vCPU; the caller looks at what is left. */
static int build(struct kvm *k, struct guest_mem *m, int *fd, struct kvm_run **run, struct err *e)
{
	struct cpuid_table table;
	int rc = kvm_open(k, T_KVM_PATH, e);

	if (rc == 0)
		rc = kvm_create_vm(k, LAYOUT_KVM_TSS, e);
	if (rc == 0)
		rc = kvm_set_memory(k, m, false, e);
	if (rc == 0)
		rc = kvm_create_irqchip(k, e);
	if (rc == 0)
		rc = kvm_create_pit(k, e);
	if (rc == 0)
		rc = kvm_get_supported_cpuid(k, &table, e);
	return rc == 0 ? kvm_create_vcpu(k, 3, fd, run, e) : rc;
}

Test(kvm, every_step_that_fails_is_an_error_with_words_and_leaves_nothing_open)
{
	unsigned fds = t_count_fds(), step = 0;
	struct guest_mem m;
	int rc = -1;

	t_mem_init(&m, 16ULL << 20);
	while (rc < 0 && step < 200) {
		struct kvm k = { .dev_fd = -1, .vm_fd = -1 };
		struct kvm_run *run = NULL;
		struct err e = { 0 };
		int fd = -1;

		t_kvm_init();
		t_kvm.fail_step = ++step;
		t_kvm_count(true);
		rc = build(&k, &m, &fd, &run, &e);
		t_kvm_count(false);
		if (rc < 0) {
			cr_expect(eq(int, e.code, rc), "step %u", step);
			cr_expect(gt(sz, strlen(e.text), 10), "step %u", step);
			cr_expect(eq(int, fd, -1), "step %u: an untouched descriptor", step);
			cr_expect(eq(ptr, run, NULL), "step %u: an untouched page", step);
		} else {
			(void)munmap(run, k.run_size);
			(void)close(fd);
		}
		kvm_close(&k);
		cr_expect(eq(uint, t_count_fds(), fds), "step %u", step);
	}
	t_int(rc, 0);
	t_true(step > 15);
	guest_mem_fini(&m);
	T_NO_LEAKS();
}
