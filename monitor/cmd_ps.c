/* "mvm ps": the machines of this user, and what they do. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "commands.h"
#include "ps_find.h"
#include "ps_look.h"
#include "ps_parse.h"

static const char help[] =
	"usage: mvm ps [--all] [--json] [--interval SECONDS]\n"
	"\n"
	"Lists the machines of this user: processes called mvm or firecracker that listen on a "
	"Unix socket.\n"
	"\n"
	"  --all                 machines of all users, as far as they can be looked into\n"
	"  --interval SECONDS    between the two looks that rates come from, 0 to 60 (default: "
	"0.2); 0: no rates\n"
	"  --json                for programs: an array of objects, null for what is not known\n"
	"  --help                this text\n"
	"\n"
	"STATE is ? where a machine does not answer within 500 ms.  RSS is what of the process is "
	"in memory,\n"
	"the guest's part included.  Rates are bytes a second, seen from the guest.\n"
	"\n"
	"Exit status: 0, also when there is no machine; 1 the list cannot be made; 2 bad usage.\n";

enum { INTERVAL_MS = 200, INTERVAL_MAX_MS = 60000, CELL_MAX = 640 };

struct options {
	bool help, json, all;
	unsigned interval_ms;
};

struct machine {
	const struct ps_found *found;
	const struct ps_look *look;
	double uptime; /* seconds since the process began; negative: not known */
	uint64_t rss;  /* bytes, 0: not known */
};

/* --- options --- */

static int parse_interval(const char *text, unsigned *ret)
{
	char *end;
	double seconds = strtod(text, &end);

	/* What is not a number fails both comparisons. */
	if (end == text || *end != '\0' || !(seconds >= 0 && seconds * 1000 <= INTERVAL_MAX_MS)) {
		log_error("--interval '%s': must be a number of seconds from 0 to 60", text);
		return -1;
	}
	*ret = (unsigned)(seconds * 1000);
	return 0;
}

static int parse(int argc, char **argv, struct options *o)
{
	static const struct option known[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "help", no_argument, NULL, 'h' },
		{ "interval", required_argument, NULL, 'i' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int id;

	opterr = 0;
	o->interval_ms = INTERVAL_MS;
	while ((id = getopt_long(argc, argv, ":", known, NULL)) != -1) {
		if (id == '?' || id == ':') {
			log_error(id == ':' ? "option '%s' needs a value"
					    : "unknown option '%s'; 'mvm ps --help' lists them",
				argv[optind - 1]);
			return -1;
		}
		if (id == 'i' && parse_interval(optarg, &o->interval_ms) < 0)
			return -1;
		o->all |= id == 'a';
		o->help |= id == 'h';
		o->json |= id == 'j';
	}
	if (optind < argc) {
		log_error("'%s' is not an option; 'mvm ps --help' lists them", argv[optind]);
		return -1;
	}
	return 0;
}

/* --- what is known without asking --- */

static double uptime_of(const struct ps_found *f)
{
	struct timespec t;
	double now, began = (double)f->start_ticks / (double)sysconf(_SC_CLK_TCK);

	if (f->start_ticks == 0 || clock_gettime(CLOCK_BOOTTIME, &t) < 0)
		return -1;
	now = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
	return MAX(now - began, 0);
}

static uint64_t rss_of(const struct ps_found *f)
{
	char path[64], text[256];
	uint64_t pages;

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", f->pid);
	if (io_read_text(path, text, sizeof(text)) < 0 || !ps_parse_statm(text, &pages))
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* --- for people --- */

static const char *cell_id(const struct machine *m, char *buf)
{
	(void)buf;
	return m->look->has_answered ? m->look->id : "?";
}

static const char *cell_state(const struct machine *m, char *buf)
{
	(void)buf;
	return ps_state_word(m->look->state);
}

static const char *cell_uptime(const struct machine *m, char *buf)
{
	return m->uptime < 0 ? "-" : ps_duration(m->uptime, buf);
}

static const char *cell_cpus(const struct machine *m, char *buf)
{
	if (!m->look->has_machine)
		return "-";
	(void)snprintf(buf, CELL_MAX, "%u", m->look->cpus);
	return buf;
}

static const char *cell_mem(const struct machine *m, char *buf)
{
	return m->look->has_machine ? ps_amount((double)m->look->mem_mib * 1048576.0, buf) : "-";
}

static const char *cell_rss(const struct machine *m, char *buf)
{
	return m->rss ? ps_amount((double)m->rss, buf) : "-";
}

static const char *rate(const struct machine *m, enum ps_counter which, char *buf)
{
	return m->look->has_rates ? ps_amount(m->look->rate[which], buf) : "-";
}

static const char *cell_rx(const struct machine *m, char *buf)
{
	return rate(m, PS_NET_RX, buf);
}

static const char *cell_tx(const struct machine *m, char *buf)
{
	return rate(m, PS_NET_TX, buf);
}

static const char *cell_read(const struct machine *m, char *buf)
{
	return rate(m, PS_DISK_READ, buf);
}

static const char *cell_write(const struct machine *m, char *buf)
{
	return rate(m, PS_DISK_WRITE, buf);
}

static const char *cell_pid(const struct machine *m, char *buf)
{
	(void)snprintf(buf, CELL_MAX, "%d", m->found->pid);
	return buf;
}

static const char *cell_socket(const struct machine *m, char *buf)
{
	return ps_printable(m->found->socket, buf, CELL_MAX);
}

static const struct {
	const char *title;
	bool is_number;
	const char *(*cell)(const struct machine *m, char buf[CELL_MAX]);
} columns[] = {
	{ "ID", false, cell_id },
	{ "STATE", false, cell_state },
	{ "UPTIME", true, cell_uptime },
	{ "VCPUS", true, cell_cpus },
	{ "MEM", true, cell_mem },
	{ "RSS", true, cell_rss },
	{ "NET-RX/s", true, cell_rx },
	{ "NET-TX/s", true, cell_tx },
	{ "DISK-R/s", true, cell_read },
	{ "DISK-W/s", true, cell_write },
	{ "PID", true, cell_pid },
	{ "SOCKET", false, cell_socket },
};

static void print_cell(unsigned column, size_t width, const char *text)
{
	bool is_last = column + 1 == ARRAY_SIZE(columns);

	if (is_last)
		(void)printf("%s\n", text);
	else
		(void)printf("%*s ", (int)width * (columns[column].is_number ? 1 : -1), text);
}

static void print_table(const struct machine *machine, unsigned n)
{
	size_t width[ARRAY_SIZE(columns)];
	char buf[CELL_MAX];

	for (unsigned c = 0; c < ARRAY_SIZE(columns); c++) {
		width[c] = strlen(columns[c].title);
		for (unsigned i = 0; i < n; i++)
			width[c] = MAX(width[c], strlen(columns[c].cell(&machine[i], buf)));
	}
	for (unsigned c = 0; c < ARRAY_SIZE(columns); c++)
		print_cell(c, width[c], columns[c].title);
	for (unsigned i = 0; i < n; i++) {
		for (unsigned c = 0; c < ARRAY_SIZE(columns); c++)
			print_cell(c, width[c], columns[c].cell(&machine[i], buf));
	}
}

/* --- for programs --- */

static json_t *if_known(bool is_known, json_t *value)
{
	if (is_known)
		return value;
	json_decref(value);
	return json_null();
}

static json_t *number(bool is_known, double value)
{
	return if_known(is_known, json_integer((json_int_t)value));
}

/* A path may be no UTF-8, which a JSON string must be. */
static json_t *text_of(const char *text)
{
	char buf[CELL_MAX];
	json_t *value = json_string(text);

	return value ? value : json_string(ps_printable(text, buf, sizeof(buf)));
}

static json_t *describe(const struct machine *m)
{
	const struct ps_look *l = m->look;

	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:I, s:o}", "id",
		if_known(l->has_answered, json_string(l->id)), "state", ps_state_word(l->state),
		"uptime_s", if_known(m->uptime >= 0, json_real(m->uptime)), "vcpus",
		number(l->has_machine, l->cpus), "mem_bytes",
		number(l->has_machine, (double)l->mem_mib * 1048576.0), "rss_bytes",
		number(m->rss > 0, (double)m->rss), "net_rx_bytes_per_s",
		number(l->has_rates, l->rate[PS_NET_RX]), "net_tx_bytes_per_s",
		number(l->has_rates, l->rate[PS_NET_TX]), "disk_read_bytes_per_s",
		number(l->has_rates, l->rate[PS_DISK_READ]), "disk_write_bytes_per_s",
		number(l->has_rates, l->rate[PS_DISK_WRITE]), "pid", m->found->pid, "uid",
		(json_int_t)m->found->uid, "socket", text_of(m->found->socket));
}

