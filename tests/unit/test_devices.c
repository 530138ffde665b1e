/*
 * The devices of a machine on a KVM that is not there: where the guest finds them, what KVM is
 * told, guests that drive one and then end in some way, and what is left after a failure.
 */
#include "t.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/err.h"
#include "t_image.h"
#include "t_machine.h"
#include "t_virtio_state.h"
#include "vm.h"
#include "x86/layout.h"

static void setup(void);

TestSuite(devices, .timeout = 2 * T_SECONDS, .init = setup);

#define MIB (1ULL << 20)

static struct t_file file;
static char kernel[64], paths[CONFIG_DEVICES_MAX][64], ids[CONFIG_DEVICES_MAX][16];
static struct vm_config config;
static struct guest_mem mem;

/* n disks of a megabyte in memory. */
static void put_disks(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int fd = memfd_create("disk", MFD_CLOEXEC);

		t_true(fd >= 0);
		t_int(ftruncate(fd, MIB), 0);
		(void)snprintf(paths[i], sizeof(paths[i]), "/proc/self/fd/%d", fd);
		(void)snprintf(ids[i], sizeof(ids[i]), "disk%u", i);
		config.disk[i] = (struct disk_config){ .id = ids[i], .path = paths[i] };
	}
	config.ndisks = n;
}

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
	t_mem_init(&mem, 16 * MIB);
}

static void make(struct devices *d)
{
	struct err e = { 0 };

	cr_assert(eq(int, devices_init(d, &config, &mem, &e), 0), "%s", e.text);
}

/* --- places --- */

Test(devices, a_machine_without_devices_has_none)
{
	struct acpi_config acpi = { .nslots = 9 };
	struct kvm k = { .vm_fd = -1 };
	struct devices d;

	make(&d);
	t_uint(d.n, 0);
	devices_describe(&d, &acpi);
	t_uint(acpi.nslots, 0);
	t_int(devices_connect(&d, &k, NULL), 0);
	devices_close(&d);
	devices_drain(&d);
	devices_fini(&d);
	devices_fini(&d);
}

Test(devices, a_full_machine_has_a_window_and_a_pin_for_each_and_nobody_elses)
{
	static const uint32_t taken[] = { 0, LAYOUT_GSI_I8042, 2, LAYOUT_GSI_VMGENID,
		LAYOUT_GSI_COM1, LAYOUT_GSI_POWER_BUTTON };
	struct acpi_config acpi = { 0 };
	struct devices d;
	uint32_t pins = 0;

	put_disks(CONFIG_DEVICES_MAX);
	make(&d);
	devices_describe(&d, &acpi);
	t_uint(acpi.nslots, CONFIG_DEVICES_MAX);
	for (unsigned i = 0; i < CONFIG_DEVICES_MAX; i++) {
		cr_expect(eq(u64, acpi.slot[i].base, LAYOUT_VIRTIO_BASE + i * LAYOUT_VIRTIO_LEN));
		cr_expect(eq(u64, acpi.slot[i].len, LAYOUT_VIRTIO_LEN));
		t_true(acpi.slot[i].gsi < LAYOUT_GSI_COUNT);
		t_uint(acpi.slot[i].gsi, d.slot[i].gsi);
		cr_expect(eq(u32, pins & 1U << acpi.slot[i].gsi, 0), "pin %u twice",
			acpi.slot[i].gsi);
		pins |= 1U << acpi.slot[i].gsi;
		t_str(d.slot[i].id, ids[i]);
		t_true(d.slot[i].is_disk);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(taken); i++)
		cr_expect(eq(u32, pins & 1U << taken[i], 0), "pin %u is taken", taken[i]);
	t_true(acpi.slot[CONFIG_DEVICES_MAX - 1].base + LAYOUT_VIRTIO_LEN <= LAYOUT_IOAPIC);
	devices_fini(&d);
}

Test(devices, windows_answer_on_the_bus_and_only_there)
{
	struct devices d;
	struct bus bus = { .n = 0 };
	uint32_t value;

	put_disks(3);
	make(&d);
	devices_add_to_bus(&d, &bus);
	for (unsigned i = 0; i < 3; i++) {
		t_true(bus_read(&bus, d.slot[i].base, (uint8_t *)&value, 4));
		t_hex(value, 0x74726976);
		t_true(bus_read(
			&bus, d.slot[i].base + VIRTIO_MMIO_DEVICE_ID, (uint8_t *)&value, 4));
		t_uint(value, VIRTIO_ID_BLOCK);
		/* The last bytes of the page: nothing is there, and nothing breaks. */
		t_true(bus_read(
			&bus, d.slot[i].base + LAYOUT_VIRTIO_LEN - 4, (uint8_t *)&value, 4));
		t_hex(value, 0);
	}
	t_false(bus_read(&bus, LAYOUT_VIRTIO_BASE - 4, (uint8_t *)&value, 4));
	t_false(bus_read(&bus, LAYOUT_VIRTIO_BASE + 3 * LAYOUT_VIRTIO_LEN, (uint8_t *)&value, 4));
	devices_fini(&d);
}

