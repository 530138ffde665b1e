/* "mvm serve": a machine that is driven through the API. */
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "cmd_faults.h"
#include "cmd_machine.h"
#include "cmd_service.h"
#include "cmd_signals.h"
#include "commands.h"
#include "footprint.h"
#include "instance.h"
#include "serve_options.h"
#include "snapshot/snapshots.h"
#include "terminal.h"

/* For answers and streams that are still on their way when the machine has ended. */
enum { FAREWELL_MS = 500 };

struct serve {
	struct serve_options options;
	struct loop *loop;
	struct instance *instance;
	struct service service;
	struct snapshots snapshots;
	struct signals signals;
	struct later trim;
	bool is_ending;
	int ended_by; /* the signal that ended us, 0 for none */
	int status;
};

/* --- the end --- */

static void on_said_goodbye(void *ctx)
{
	const struct serve *s = ctx;

	loop_stop(s->loop);
}

/* Lets clients have what they were promised, and then ends the process with the status. */
static void end(struct serve *s, int status, const char *why)
{
	if (s->is_ending)
		return;
	s->is_ending = true;
	s->status = status;
	service_say_goodbye(&s->service, status, why, FAREWELL_MS, on_said_goodbye, s);
}

static int status_of(enum vm_end how, const char *why)
{
	switch (how) {
	case VM_SHUTDOWN: log_info("The guest shut down (%s).", why); return EXIT_GUEST_DONE;
	case VM_RESET: log_info("The guest rebooted (%s).", why); return EXIT_GUEST_DONE;
	case VM_STOPPED: log_info("The machine was %s.", why); return EXIT_GUEST_DONE;
	case VM_CRASHED: log_error("The guest crashed: %s", why); return EXIT_HOST_FAILED;
	case VM_FAILED:
	case VM_RUNNING:
	default: log_error("The machine failed: %s", why); return EXIT_HOST_FAILED;
	}
}

static void on_ended(void *ctx)
{
	struct serve *s = ctx;
	char why[VM_WHY_MAX] = "";
	enum vm_end how = vm_end(s->instance->vm, why);

	end(s, status_of(how, why), why);
}

static void on_fatal(void *ctx, int status)
{
	end(ctx, status, "a request left this process without a future");
}

/* Some signals have an exit status and a word in the log; by the others the process simply dies. */
static void on_signal(void *ctx, int signo, int code)
{
	struct serve *s = ctx;
	char line[FAULTS_LINE_MAX];

	s->ended_by = signo;
	metrics_note_signal(s->service.metrics, signo);
	if (faults_status(signo) >= 0)
		log_error("%.*s", (int)faults_line(signo, code, line) - 1, line);
	if (s->instance->vm && s->instance->state != INSTANCE_ENDED)
		instance_stop(s->instance, "ended by a signal");
	else
		end(s, EXIT_GUEST_DONE, "ended by a signal");
}

static void on_rescan(void *ctx)
{
	const struct serve *s = ctx;

	instance_rescan(s->instance);
}

static void on_foreground(void *ctx)
{
	const struct serve *s = ctx;

	console_resume(s->instance->console);
}

/* --- the start --- */

/* Input comes from a person or a FIFO; /dev/null and the like of a daemon are none. */
static int console_input(void)
{
	struct stat st;

	if (isatty(STDIN_FILENO) || (fstat(STDIN_FILENO, &st) == 0 && S_ISFIFO(st.st_mode)))
		return STDIN_FILENO;
	return -1;
}

static int make_instance(struct serve *s, struct err *e)
{
	struct instance_config c = {
		.id = s->options.id,
		.kvm_path = s->options.kvm,
		.console_in = console_input(),
		.console_out = STDOUT_FILENO,
		.has_boot_timer = s->options.boot_timer,
		.host_mem = cmd_host_memory(),
		.host = { .ended = on_ended, .ctx = s },
	};
	struct timeline *t;
	int rc = instance_new(&c, &s->instance, e);

	if (rc < 0)
		return rc;
	t = &s->instance->timeline;
	timeline_set(t, TIMELINE_MAIN);
	timeline_set_at(t, TIMELINE_PROCESS,
		s->options.start_time_us ? s->options.start_time_us : t->us[TIMELINE_MAIN]);
	return instance_use_loop(s->instance, s->loop, e);
}

