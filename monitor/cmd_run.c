/* "mvm run": a machine in the foreground, its serial port on stdin and stdout. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "cmd_machine.h"
#include "cmd_run_counters.h"
#include "cmd_service.h"
#include "cmd_signals.h"
#include "commands.h"
#include "footprint.h"
#include "instance.h"
#include "options.h"
#include "terminal.h"

/* For answers and streams that are still on their way when the machine has ended. */
enum { FAREWELL_MS = 500 };

/* Everything a run consists of. */
struct run {
	struct run_options options;
	struct loop *loop;
	struct instance *instance;
	struct service service; /* zeroed without --api-sock */
	struct signals signals;
	int ended_by; /* the signal that ended us, 0 for none */
};

/* --- what ends it --- */

static void on_said_goodbye(void *ctx)
{
	const struct run *r = ctx;

	loop_stop(r->loop);
}

/* What the process will say of it, without a word in the log yet. */
static int exit_status(enum vm_end end)
{
	switch (end) {
	case VM_SHUTDOWN:
	case VM_RESET:
	case VM_STOPPED: return EXIT_GUEST_DONE;
	case VM_CRASHED: return EXIT_GUEST_CRASHED;
	case VM_FAILED:
	case VM_RUNNING:
	default: return EXIT_HOST_FAILED;
	}
}

static void on_ended(void *ctx)
{
	struct run *r = ctx;
	char why[VM_WHY_MAX] = "";
	enum vm_end end = vm_end(r->instance->vm, why);

	if (r->options.api_sock)
		service_say_goodbye(
			&r->service, exit_status(end), why, FAREWELL_MS, on_said_goodbye, r);
	else
		loop_stop(r->loop);
}

static void on_quit(void *ctx)
{
	const struct run *r = ctx;

	instance_stop(r->instance, "ended from the console");
}

static void on_signal(void *ctx, int signo, int code)
{
	struct run *r = ctx;

	(void)code;
	r->ended_by = signo;
	instance_stop(r->instance, "ended by a signal");
}

static void on_rescan(void *ctx)
{
	const struct run *r = ctx;

	instance_rescan(r->instance);
}

static void on_foreground(void *ctx)
{
	const struct run *r = ctx;

	console_resume(r->instance->console);
}

/* --- the run --- */

static int describe(struct run *r, struct err *e)
{
	const struct vm_config *c = &r->options.vm;
	struct machine_spec machine = {
		.cpus = c->cpus, .mem_mib = c->mem_size / CONFIG_MEM_STEP, .pages = c->pages
	};
	struct boot_spec boot = { .kernel = c->kernel, .initrd = c->initrd, .cmdline = c->cmdline };
	int rc = instance_put_machine(r->instance, &machine, e);

	if (rc == 0)
		rc = instance_put_boot(r->instance, &boot, e);
	for (unsigned i = 0; i < c->ndisks && rc == 0; i++) {
		struct drive_spec drive = { .disk = c->disk[i] };

		rc = instance_put_drive(r->instance, &drive, e);
	}
	for (unsigned i = 0; i < c->nnets && rc == 0; i++) {
		struct net_spec net = { .net = c->net[i] };

		rc = instance_put_net(r->instance, &net, e);
	}
	return rc;
}

static int make_instance(struct run *r, struct err *e)
{
	struct instance_config c = {
		.id = r->options.id,
		.kvm_path = r->options.vm.kvm_path,
		.console_in = STDIN_FILENO,
		.console_out = STDOUT_FILENO,
		.has_keys = isatty(STDIN_FILENO),
		.opens_late = true,
		.host_mem = cmd_host_memory(),
		.host = { .ended = on_ended, .quit = on_quit, .ctx = r },
	};
	int rc = instance_new(&c, &r->instance, e);

	if (rc < 0)
		return rc;
	timeline_set_at(&r->instance->timeline, TIMELINE_MAIN, r->options.main_time_us);
	timeline_set_at(&r->instance->timeline, TIMELINE_PROCESS,
		r->options.start_time_us ? r->options.start_time_us : r->options.main_time_us);
	return describe(r, e);
}

static int open_service(struct run *r, struct err *e)
{
	struct service_config c = {
		.socket = r->options.api_sock, .mode = 0600, .body_max = HTTP_BODY_DEFAULT
	};

	return c.socket ? service_open(&r->service, r->loop, r->instance, &c, e) : 0;
}

