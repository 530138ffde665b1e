/*
 * A machine that stands still and goes on, on a KVM that is not there: vCPUs leave the guest with
 * their accesses finished, devices finish what is in flight, and it may end at any point of it.
 */
#include "t.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/err.h"
#include "t_image.h"
#include "t_machine.h"
#include "t_virtq.h"
#include "vm.h"
#include "x86/layout.h"

static void setup(void);

TestSuite(vm_pause, .timeout = 2 * T_SECONDS, .init = setup);

#define MIB (1ULL << 20)

enum { QUEUE_AT = 0x400000, DATA_AT = 0x500000, NONE = 0xee };

/* --- a disk whose reads end when the test wants --- */

void __real_loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov,
	unsigned count, int64_t offset);
void __wrap_loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov,
	unsigned count, int64_t offset);

static struct {
	bool is_on;
	unsigned n; /* reads that wait */
	struct loop *l;
	struct loop_op *op;
	int fd;
	const struct iovec *iov;
	unsigned count;
	int64_t offset;
} hold;

void __wrap_loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov,
	unsigned count, int64_t offset)
{
	if (!hold.is_on) {
		__real_loop_readv(l, op, fd, iov, count, offset);
		return;
	}
	hold.n++;
	hold.l = l;
	hold.op = op;
	hold.fd = fd;
	hold.iov = iov;
	hold.count = count;
	hold.offset = offset;
}

static void answer(void)
{
	t_uint(hold.n, 1);
	hold.n = 0;
	hold.is_on = false;
	__real_loop_readv(hold.l, hold.op, hold.fd, hold.iov, hold.count, hold.offset);
}

/* --- the guest --- */

/* The boot vCPU writes registers of the first window, and then runs on and on; the others run. */
struct write {
	uint32_t off, value;
};

static struct {
	const struct write *writes;
	_Atomic unsigned at;
	_Atomic unsigned runs;       /* instructions of all vCPUs */
	_Atomic unsigned unfinished; /* accesses that KVM has yet to finish */
	_Atomic bool powers_off;
} guest;

static void access_register(struct t_vcpu *v, const struct write *w)
{
	v->run->exit_reason = KVM_EXIT_MMIO;
	v->run->mmio.phys_addr = LAYOUT_VIRTIO_BASE + w->off;
	v->run->mmio.is_write = 1;
	v->run->mmio.len = 4;
	memcpy(v->run->mmio.data, &w->value, sizeof(w->value));
	guest.unfinished++;
}

/* KVM finishes the access of the last exit first, then it looks at immediate_exit. */
static int run_guest(struct t_vcpu *v)
{
	if (v->has_regs && guest.unfinished > 0)
		guest.unfinished--;
	if (READ_ONCE(v->run->immediate_exit))
		return -EINTR;
	guest.runs++;
	if (!v->has_regs)
		return t_machine_wait(v);
	if (guest.powers_off)
		return t_machine_out(v, LAYOUT_ACPI_PM, 0x34);
	if (guest.writes && guest.writes[guest.at].off != UINT32_MAX) {
		access_register(v, &guest.writes[guest.at++]);
		return 0;
	}
	(void)usleep(20);
	return t_machine_out(v, 0x3fd, 0); /* a register of the UART that is only read */
}

/* The addresses are those of t_virtq_init() with 8 entries. */
#define START_DRIVER                                                                               \
	{ VIRTIO_MMIO_STATUS, 1 }, { VIRTIO_MMIO_STATUS, 3 },                                      \
		{ VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1 }, { VIRTIO_MMIO_DRIVER_FEATURES, 1 },        \
		{ VIRTIO_MMIO_STATUS, 11 }, { VIRTIO_MMIO_QUEUE_NUM, 8 },                          \
		{ VIRTIO_MMIO_QUEUE_DESC_LOW, QUEUE_AT },                                          \
		{ VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x400080 },                                         \
		{ VIRTIO_MMIO_QUEUE_USED_LOW, 0x400098 }, { VIRTIO_MMIO_QUEUE_READY, 1 },          \
		{ VIRTIO_MMIO_STATUS, 15 },                                                        \
	{                                                                                          \
		VIRTIO_MMIO_QUEUE_NOTIFY, 0                                                        \
	}
#define END                                                                                        \
	{                                                                                          \
		UINT32_MAX, 0                                                                      \
	}