Test(devices, kvm_is_told_of_every_queue_and_every_interrupt)
{
	struct kvm k = { .dev_fd = -1, .vm_fd = -1 };
	struct devices d;

	put_disks(4);
	make(&d);
	t_int(kvm_open(&k, T_KVM_PATH, NULL), 0);
	t_int(kvm_create_vm(&k, LAYOUT_KVM_TSS, NULL), 0);
	t_int(devices_connect(&d, &k, NULL), 0);
	t_uint(t_kvm.nirqfds, 4);
	t_uint(t_kvm.nioeventfds, 4); /* a disk has one queue */
	for (unsigned i = 0; i < 4; i++) {
		t_hex(t_kvm.ioeventfd[i].addr, d.slot[i].base + VIRTIO_MMIO_QUEUE_NOTIFY);
		t_uint(t_kvm.ioeventfd[i].len, 4);
		t_uint(t_kvm.ioeventfd[i].datamatch, 0);
		t_hex(t_kvm.ioeventfd[i].flags, KVM_IOEVENTFD_FLAG_DATAMATCH);
		t_int(t_kvm.ioeventfd[i].fd, d.slot[i].window.queue[0].kick_fd);
		t_uint(t_kvm.irqfd[i].gsi, d.slot[i].gsi);
		t_int(t_kvm.irqfd[i].fd, d.slot[i].dev->irq_fd);
	}
	kvm_close(&k);
	devices_fini(&d);
}

Test(devices, what_kvm_refuses_is_an_error_with_the_devices_name)
{
	for (unsigned step = 1; step <= 4; step++) {
		struct kvm k = { .dev_fd = -1, .vm_fd = -1 };
		struct err e = { 0 };
		struct devices d;

		t_kvm_init();
		put_disks(2);
		make(&d);
		t_int(kvm_open(&k, T_KVM_PATH, NULL), 0);
		t_int(kvm_create_vm(&k, LAYOUT_KVM_TSS, NULL), 0);
		t_kvm.fail_step = step;
		t_kvm_count(true);
		t_int(devices_connect(&d, &k, &e), -ENOMEM);
		t_kvm_count(false);
		t_has(e.text, step <= 2 ? "disk0" : "disk1");
		t_has(e.text, step % 2 ? "KVM_IOEVENTFD" : "KVM_IRQFD");
		kvm_close(&k);
		devices_fini(&d);
	}
}

/* --- failures --- */

Test(devices, a_bad_disk_among_good_ones_is_an_error_with_its_name_and_nothing_is_left)
{
	unsigned fds;

	put_disks(3);
	fds = t_count_fds();
	for (unsigned bad = 0; bad < 3; bad++) {
		struct devices d;
		struct err e = { 0 };

		config.disk[bad].path = "/nonexistent";
		t_int(devices_init(&d, &config, &mem, &e), -ENOENT);
		t_has(e.text, ids[bad]);
		t_has(e.text, "/nonexistent");
		t_uint(d.n, 0);
		t_uint(t_count_fds(), fds);
		config.disk[bad].path = paths[bad];
	}
	T_NO_LEAKS();
}

Test(devices, a_disk_that_is_given_twice_is_refused)
{
	struct devices d;
	struct err e = { 0 };
	unsigned fds;

	put_disks(2);
	fds = t_count_fds();
	config.disk[1].path = paths[0];
	t_int(devices_init(&d, &config, &mem, &e), -EBUSY);
	t_has(e.text, "disk1");
	t_uint(t_count_fds(), fds);
}

/* --- state --- */

static unsigned rests;

static void on_rest(void *ctx)
{
	(void)ctx;
	rests++;
}

static void end_devices(struct devices *d)
{
	devices_close(d);
	devices_drain(d);
	devices_fini(d);
}

