/* The command line of "mvm restore" (restore_options.h). */
#include "restore_options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/parse.h"
#include "device_options.h"

const char restore_options_help[] =
	"usage: mvm restore DIR [options]\n"
	"\n"
	"Goes on with a machine that was saved in DIR, in the foreground, its serial port on stdin "
	"and stdout.\n"
	"On a terminal: Ctrl-A x ends the machine, Ctrl-A c asks it to shut down, Ctrl-A a sends "
	"Ctrl-A.\n"
	"\n"
	"  --disk ID=PATH        another file for the disk ID\n"
	"  --net ID=TAP[,mac=M]  another tap for the interface ID, ID=fd=N for an open one; "
	"another "
	"MAC address\n"
	"  --accept-changed-disk ID  although its file was written to since\n"
	"  --accept-any-cpu      although this CPU lacks what the guest was told it has\n"
	"  --clock HOW           realtime (default): the guest's clock goes on at the host's time; "
	"frozen:\n"
	"                        where it stood\n"
	"  --pages KIND          snapshot: as it was (default), host, thp, 2M: huge pages of the "
	"host's pool\n"
	"  --uffd SOCKET         a process there brings the memory's pages (userfaultfd)\n"
	"  --track-dirty         note which pages are written, for quick differences\n"
	"  --record-working-set MS  after so long, note the pages that were needed, for later "
	"restores\n"
	"  --no-working-set      do not bring in ahead what was noted\n"
	"  --api-sock PATH       serve the API there while the machine runs\n"
	"  --id ID               what the API calls the machine: letters, digits, '-' (default: "
	"restore)\n"
	"  --paused              until the API says PATCH /vm {\"state\": \"Resumed\"}\n"
	"  --loop BACKEND        auto (default), uring, epoll\n"
	"  --kvm PATH            instead of /dev/kvm\n"
	"  --timeline            print a timeline of the restore at the end\n"
	"  --timeline-json FILE  write it as a line of JSON\n"
	"  --counters FILE       write what the devices counted as JSON at the end\n"
	"  --start-time-us N     CLOCK_MONOTONIC of when the caller began, for the timeline\n"
	"  --verbose             say more\n"
	"  --help                this text\n"
	"\n"
	"Exit status: as of 'mvm run'; 1 also when the snapshot cannot be restored.\n";

enum option_id {
	OPT_FIRST = 256, /* no letter */
	OPT_ACCEPT_CPU = OPT_FIRST,
	OPT_ACCEPT_DISK,
	OPT_API_SOCK,
	OPT_CLOCK,
	OPT_COUNTERS,
	OPT_DISK,
	OPT_HELP,
	OPT_ID,
	OPT_KVM,
	OPT_LOOP,
	OPT_NET,
	OPT_NO_SET,
	OPT_PAGES,
	OPT_PAUSED,
	OPT_RECORD,
	OPT_START_TIME,
	OPT_TIMELINE,
	OPT_TIMELINE_JSON,
	OPT_TRACK,
	OPT_UFFD,
	OPT_VERBOSE,
};

static const struct option known[] = {
	{ "accept-any-cpu", no_argument, NULL, OPT_ACCEPT_CPU },
	{ "accept-changed-disk", required_argument, NULL, OPT_ACCEPT_DISK },
	{ "api-sock", required_argument, NULL, OPT_API_SOCK },
	{ "clock", required_argument, NULL, OPT_CLOCK },
	{ "counters", required_argument, NULL, OPT_COUNTERS },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "id", required_argument, NULL, OPT_ID },
	{ "kvm", required_argument, NULL, OPT_KVM },
	{ "loop", required_argument, NULL, OPT_LOOP },
	{ "net", required_argument, NULL, OPT_NET },
	{ "no-working-set", no_argument, NULL, OPT_NO_SET },
	{ "pages", required_argument, NULL, OPT_PAGES },
	{ "paused", no_argument, NULL, OPT_PAUSED },
	{ "record-working-set", required_argument, NULL, OPT_RECORD },
	{ "start-time-us", required_argument, NULL, OPT_START_TIME },
	{ "timeline", no_argument, NULL, OPT_TIMELINE },
	{ "timeline-json", required_argument, NULL, OPT_TIMELINE_JSON },
	{ "track-dirty", no_argument, NULL, OPT_TRACK },
	{ "uffd", required_argument, NULL, OPT_UFFD },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ NULL, 0, NULL, 0 },
};

/* --- values --- */