static const struct write starts[] = { START_DRIVER, END },
			  resets[] = { START_DRIVER, { VIRTIO_MMIO_STATUS, 0 }, END },
			  stops[] = { START_DRIVER, { VIRTIO_MMIO_QUEUE_READY, 0 }, END };

/* --- the machine --- */

static struct t_file file;
static char kernel[64], disk_path[64];
static struct vm_config config;

struct rig {
	struct loop *l;
	struct timeline t;
	struct vm *vm;
	struct t_virtq q;
	unsigned paused, ended, marked, news;
	enum virtio_news last_news;
	char news_id[32], news_text[64];
	pthread_t loop_thread;
	struct loop_op timer;
	bool expired;
};

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
	config_init(&config);
	config.kvm_path = T_KVM_PATH;
	config.kernel = kernel;
	config.mem_size = 32 * MIB;
}

static void on_paused(void *ctx)
{
	struct rig *r = ctx;

	t_true(pthread_equal(pthread_self(), r->loop_thread));
	r->paused++;
}

static void on_ended(void *ctx)
{
	struct rig *r = ctx;

	r->ended++;
}

static void on_marked(void *ctx)
{
	struct rig *r = ctx;

	t_true(pthread_equal(pthread_self(), r->loop_thread));
	r->marked++;
}

static void on_news(
	void *ctx, const char *id, enum virtio_news news, uint64_t number, const char *text)
{
	struct rig *r = ctx;

	(void)number;
	t_true(pthread_equal(pthread_self(), r->loop_thread));
	r->news++;
	r->last_news = news;
	(void)snprintf(r->news_id, sizeof(r->news_id), "%s", id);
	(void)snprintf(r->news_text, sizeof(r->news_text), "%s", text ? text : "");
}

static void on_timer(struct loop_op *op, int res)
{
	(void)res;
	container_of(op, struct rig, timer)->expired = true;
}

/* Lets the loop work for a while. */
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

/* A request to the disk: available when the driver kicks. */
static void put_read(struct rig *r, uint16_t head)
{
	const struct t_seg segs[] = { { DATA_AT, sizeof(struct virtio_blk_outhdr), false },
		{ DATA_AT + 0x1000, 512, true }, { DATA_AT + 0x2000 + head, 1, true } };

	*(uint8_t *)mem_ptr(&r->vm->mem, DATA_AT + 0x2000 + head, 1) = NONE;
	t_virtq_send(&r->q, head, segs, ARRAY_SIZE(segs));
}

static void kick(struct rig *r)
{
	uint64_t one = 1;

	t_int(write(r->vm->devices.slot[0].window.queue[0].kick_fd, &one, sizeof(one)), 8);
}

static void begin(struct rig *r, unsigned cpus, const struct write *writes, bool holds)
{
	const struct vm_host host = {
		.ended = on_ended, .marked = on_marked, .news = on_news, .ctx = r
	};
	static int turn; /* both backends, one after the other */
	struct err e = { 0 };

	*r = (struct rig){ .loop_thread = pthread_self(), .timer.done = on_timer };
	guest.writes = writes;
	guest.at = guest.runs = guest.unfinished = 0;
	guest.powers_off = false;
	hold.n = 0;
	hold.is_on = holds;
	t_kvm_init();
	t_kvm.on_run = run_guest;
	config.cpus = cpus;
	config.ndisks = writes ? 1 : 0;
	config.disk[0] = (struct disk_config){ .id = "d0", .path = disk_path };
	cr_assert(eq(int, vm_new(&config, &r->t, &r->vm, &e), 0), "%s", e.text);
	if (writes)
		(void)t_virtq_init(&r->q, &r->vm->mem, QUEUE_AT, 8);
	if (holds)
		put_read(r, 0);
	r->l = t_loop_new(turn++ % 2);
	if (!r->l)
		r->l = t_loop_new(0);
	cr_assert(eq(int, vm_start(r->vm, r->l, &host, &t_no_console, &e), 0), "%s", e.text);
}

static void start(struct rig *r, unsigned cpus, const struct write *writes)
{
	begin(r, cpus, writes, false);
}

/* With a request that is there before the driver starts, and is at work from then on. */
static void start_reading(struct rig *r, unsigned cpus, const struct write *writes)
{
	begin(r, cpus, writes, true);
	UNTIL(r, hold.n == 1);
}

/* The guest has written all its registers. */
static void driven(struct rig *r)
{
	UNTIL(r, guest.writes[guest.at].off == UINT32_MAX && guest.runs > guest.at + 5);
}