/* States of two disks: the first has a driver with a read in its queue, the second none. */
static void two_states(struct loop *l, struct t_virtq *q, struct virtio_state s[2])
{
	static const struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_IN };
	const struct t_seg segs[] = { { 0x10000, sizeof(header), false }, { 0x11000, 512, true },
		{ 0x12000, 1, true } };
	struct devices d;

	put_disks(2);
	make(&d);
	devices_start(&d, l, NULL);
	devices_pause(&d, on_rest, NULL);
	t_uint(rests, 1);
	devices_save(&d, s);
	(void)t_virtq_init(q, &mem, 0x1000, 16);
	t_virtio_state_begin(&s[0], d.slot[0].dev, UINT64_MAX, q);
	memcpy(mem_ptr(&mem, 0x10000, sizeof(header)), &header, sizeof(header));
	*(uint8_t *)mem_ptr(&mem, 0x12000, 1) = 0xee;
	t_virtq_send(q, 0, segs, 3);
	end_devices(&d);
}

Test(devices, all_go_on_after_the_first_resume_and_are_saved_again)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s[2], again[2];
	struct t_virtq q;
	struct devices d;
	struct err e = { 0 };

	two_states(l, &q, s);
	make(&d);
	cr_assert(eq(int, devices_load(&d, s, 2, &e), 0), "%s", e.text);
	t_false(d.slot[0].dev->active);
	devices_start(&d, l, NULL);
	t_true(d.slot[0].dev->active && !d.slot[1].dev->active);
	devices_save(&d, again);
	/* Asked for in plenty, and there is no limit. */
	memcpy(s[0].limiter, again[0].limiter, sizeof(s[0].limiter));
	for (unsigned i = 0; i < 2; i++)
		t_virtio_state_equal(&s[i], &again[i]);
	t_virtio_state_turn(&d.slot[0].window);
	t_uint(t_virtq_used_count(&q), 0);
	devices_resume(&d);
	while (t_virtq_used_count(&q) == 0)
		t_virtio_state_turn(&d.slot[0].window);
	t_uint(*(uint8_t *)mem_ptr(&mem, 0x12000, 1), VIRTIO_BLK_S_OK);
	t_true(t_virtio_state_interrupts(&d.slot[0].window) > 0);
	t_uint(t_virtio_state_interrupts(&d.slot[1].window), 0);
	rests = 0;
	devices_pause(&d, on_rest, NULL);
	while (rests == 0)
		t_virtio_state_turn(&d.slot[0].window);
	devices_save(&d, again);
	t_uint(again[0].queue[0].at.next_used, 1);
	end_devices(&d);
	loop_free(l);
	T_NO_LEAKS();
}

Test(devices, a_state_that_does_not_fit_is_an_error_with_the_devices_name)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s[2], bad[2];
	struct t_virtq q;
	unsigned fds;

	two_states(l, &q, s);
	fds = t_count_fds();
	for (unsigned i = 0; i < 6; i++) {
		struct err e = { 0 };
		struct devices d;
		int rc;

		memcpy(bad, s, sizeof(bad));
		if (i == 2)
			bad[1].type = VIRTIO_ID_NET;
		else if (i == 3)
			bad[0].queue[0].used = UINT64_MAX - 3;
		else if (i == 4)
			bad[1].status = 0x80000000;
		else if (i == 5)
			bad[0].acked = bad[0].driver_features |= 1ULL << 62;
		make(&d);
		rc = devices_load(&d, bad, i == 0 ? 1 : i == 1 ? 3 : 2, &e);
		cr_expect(eq(int, rc, i == 5 ? -EOPNOTSUPP : -EBADMSG), "row %u: %s", i, e.text);
		t_int(e.code, rc);
		if (i >= 2)
			t_has(e.text, i % 2 ? "disk 'disk0': " : "disk 'disk1': ");
		/* Started or not, it can end. */
		if (i % 2) {
			devices_start(&d, l, NULL);
			devices_drain(&d);
		}
		devices_fini(&d);
		t_uint(t_count_fds(), fds);
	}
	loop_free(l);
	T_NO_LEAKS();
}

Test(devices, loaded_devices_that_never_went_on_can_end)
{
	struct loop *l = t_loop_new(0);
	struct virtio_state s[2];
	struct t_virtq q;

	two_states(l, &q, s);
	for (unsigned started = 0; started < 2; started++) {
		struct devices d;

		make(&d);
		t_int(devices_load(&d, s, 2, NULL), 0);
		if (started)
			devices_start(&d, l, NULL);
		end_devices(&d);
		t_uint(t_virtq_used_count(&q), 0);
	}
	loop_free(l);
	T_NO_LEAKS();
}

/* --- machines --- */

struct outcome {
	struct t_outcome machine;
	bool active; /* the first disk, at the end */
	uint64_t rule_breaks;
};

