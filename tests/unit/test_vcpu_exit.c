/* What KVM_RUN comes back with, on a struct kvm_run made by hand. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/log.h"
#include "vcpu.h"

TestSuite(vcpu_exit, .timeout = T_SECONDS);

enum { PORT = 0x3f8, DATA_AT = 4096 };
#define MMIO_BASE 0xc0001000ULL

/* A vCPU without KVM, a device on each bus, and what the machine was told. */
struct rig {
	struct vcpu v;
	struct vcpu_group g;
	struct bus pio, mmio;
	union {
		struct kvm_run run;
		uint8_t bytes[2 * 4096];
	} page;
	unsigned reads, writes;
	uint64_t off[64];
	uint32_t len;
	uint8_t data[64];
	unsigned ends;
	enum vm_end end;
	char why[512];
	int log_fd;
};

static void dev_read(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	struct rig *r = dev;

	r->off[r->reads % 64] = off;
	r->len = len;
	r->reads++;
	memset(buf, (int)r->reads, len);
}

static void dev_write(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct rig *r = dev;

	r->off[r->writes % 64] = off;
	r->len = len;
	memcpy(r->data + (size_t)(r->writes * len) % 56, buf, len);
	r->writes++;
}

static const struct bus_ops dev_ops = { .read = dev_read, .write = dev_write };

static void on_ended(void *ctx, enum vm_end end, const char *why)
{
	struct rig *r = ctx;

	r->ends++;
	r->end = end;
	(void)snprintf(r->why, sizeof(r->why), "%s", why);
}

static struct rig rig;

static struct rig *setup(void)
{
	memset(&rig, 0, sizeof(rig));
	rig.v.group = &rig.g;
	rig.v.id = 3;
	rig.v.fd = -1;
	rig.v.run = &rig.page.run;
	rig.g.pio = &rig.pio;
	rig.g.mmio = &rig.mmio;
	rig.g.ended = on_ended;
	rig.g.ctx = &rig;
	t_int(bus_add(&rig.pio, PORT, 8, &dev_ops, &rig), 0);
	t_int(bus_add(&rig.mmio, MMIO_BASE, 0x1000, &dev_ops, &rig), 0);
	rig.log_fd = memfd_create("log", MFD_CLOEXEC);
	log_init(LOG_DEBUG, rig.log_fd);
	return &rig;
}

static const char *logged(struct rig *r)
{
	static char text[8192];
	ssize_t n = pread(r->log_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The machine has ended like this, with this in its reason. */
static void ended(const struct rig *r, enum vm_end end, const char *words)
{
	t_uint(r->ends, 1);
	t_int(r->end, end);
	t_has(r->why, words);
}

/* --- port I/O --- */

static uint8_t *io(struct rig *r, bool is_in, uint16_t port, uint8_t size, uint32_t count)
{
	r->page.run.exit_reason = KVM_EXIT_IO;
	r->page.run.io.direction = is_in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
	r->page.run.io.port = port;
	r->page.run.io.size = size;
	r->page.run.io.count = count;
	r->page.run.io.data_offset = DATA_AT;
	return r->page.bytes + DATA_AT;
}

Test(vcpu_exit, a_port_write_reaches_the_device)
{
	struct rig *r = setup();
	uint8_t *data = io(r, false, PORT + 2, 1, 1);

	data[0] = 0x5a;
	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->writes, 1);
	t_uint(r->off[0], 2);
	t_uint(r->len, 1);
	t_hex(r->data[0], 0x5a);
	t_uint(r->ends, 0);
}

Test(vcpu_exit, a_port_read_is_answered_by_the_device)
{
	struct rig *r = setup();
	uint8_t *data = io(r, true, PORT + 4, 4, 1);

	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->reads, 1);
	t_uint(r->off[0], 4);
	t_uint(r->len, 4);
	t_int(memcmp(data, "\1\1\1\1\0", 5), 0);
}

Test(vcpu_exit, a_string_write_is_one_access_for_each_element_at_the_same_port)
{
	struct rig *r = setup();
	uint8_t *data = io(r, false, PORT, 2, 5);

	for (unsigned i = 0; i < 10; i++)
		data[i] = (uint8_t)(i + 1);
	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->writes, 5);
	for (unsigned i = 0; i < 5; i++)
		cr_expect(eq(u64, r->off[i], 0));
	t_int(memcmp(r->data, "\1\2\3\4\5\6\7\10\11\12", 10), 0);
}

Test(vcpu_exit, a_string_read_fills_element_after_element)
{
	struct rig *r = setup();
	uint8_t *data = io(r, true, PORT, 1, 6);

	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->reads, 6);
	t_int(memcmp(data, "\1\2\3\4\5\6\0", 7), 0);
}

Test(vcpu_exit, an_unclaimed_port_floats_and_swallows)
{
	struct rig *r = setup();
	uint8_t *data = io(r, true, 0x1234, 4, 2);

	t_true(vcpu_handle_exit(&r->v));
	t_int(memcmp(data, "\xff\xff\xff\xff\xff\xff\xff\xff\0", 9), 0);
	(void)io(r, false, 0x1234, 1, 1);
	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->reads + r->writes + r->ends, 0);
	t_has(logged(r), "0x1234");
}

