/* The life of a machine (instance.h). */
#include "instance.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "instance_private.h"

const char *instance_state_name(enum instance_state state)
{
	static const char *const names[] = {
		[INSTANCE_NOT_STARTED] = "Not started",
		[INSTANCE_RUNNING] = "Running",
		[INSTANCE_PAUSED] = "Paused",
		[INSTANCE_ENDED] = "Ended",
	};

	return names[state];
}

static void enter(struct instance *in, enum instance_state state)
{
	in->state = state;
	event_emit(&in->events, EVENT_STATE, NULL, 0, instance_state_name(state));
}

/* --- making one --- */

static bool is_instance_id(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= INSTANCE_ID_MAX &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == len;
}

int instance_new(const struct instance_config *c, struct instance **ret, struct err *e)
{
	struct instance *in;

	if (!is_instance_id(c->id))
		return err_set(e, -EINVAL,
			"'%s' cannot be the id of a machine: 1 to %d letters, digits or '-'", c->id,
			INSTANCE_ID_MAX);
	in = calloc(1, sizeof(*in));
	if (!in || events_init(&in->events) < 0) {
		free(in);
		return err_sys(e, -ENOMEM, NULL, "cannot make the machine");
	}
	in->cfg = *c;
	in->machine =
		(struct machine_spec){ .cpus = 1, .mem_mib = CONFIG_MEM_DEFAULT / CONFIG_MEM_STEP };
	*ret = in;
	return 0;
}

void instance_quiet(struct instance *in)
{
	if (in->vm)
		vm_quiet(in->vm);
}

void instance_close(struct instance *in)
{
	instance_abandon_patch(in);
	vm_free(ptr_take(in->vm));
}

void instance_free(struct instance *in)
{
	if (!in)
		return;
	instance_close(in);
	console_free(in->console);
	instance_forget(in);
	free((void *)in->serial.path);
	events_fini(&in->events);
	free(in);
}

/* --- what the console and the machine report --- */

static void on_command(void *ctx, enum console_command command)
{
	struct instance *in = ctx;
	struct err e = { 0 };

	if (command == CONSOLE_SHUTDOWN && instance_request_shutdown(in, &e) < 0)
		log_warning("%s", e.text);
	if (command == CONSOLE_SHUTDOWN)
		return;
	if (in->cfg.host.quit)
		in->cfg.host.quit(in->cfg.host.ctx);
}

static void on_panic(void *ctx, const char *line)
{
	struct instance *in = ctx;

	event_emit(&in->events, EVENT_PANIC, NULL, 0, line);
}

int instance_use_loop(struct instance *in, struct loop *l, struct err *e)
{
	struct console_host host = { .command = on_command, .panicked = on_panic, .ctx = in };

	in->loop = l;
	return console_new(l, in->cfg.console_in, in->cfg.console_out, in->cfg.has_keys, &host,
		&in->console, e);
}

void instance_finish_change(struct instance *in, int rc, const struct err *e)
{
	instance_done_fn *done = in->change_done;

	in->is_changing = false;
	in->change_done = NULL;
	if (done)
		done(in->change_ctx, rc, rc == 0 ? NULL : e);
}

void instance_cancel_change(struct instance *in)
{
	in->is_changing = false;
	in->change_done = NULL;
}

static void on_ended(void *ctx)
{
	struct instance *in = ctx;
	struct err e = { 0 };

	enter(in, INSTANCE_ENDED);
	/* A patch answers when its file has been opened; a pause would wait for ever. */
	if (in->is_changing && !job_is_running(&in->patch_job)) {
		(void)err_set(&e, -ECANCELED, "the machine has ended");
		instance_finish_change(in, e.code, &e);
	}
	if (in->cfg.host.ended)
		in->cfg.host.ended(in->cfg.host.ctx);
}

static uint64_t cpu_time_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void on_marked(void *ctx)
{
	struct instance *in = ctx;
	const struct timeline *t = &in->timeline;
	uint64_t took = t->us[TIMELINE_MARK] - t->us[TIMELINE_ASKED];
	uint64_t took_cpu = cpu_time_us() - in->start_cpu_us;

	/* In these words, because there are programs that wait for them. */
	if (in->cfg.has_boot_timer)
		log_info("Guest-boot-time = %6llu us %llu ms, %6llu CPU us %llu CPU ms",
			(unsigned long long)took, (unsigned long long)took / 1000,
			(unsigned long long)took_cpu, (unsigned long long)took_cpu / 1000);
	event_emit(&in->events, EVENT_BOOT_DONE, NULL, took, NULL);
}

static void on_news(
	void *ctx, const char *id, enum virtio_news news, uint64_t number, const char *text)
{
	struct instance *in = ctx;

	switch (news) {
	case VIRTIO_NEWS_BROKEN: event_emit(&in->events, EVENT_NEEDS_RESET, id, 0, text); break;
	case VIRTIO_NEWS_THROTTLED: event_emit(&in->events, EVENT_LIMITER, id, number, text); break;
	case VIRTIO_NEWS_CAPACITY: event_emit(&in->events, EVENT_DISK, id, number, text); break;
	}
}