static void stop(struct rig *r)
{
	vm_free(r->vm);
	/* The loop lives on: nothing of the machine is left in it. */
	run_for(r, 1000000);
	loop_free(r->l);
}

static void pause_and_wait(struct rig *r)
{
	unsigned before = r->paused;

	vm_pause(r->vm, on_paused, r);
	t_uint(r->paused, before); /* never from inside */
	UNTIL(r, r->paused == before + 1);
}

static void expect_standing(struct rig *r)
{
	unsigned runs = guest.runs;

	run_for(r, 3000000);
	t_uint(guest.runs, runs);
	t_uint(guest.unfinished, 0);
}

static void expect_running(struct rig *r)
{
	unsigned runs = guest.runs;

	UNTIL(r, guest.runs > runs + 3);
}

/* --- vCPUs --- */

Test(vm_pause, a_paused_guest_stands_still_and_goes_on)
{
	static const unsigned cpus[] = { 1, 4, 32 };
	unsigned threads = t_count_threads(), fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct rig r;

		start(&r, cpus[i], NULL);
		expect_running(&r);
		pause_and_wait(&r);
		expect_standing(&r);
		t_uint(t_kvm_calls(KVM_KVMCLOCK_CTRL), 0);
		vm_resume(r.vm);
		expect_running(&r);
		UNTIL(&r, t_kvm_calls(KVM_KVMCLOCK_CTRL) == cpus[i]);
		t_uint(r.paused, 1);
		t_int(vm_end(r.vm, NULL), VM_RUNNING);
		stop(&r);
		t_uint(t_settled_threads(threads), threads);
		t_uint(t_count_fds(), fds);
	}
	T_NO_LEAKS();
}

Test(vm_pause, it_may_be_paused_before_the_guest_has_run)
{
	struct rig r;

	start(&r, 4, NULL);
	pause_and_wait(&r);
	expect_standing(&r);
	vm_resume(r.vm);
	expect_running(&r);
	stop(&r);
}

Test(vm_pause, pausing_and_resuming_what_is_so_already_is_fine)
{
	struct rig r;

	start(&r, 4, NULL);
	vm_resume(r.vm);
	pause_and_wait(&r);
	pause_and_wait(&r);
	pause_and_wait(&r);
	expect_standing(&r);
	vm_resume(r.vm);
	vm_resume(r.vm);
	expect_running(&r);
	t_uint(r.paused, 3);
	/* A word of a pause that is heard after the resume does not make it paused. */
	pause_and_wait(&r);
	vm_pause(r.vm, on_paused, &r);
	vm_resume(r.vm);
	UNTIL(&r, r.paused == 5);
	expect_running(&r);
	pause_and_wait(&r);
	expect_standing(&r);
	stop(&r);
}

/* Each pause follows the resume before the vCPUs have woken up. */
Test(vm_pause, many_pauses_in_a_row_are_all_told)
{
	struct rig r;

	start(&r, 4, starts);
	for (unsigned i = 0; i < 300; i++) {
		pause_and_wait(&r);
		t_uint(r.paused, i + 1);
		vm_resume(r.vm);
	}
	expect_running(&r);
	stop(&r);
	T_NO_LEAKS();
}

Test(vm_pause, a_clock_that_is_not_told_is_counted)
{
	static const int codes[] = { EINVAL, EIO };

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct vcpu_totals totals;
		struct rig r;

		start(&r, 4, NULL);
		t_kvm.clock_errno = codes[i];
		pause_and_wait(&r);
		vm_resume(r.vm);
		UNTIL(&r, t_kvm_calls(KVM_KVMCLOCK_CTRL) == 4);
		expect_running(&r);
		pause_and_wait(&r);
		vm_vcpu_counters(r.vm, &totals);
		t_uint(totals.kvmclock_ctrl_fails, 4);
		t_uint(totals.failures, 0);
		stop(&r);
	}
}

/* --- devices --- */

Test(vm_pause, a_pause_waits_for_io_in_flight_and_begins_nothing_new)
{
	struct rig r;

	start_reading(&r, 4, starts);
	vm_pause(r.vm, on_paused, &r);
	UNTIL(&r, r.vm->group.standing == 4); /* vCPUs come first */
	run_for(&r, 5000000);
	t_uint(r.paused, 0);
	answer();
	UNTIL(&r, r.paused == 1);
	t_uint(t_virtq_used_count(&r.q), 1);
	/* What is made available meanwhile stays where it is. */
	put_read(&r, 3);
	kick(&r);
	expect_standing(&r);
	t_uint(t_virtq_used_count(&r.q), 1);
	t_true(r.vm->devices.slot[0].dev->is_quiesced);
	vm_resume(r.vm);
	UNTIL(&r, t_virtq_used_count(&r.q) == 2);
	t_false(r.vm->devices.slot[0].dev->is_quiesced);
	stop(&r);
	T_NO_LEAKS();
}

