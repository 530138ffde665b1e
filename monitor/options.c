/* The command line of "mvm run" (options.h). */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/parse.h"
#include "device_options.h"

const char options_run_help[] =
	"usage: mvm run --kernel FILE [options]\n"
	"\n"
	"Boots a guest in the foreground, its serial port on stdin and stdout.\n"
	"On a terminal: Ctrl-A x ends the machine, Ctrl-A c asks it to shut down, Ctrl-A a sends "
	"Ctrl-A.\n"
	"\n"
	"  --kernel FILE         vmlinux (ELF, 64-bit) or bzImage\n"
	"  --initrd FILE         initial ramdisk\n"
	"  --disk PATH[,OPTION]  a disk, the first one is the root: ro, id=ID, "
	"cache=writeback|unsafe,\n"
	"                        engine=async|sync, direct, bw=RATE, ops=RATE\n"
	"  --net TAP[,OPTION]    a network interface; fd=N for an open tap: id=ID, mac=M, mtu=N, "
	"no-csum,\n"
	"                        no-tso, no-ufo, no-uso, no-mrg, rx-bw=, rx-ops=, tx-bw=, "
	"tx-ops=RATE\n"
	"                        RATE: SIZE[/MS][+BURST], such as 10M or 500/100+2000\n"
	"  --cmdline TEXT        kernel command line (default: \"console=ttyS0 panic=-1\")\n"
	"  --cpus N              vCPUs, 1 to 32 (default: 1)\n"
	"  --mem SIZE            memory, such as 128M or 4G; 16M to 1T (default: 128M)\n"
	"  --pages KIND          host: as the host's policy is (default), 4k, thp: transparent "
	"huge pages,\n"
	"                        2m: huge pages from the host's pool\n"
	"  --prefault            touch all memory before the start\n"
	"  --track-dirty         note which pages are written, for snapshots of differences\n"
	"  --boot PROTOCOL       auto (default), pvh, linux64\n"
	"  --describe HOW        devices by auto (default), acpi, cmdline, both\n"
	"  --api-sock PATH       serve the API there while the machine runs ('mvm ps', 'mvm "
	"console')\n"
	"  --id ID               what the API calls the machine: letters, digits, '-' (default: "
	"run)\n"
	"  --loop BACKEND        auto (default), uring, epoll\n"
	"  --timeline            print a timeline of the cold start at the end\n"
	"  --timeline-json FILE  write it as a line of JSON\n"
	"  --counters FILE       write what the devices counted as JSON at the end\n"
	"  --start-time-us N     CLOCK_MONOTONIC of when the caller began, for the timeline\n"
	"  --verbose             say more\n"
	"  --help                this text\n"
	"\n"
	"Exit status: 0 the guest shut down or rebooted, 1 the host or mvm failed, 2 bad usage, 3 "
	"the guest crashed;\n"
	"ended by a signal, mvm ends by that signal.\n";

enum option_id {
	OPT_FIRST = 256, /* no letter */
	OPT_API_SOCK = OPT_FIRST,
	OPT_BOOT,
	OPT_CMDLINE,
	OPT_COUNTERS,
	OPT_CPUS,
	OPT_DESCRIBE,
	OPT_DISK,
	OPT_HELP,
	OPT_ID,
	OPT_INITRD,
	OPT_KERNEL,
	OPT_LOOP,
	OPT_MEM,
	OPT_NET,
	OPT_PAGES,
	OPT_PREFAULT,
	OPT_START_TIME,
	OPT_TIMELINE,
	OPT_TIMELINE_JSON,
	OPT_TRACK,
	OPT_VERBOSE,
};