/* Only now is the terminal the guest's. */
static void on_started(void *ctx)
{
	struct serve *s = ctx;

	(void)terminal_make_raw(STDIN_FILENO);
	footprint_trim_later(&s->trim, s->loop);
}

static int open_service(struct serve *s, struct err *e)
{
	const struct serve_options *o = &s->options;
	struct service_config c = { .socket = o->no_api ? NULL : o->api_sock,
		.takes_activated = !o->has_api_sock,
		.mode = o->api_mode,
		.body_max = o->body_max,
		.metrics_path = o->metrics_path,
		.start_time_us = o->start_time_us,
		.start_time_cpu_us = o->start_time_cpu_us,
		.parent_cpu_time_us = o->parent_cpu_time_us,
		.snapshots = &s->snapshots,
		.started = on_started,
		.fatal = on_fatal,
		.ctx = s };
	int rc = snapshots_open(&s->snapshots, s->instance, e);

	return rc == 0 ? service_open(&s->service, s->loop, s->instance, &c, e) : rc;
}

static int start(struct serve *s, struct err *e)
{
	struct signals_host host = {
		.end = on_signal, .rescan = on_rescan, .resume = on_foreground, .ctx = s
	};
	int rc = signals_block(&s->signals, e);

	if (rc == 0)
		rc = cmd_make_loop(s->options.loop, &s->loop, e);
	if (rc < 0)
		return rc;
	signals_serve(&s->signals, s->loop, &host);
	rc = make_instance(s, e);
	if (rc == 0)
		rc = open_service(s, e);
	if (rc < 0 || !s->options.config_file)
		return rc;
	rc = api_apply_config_file(&s->service.api, s->options.config_file, e);
	if (rc < 0) {
		s->status = EXIT_BAD_CONFIG;
		return rc;
	}
	return instance_start(s->instance, NULL, e);
}

/* --- the whole --- */

static void finish(struct serve *s)
{
	later_end(&s->trim);
	if (s->instance)
		instance_quiet(s->instance);
	service_flush(&s->service);
	service_free(&s->service);
	snapshots_close(&s->snapshots);
	if (s->instance) {
		instance_close(s->instance);
		cmd_finish_console(s->instance->console, s->signals.fd);
	}
	terminal_restore();
	loop_free(s->loop);
	instance_free(s->instance);
	signals_fini(&s->signals);
}

/* As the one who sent a signal expects it. */
static int by_signal(struct serve *s)
{
	int status = faults_status(s->ended_by);

	if (status < 0)
		signals_die_by(s->ended_by);
	return status;
}

static int serve(struct serve *s)
{
	struct err e = { 0 };
	int rc = start(s, &e);

	if (rc == 0) {
		rc = loop_run(s->loop);
		if (rc < 0)
			(void)err_sys(&e, rc, NULL, "the event loop failed");
	}
	if (rc < 0) {
		log_error("%s", e.text);
		s->status = s->status ? s->status : EXIT_HOST_FAILED;
	}
	finish(s);
	if (s->status == 0)
		log_info(API_APP_NAME " exiting successfully. exit_code=0");
	else
		log_error(API_APP_NAME " exiting with error. exit_code=%d", s->status);
	return rc == 0 && s->ended_by ? by_signal(s) : s->status;
}

static int set_up_log(const struct serve_options *o, struct err *e)
{
	int rc = 0;

	log_init(o->level, STDOUT_FILENO);
	log_stamp(o->id);
	log_show(o->show_level, o->show_log_origin);
	log_set_module(o->module);
	if (o->log_path)
		rc = log_open(o->log_path, e);
	return rc;
}

int cmd_serve(int argc, char **argv)
{
	struct serve s = { .signals.fd = -1 };
	struct err e = { 0 };
	int rc = serve_options_parse(argc, argv, &s.options, &e);

	if (rc != 0) {
		log_error("%s", e.text);
		return rc;
	}
	if (s.options.info != SERVE_NO_INFO)
		return serve_options_inform(&s.options);
	rc = set_up_log(&s.options, &e);
	if (rc < 0) {
		log_error("%s", e.text);
		return EXIT_HOST_FAILED;
	}
	faults_catch();
	log_info("Running " API_APP_NAME " v" API_VERSION " (mvm v" MVM_VERSION ")");
	return serve(&s);
}