/* One word out of a list, in letters of either case: its index, or -EINVAL with e naming all. */
static int choose(const char *option, const char *text, const char *const words[], unsigned n,
	const char *list, struct err *e)
{
	for (unsigned i = 0; i < n; i++) {
		if (strcasecmp(text, words[i]) == 0)
			return (int)i;
	}
	return err_set(e, -EINVAL, "--%s '%s': must be one of %s", option, text, list);
}

static int parse_number(
	const char *option, const char *text, uint64_t max, uint64_t *ret, struct err *e)
{
	if (parse_u64(text, 1, max, ret) < 0)
		return err_set(e, -EINVAL, "--%s '%s': must be a number from 1 to %llu", option,
			text, (unsigned long long)max);
	return 0;
}

/* A copy of arg that o owns, as "ID" and what follows the first '='. */
static int split(const char *option, const char *arg, struct restore_options *o, char **ret_id,
	char **ret_value, struct err *e)
{
	const char *equals = strchr(arg, '=');
	char *copy;

	if (!equals || equals == arg || equals[1] == '\0')
		return err_set(e, -EINVAL, "--%s '%s': must be ID=%s", option, arg,
			strcmp(option, "disk") == 0 ? "PATH" : "TAP");
	copy = strdup(arg);
	if (!copy)
		return err_sys(e, -ENOMEM, NULL, "cannot read the options");
	o->text[o->ntexts++] = copy;
	copy[equals - arg] = '\0';
	*ret_id = copy;
	*ret_value = copy + (equals - arg) + 1;
	return 0;
}

static int too_many(const char *option, struct err *e)
{
	return err_set(e, -EINVAL, "too many --%s: a machine has at most %d devices", option,
		CONFIG_DEVICES_MAX);
}

static int add_disk(const char *arg, struct restore_options *o, struct err *e)
{
	struct load_options *l = &o->load;
	char *id = NULL, *path = NULL;
	int rc;

	if (l->ndrives == CONFIG_DEVICES_MAX)
		return too_many("disk", e);
	rc = split("disk", arg, o, &id, &path, e);
	if (rc < 0 || !id)
		return rc;
	for (unsigned i = 0; i < l->ndrives && rc == 0; i++) {
		if (strcmp(l->drive[i].id, id) == 0)
			rc = err_set(e, -EINVAL, "--disk %s is given twice", id);
	}
	if (rc == 0)
		l->drive[l->ndrives++] = (struct load_drive){ .id = id, .path = path };
	return rc;
}

/* TAP[,mac=M] or fd=N[,mac=M]. */
static int parse_nic(char *value, struct load_nic *n, struct err *e)
{
	char *comma = strchr(value, ',');

	if (comma)
		*comma++ = '\0';
	if (comma && (strncmp(comma, "mac=", 4) != 0 || device_options_mac(comma + 4, n->mac) < 0))
		return err_set(
			e, -EINVAL, "--net %s: '%s' is not mac=XX:XX:XX:XX:XX:XX", n->id, comma);
	n->has_mac = comma != NULL;
	if (strncmp(value, "fd=", 3) == 0) {
		n->has_tap_fd = true;
		return device_options_fd(value + 3, &n->tap_fd, e);
	}
	if (value[0] == '\0')
		return err_set(e, -EINVAL, "--net %s: the name of the tap is missing", n->id);
	n->tap = value;
	return 0;
}

static int add_net(const char *arg, struct restore_options *o, struct err *e)
{
	struct load_options *l = &o->load;
	struct load_nic nic = { .tap_fd = -1 };
	char *id = NULL, *value = NULL;
	int rc;

	if (l->nnics == CONFIG_DEVICES_MAX)
		return too_many("net", e);
	rc = split("net", arg, o, &id, &value, e);
	if (rc < 0 || !id || !value)
		return rc;
	for (unsigned i = 0; i < l->nnics && rc == 0; i++) {
		if (strcmp(l->nic[i].id, id) == 0)
			rc = err_set(e, -EINVAL, "--net %s is given twice", id);
	}
	nic.id = id;
	if (rc == 0)
		rc = parse_nic(value, &nic, e);
	if (rc == 0)
		l->nic[l->nnics++] = nic;
	return rc;
}

static int add_accepted(const char *arg, struct load_options *l, struct err *e)
{
	if (l->naccepted == CONFIG_DEVICES_MAX)
		return too_many("accept-changed-disk", e);
	l->accepted[l->naccepted++] = arg;
	return 0;
}