/* Without a kick after the resume: devices look for themselves. */
Test(vm_pause, what_came_during_a_pause_is_served_after_it)
{
	struct rig r;

	start(&r, 1, starts);
	driven(&r);
	pause_and_wait(&r);
	put_read(&r, 0);
	run_for(&r, 2000000);
	t_uint(t_virtq_used_count(&r.q), 0);
	vm_resume(r.vm);
	UNTIL(&r, t_virtq_used_count(&r.q) == 1);
	stop(&r);
}

static void wait_in_access(const struct write *writes, unsigned cpus)
{
	struct rig r;

	start_reading(&r, cpus, writes);
	/* The driver resets its disk, or stops its queue, and has to wait. */
	UNTIL(&r, guest.at == ARRAY_SIZE(resets) - 1 && r.vm->devices.slot[0].window.is_busy);
	vm_pause(r.vm, on_paused, &r);
	UNTIL(&r, r.vm->group.standing == cpus - 1);
	run_for(&r, 5000000);
	t_uint(r.paused, 0);
	t_uint(r.vm->group.standing, cpus - 1);
	answer();
	UNTIL(&r, r.paused == 1);
	expect_standing(&r);
	t_int(r.vm->devices.slot[0].dev->active, writes == stops);
	vm_resume(r.vm);
	expect_running(&r);
	stop(&r);
	T_NO_LEAKS();
}

Test(vm_pause, a_vcpu_that_waits_for_a_reset_finishes_that_first)
{
	wait_in_access(resets, 1);
	wait_in_access(resets, 4);
}

Test(vm_pause, a_vcpu_that_waits_for_the_stop_of_a_queue_finishes_that_first)
{
	wait_in_access(stops, 1);
	wait_in_access(stops, 4);
}

/* --- the end --- */

Test(vm_pause, a_machine_that_ends_while_it_is_being_paused_is_never_paused)
{
	static const unsigned cpus[] = { 1, 4 };

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct rig r;

		start_reading(&r, cpus[i], starts);
		vm_pause(r.vm, on_paused, &r);
		run_for(&r, 2000000);
		vm_stop(r.vm, VM_STOPPED, "enough");
		UNTIL(&r, r.ended == 1);
		answer();
		run_for(&r, 2000000);
		t_uint(r.paused, 0);
		vm_resume(r.vm);
		vm_pause(r.vm, on_paused, &r);
		run_for(&r, 2000000);
		t_uint(r.paused, 0);
		stop(&r);
		t_uint(r.ended, 1);
	}
	T_NO_LEAKS();
}

Test(vm_pause, a_paused_machine_may_end)
{
	static const unsigned cpus[] = { 1, 4 };
	unsigned threads = t_count_threads(), fds = t_count_fds();

	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		char why[VM_WHY_MAX];
		struct rig r;

		start(&r, cpus[i], starts);
		driven(&r);
		pause_and_wait(&r);
		vm_stop(r.vm, VM_STOPPED, "enough");
		UNTIL(&r, r.ended == 1);
		vm_resume(r.vm);
		expect_standing(&r);
		t_int(vm_end(r.vm, why), VM_STOPPED);
		t_str(why, "enough");
		vm_quiet(r.vm);
		vm_quiet(r.vm);
		t_false(r.vm->devices.slot[0].dev->active);
		vm_resume(r.vm);
		vm_pause(r.vm, on_paused, &r);
		stop(&r);
		t_uint(r.paused, 1);
		t_uint(t_settled_threads(threads), threads);
		t_uint(t_count_fds(), fds);
	}
	T_NO_LEAKS();
}

Test(vm_pause, a_paused_machine_may_be_freed)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct rig r;

	start(&r, 4, starts);
	driven(&r);
	pause_and_wait(&r);
	stop(&r);
	t_uint(r.ended, 0);
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

static void answer_late(struct loop_op *op, int res)
{
	(void)op;
	(void)res;
	answer();
}