static const struct option run_options[] = {
	{ "api-sock", required_argument, NULL, OPT_API_SOCK },
	{ "boot", required_argument, NULL, OPT_BOOT },
	{ "cmdline", required_argument, NULL, OPT_CMDLINE },
	{ "counters", required_argument, NULL, OPT_COUNTERS },
	{ "cpus", required_argument, NULL, OPT_CPUS },
	{ "describe", required_argument, NULL, OPT_DESCRIBE },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "id", required_argument, NULL, OPT_ID },
	{ "initrd", required_argument, NULL, OPT_INITRD },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "loop", required_argument, NULL, OPT_LOOP },
	{ "mem", required_argument, NULL, OPT_MEM },
	{ "net", required_argument, NULL, OPT_NET },
	{ "pages", required_argument, NULL, OPT_PAGES },
	{ "prefault", no_argument, NULL, OPT_PREFAULT },
	{ "start-time-us", required_argument, NULL, OPT_START_TIME },
	{ "timeline", no_argument, NULL, OPT_TIMELINE },
	{ "timeline-json", required_argument, NULL, OPT_TIMELINE_JSON },
	{ "track-dirty", no_argument, NULL, OPT_TRACK },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ NULL, 0, NULL, 0 },
};

/* One word out of a list: its index, or -EINVAL with e naming all of them. */
static int choose(
	const char *option, const char *text, const char *const words[], unsigned n, struct err *e)
{
	char list[128] = "";

	for (unsigned i = 0; i < n; i++) {
		if (strcmp(text, words[i]) == 0)
			return (int)i;
		(void)strncat(list, i > 0 ? ", " : "", sizeof(list) - strlen(list) - 1);
		(void)strncat(list, words[i], sizeof(list) - strlen(list) - 1);
	}
	return err_set(e, -EINVAL, "--%s '%s': must be one of %s", option, text, list);
}

static int parse_cpus(const char *text, unsigned *ret, struct err *e)
{
	uint64_t value;

	if (parse_u64(text, 1, CONFIG_CPUS_MAX, &value) < 0)
		return err_set(e, -EINVAL, "--cpus '%s': must be a number from 1 to %d", text,
			CONFIG_CPUS_MAX);
	*ret = (unsigned)value;
	return 0;
}

/* Ids of devices that were given none; their own, because a config's strings are borrowed. */
static const char *const disk_ids[CONFIG_DEVICES_MAX] = { "disk0", "disk1", "disk2", "disk3",
	"disk4", "disk5", "disk6", "disk7", "disk8", "disk9", "disk10", "disk11", "disk12",
	"disk13", "disk14", "disk15", "disk16", "disk17" };
static const char *const net_ids[CONFIG_DEVICES_MAX] = { "net0", "net1", "net2", "net3", "net4",
	"net5", "net6", "net7", "net8", "net9", "net10", "net11", "net12", "net13", "net14",
	"net15", "net16", "net17" };

static int add_device(bool is_disk, const char *arg, struct run_options *o, struct err *e)
{
	unsigned n = o->vm.ndisks + o->vm.nnets;
	struct disk_config *d = &o->vm.disk[o->vm.ndisks];
	struct net_config *net = &o->vm.net[o->vm.nnets];
	int rc;

	if (n == CONFIG_DEVICES_MAX)
		return err_set(e, -EINVAL, "too many devices: a machine has room for %d", n);
	o->text[n] = strdup(arg);
	if (!o->text[n])
		return err_sys(e, -ENOMEM, NULL, "cannot read the options");
	rc = is_disk ? device_options_disk(o->text[n], d, e)
		     : device_options_net(o->text[n], net, e);
	if (rc == 0 && is_disk) {
		d->id = d->id ? d->id : disk_ids[o->vm.ndisks];
		o->vm.ndisks++;
	} else if (rc == 0) {
		net->id = net->id ? net->id : net_ids[o->vm.nnets];
		o->vm.nnets++;
	} else {
		free(ptr_take(o->text[n]));
	}
	return rc;
}

