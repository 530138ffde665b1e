/* What "mvm ps" reads and how it says it (ps_parse.h). */
#include "ps_parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	NUMBER_MAX = 64,
	UNIX_ACCEPTS = 0x10000, /* __SO_ACCEPTCON */
	STAT_START = 22,        /* starttime in proc(5) */
};

/* Counts nothing that a machine has; sums stay finite. */
static const double VALUE_MAX = 1e18;

/* --- /proc --- */

/* A number that ends at a blank, one of the characters of ends, or the end of the text; *at moves
 * behind it and behind blanks. */
static bool take_number(const char **at, int base, const char *ends, uint64_t *ret)
{
	char *end;
	uint64_t value;

	/* strtoull() would take a sign and blanks. */
	if (!isxdigit((unsigned char)**at))
		return false;
	errno = 0;
	value = strtoull(*at, &end, base);
	if (errno != 0 || end == *at || (*end != '\0' && !strchr(ends, *end) && *end != ' '))
		return false;
	*at = end + strspn(end, " ");
	*ret = value;
	return true;
}

bool ps_parse_unix(const char *line, uint64_t *ret_inode, const char **ret_path)
{
	/* Num: RefCount Protocol Flags Type St Inode Path */
	enum { NUM, REFS, PROTOCOL, FLAGS, TYPE, STATE, INODE, FIELDS };
	uint64_t field[FIELDS];
	const char *at = line;

	for (unsigned i = 0; i < FIELDS; i++) {
		if (!take_number(&at, i == INODE ? 10 : 16, i == NUM ? ":" : "", &field[i]))
			return false;
		if (i == NUM && *at == ':')
			at += 1 + strspn(at + 1, " ");
	}
	/* An abstract name begins with '@'; a relative path that does cannot be told from it. */
	if (!(field[FLAGS] & UNIX_ACCEPTS) || field[TYPE] != SOCK_STREAM || *at == '\0' ||
		*at == '@')
		return false;
	*ret_inode = field[INODE];
	*ret_path = at;
	return true;
}

bool ps_parse_fd(const char *link, uint64_t *ret_inode)
{
	static const char prefix[] = "socket:[";
	const char *at = link + sizeof(prefix) - 1;
	uint64_t inode;

	if (strncmp(link, prefix, sizeof(prefix) - 1) != 0 || !take_number(&at, 10, "]", &inode) ||
		strcmp(at, "]") != 0)
		return false;
	*ret_inode = inode;
	return true;
}

bool ps_parse_stat(const char *text, uint64_t *ret_ticks)
{
	/* The second field is the process's name in brackets, and any bytes may be in it. */
	const char *at = strrchr(text, ')');

	for (unsigned field = 2; at && field < STAT_START; field++) {
		at = strchr(at, ' ');
		if (at)
			at++;
	}
	return at && take_number(&at, 10, "\n", ret_ticks);
}

bool ps_parse_statm(const char *text, uint64_t *ret_pages)
{
	uint64_t size, resident;

	if (!take_number(&text, 10, "", &size) || !take_number(&text, 10, "\n", &resident))
		return false;
	*ret_pages = resident;
	return true;
}

const char *ps_parse_cmdline(const char *text, size_t len)
{
	static const char flag[] = "--api-sock";
	const size_t n = sizeof(flag) - 1;
	bool is_next = false;

	for (const char *word = text; word < text + len; word += strlen(word) + 1) {
		if (is_next)
			return word;
		if (strncmp(word, flag, n) == 0 && word[n] == '=')
			return word + n + 1;
		is_next = strcmp(word, flag) == 0;
	}
	return NULL;
}

/* --- metrics --- */

/* Whether the label at..end is one of a list. */
static bool is_listed(const char *label, size_t len, const char *list)
{
	while (*list) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(label, list, len) == 0)
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

static unsigned count_labels(const char *list)
{
	unsigned n = *list ? 1 : 0;

	for (; *list; list++)
		n += *list == ',';
	return n;
}

/* The end of the label that begins at at: a comma or brace that no quotes hold; end when there is
 * none. */
static const char *label_end(const char *at, const char *end)
{
	bool is_quoted = false;

	for (; at < end; at++) {
		if (is_quoted && *at == '\\' && at + 1 < end)
			at++;
		else if (*at == '"')
			is_quoted = !is_quoted;
		else if (!is_quoted && (*at == ',' || *at == '}'))
			break;
	}
	return at;
}

/* What follows the labels of a sample; NULL when they are not those that are wanted. */
static const char *match_labels(const char *at, const char *end, const char *wanted)
{
	unsigned found = 0;

	if (at < end && *at == '{') {
		do {
			const char *label = at + 1;

			at = label_end(label, end);
			if (at == end)
				return NULL;
			found += is_listed(label, (size_t)(at - label), wanted);
		} while (*at == ',');
		at++;
	}
	return found >= count_labels(wanted) ? at : NULL;
}