static int take_word(int id, const char *arg, struct restore_options *o, struct err *e)
{
	static const char *const clocks[] = { "realtime", "frozen" };
	static const char *const loops[] = { "auto", "uring", "epoll" };
	static const char *const pages[] = { "snapshot", "host", "thp", "2M" };
	int index;

	if (id == OPT_CLOCK) {
		index = choose("clock", arg, clocks, ARRAY_SIZE(clocks), "realtime, frozen", e);
		o->load.holds_clock = index == 1;
	} else if (id == OPT_LOOP) {
		index = choose("loop", arg, loops, ARRAY_SIZE(loops), "auto, uring, epoll", e);
		o->loop = (enum loop_backend)MAX(index, 0);
	} else {
		index = choose(
			"pages", arg, pages, ARRAY_SIZE(pages), "snapshot, host, thp, 2M", e);
		o->load.pages = (enum load_pages)MAX(index, 0);
	}
	return MIN(index, 0);
}

static int apply(int id, const char *arg, struct restore_options *o, struct err *e)
{
	switch (id) {
	case OPT_ACCEPT_CPU: o->load.accepts_any_cpu = true; return 0;
	case OPT_ACCEPT_DISK: return add_accepted(arg, &o->load, e);
	case OPT_API_SOCK: o->api_sock = arg; return 0;
	case OPT_COUNTERS: o->counters = arg; return 0;
	case OPT_DISK: return add_disk(arg, o, e);
	case OPT_HELP: o->help = true; return 0;
	case OPT_ID: o->id = arg; return 0;
	case OPT_KVM: o->kvm = arg; return 0;
	case OPT_NET: return add_net(arg, o, e);
	case OPT_NO_SET: o->load.skips_working_set = true; return 0;
	case OPT_PAUSED: o->load.goes_on = false; return 0;
	case OPT_RECORD:
		return parse_number("record-working-set", arg, UINT32_MAX, &o->load.record_ms, e);
	case OPT_START_TIME:
		return parse_number("start-time-us", arg, INT64_MAX, &o->start_time_us, e);
	case OPT_TIMELINE: o->timeline = true; return 0;
	case OPT_TIMELINE_JSON: o->timeline_json = arg; return 0;
	case OPT_TRACK: o->load.track_dirty = true; return 0;
	case OPT_UFFD:
		o->load.backend = LOAD_BACKEND_UFFD;
		o->load.uffd_path = arg;
		return 0;
	case OPT_VERBOSE: o->verbose = true; return 0;
	default: return take_word(id, arg, o, e);
	}
}

/* --- the whole --- */

static int check(const struct restore_options *o, struct err *e)
{
	if (!o->load.state_path)
		return err_set(e, -EINVAL, "DIR is missing: the folder of the snapshot");
	if (!o->load.goes_on && !o->api_sock)
		return err_set(e, -EINVAL,
			"--paused needs --api-sock: nobody else could let the machine go");
	if (o->load.uffd_path && (o->load.record_ms > 0 || o->load.skips_working_set))
		return err_set(e, -EINVAL,
			"working sets are not for --uffd: its handler knows which pages come "
			"first");
	return 0;
}

static int parse_all(int argc, char **argv, struct restore_options *o, struct err *e)
{
	int id;

	opterr = 0;
	optind = 0; /* getopt starts over, for a second call in the same process */
	while ((id = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		int rc;

		/* A single letter: it may stand in the middle of a word that is not behind us yet.
		 */
		if (id == '?' && optopt > 0 && optopt < OPT_FIRST)
			return err_set(e, -EINVAL,
				"unknown option '-%c'; 'mvm restore --help' lists them", optopt);
		if (id == '?')
			return err_set(e, -EINVAL,
				"unknown option '%s'; 'mvm restore --help' lists them",
				argv[optind - 1]);
		if (id == ':')
			return err_set(e, -EINVAL, "option '%s' needs a value", argv[optind - 1]);
		rc = apply(id, optarg, o, e);
		if (rc < 0)
			return rc;
	}
	if (o->help)
		return 0;
	if (argc - optind > 1)
		return err_set(e, -EINVAL, "'%s' is one too many: a machine comes from one folder",
			argv[optind + 1]);
	o->load.state_path = argv[optind];
	return check(o, e);
}

int restore_options_parse(int argc, char **argv, struct restore_options *ret, struct err *e)
{
	struct restore_options o = { .id = "restore", .kvm = "/dev/kvm", .load.goes_on = true };
	int rc = parse_all(argc, argv, &o, e);

	if (rc < 0)
		restore_options_free(&o);
	else
		*ret = o;
	return rc;
}

void restore_options_free(struct restore_options *o)
{
	for (unsigned i = 0; i < o->ntexts; i++)
		free(ptr_take(o->text[i]));
	o->ntexts = 0;
}
