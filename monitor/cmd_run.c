/* "mvm run": a machine in the foreground, its serial port on stdin and stdout. */
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "cmd_foreground.h"
#include "cmd_machine.h"
#include "commands.h"
#include "instance.h"
#include "options.h"

/* Everything a run consists of. */
struct run {
	struct run_options options;
	struct start_options start;
	struct foreground foreground;
};

static struct run *run_of(struct foreground *f)
{
	return container_of(f, struct run, foreground);
}

static int describe(struct run *r, struct err *e)
{
	const struct vm_config *c = &r->options.vm;
	struct machine_spec machine = { .cpus = c->cpus,
		.mem_mib = c->mem_size / CONFIG_MEM_STEP,
		.pages = c->pages,
		.track_dirty_pages = c->track_dirty };
	struct boot_spec boot = { .kernel = c->kernel, .initrd = c->initrd, .cmdline = c->cmdline };
	int rc = instance_put_machine(r->foreground.instance, &machine, e);

	if (rc == 0)
		rc = instance_put_boot(r->foreground.instance, &boot, e);
	for (unsigned i = 0; i < c->ndisks && rc == 0; i++) {
		struct drive_spec drive = { .disk = c->disk[i] };

		rc = instance_put_drive(r->foreground.instance, &drive, e);
	}
	for (unsigned i = 0; i < c->nnets && rc == 0; i++) {
		struct net_spec net = { .net = c->net[i] };

		rc = instance_put_net(r->foreground.instance, &net, e);
	}
	return rc;
}

static int build(struct foreground *f, struct err *e)
{
	return instance_build(f->instance, &run_of(f)->start, e);
}

static int start(struct foreground *f, struct err *e)
{
	return instance_start(f->instance, &run_of(f)->start, e);
}

static int make_instance(struct run *r, uint64_t main_time_us, struct err *e)
{
	const struct run_options *o = &r->options;
	struct foreground_options f = {
		.loop = o->loop,
		.kvm_path = o->vm.kvm_path,
		.id = o->id,
		.api_sock = o->api_sock,
		.timeline = o->timeline,
		.timeline_json = o->timeline_json,
		.counters = o->counters,
		.start_time_us = o->start_time_us,
		.main_time_us = main_time_us,
	};
	int rc = foreground_init(&r->foreground, &f, e);

	r->start = (struct start_options){
		.protocol = o->vm.protocol,
		.describe = o->vm.describe,
		.prefault = o->vm.prefault,
		.roots_first_disk = true,
	};
	return rc == 0 ? describe(r, e) : rc;
}

int cmd_run(int argc, char **argv)
{
	static const struct foreground_ops ops = { .build = build, .start = start };
	struct run r = { .foreground.signals.fd = -1 };
	uint64_t now = timeline_now_us();
	struct err e = { 0 };
	int rc = options_parse_run(argc, argv, &r.options, &e), status = EXIT_USAGE;

	if (rc == 0 && r.options.help) {
		(void)fputs(options_run_help, stdout);
		options_free(&r.options);
		return 0;
	}
	if (rc == 0 && r.options.verbose)
		log_init(LOG_DEBUG, STDERR_FILENO);
	if (rc == 0)
		rc = config_check(&r.options.vm, cmd_host_memory(), &e);
	if (rc == 0)
		rc = make_instance(&r, now, &e);
	if (rc < 0)
		log_error("%s", e.text);
	else
		status = foreground_run(&r.foreground, &ops);
	foreground_fini(&r.foreground);
	options_free(&r.options);
	return status;
}
