/* A machine from its description to its end, on a KVM that is not there. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "instance.h"
#include "t_image.h"
#include "t_machine.h"
#include "x86/layout.h"

static void setup(void);

TestSuite(instance, .timeout = T_SECONDS, .init = setup);

static struct t_file file;
static char kernel[64];
static char folder[] = "/tmp/mvm-test-XXXXXX";
static struct instance *in;
static struct loop *loop;
static unsigned ended;
static struct err e;

static void on_ended(void *ctx)
{
	(void)ctx;
	ended++;
	loop_stop(loop);
}

static void make(bool opens_late)
{
	struct instance_config c = {
		.id = "test-1",
		.kvm_path = T_KVM_PATH,
		.console_in = -1,
		.console_out = -1,
		.opens_late = opens_late,
		.host = { .ended = on_ended },
	};

	t_int(instance_new(&c, &in, &e), 0);
	t_int(loop_new(LOOP_EPOLL, &loop, NULL, &e), 0);
	t_int(instance_use_loop(in, loop, &e), 0);
}

static void setup(void)
{
	t_kvm_init();
	t_quiet();
	t_elf_kernel(&file);
	t_true(t_file_open(&file, kernel) >= 0);
	t_true(mkdtemp(folder) != NULL);
	make(false);
}

static void unmake(void)
{
	instance_close(in);
	loop_free(loop);
	instance_free(in);
	t_int(rmdir(folder), 0);
}

/* A path in the test's folder, and a file of so many bytes there. */
static const char *path_of(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % ARRAY_SIZE(path)];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

static const char *image(const char *name, off_t bytes)
{
	const char *path = path_of(name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	t_true(fd >= 0);
	t_int(ftruncate(fd, bytes), 0);
	(void)close(fd);
	return path;
}

static int put_kernel(void)
{
	struct boot_spec boot = { .kernel = kernel };

	return instance_put_boot(in, &boot, &e);
}

static int put_drive(const char *id, const char *path, bool is_root)
{
	struct drive_spec spec = { .disk = { .id = id, .path = path }, .is_root = is_root };

	return instance_put_drive(in, &spec, &e);
}

/* --- guests --- */

static bool is_boot(const struct t_vcpu *v)
{
	return v->has_regs;
}

static int power_off(struct t_vcpu *v)
{
	return is_boot(v) ? t_machine_out(v, LAYOUT_ACPI_PM, 0x34) : t_machine_wait(v);
}

static int wait_in_guest(struct t_vcpu *v)
{
	return t_machine_wait(v);
}

static void start(int (*guest)(struct t_vcpu *v))
{
	t_kvm.on_run = guest;
	t_int(put_kernel(), 0);
	t_int(instance_start(in, NULL, &e), 0);
	t_int(in->state, INSTANCE_RUNNING);
}

/* --- events --- */

static bool has_event(enum event_kind kind, const char *text)
{
	const struct event *ev;
	uint64_t seq = 1;

	while ((ev = event_get(&in->events, &seq)) != NULL) {
		if (ev->kind == kind && (!text || strstr(ev->text, text)))
			return true;
	}
	return false;
}

/* --- ids --- */

Test(instance, id_has_rules)
{
	static const char *const bad[] = { "", "a b", "a_b", "a.b", "a/b", "\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123x" };
	struct instance_config c = { .kvm_path = T_KVM_PATH };
	struct instance *other = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		c.id = bad[i];
		t_row_int(bad[i], instance_new(&c, &other, &e), -EINVAL);
		t_row_has(bad[i], e.text, "id of a machine");
	}
	unmake();
}

/* --- description --- */