static struct outcome *seen; /* for look(), which knows only the machine */

static void look(const struct vm *vm)
{
	seen->active = vm->devices.slot[0].dev->active;
	seen->rule_breaks = count_get(&vm->devices.slot[0].dev->counters.rule_breaks);
}

static void run_machine(struct outcome *o, enum loop_backend backend)
{
	*o = (struct outcome){ 0 };
	seen = o;
	t_machine_run(&o->machine, &config, backend, look);
}

/* A guest is a list of 32-bit writes to the first window, and then its end. */
static const struct write {
	uint32_t off, value;
} * guest_writes;
static _Atomic unsigned guest_at;
static _Atomic bool guest_stays; /* in KVM_RUN, until it is kicked */

static int run_guest(struct t_vcpu *v)
{
	const struct write *w;

	if (!v->has_regs)
		return t_machine_wait(v);
	w = &guest_writes[guest_at];
	if (w->off == UINT32_MAX) {
		return guest_stays ? t_machine_wait(v) : t_machine_out(v, LAYOUT_ACPI_PM, 0x34);
	}
	v->run->exit_reason = KVM_EXIT_MMIO;
	v->run->mmio.phys_addr = LAYOUT_VIRTIO_BASE + w->off;
	v->run->mmio.is_write = 1;
	v->run->mmio.len = 4;
	memcpy(v->run->mmio.data, &w->value, sizeof(w->value));
	guest_at++;
	return 0;
}

#define START_DRIVER                                                                               \
	{ VIRTIO_MMIO_STATUS, 1 }, { VIRTIO_MMIO_STATUS, 3 },                                      \
		{ VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1 }, { VIRTIO_MMIO_DRIVER_FEATURES, 1 },        \
		{ VIRTIO_MMIO_STATUS, 11 }, { VIRTIO_MMIO_QUEUE_NUM, 8 },                          \
		{ VIRTIO_MMIO_QUEUE_DESC_LOW, 0x400000 },                                          \
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x401000 },                                         \
		{ VIRTIO_MMIO_QUEUE_USED_LOW, 0x402000 }, { VIRTIO_MMIO_QUEUE_READY, 1 },          \
		{ VIRTIO_MMIO_STATUS, 15 },                                                        \
	{                                                                                          \
		VIRTIO_MMIO_QUEUE_NOTIFY, 0                                                        \
	}
#define END                                                                                        \
	{                                                                                          \
		UINT32_MAX, 0                                                                      \
	}

static const struct write starts[] = { START_DRIVER, END },
			  resets[] = { START_DRIVER, { VIRTIO_MMIO_STATUS, 0 }, START_DRIVER,
				  { VIRTIO_MMIO_QUEUE_READY, 0 }, { VIRTIO_MMIO_STATUS, 0 }, END },
			  breaks[] = { START_DRIVER, { VIRTIO_MMIO_QUEUE_NOTIFY, 77 },
				  { VIRTIO_MMIO_STATUS, 0 }, END },
			  nothing[] = { END };

Test(devices, guests_that_drive_a_disk_end_their_machines_and_leave_nothing)
{
	static const struct {
		const char *name;
		const struct write *writes;
		bool active;
		unsigned rule_breaks;
	} rows[] = { { "starts", starts, true, 0 }, { "resets", resets, false, 0 },
		{ "breaks", breaks, false, 1 }, { "nothing", nothing, false, 0 } };
	unsigned threads = t_count_threads(), fds;

	put_disks(2);
	fds = t_count_fds();
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(rows); i++) {
		const char *name = rows[i / 2].name;
		struct outcome o;

		t_kvm_init();
		t_kvm.on_run = run_guest;
		guest_writes = rows[i / 2].writes;
		guest_at = 0;
		config.cpus = 1 + i % 2;
		run_machine(&o, i % 2 || t_uring_is_refused() ? LOOP_EPOLL : LOOP_URING);
		cr_expect(eq(int, o.machine.rc, 0), "row '%s': %s", name, o.machine.e.text);
		t_row_int(name, o.machine.end, VM_SHUTDOWN);
		t_row_int(name, o.active, rows[i / 2].active);
		t_row_int(name, o.rule_breaks, rows[i / 2].rule_breaks);
		t_row_int(name, t_settled_threads(threads), threads);
		t_row_int(name, t_count_fds(), fds);
	}
	T_NO_LEAKS();
}

static void on_timeout(struct loop_op *op, int res)
{
	(void)res;
	loop_stop(op->loop);
}