/* --- start --- */

static const struct start_options no_options;

int instance_build(struct instance *in, const struct start_options *options, struct err *e)
{
	struct vm_config c;
	int rc;

	if (in->state != INSTANCE_NOT_STARTED || in->vm)
		return err_set(e, -EPERM, "the machine has been started");
	if (!in->boot.kernel)
		return err_set(e, -EINVAL, "no kernel given");
	if (!options)
		options = &no_options;
	/* Of a start that failed before, nothing counts. */
	atomic_store(&in->timeline.us[TIMELINE_ASKED], 0);
	timeline_set(&in->timeline, TIMELINE_ASKED);
	in->start_cpu_us = cpu_time_us();
	instance_compose(in, options, false, &c);
	rc = config_check(&c, in->cfg.host_mem, e);
	if (rc < 0)
		return rc;
	/* From here on files and taps are the machine's; a second try opens them by their names. */
	instance_compose(in, options, true, &c);
	return vm_new(&c, &in->timeline, &in->vm, e);
}

int instance_start(struct instance *in, const struct start_options *options, struct err *e)
{
	struct vm_host host = {
		.ended = on_ended,
		.marked = on_marked,
		.news = on_news,
		.ctx = in,
	};
	struct serial_host serial;
	bool is_paused;
	int rc;

	if (in->state != INSTANCE_NOT_STARTED)
		return err_set(e, -EPERM, "the machine has been started");
	rc = in->vm ? 0 : instance_build(in, options, e);
	if (rc < 0)
		return rc;
	console_attach(in->console, &in->vm->machine.serial);
	serial = console_serial_host(in->console);
	rc = vm_start(in->vm, in->loop, &host, &serial, e);
	if (rc < 0) {
		console_attach(in->console, NULL);
		vm_free(ptr_take(in->vm));
		return rc;
	}
	is_paused = options && options->restore && !options->restore->goes_on;
	/* If it goes on: its serial port may have room already, and nobody was told. */
	console_set_paused(in->console, is_paused);
	enter(in, is_paused ? INSTANCE_PAUSED : INSTANCE_RUNNING);
	return 0;
}

void instance_stop(struct instance *in, const char *why)
{
	if (in->vm && in->state != INSTANCE_ENDED)
		vm_stop(in->vm, VM_STOPPED, why);
}

/* --- pause and resume --- */

static int check_started(const struct instance *in, struct err *e)
{
	if (in->state == INSTANCE_NOT_STARTED)
		return err_set(e, -EPERM, "the machine has not been started");
	if (in->state == INSTANCE_ENDED)
		return err_set(e, -EPERM, "the machine has ended");
	return 0;
}

/* What takes time is done one at a time. */
int instance_begin_change(struct instance *in, instance_done_fn *done, void *ctx, struct err *e)
{
	int rc = check_started(in, e);

	if (rc < 0)
		return rc;
	if (in->is_changing)
		return err_set(e, -EBUSY, "the machine is being paused or changed");
	in->is_changing = true;
	in->change_done = done;
	in->change_ctx = ctx;
	return 0;
}

static void on_paused(void *ctx)
{
	struct instance *in = ctx;

	if (in->state != INSTANCE_PAUSED)
		enter(in, INSTANCE_PAUSED);
	instance_finish_change(in, 0, NULL);
}

int instance_pause(struct instance *in, instance_done_fn *done, void *ctx, struct err *e)
{
	int rc = instance_begin_change(in, done, ctx, e);

	if (rc < 0)
		return rc;
	console_set_paused(in->console, true);
	vm_pause(in->vm, on_paused, in);
	return 0;
}

void instance_tell_let_go(struct instance *in)
{
	if (in->let_go)
		ptr_take(in->let_go)(in->let_go_ctx);
}

int instance_resume(struct instance *in, struct err *e)
{
	int rc = check_started(in, e);

	if (rc < 0)
		return rc;
	if (in->is_changing)
		return err_set(e, -EBUSY, "the machine is being paused or changed");
	if (in->state == INSTANCE_RUNNING)
		return 0;
	vm_resume(in->vm);
	console_set_paused(in->console, false);
	enter(in, INSTANCE_RUNNING);
	instance_tell_let_go(in);
	return 0;
}

int instance_request_shutdown(struct instance *in, struct err *e)
{
	int rc = check_started(in, e);

	if (rc == 0)
		machine_request_shutdown(&in->vm->machine);
	return rc;
}

void instance_rescan(struct instance *in)
{
	if (in->vm && in->state != INSTANCE_ENDED)
		devices_rescan(&in->vm->devices);
}