Test(vm_pause, a_machine_may_be_freed_while_it_is_being_paused)
{
	unsigned threads = t_count_threads(), fds = t_count_fds();
	struct loop_op late = { .done = answer_late };
	struct rig r;

	/* In the middle of I/O, with or without a vCPU in the middle of an access. */
	for (unsigned i = 0; i < 2; i++) {
		start_reading(&r, 4, i == 0 ? starts : resets);
		vm_pause(r.vm, on_paused, &r);
		run_for(&r, 1000000);
		loop_timeout(r.l, &late, 5000000);
		stop(&r);
		t_uint(r.paused + r.ended, 0);
	}
	/* At once, so that the vCPUs' word comes when nobody listens. */
	for (unsigned i = 0; i < 20; i++) {
		start(&r, 4, NULL);
		expect_running(&r);
		vm_pause(r.vm, on_paused, &r);
		if (i % 2)
			(void)usleep(i * 50);
		stop(&r);
		t_uint(r.paused + r.ended, 0);
	}
	t_uint(t_settled_threads(threads), threads);
	t_uint(t_count_fds(), fds);
	T_NO_LEAKS();
}

Test(vm_pause, a_guest_that_ends_by_itself_meanwhile_has_ended_or_is_paused)
{
	for (unsigned i = 0; i < 40; i++) {
		struct rig r;

		start(&r, 1 + i % 4, NULL);
		expect_running(&r);
		guest.powers_off = true;
		if (i % 2)
			(void)usleep(i);
		vm_pause(r.vm, on_paused, &r);
		UNTIL(&r, r.paused || r.ended);
		vm_resume(r.vm);
		UNTIL(&r, r.ended);
		t_int(vm_end(r.vm, NULL), VM_SHUTDOWN);
		stop(&r);
	}
	T_NO_LEAKS();
}

/* --- what else the host is told --- */

static int mark_twice(struct t_vcpu *v)
{
	static _Atomic unsigned n;
	const uint32_t us = 1234;

	if (!v->has_regs || n >= 2)
		return t_machine_wait(v);
	n++;
	(void)t_machine_out(v, LAYOUT_POST, 0);
	v->run->io.size = 4;
	memcpy((uint8_t *)v->run + 4096, &us, sizeof(us));
	return 0;
}

Test(vm_pause, the_guests_mark_is_told_once)
{
	struct rig r;

	start(&r, 1, NULL);
	vm_free(r.vm);
	r.vm = NULL;
	t_kvm_init();
	t_kvm.on_run = mark_twice;
	t_int(vm_new(&config, &r.t, &r.vm, NULL), 0);
	t_int(vm_start(r.vm, r.l, &(struct vm_host){ .marked = on_marked, .ctx = &r },
		      &t_no_console, NULL),
		0);
	UNTIL(&r, r.marked == 1);
	run_for(&r, 3000000);
	t_uint(r.marked, 1);
	t_true(r.t.us[TIMELINE_MARK] > 0);
	stop(&r);
}

Test(vm_pause, a_broken_rule_is_told_on_the_loop_with_the_devices_id)
{
	static const struct write breaks[] = { START_DRIVER, { VIRTIO_MMIO_QUEUE_NOTIFY, 77 },
		END };
	struct rig r;

	start(&r, 1, breaks);
	UNTIL(&r, r.news == 1);
	t_int(r.last_news, VIRTIO_NEWS_BROKEN);
	t_str(r.news_id, "d0");
	t_true(strlen(r.news_text) > 5);
	stop(&r);
}

Test(vm_pause, exits_are_counted_and_timed)
{
	struct vcpu_totals totals;
	struct rig r;

	start(&r, 1, starts);
	driven(&r);
	run_for(&r, 20000000);
	pause_and_wait(&r);
	vm_vcpu_counters(r.vm, &totals);
	t_uint(totals.access[VCPU_MMIO_WRITE].count, ARRAY_SIZE(starts) - 1);
	t_uint(totals.access[VCPU_MMIO_READ].count, 0);
	t_true(totals.access[VCPU_IO_OUT].count > 5);
	t_true(totals.exits > totals.access[VCPU_IO_OUT].count);
	for (unsigned i = 0; i < VCPU_ACCESSES; i++) {
		const struct tally_us *us = &totals.access[i];

		t_true(us->min_us <= us->max_us);
		t_true(us->max_us <= us->sum_us);
		t_true(us->sum_us < 10000000);
	}
	/* DRIVER_OK waits for the loop, which takes its time. */
	t_true(totals.access[VCPU_MMIO_WRITE].max_us > 0);
	stop(&r);
}