Test(instance, machine_is_checked_at_once_and_kept_when_the_next_is_wrong)
{
	struct machine_spec good = { .cpus = 4, .mem_mib = 64, .smt = true };
	struct machine_spec bad[] = { { .cpus = 0, .mem_mib = 64 }, { .cpus = 33, .mem_mib = 64 },
		{ .cpus = 1, .mem_mib = 0 }, { .cpus = 3, .mem_mib = 64, .smt = true },
		{ .cpus = 1, .mem_mib = 65, .pages = MEM_PAGES_2M },
		{ .cpus = 1, .mem_mib = UINT64_MAX }, { .cpus = 1, .mem_mib = UINT64_MAX / 1024 } };

	t_int(instance_put_machine(in, &good, &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		t_int(instance_put_machine(in, &bad[i], &e), -EINVAL);
	t_uint(in->machine.cpus, 4);
	t_uint(in->machine.mem_mib, 64);
	t_true(in->is_boot_path);
	unmake();
}

Test(instance, disk_is_opened_when_it_is_described)
{
	const char *path = image("a", 4096);

	t_int(put_drive("a", path_of("missing"), false), -ENOENT);
	t_has(e.text, "missing");
	t_uint(in->ndrives, 0);
	t_int(put_drive("a", path, false), 0);
	t_true(in->drive[0].opened != NULL);
	/* Again, with our own lock on it. */
	t_int(put_drive("a", path, false), 0);
	t_uint(in->ndrives, 1);
	t_true(in->drive[0].opened != NULL);
	/* And by a second name it is somebody else's. */
	t_int(put_drive("b", path, false), -EBUSY);
	t_uint(in->ndrives, 1);
	(void)unlink(path);
	unmake();
}

Test(instance, disk_that_cannot_be_replaced_stays)
{
	const char *path = image("a", 4096);

	t_int(put_drive("a", path, true), 0);
	t_int(put_drive("a", path_of("missing"), true), -ENOENT);
	t_str(in->drive[0].spec.disk.path, path);
	t_true(in->drive[0].opened != NULL);
	(void)unlink(path);
	unmake();
}

Test(instance, there_is_one_root)
{
	const char *a = image("a", 4096), *b = image("b", 4096);

	t_int(put_drive("a", a, true), 0);
	t_int(put_drive("b", b, true), -EEXIST);
	t_has(e.text, "A root block device already exists!");
	t_int(put_drive("a", a, true), 0); /* itself */
	t_int(put_drive("a", a, false), 0);
	t_int(put_drive("b", b, true), 0);
	(void)unlink(a);
	(void)unlink(b);
	unmake();
}

Test(instance, there_is_room_for_so_many_devices)
{
	char id[16];

	instance_close(in);
	loop_free(loop);
	instance_free(in);
	make(true); /* nothing is opened */
	for (unsigned i = 0; i < CONFIG_DEVICES_MAX; i++) {
		(void)snprintf(id, sizeof(id), "d%u", i);
		t_int(put_drive(id, "/nowhere", false), 0);
	}
	t_int(put_drive("more", "/nowhere", false), -ENOSPC);
	t_int(put_drive("d3", "/elsewhere", false), 0);
	t_str(in->drive[3].spec.disk.path, "/elsewhere");
	unmake();
}

Test(instance, two_interfaces_have_two_macs_and_two_ids)
{
	struct net_spec net = {
		.net = { .id = "n0", .tap = "t0", .has_mac = true, .mac = { 2, 0, 0, 0, 0, 1 } }
	};

	instance_close(in);
	loop_free(loop);
	instance_free(in);
	make(true);
	t_int(instance_put_net(in, &net, &e), 0);
	t_int(instance_put_net(in, &net, &e), 0); /* itself */
	net.net.id = "n1";
	t_int(instance_put_net(in, &net, &e), -EADDRINUSE);
	t_has(e.text, "The MAC address is already in use: 02:00:00:00:00:01");
	net.net.mac[5] = 2;
	t_int(instance_put_net(in, &net, &e), 0);
	t_int(put_drive("n1", "/nowhere", false), -EEXIST);
	unmake();
}

/* --- start --- */

Test(instance, needs_a_kernel)
{
	t_int(instance_start(in, NULL, &e), -EINVAL);
	t_has(e.text, "no kernel");
	t_int(in->state, INSTANCE_NOT_STARTED);
	unmake();
}

Test(instance, that_could_not_start_can_be_mended_and_started)
{
	const char *path = image("a", 4096);
	struct boot_spec boot = { .kernel = "/nowhere/vmlinux" };

	t_int(put_drive("a", path, false), 0);
	t_int(instance_put_boot(in, &boot, &e), 0);
	t_true(instance_start(in, NULL, &e) < 0);
	t_int(in->state, INSTANCE_NOT_STARTED);
	t_true(in->vm == NULL);
	start(power_off);
	t_int(loop_run(loop), 0);
	t_uint(ended, 1);
	t_int(in->state, INSTANCE_ENDED);
	(void)unlink(path);
	unmake();
}

/* Any step of the start may fail. */
Test(instance, whatever_fails_in_the_start_it_can_be_tried_again, .timeout = 60)
{
	unsigned step;

	for (step = 1;; step++) {
		t_kvm_init();
		t_kvm.on_run = wait_in_guest;
		t_int(put_kernel(), 0);
		t_kvm.fail_step = step;
		t_kvm.fail_errno = ENOMEM;
		t_kvm_count(true);
		if (instance_start(in, NULL, &e) == 0)
			break;
		t_kvm_count(false);
		t_int(in->state, INSTANCE_NOT_STARTED);
		t_true(in->vm == NULL);
		t_true(e.text[0] != '\0');
		e = (struct err){ 0 };
	}
	t_kvm_count(false);
	t_true(step > 10);
	unmake();
}

Test(instance, tells_its_life_as_events)
{
	start(power_off);
	t_int(loop_run(loop), 0);
	t_true(has_event(EVENT_STATE, "Running"));
	t_true(has_event(EVENT_STATE, "Ended"));
	t_false(has_event(EVENT_STATE, "Paused"));
	unmake();
}

Test(instance, that_has_started_is_not_described_any_more)
{
	struct machine_spec machine = { .cpus = 1, .mem_mib = 64 };
	struct serial_spec serial = { 0 };
	struct cpu_template cpu = { 0 };
	struct net_spec net = { .net = { .id = "n", .tap = "t" } };

	start(wait_in_guest);
	t_int(instance_put_machine(in, &machine, &e), -EPERM);
	t_int(put_kernel(), -EPERM);
	t_int(put_drive("a", "/nowhere", false), -EPERM);
	t_int(instance_put_net(in, &net, &e), -EPERM);
	t_int(instance_put_serial(in, &serial, &e), -EPERM);
	t_int(instance_put_cpu(in, &cpu, &e), -EPERM);
	t_int(instance_start(in, NULL, &e), -EPERM);
	unmake();
}

/* --- pause and resume --- */

static unsigned calls;
static int call_rc;
static char call_text[ERR_TEXT_MAX];

static void on_done(void *ctx, int rc, const struct err *why)
{
	(void)ctx;
	calls++;
	call_rc = rc;
	t_true((rc == 0) == (why == NULL));
	(void)snprintf(call_text, sizeof(call_text), "%s", why ? why->text : "");
}

static void wait_for_calls(unsigned n)
{
	while (calls < n)
		t_int(loop_turn(loop), 0);
}

Test(instance, pauses_and_resumes_any_number_of_times)
{
	struct machine_spec machine = { .cpus = 4, .mem_mib = 64 };

	t_int(instance_put_machine(in, &machine, &e), 0);
	start(wait_in_guest);
	for (unsigned i = 1; i <= 6; i += 2) {
		t_int(instance_pause(in, on_done, NULL, &e), 0);
		t_uint(calls, i - 1);
		t_int(instance_pause(in, on_done, NULL, &e), -EBUSY);
		t_int(instance_resume(in, &e), -EBUSY);
		wait_for_calls(i);
		t_int(in->state, INSTANCE_PAUSED);
		/* What is paused may be paused. */
		t_int(instance_pause(in, on_done, NULL, &e), 0);
		t_uint(calls, i);
		wait_for_calls(i + 1);
		t_int(call_rc, 0);
		t_int(instance_resume(in, &e), 0);
		t_int(instance_resume(in, &e), 0);
		t_int(in->state, INSTANCE_RUNNING);
	}
	unmake();
}

Test(instance, pause_of_a_machine_that_ends_is_answered)
{
	start(power_off);
	/* The guest may be faster. */
	if (instance_pause(in, on_done, NULL, &e) == 0) {
		while (in->state != INSTANCE_ENDED && calls == 0)
			t_int(loop_turn(loop), 0);
		wait_for_calls(1);
	}
	unmake();
}

Test(instance, that_is_stopped_while_it_is_paused_ends)
{
	start(wait_in_guest);
	t_int(instance_pause(in, on_done, NULL, &e), 0);
	wait_for_calls(1);
	instance_stop(in, "enough");
	t_int(loop_run(loop), 0);
	t_int(in->state, INSTANCE_ENDED);
	t_int(instance_resume(in, &e), -EPERM);
	t_int(instance_pause(in, on_done, NULL, &e), -EPERM);
	t_has(e.text, "ended");
	unmake();
}

Test(instance, does_nothing_to_a_machine_that_is_not_there)
{
	struct drive_patch patch = { .id = "a" };
	struct net_patch net = { .id = "n" };

	t_int(instance_pause(in, on_done, NULL, &e), -EPERM);
	t_int(instance_resume(in, &e), -EPERM);
	t_int(instance_request_shutdown(in, &e), -EPERM);
	t_int(instance_patch_drive(in, &patch, on_done, NULL, &e), -EPERM);
	t_int(instance_patch_net(in, &net, &e), -EPERM);
	instance_stop(in, "nothing");
	instance_rescan(in);
	instance_quiet(in);
	t_uint(calls, 0);
	unmake();
}

/* --- changes while it runs --- */

static void start_with_disk(const char *path)
{
	t_int(put_drive("a", path, false), 0);
	start(wait_in_guest);
}

static int patch_path(const char *path)
{
	struct drive_patch patch = { .id = "a", .path = path };

	return instance_patch_drive(in, &patch, on_done, NULL, &e);
}

Test(instance, disk_gets_another_file)
{
	const char *a = image("a", 4096), *b = image("b", 8192);

	start_with_disk(a);
	t_int(patch_path(b), 0);
	t_int(patch_path(b), -EBUSY);
	wait_for_calls(1);
	t_int(call_rc, 0);
	t_str(in->drive[0].spec.disk.path, b);
	t_true(has_event(EVENT_DISK, b));
	/* The old one is free again, the new one is not. */
	t_int(put_drive("a", a, false), -EPERM);
	(void)unlink(a);
	(void)unlink(b);
	unmake();
}

Test(instance, disk_with_the_same_path_is_measured_again)
{
	const char *a = image("a", 4096);

	start_with_disk(a);
	(void)image("a", 65536);
	t_int(patch_path(a), 0);
	wait_for_calls(1);
	t_int(call_rc, 0);
	t_true(has_event(EVENT_DISK, a));
	(void)unlink(a);
	unmake();
}

Test(instance, disk_whose_new_file_is_missing_stays)
{
	const char *a = image("a", 4096);

	start_with_disk(a);
	t_int(patch_path(path_of("missing")), 0);
	wait_for_calls(1);
	t_int(call_rc, -ENOENT);
	t_has(call_text, "missing");
	t_str(in->drive[0].spec.disk.path, a);
	t_int(patch_path(a), 0); /* and it can be tried again */
	wait_for_calls(2);
	t_int(call_rc, 0);
	(void)unlink(a);
	unmake();
}

Test(instance, unknown_devices_are_not_changed)
{
	const char *a = image("a", 4096);
	struct drive_patch drive = { .id = "b" };
	struct net_patch net = { .id = "a" };

	start_with_disk(a);
	t_int(instance_patch_drive(in, &drive, on_done, NULL, &e), -ENODEV);
	t_int(instance_patch_net(in, &net, &e), -ENODEV);
	t_uint(calls, 0);
	t_int(patch_path(a), 0); /* nothing is under way */
	wait_for_calls(1);
	(void)unlink(a);
	unmake();
}

Test(instance, limit_is_changed_bucket_by_bucket)
{
	const char *a = image("a", 4096);
	struct drive_patch patch = { .id = "a",
		.shape = { .is_given = true, .has_ops = true },
		.limit = { .ops = { .size = 7, .refill_ms = 100 } } };

	start_with_disk(a);
	t_int(instance_patch_drive(in, &patch, on_done, NULL, &e), 0);
	t_uint(calls, 0);
	wait_for_calls(1);
	t_uint(in->drive[0].spec.disk.limit.ops.size, 7);
	t_false(in->drive[0].spec.shape.has_bytes);
	patch.shape = (struct limit_shape){ .is_given = true, .has_bytes = true };
	patch.limit = (struct limiter_config){ .bytes = { .size = 9, .refill_ms = 50 } };
	t_int(instance_patch_drive(in, &patch, on_done, NULL, &e), 0);
	wait_for_calls(2);
	t_uint(in->drive[0].spec.disk.limit.ops.size, 7);
	t_uint(in->drive[0].spec.disk.limit.bytes.size, 9);
	t_true(in->drive[0].spec.shape.has_bytes && in->drive[0].spec.shape.has_ops);
	(void)unlink(a);
	unmake();
}

/* Whoever began it is told, or would wait for ever. */
Test(instance, change_that_is_abandoned_is_answered)
{
	const char *a = image("a", 4096), *b = image("b", 4096);

	start_with_disk(a);
	t_int(patch_path(b), 0);
	instance_close(in);
	t_uint(calls, 1);
	t_int(call_rc, -ECANCELED);
	(void)unlink(a);
	(void)unlink(b);
	unmake();
	t_uint(calls, 1);
}

Test(instance, end_in_the_middle_of_a_change_leaves_nothing)
{
	const char *a = image("a", 4096), *b = image("b", 4096);

	start_with_disk(a);
	t_int(patch_path(b), 0);
	instance_quiet(in);
	(void)unlink(a);
	(void)unlink(b);
	unmake();
}