/* One line's value: "NAME{LABELS} VALUE [TIMESTAMP]". */
static bool parse_sample(
	const char *at, const char *end, const char *name, const char *labels, double *ret)
{
	size_t len = strlen(name), digits = 0;
	char number[NUMBER_MAX], *stop;
	double value;

	if ((size_t)(end - at) <= len || memcmp(at, name, len) != 0 ||
		(at[len] != ' ' && at[len] != '{'))
		return false;
	at = match_labels(at + len, end, labels);
	if (!at || at == end || *at != ' ')
		return false;
	at++;
	while (at + digits < end && at[digits] != ' ')
		digits++;
	if (digits == 0 || digits >= sizeof(number))
		return false;
	memcpy(number, at, digits);
	number[digits] = '\0';
	value = strtod(number, &stop);
	if (*stop != '\0' || !isfinite(value) || value < 0 || value > VALUE_MAX)
		return false;
	*ret = value;
	return true;
}

bool ps_sum_metric(const char *text, size_t len, const char *name, const char *labels, double *ret)
{
	const char *at = text, *end = text + len;
	bool is_there = false;
	double sum = 0;

	while (at < end) {
		const char *line_end = memchr(at, '\n', (size_t)(end - at));
		double value;

		if (!line_end)
			line_end = end;
		if (parse_sample(at, line_end, name, labels, &value)) {
			is_there = true;
			sum += value;
		}
		at = line_end + (line_end < end);
	}
	if (is_there)
		*ret = sum;
	return is_there;
}

/* --- JSON --- */

static const struct {
	const char *name, *word;
} states[] = {
	[PS_UNKNOWN] = { "?", "?" },
	[PS_NOT_STARTED] = { "Not started", "not-started" },
	[PS_RUNNING] = { "Running", "running" },
	[PS_PAUSED] = { "Paused", "paused" },
	[PS_ENDED] = { "Ended", "ended" },
};

const char *ps_state_word(enum ps_state state)
{
	return states[state].word;
}

static bool is_id(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)text[i]) && text[i] != '-')
			return false;
	}
	return len >= 1 && len <= PS_ID_MAX;
}

bool ps_parse_instance(
	const char *json, size_t len, char id[PS_ID_MAX + 1], enum ps_state *ret_state)
{
	json_t *root = json_loadb(json, len, 0, NULL);
	const char *name = json_string_value(json_object_get(root, "id"));
	const char *state = json_string_value(json_object_get(root, "state"));
	bool is_good = name && state && is_id(name);

	if (is_good) {
		(void)snprintf(id, PS_ID_MAX + 1, "%s", name);
		*ret_state = PS_UNKNOWN;
		for (unsigned i = 0; i < ARRAY_SIZE(states); i++) {
			if (strcmp(state, states[i].name) == 0)
				*ret_state = (enum ps_state)i;
		}
	}
	json_decref(root);
	return is_good;
}

bool ps_parse_machine(const char *json, size_t len, unsigned *ret_cpus, uint64_t *ret_mib)
{
	json_t *root = json_loadb(json, len, 0, NULL);
	json_int_t cpus = json_integer_value(json_object_get(root, "vcpu_count"));
	json_int_t mib = json_integer_value(json_object_get(root, "mem_size_mib"));
	bool is_good = cpus >= 1 && cpus <= PS_CPUS_MAX && mib >= 1 && mib <= INT64_MAX >> 20;

	json_decref(root);
	if (is_good) {
		*ret_cpus = (unsigned)cpus;
		*ret_mib = (uint64_t)mib;
	}
	return is_good;
}

/* --- for people --- */

const char *ps_printable(const char *text, char *buf, size_t size)
{
	size_t at = 0;

	for (; *text && at + 5 <= size; text++) {
		if (*text >= ' ' && *text <= '~')
			buf[at++] = *text;
		else
			at += (size_t)snprintf(
				buf + at, size - at, "\\x%02x", (unsigned char)*text);
	}
	buf[at] = '\0';
	return buf;
}

const char *ps_amount(double bytes, char buf[16])
{
	static const char units[] = " KMGTPE";
	unsigned unit = 0;

	while (bytes >= 999.5 && unit + 2 < sizeof(units)) {
		bytes /= 1024;
		unit++;
	}
	if (unit == 0)
		(void)snprintf(buf, 16, "%.0f", bytes);
	else
		(void)snprintf(
			buf, 16, "%.*f%c", bytes < 9.95 ? 1 : 0, MIN(bytes, 1e6), units[unit]);
	return buf;
}

const char *ps_duration(double seconds, char buf[32])
{
	uint64_t s = seconds > 0 && seconds < 1e15 ? (uint64_t)seconds : 0;

	if (seconds < 10)
		(void)snprintf(buf, 32, "%.1fs", MAX(seconds, 0));
	else if (s < 60)
		(void)snprintf(buf, 32, "%" PRIu64 "s", s);
	else if (s < 3600)
		(void)snprintf(buf, 32, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(buf, 32, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		(void)snprintf(buf, 32, "%" PRIu64 "d%" PRIu64 "h", s / 86400, s / 3600 % 24);
	return buf;
}
