/* A machine in the foreground (cmd_foreground.h). */
#include "cmd_foreground.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "cmd_machine.h"
#include "cmd_run_counters.h"
#include "commands.h"
#include "footprint.h"
#include "instance.h"
#include "terminal.h"

/* For answers and streams that are still on their way when the machine has ended. */
enum { FAREWELL_MS = 500 };

/* --- what ends it --- */

static void on_said_goodbye(void *ctx)
{
	const struct foreground *f = ctx;

	loop_stop(f->loop);
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
	struct foreground *f = ctx;
	char why[VM_WHY_MAX] = "";
	enum vm_end end = vm_end(f->instance->vm, why);

	if (f->options.api_sock)
		service_say_goodbye(
			&f->service, exit_status(end), why, FAREWELL_MS, on_said_goodbye, f);
	else
		loop_stop(f->loop);
}

static void on_quit(void *ctx)
{
	const struct foreground *f = ctx;

	instance_stop(f->instance, "ended from the console");
}

static void on_signal(void *ctx, int signo, int code)
{
	struct foreground *f = ctx;

	(void)code;
	f->ended_by = signo;
	instance_stop(f->instance, "ended by a signal");
}

static void on_rescan(void *ctx)
{
	const struct foreground *f = ctx;

	instance_rescan(f->instance);
}

static void on_foreground(void *ctx)
{
	const struct foreground *f = ctx;

	console_resume(f->instance->console);
}

/* --- the beginning --- */

int foreground_init(struct foreground *f, const struct foreground_options *o, struct err *e)
{
	struct instance_config c = {
		.id = o->id,
		.kvm_path = o->kvm_path,
		.console_in = STDIN_FILENO,
		.console_out = STDOUT_FILENO,
		.has_keys = isatty(STDIN_FILENO),
		.opens_late = true,
		.host_mem = cmd_host_memory(),
		.host = { .ended = on_ended, .quit = on_quit, .ctx = f },
	};
	int rc = instance_new(&c, &f->instance, e);

	if (rc < 0)
		return rc;
	f->options = *o;
	timeline_set_at(&f->instance->timeline, TIMELINE_MAIN, o->main_time_us);
	timeline_set_at(&f->instance->timeline, TIMELINE_PROCESS,
		o->start_time_us ? o->start_time_us : o->main_time_us);
	/* Before the machine is made: it is told what the machine came from. */
	return o->api_sock ? snapshots_open(&f->snapshots, f->instance, e) : 0;
}

int foreground_make_loop(struct foreground *f, struct err *e)
{
	int rc = cmd_make_loop(f->options.loop, &f->loop, e);

	return rc == 0 ? instance_use_loop(f->instance, f->loop, e) : rc;
}

static int open_service(struct foreground *f, struct err *e)
{
	struct service_config c = {
		.socket = f->options.api_sock,
		.mode = 0600,
		.body_max = HTTP_BODY_DEFAULT,
		.snapshots = &f->snapshots,
	};

	return c.socket ? service_open(&f->service, f->loop, f->instance, &c, e) : 0;
}

static int start(struct foreground *f, const struct foreground_ops *ops, struct err *e)
{
	struct signals_host host = {
		.end = on_signal, .rescan = on_rescan, .resume = on_foreground, .ctx = f
	};
	int rc = ops->build(f, e);

	/* Until here a signal simply ends us, however long the set-up takes; there is nothing to
	 * undo. */
	if (rc == 0)
		rc = signals_block(&f->signals, e);
	/* While the vCPU threads finish their set-up. */
	if (rc == 0 && !f->loop)
		rc = foreground_make_loop(f, e);
	if (rc == 0) {
		(void)terminal_make_raw(STDIN_FILENO);
		rc = open_service(f, e);
	}
	if (rc < 0)
		return rc;
	signals_serve(&f->signals, f->loop, &host);
	rc = ops->start(f, e);
	if (rc == 0)
		footprint_trim_later(&f->trim, f->loop);
	return rc;
}

/* --- the end --- */

static void write_timeline(const struct foreground *f)
{
	FILE *out;

	if (f->options.timeline)
		timeline_print(&f->instance->timeline, stderr);
	if (!f->options.timeline_json)
		return;
	out = fopen(f->options.timeline_json, "we");
	if (out)
		timeline_print_json(&f->instance->timeline, out);
	if (!out || fclose(out) != 0)
		log_error("cannot write the timeline to '%s': %s", f->options.timeline_json,
			strerror(errno));
}

static void write_counters(const struct foreground *f)
{
	int rc;

	if (!f->options.counters || !f->instance->vm)
		return;
	rc = cmd_run_write_counters(&f->instance->vm->devices, f->options.counters);
	if (rc < 0)
		log_error("cannot write the counters to '%s': %s", f->options.counters,
			strerror(-rc));
}

static void finish(struct foreground *f)
{
	later_end(&f->trim);
	/* The vCPUs are gone before the rest is written, so nothing is added behind our back. */
	instance_quiet(f->instance);
	write_counters(f);
	service_free(&f->service);
	snapshots_close(&f->snapshots);
	instance_close(f->instance);
	cmd_finish_console(f->instance->console, f->signals.fd);
	terminal_restore();
	loop_free(f->loop);
	signals_fini(&f->signals);
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

int foreground_run(struct foreground *f, const struct foreground_ops *ops)
{
	char why[VM_WHY_MAX] = "";
	enum vm_end end = VM_RUNNING;
	struct err e = { 0 };
	int rc = start(f, ops, &e);

	if (rc == 0) {
		rc = loop_run(f->loop);
		end = vm_end(f->instance->vm, why);
		if (rc < 0)
			(void)err_sys(&e, rc, NULL, "the event loop failed");
	}
	finish(f);
	if (rc < 0) {
		log_error("%s", e.text);
		return EXIT_HOST_FAILED;
	}
	write_timeline(f);
	if (end == VM_STOPPED && f->ended_by)
		signals_die_by(f->ended_by);
	tell(end, why);
	return exit_status(end);
}

void foreground_fini(struct foreground *f)
{
	snapshots_close(&f->snapshots);
	instance_free(ptr_take(f->instance));
}