Test(vcpu_exit, unclaimed_ports_cannot_flood_the_log)
{
	struct rig *r = setup();
	unsigned lines = 0;

	for (unsigned i = 0; i < 1000; i++) {
		(void)io(r, false, 0x1234, 1, 4);
		t_true(vcpu_handle_exit(&r->v));
	}
	for (const char *at = logged(r); (at = strchr(at, '\n')); at++)
		lines++;
	t_true(lines > 0 && lines <= 2 * LOG_BURST + 1);
}

/* --- memory-mapped I/O --- */

static uint8_t *mmio(struct rig *r, bool is_write, uint64_t addr, uint32_t len)
{
	r->page.run.exit_reason = KVM_EXIT_MMIO;
	r->page.run.mmio.is_write = is_write;
	r->page.run.mmio.phys_addr = addr;
	r->page.run.mmio.len = len;
	return r->page.run.mmio.data;
}

Test(vcpu_exit, memory_accesses_of_every_width_reach_the_device)
{
	static const uint32_t widths[] = { 1, 2, 4, 8 };

	for (unsigned i = 0; i < ARRAY_SIZE(widths); i++) {
		struct rig *r = setup();
		uint8_t *data = mmio(r, true, MMIO_BASE + 0x70, widths[i]);

		for (unsigned k = 0; k < 8; k++)
			data[k] = (uint8_t)('a' + k);
		t_true(vcpu_handle_exit(&r->v));
		cr_expect(eq(uint, r->writes, 1));
		cr_expect(eq(u64, r->off[0], 0x70));
		cr_expect(eq(u32, r->len, widths[i]));
		cr_expect(eq(int, memcmp(r->data, "abcdefgh", widths[i]), 0));

		data = mmio(r, false, MMIO_BASE + 8, widths[i]);
		t_true(vcpu_handle_exit(&r->v));
		cr_expect(eq(uint, r->reads, 1));
		cr_expect(eq(u8, data[widths[i] - 1], 1));
	}
}

Test(vcpu_exit, unclaimed_memory_floats_and_swallows)
{
	struct rig *r = setup();
	uint8_t *data = mmio(r, false, 0xd0000000, 8);

	t_true(vcpu_handle_exit(&r->v));
	t_int(memcmp(data, "\xff\xff\xff\xff\xff\xff\xff\xff", 8), 0);
	(void)mmio(r, true, UINT64_MAX, 8);
	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->reads + r->writes + r->ends, 0);
}

Test(vcpu_exit, a_memory_access_wider_than_its_data_is_kvms_mistake_and_ends_the_machine)
{
	struct rig *r = setup();

	(void)mmio(r, true, MMIO_BASE, 9);
	t_false(vcpu_handle_exit(&r->v));
	ended(r, VM_FAILED, "9 bytes");
	t_uint(r->writes, 0);
}

/* --- the end --- */

Test(vcpu_exit, an_interruption_goes_on)
{
	struct rig *r = setup();

	r->page.run.exit_reason = KVM_EXIT_INTR;
	t_true(vcpu_handle_exit(&r->v));
	t_uint(r->ends, 0);
}

Test(vcpu_exit, a_triple_fault_is_a_crash_that_names_the_vcpu)
{
	struct rig *r = setup();

	r->page.run.exit_reason = KVM_EXIT_SHUTDOWN;
	t_false(vcpu_handle_exit(&r->v));
	ended(r, VM_CRASHED, "triple fault");
	t_has(r->why, "vCPU 3");
}

Test(vcpu_exit, a_state_that_the_cpu_refuses_is_a_crash_with_its_reason)
{
	struct rig *r = setup();

	r->page.run.exit_reason = KVM_EXIT_FAIL_ENTRY;
	r->page.run.fail_entry.hardware_entry_failure_reason = 0x80000021;
	t_false(vcpu_handle_exit(&r->v));
	ended(r, VM_CRASHED, "0x80000021");
}