static int start(struct run *r, struct err *e)
{
	struct start_options options = { .protocol = r->options.vm.protocol,
		.describe = r->options.vm.describe,
		.prefault = r->options.vm.prefault,
		.roots_first_disk = true };
	struct signals_host host = {
		.end = on_signal, .rescan = on_rescan, .resume = on_foreground, .ctx = r
	};
	int rc = instance_build(r->instance, &options, e);

	/* Until here a signal simply ends us, however long the set-up takes; there is nothing to
	 * undo. */
	if (rc == 0)
		rc = signals_block(&r->signals, e);
	/* While the vCPU threads finish their set-up. */
	if (rc == 0)
		rc = cmd_make_loop(r->options.loop, &r->loop, e);
	if (rc == 0) {
		(void)terminal_make_raw(STDIN_FILENO);
		rc = instance_use_loop(r->instance, r->loop, e);
	}
	if (rc == 0)
		rc = open_service(r, e);
	if (rc < 0)
		return rc;
	signals_serve(&r->signals, r->loop, &host);
	rc = instance_start(r->instance, &options, e);
	if (rc == 0)
		footprint_trim();
	return rc;
}

static void write_timeline(const struct run *r)
{
	FILE *out;

	if (r->options.timeline)
		timeline_print(&r->instance->timeline, stderr);
	if (!r->options.timeline_json)
		return;
	out = fopen(r->options.timeline_json, "we");
	if (out)
		timeline_print_json(&r->instance->timeline, out);
	if (!out || fclose(out) != 0)
		log_error("cannot write the timeline to '%s': %s", r->options.timeline_json,
			strerror(errno));
}

static void write_counters(const struct run *r)
{
	int rc;

	if (!r->options.counters || !r->instance->vm)
		return;
	rc = cmd_run_write_counters(&r->instance->vm->devices, r->options.counters);
	if (rc < 0)
		log_error("cannot write the counters to '%s': %s", r->options.counters,
			strerror(-rc));
}

static void finish(struct run *r)
{
	/* The vCPUs are gone before the rest is written, so nothing is added behind our back. */
	instance_quiet(r->instance);
	write_counters(r);
	service_free(&r->service);
	instance_close(r->instance);
	cmd_finish_console(r->instance->console, r->signals.fd);
	terminal_restore();
	loop_free(r->loop);
	signals_fini(&r->signals);
}

static void tell(enum vm_end end, const char *why)
{
	switch (end) {
	case VM_SHUTDOWN: log_info("the guest shut down (%s)", why); break;
	case VM_RESET: log_info("the guest rebooted (%s)", why); break;
	case VM_STOPPED: log_info("%s", why); break;
	case VM_CRASHED: log_error("the guest crashed: %s", why); break;
	case VM_FAILED:
	case VM_RUNNING:
	default: log_error("the machine failed: %s", why); break;
	}
}

static int run(struct run *r)
{
	char why[VM_WHY_MAX] = "";
	enum vm_end end = VM_RUNNING;
	struct err e = { 0 };
	int rc = start(r, &e);

	if (rc == 0) {
		rc = loop_run(r->loop);
		end = vm_end(r->instance->vm, why);
		if (rc < 0)
			(void)err_sys(&e, rc, NULL, "the event loop failed");
	}
	finish(r);
	if (rc < 0) {
		log_error("%s", e.text);
		return EXIT_HOST_FAILED;
	}
	write_timeline(r);
	if (end == VM_STOPPED && r->ended_by)
		signals_die_by(r->ended_by);
	tell(end, why);
	return exit_status(end);
}

int cmd_run(int argc, char **argv)
{
	struct run r = { .signals.fd = -1 };
	uint64_t now = timeline_now_us();
	struct err e = { 0 };
	int rc = options_parse_run(argc, argv, &r.options, &e), status = EXIT_USAGE;

	if (rc == 0 && r.options.help) {
		(void)fputs(options_run_help, stdout);
		options_free(&r.options);
		return 0;
	}
	r.options.main_time_us = now;
	if (rc == 0 && r.options.verbose)
		log_init(LOG_DEBUG, STDERR_FILENO);
	if (rc == 0)
		rc = config_check(&r.options.vm, cmd_host_memory(), &e);
	if (rc == 0)
		rc = make_instance(&r, &e);
	if (rc < 0)
		log_error("%s", e.text);
	else
		status = run(&r);
	instance_free(r.instance);
	options_free(&r.options);
	return status;
}
