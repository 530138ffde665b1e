/* "mvm restore": a machine that was saved goes on in the foreground. */
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "cmd_foreground.h"
#include "commands.h"
#include "instance.h"
#include "restore_options.h"

struct restore {
	struct restore_options options;
	struct foreground foreground;
};

static const struct restore *restore_of(const struct foreground *f)
{
	return container_of(f, struct restore, foreground);
}

static int build(struct foreground *f, struct err *e)
{
	return snapshots_build(&f->snapshots, f->instance, &restore_of(f)->options.load, e);
}

static int start(struct foreground *f, struct err *e)
{
	return snapshots_start(&f->snapshots, e);
}

static int make_instance(struct restore *r, uint64_t main_time_us, struct err *e)
{
	const struct restore_options *o = &r->options;
	struct foreground_options f = {
		.loop = o->loop,
		.kvm_path = o->kvm,
		.id = o->id,
		.api_sock = o->api_sock,
		.timeline = o->timeline,
		.timeline_json = o->timeline_json,
		.counters = o->counters,
		.start_time_us = o->start_time_us,
		.main_time_us = main_time_us,
	};

	return foreground_init(&r->foreground, &f, e);
}

int cmd_restore(int argc, char **argv)
{
	static const struct foreground_ops ops = { .build = build, .start = start };
	struct restore r = { .foreground.signals.fd = -1 };
	uint64_t now = timeline_now_us();
	struct err e = { 0 };
	int rc = restore_options_parse(argc, argv, &r.options, &e), status = EXIT_USAGE;

	if (rc == 0 && r.options.help) {
		(void)fputs(restore_options_help, stdout);
		restore_options_free(&r.options);
		return 0;
	}
	if (rc == 0 && r.options.verbose)
		log_init(LOG_DEBUG, STDERR_FILENO);
	if (rc == 0)
		rc = make_instance(&r, now, &e);
	if (rc < 0)
		log_error("%s", e.text);
	else
		status = foreground_run(&r.foreground, &ops);
	foreground_fini(&r.foreground);
	restore_options_free(&r.options);
	return status;
}