Test(vcpu_exit, internal_errors_are_crashes_with_their_kind)
{
	static const struct {
		uint32_t suberror;
		const char *words;
	} rows[] = {
		{ KVM_INTERNAL_ERROR_EMULATION, "cannot execute" },
		{ KVM_INTERNAL_ERROR_SIMUL_EX, "exception" },
		{ KVM_INTERNAL_ERROR_DELIVERY_EV, "exception" },
		{ KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON, "INTERNAL_ERROR 4" },
		{ 77, "INTERNAL_ERROR 77" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig *r = setup();

		r->page.run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
		r->page.run.internal.suberror = rows[i].suberror;
		t_row_int(rows[i].words, vcpu_handle_exit(&r->v), false);
		t_row_int(rows[i].words, r->end, VM_CRASHED);
		t_row_has(rows[i].words, r->why, rows[i].words);
	}
}

Test(vcpu_exit, system_events_end_the_machine_as_they_say)
{
	static const struct {
		const char *name;
		uint32_t type;
		enum vm_end end;
	} rows[] = {
		{ "shutdown", KVM_SYSTEM_EVENT_SHUTDOWN, VM_SHUTDOWN },
		{ "reset", KVM_SYSTEM_EVENT_RESET, VM_RESET },
		{ "crash", KVM_SYSTEM_EVENT_CRASH, VM_CRASHED },
		{ "unknown", 99, VM_CRASHED },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig *r = setup();

		r->page.run.exit_reason = KVM_EXIT_SYSTEM_EVENT;
		r->page.run.system_event.type = rows[i].type;
		t_row_int(rows[i].name, vcpu_handle_exit(&r->v), false);
		t_row_int(rows[i].name, r->ends, 1);
		t_row_int(rows[i].name, r->end, rows[i].end);
	}
}

Test(vcpu_exit, every_reason_is_handled_or_ends_the_machine_with_its_number)
{
	for (uint32_t reason = 0; reason <= 64; reason++) {
		struct rig *r = setup();
		bool goes_on =
			reason == KVM_EXIT_IO || reason == KVM_EXIT_MMIO || reason == KVM_EXIT_INTR;
		char number[16];

		r->page.run.exit_reason = reason;
		(void)snprintf(number, sizeof(number), "(%u)", reason);
		cr_expect(eq(int, vcpu_handle_exit(&r->v), goes_on), "reason %u", reason);
		cr_expect(eq(uint, r->ends, !goes_on), "reason %u", reason);
		if (goes_on || reason == KVM_EXIT_SHUTDOWN || reason == KVM_EXIT_FAIL_ENTRY ||
			reason == KVM_EXIT_INTERNAL_ERROR || reason == KVM_EXIT_SYSTEM_EVENT)
			continue;
		cr_expect(eq(int, (int)r->end, VM_CRASHED), "reason %u", reason);
		t_row_has(number, r->why, number);
	}
}

Test(vcpu_exit, reasons_have_names)
{
	static const struct {
		uint32_t reason;
		const char *name;
	} rows[] = {
		{ KVM_EXIT_UNKNOWN, "UNKNOWN (0)" },
		{ KVM_EXIT_EXCEPTION, "EXCEPTION (1)" },
		{ KVM_EXIT_HYPERCALL, "HYPERCALL (3)" },
		{ KVM_EXIT_DEBUG, "DEBUG (4)" },
		{ KVM_EXIT_HLT, "HLT (5)" },
		{ KVM_EXIT_IRQ_WINDOW_OPEN, "IRQ_WINDOW_OPEN (7)" },
		{ KVM_EXIT_SET_TPR, "SET_TPR (11)" },
		{ KVM_EXIT_TPR_ACCESS, "TPR_ACCESS (12)" },
		{ KVM_EXIT_NMI, "NMI (16)" },
		{ KVM_EXIT_IOAPIC_EOI, "IOAPIC_EOI (26)" },
		{ KVM_EXIT_HYPERV, "HYPERV (27)" },
		{ KVM_EXIT_X86_RDMSR, "X86_RDMSR (29)" },
		{ KVM_EXIT_X86_WRMSR, "X86_WRMSR (30)" },
		{ KVM_EXIT_DIRTY_RING_FULL, "DIRTY_RING_FULL (31)" },
		{ KVM_EXIT_X86_BUS_LOCK, "X86_BUS_LOCK (33)" },
		{ KVM_EXIT_XEN, "XEN (34)" },
		{ 1000000, "unknown to mvm) (1000000)" },
		{ UINT32_MAX, "unknown to mvm) (4294967295)" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig *r = setup();

		r->page.run.exit_reason = rows[i].reason;
		t_row_int(rows[i].name, vcpu_handle_exit(&r->v), false);
		t_row_has(rows[i].name, r->why, rows[i].name);
	}
}

Test(vcpu_exit, registers_that_cannot_be_had_are_said_to_be_so)
{
	struct rig *r = setup();

	r->page.run.exit_reason = KVM_EXIT_SHUTDOWN;
	t_false(vcpu_handle_exit(&r->v));
	t_has(logged(r), "vCPU 3: registers not available");
}

/* --- errors of KVM_RUN itself --- */

Test(vcpu_exit, errors_of_the_call_go_on_or_end_the_machine)
{
	static const struct {
		const char *name;
		int code;
		bool goes_on;
		const char *words;
	} rows[] = {
		{ "the kick", -EINTR, true, "" },
		{ "INIT came", -EAGAIN, true, "" },
		{ "no page", -EFAULT, false, "guest memory" },
		{ "no memory", -ENOMEM, false, "Cannot allocate memory" },
		{ "anything else", -EIO, false, "Input/output error" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig *r = setup();

		t_row_int(rows[i].name, vcpu_handle_error(&r->v, rows[i].code), rows[i].goes_on);
		t_row_int(rows[i].name, r->ends, !rows[i].goes_on);
		if (!rows[i].goes_on) {
			t_row_int(rows[i].name, r->end, VM_FAILED);
			t_row_has(rows[i].name, r->why, rows[i].words);
		}
	}
}