static int print_json(const struct machine *machine, unsigned n)
{
	json_t *list = json_array();
	int rc = 0;

	for (unsigned i = 0; i < n && rc == 0; i++)
		rc = json_array_append_new(list, describe(&machine[i]));
	if (rc == 0)
		rc = json_dumpf(
			list, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
	json_decref(list);
	(void)putchar('\n');
	return rc;
}

/* --- the whole --- */

static int list(const struct options *o, const struct ps_list *found, struct ps_look *look,
	struct machine *machine)
{
	for (unsigned i = 0; i < found->n; i++) {
		look[i].reach = found->machine[i].reach;
		look[i].uid = found->machine[i].uid;
	}
	ps_look(look, found->n, o->interval_ms);
	for (unsigned i = 0; i < found->n; i++) {
		const struct ps_found *f = &found->machine[i];

		machine[i] = (struct machine){ f, &look[i], uptime_of(f), rss_of(f) };
	}
	if (o->json)
		return print_json(machine, found->n);
	print_table(machine, found->n);
	return 0;
}

static int find_and_list(const struct options *o, struct err *e)
{
	struct ps_list found = { 0 };
	struct machine *machine = NULL;
	struct ps_look *look = NULL;
	int rc = ps_find("/proc", o->all, &found, e);

	if (rc < 0)
		return rc;
	look = calloc(found.n + 1, sizeof(*look));
	machine = calloc(found.n + 1, sizeof(*machine));
	if (!look || !machine)
		rc = err_sys(e, -ENOMEM, NULL, "cannot list machines");
	else if (list(o, &found, look, machine) < 0 || fflush(stdout) != 0)
		rc = err_set(e, -EIO, "cannot write the list");
	free(look);
	free(machine);
	ps_list_fini(&found);
	return rc;
}

int cmd_ps(int argc, char **argv)
{
	struct options o = { 0 };
	struct err e = { 0 };

	if (parse(argc, argv, &o) < 0)
		return EXIT_USAGE;
	if (o.help) {
		(void)fputs(help, stdout);
		return 0;
	}
	if (find_and_list(&o, &e) == 0)
		return 0;
	log_error("%s", e.text);
	return EXIT_HOST_FAILED;
}