static int apply(int id, const char *arg, struct run_options *o, struct err *e)
{
	static const char *const boots[] = { "auto", "pvh", "linux64" };
	static const char *const describes[] = { "auto", "acpi", "cmdline", "both" };
	static const char *const loops[] = { "auto", "uring", "epoll" };
	static const char *const pages[] = { "host", "4k", "thp", "2m" };
	int index = 0;

	switch (id) {
	case OPT_HELP: o->help = true; return 0;
	case OPT_VERBOSE: o->verbose = true; return 0;
	case OPT_PREFAULT: o->vm.prefault = true; return 0;
	case OPT_TIMELINE: o->timeline = true; return 0;
	case OPT_TRACK: o->vm.track_dirty = true; return 0;
	case OPT_TIMELINE_JSON: o->timeline_json = arg; return 0;
	case OPT_KERNEL: o->vm.kernel = arg; return 0;
	case OPT_INITRD: o->vm.initrd = arg; return 0;
	case OPT_CMDLINE: o->vm.cmdline = arg; return 0;
	case OPT_API_SOCK: o->api_sock = arg; return 0;
	case OPT_COUNTERS: o->counters = arg; return 0;
	case OPT_ID: o->id = arg; return 0;
	case OPT_DISK: return add_device(true, arg, o, e);
	case OPT_NET: return add_device(false, arg, o, e);
	case OPT_CPUS: return parse_cpus(arg, &o->vm.cpus, e);
	case OPT_MEM:
		return parse_size(arg, &o->vm.mem_size) < 0
			       ? err_set(e, -EINVAL,
					 "--mem '%s': must be a size such as 128M or 4G", arg)
			       : 0;
	case OPT_START_TIME:
		return parse_u64(arg, 1, INT64_MAX, &o->start_time_us) < 0
			       ? err_set(e, -EINVAL,
					 "--start-time-us '%s': must be a number of microseconds",
					 arg)
			       : 0;
	case OPT_BOOT:
		index = choose("boot", arg, boots, ARRAY_SIZE(boots), e);
		o->vm.protocol = (enum boot_protocol)MAX(index, 0);
		break;
	case OPT_DESCRIBE:
		index = choose("describe", arg, describes, ARRAY_SIZE(describes), e);
		o->vm.describe = (enum describe)MAX(index, 0);
		break;
	case OPT_LOOP:
		index = choose("loop", arg, loops, ARRAY_SIZE(loops), e);
		o->loop = (enum loop_backend)MAX(index, 0);
		break;
	default:
		index = choose("pages", arg, pages, ARRAY_SIZE(pages), e);
		o->vm.pages = (enum mem_pages)MAX(index, 0);
		break;
	}
	return MIN(index, 0);
}

static int parse_all(int argc, char **argv, struct run_options *o, struct err *e)
{
	int id;

	opterr = 0;
	optind = 0; /* getopt starts over, for a second call in the same process */
	/* The colon asks for ':' instead of '?' when an argument is missing. */
	while ((id = getopt_long(argc, argv, ":", run_options, NULL)) != -1) {
		int rc;

		/* A single letter: it may stand in the middle of a word that is not behind us yet.
		 */
		if (id == '?' && optopt > 0 && optopt < OPT_FIRST)
			return err_set(e, -EINVAL,
				"unknown option '-%c'; 'mvm run --help' lists them", optopt);
		if (id == '?')
			return err_set(e, -EINVAL,
				"unknown option '%s'; 'mvm run --help' lists them",
				argv[optind - 1]);
		if (id == ':')
			return err_set(e, -EINVAL, "option '%s' needs a value", argv[optind - 1]);
		rc = apply(id, optarg, o, e);
		if (rc < 0)
			return rc;
	}
	if (optind < argc)
		return err_set(e, -EINVAL, "'%s' is not an option; 'mvm run --help' lists them",
			argv[optind]);
	if (!o->help && !o->vm.kernel)
		return err_set(e, -EINVAL, "--kernel FILE is missing");
	return 0;
}

int options_parse_run(int argc, char **argv, struct run_options *ret, struct err *e)
{
	struct run_options o = { 0 };
	int rc;

	config_init(&o.vm);
	o.vm.cmdline = "console=ttyS0 panic=-1";
	o.id = "run";
	rc = parse_all(argc, argv, &o, e);
	if (rc < 0)
		options_free(&o);
	else
		*ret = o;
	return rc;
}

void options_free(struct run_options *o)
{
	for (unsigned i = 0; i < ARRAY_SIZE(o->text); i++)
		free(ptr_take(o->text[i]));
}