Test(devices, a_machine_whose_disk_is_in_use_may_be_freed_at_any_time)
{
	unsigned threads = t_count_threads(), fds;

	put_disks(2);
	fds = t_count_fds();
	guest_stays = true;
	guest_writes = resets;
	/* From before the first access of the driver until behind its last. */
	for (unsigned us = 0; us < 3000; us += 150) {
		struct loop_op op = { .done = on_timeout };
		struct timeline t = { 0 };
		struct loop *l = NULL;
		struct vm *vm = NULL;

		t_kvm_init();
		t_kvm.on_run = run_guest;
		guest_at = 0;
		t_int(vm_new(&config, &t, &vm, NULL), 0);
		t_int(loop_new(LOOP_AUTO, &l, NULL, NULL), 0);
		t_int(vm_start(vm, l, NULL, &t_no_console, NULL), 0);
		loop_timeout(l, &op, us * 1000ULL);
		t_int(loop_run(l), 0);
		vm_free(vm);
		loop_free(l);
		cr_expect(eq(uint, t_settled_threads(threads), threads), "%u us", us);
		cr_expect(eq(uint, t_count_fds(), fds), "%u us", us);
	}
	T_NO_LEAKS();
}

Test(devices, slots_come_before_kicks_and_kicks_before_the_first_instruction)
{
	struct outcome o;

	put_disks(1);
	t_kvm.on_run = run_guest;
	guest_writes = nothing;
	run_machine(&o, LOOP_EPOLL);
	t_int(o.machine.rc, 0);
	t_true(t_kvm_position(KVM_IOEVENTFD) > t_kvm_position(KVM_CREATE_IRQCHIP));
	t_true(t_kvm_position(KVM_IRQFD) > t_kvm_position(KVM_CREATE_IRQCHIP));
	t_true(t_kvm_position(KVM_IOEVENTFD) < t_kvm_position(KVM_RUN));
	t_true(t_kvm_position(KVM_IRQFD) < t_kvm_position(KVM_RUN));
}

/* As a machine's user does it who opens files before the start. */
static void open_disks(void)
{
	for (unsigned i = 0; i < config.ndisks; i++) {
		struct err e = { 0 };
		struct disk *d = NULL;

		cr_assert(eq(int, disk_open(&config.disk[i], &d, &e), 0), "%s", e.text);
		config.disk[i].opened = d;
	}
}

/* Fails step 1, 2, 3... of a machine until one is built.  opens: what the machine gets is open
 * already, and the machine's as soon as it is asked for. */
static void fail_each_step(unsigned ndisks, unsigned cpus, int code, bool opens)
{
	unsigned threads = t_count_threads(), fds, step = 0;
	struct outcome o = { .machine.rc = -1 };

	put_disks(ndisks);
	fds = t_count_fds();
	config.cpus = cpus;
	config.disk[0].direct = true; /* a second descriptor */
	while (o.machine.rc < 0 && step < 500) {
		t_kvm_init();
		t_kvm.on_run = run_guest;
		t_kvm.fail_errno = code;
		t_kvm.fail_step = ++step;
		guest_writes = starts;
		guest_at = 0;
		if (opens)
			open_disks();
		run_machine(&o, LOOP_EPOLL);
		if (o.machine.rc < 0) {
			cr_expect(eq(int, o.machine.e.code, o.machine.rc), "step %u", step);
			cr_expect(gt(sz, strlen(o.machine.e.text), 10), "step %u", step);
		} else {
			cr_expect(eq(int, (int)o.machine.end, VM_SHUTDOWN), "step %u", step);
		}
		cr_expect(eq(uint, t_settled_threads(threads), threads), "step %u: %s", step,
			o.machine.e.text);
		cr_expect(eq(uint, t_count_fds(), fds), "step %u: %s", step, o.machine.e.text);
	}
	t_int(o.machine.rc, 0);
	t_true(step > 30 + 5 * cpus + (opens ? 3 : 4) * ndisks);
	T_NO_LEAKS();
}

Test(devices, every_step_of_a_machine_with_disks_that_fails_is_an_error_and_leaves_nothing)
{
	fail_each_step(3, 2, ENOMEM, false);
}

Test(devices, every_step_of_a_machine_full_of_disks_that_fails_is_an_error_and_leaves_nothing)
{
	fail_each_step(CONFIG_DEVICES_MAX, 1, EMFILE, false);
}

Test(devices, every_step_of_a_machine_with_opened_disks_that_fails_closes_them_all)
{
	fail_each_step(3, 2, ENOMEM, true);
}
