/* What "mvm ps" reads and how it says it. */
#include "t.h"

#include <math.h>
#include <stdio.h>

#include "ps_parse.h"

TestSuite(ps_parse, .timeout = T_SECONDS);

/* --- /proc --- */

Test(ps_parse, listening_sockets_with_a_path_are_found)
{
	static const struct {
		const char *line;
		uint64_t inode; /* 0: not one */
		const char *path;
	} rows[] = {
		{ "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/a.sock", 12345,
			"/run/a.sock" },
		{ "ffff9f0dc0a8e400: 00000002 00000000 00010000 0001 01   345 rel.sock", 345,
			"rel.sock" },
		{ "0000000000000000: 00000002 00000000 00010000 0001 01 7 /with a blank", 7,
			"/with a blank" },
		{ "0000000000000000: 00000002 00000000 00010000 0001 01 18446744073709551615 /x",
			UINT64_MAX, "/x" },
		/* connected, a datagram, SOCK_SEQPACKET, abstract, without a name */
		{ "0000000000000000: 00000003 00000000 00000000 0001 03 12345 /run/a.sock", 0, 0 },
		{ "0000000000000000: 00000002 00000000 00010000 0002 01 12345 /run/a.sock", 0, 0 },
		{ "0000000000000000: 00000002 00000000 00010000 0005 01 12345 /run/a.sock", 0, 0 },
		{ "0000000000000000: 00000002 00000000 00010000 0001 01 12345 @abstract", 0, 0 },
		{ "0000000000000000: 00000002 00000000 00010000 0001 01 12345", 0, 0 },
		{ "0000000000000000: 00000002 00000000 00010000 0001 01 12345 ", 0, 0 },
		/* no lines of this file */
		{ "Num       RefCount Protocol Flags    Type St Inode Path", 0, 0 },
		{ "", 0, 0 },
		{ ":", 0, 0 },
		{ "0: 2 0 10000 1 1 -5 /x", 0, 0 },
		{ "0: 2 0 10000 1 1 99999999999999999999 /x", 0, 0 },
		{ "0: 2 0 10000 1 1 5x /x", 0, 0 },
		{ "0: 2 0 zz 1 1 5 /x", 0, 0 },
		{ "forged by a newline in a path", 0, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *path = "";
		uint64_t inode = 0;

		t_row_int(rows[i].line, ps_parse_unix(rows[i].line, &inode, &path),
			rows[i].path != NULL);
		t_row_hex(rows[i].line, inode, rows[i].inode);
		t_row_true(rows[i].line, strcmp(path, rows[i].path ? rows[i].path : "") == 0);
	}
}

Test(ps_parse, links_to_sockets)
{
	static const struct {
		const char *text;
		uint64_t inode;
	} rows[] = {
		{ "socket:[12]", 12 },
		{ "socket:[12", 0 },
		{ "socket:[]", 0 },
		{ "socket:[-1]", 0 },
		{ "socket:[0x12]", 0 },
		{ "socket:[12]x", 0 },
		{ "pipe:[12]", 0 },
		{ "/tmp/socket:[12]", 0 },
		{ "", 0 },
		{ "socket:", 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t inode = 0;

		t_row_int(rows[i].text, ps_parse_fd(rows[i].text, &inode), rows[i].inode != 0);
		t_row_hex(rows[i].text, inode, rows[i].inode);
	}
}

Test(ps_parse, the_start_of_a_process_with_any_name)
{
	static const struct {
		const char *text;
		uint64_t ticks;
	} rows[] = {
		{ "5 (mvm) S 1 5 5 0 -1 4 9 0 0 0 0 0 0 0 20 0 3 0 777 1 2\n", 777 },
		{ "5 (a) S 1) b (c) S 1 5 5 0 -1 4 9 0 0 0 0 0 0 0 20 0 3 0 777\n", 777 },
		{ "5 (mvm) S 1 5 5", 0 },
		{ "5 mvm S 1 5 5 0 -1 4 9 0 0 0 0 0 0 0 20 0 3 0 777 1", 0 },
		{ "", 0 },
		{ ")", 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t ticks = 0;

		t_row_int(rows[i].text, ps_parse_stat(rows[i].text, &ticks), rows[i].ticks != 0);
		t_row_hex(rows[i].text, ticks, rows[i].ticks);
	}
}

Test(ps_parse, resident_pages)
{
	uint64_t pages = 0;

	t_true(ps_parse_statm("2000 123 5 1 0 7 0\n", &pages));
	t_uint(pages, 123);
	t_false(ps_parse_statm("2000", &pages));
	t_false(ps_parse_statm("", &pages));
	t_false(ps_parse_statm("a b", &pages));
	t_uint(pages, 123);
}

Test(ps_parse, the_socket_on_a_command_line)
{
	static const struct {
		const char *name, *text;
		size_t len;
		const char *path; /* NULL: none */
	} rows[] = {
#define WORDS(text) text, sizeof(text) - 1
		{ "two words", WORDS("mvm\0serve\0--api-sock\0/a/b\0--id\0x\0"), "/a/b" },
		{ "one word", WORDS("mvm\0--api-sock=/a/b\0"), "/a/b" },
		{ "cut off", WORDS("mvm\0--api-sock\0/a/b"), "/a/b" },
		{ "without a value", WORDS("mvm\0--api-sock\0"), NULL },
		{ "without the flag", WORDS("mvm\0serve\0"), NULL },
		{ "another flag", WORDS("mvm\0--api-socket\0/a\0--api-sockx=/b\0"), NULL },
		{ "nothing", WORDS(""), NULL },
#undef WORDS
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *path = ps_parse_cmdline(rows[i].text, rows[i].len);

		t_row_int(rows[i].name, path != NULL, rows[i].path != NULL);
		t_row_true(rows[i].name, !path || !rows[i].path || strcmp(path, rows[i].path) == 0);
	}
}

/* --- metrics --- */

static const char metrics[] =
	"# TYPE b counter\n"
	"b_total{device=\"root\",kind=\"disk\",op=\"read\"} 1000\n"
	"b_total{device=\"root\",kind=\"disk\",op=\"write\"} 20\n"
	"b_total{device=\"x,op=\\\"read}\",kind=\"disk\",op=\"write\"} 3\n"
	"b_total{kind=\"disk\",op=\"read\",device=\"data\"} 5e2 1700000000.5\n"
	"b_total{device=\"eth0\",kind=\"net\",op=\"read\"} 7\n"
	"b_total_more{kind=\"disk\",op=\"read\"} 9\n"
	"xb_total{kind=\"disk\",op=\"read\"} 9\n"
	"plain 4.5\n"
	"nan NaN\n"
	"inf +Inf\n"
	"neg -1\n"
	"huge 1e300\n"
	"hex 12z\n"
	"cut{a=\"b\n"
	"nothing{a=\"b\"}\n"
	"bare\n"
	"last 8";

Test(ps_parse, samples_are_summed_by_their_labels)
{
	static const struct {
		const char *name, *labels;
		double sum; /* negative: there is none */
	} rows[] = {
		{ "b_total", "kind=\"disk\",op=\"read\"", 1500 },
		{ "b_total", "op=\"read\",kind=\"disk\"", 1500 },
		{ "b_total", "kind=\"disk\",op=\"write\"", 23 },
		{ "b_total", "kind=\"net\",op=\"read\"", 7 },
		{ "b_total", "kind=\"net\",op=\"write\"", -1 },
		{ "b_total", "op=\"read\"", 1507 },
		{ "b_total", "", 1530 },
		{ "b_tot", "", -1 },
		{ "b", "", -1 },
		{ "plain", "", 4.5 },
		{ "plain", "a=\"b\"", -1 },
		{ "nan", "", -1 },
		{ "inf", "", -1 },
		{ "neg", "", -1 },
		{ "huge", "", -1 },
		{ "hex", "", -1 },
		{ "cut", "", -1 },
		{ "nothing", "", -1 },
		{ "bare", "", -1 },
		{ "last", "", 8 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		double sum = -1;

		t_row_int(rows[i].name,
			ps_sum_metric(
				metrics, sizeof(metrics) - 1, rows[i].name, rows[i].labels, &sum),
			rows[i].sum >= 0);
		cr_expect(epsilon_eq(dbl, sum, rows[i].sum, 1e-9), "%s{%s}", rows[i].name,
			rows[i].labels);
	}
}

Test(ps_parse, metrics_cut_at_every_byte_are_no_more_than_they_are)
{
	char copy[sizeof(metrics)];

	/* In a place of its own size, so that a sanitizer sees a byte too many. */
	for (size_t len = 0; len < sizeof(metrics); len++) {
		double sum = 0;

		memset(copy, '"', sizeof(copy));
		memcpy(copy, metrics, len);
		(void)ps_sum_metric(copy, len, "b_total", "kind=\"disk\",op=\"read\"", &sum);
		t_true(sum <= 1500);
	}
}

/* --- JSON --- */

#define ID64 "0123456789012345678901234567890123456789012345678901234567890123"

Test(ps_parse, a_machine_says_who_it_is)
{
	static const struct {
		const char *json;
		const char *id; /* NULL: it does not */
		enum ps_state state;
	} rows[] = {
		{ "{\"id\": \"a-1\", \"state\": \"Running\", \"vmm_version\": \"1\"}", "a-1",
			PS_RUNNING },
		{ "{\"id\": \"a\", \"state\": \"Not started\"}", "a", PS_NOT_STARTED },
		{ "{\"id\": \"a\", \"state\": \"Paused\"}", "a", PS_PAUSED },
		{ "{\"id\": \"a\", \"state\": \"Ended\"}", "a", PS_ENDED },
		{ "{\"id\": \"a\", \"state\": \"\\u001b[2J\"}", "a", PS_UNKNOWN },
		{ "{\"id\": \"" ID64 "\", \"state\": \"Running\"}", ID64, PS_RUNNING },
		{ "{\"id\": \"" ID64 "4\", \"state\": \"Running\"}", NULL, 0 },
		{ "{\"id\": \"\\u001b[2J\", \"state\": \"Running\"}", NULL, 0 },
		{ "{\"id\": \"\", \"state\": \"Running\"}", NULL, 0 },
		{ "{\"id\": 3, \"state\": \"Running\"}", NULL, 0 },
		{ "{\"id\": \"a\"}", NULL, 0 },
		{ "[\"id\"]", NULL, 0 },
		{ "", NULL, 0 },
		{ "{\"id\": \"a\", \"state\": \"Running\"", NULL, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char id[PS_ID_MAX + 1] = "";
		enum ps_state state = PS_UNKNOWN;

		t_row_int(rows[i].json,
			ps_parse_instance(rows[i].json, strlen(rows[i].json), id, &state),
			rows[i].id != NULL);
		t_row_true(rows[i].json, strcmp(id, rows[i].id ? rows[i].id : "") == 0);
		t_row_int(rows[i].json, state, rows[i].state);
	}
	T_NO_LEAKS();
}

Test(ps_parse, a_machine_says_what_it_has)
{
	static const struct {
		const char *json;
		unsigned cpus; /* 0: it does not */
		uint64_t mib;
	} rows[] = {
		{ "{\"vcpu_count\": 2, \"mem_size_mib\": 256, \"smt\": false}", 2, 256 },
		{ "{\"vcpu_count\": 0, \"mem_size_mib\": 256}", 0, 0 },
		{ "{\"vcpu_count\": -2, \"mem_size_mib\": 256}", 0, 0 },
		{ "{\"vcpu_count\": 2, \"mem_size_mib\": 9223372036854775807}", 0, 0 },
		{ "{\"vcpu_count\": 99999999999, \"mem_size_mib\": 1}", 0, 0 },
		{ "{\"vcpu_count\": \"2\", \"mem_size_mib\": 1}", 0, 0 },
		{ "{}", 0, 0 },
		{ "3", 0, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned cpus = 0;
		uint64_t mib = 0;

		t_row_int(rows[i].json,
			ps_parse_machine(rows[i].json, strlen(rows[i].json), &cpus, &mib),
			rows[i].cpus != 0);
		t_row_int(rows[i].json, cpus, rows[i].cpus);
		t_row_hex(rows[i].json, mib, rows[i].mib);
	}
}

/* --- for people --- */

Test(ps_parse, nothing_of_a_text_reaches_the_terminal)
{
	char buf[64], small[12];

	t_str(ps_printable("/run/a b.sock", buf, sizeof(buf)), "/run/a b.sock");
	t_str(ps_printable("\x1b[2J\r\n\x7f\xc2\x9b", buf, sizeof(buf)),
		"\\x1b[2J\\x0d\\x0a\\x7f\\xc2\\x9b");
	t_str(ps_printable("", buf, sizeof(buf)), "");
	/* Cut off, but not within an escape. */
	t_str(ps_printable("\x1b\x1b\x1b\x1b", small, sizeof(small)), "\\x1b\\x1b");
	t_true(strlen(ps_printable("0123456789012345", small, sizeof(small))) < sizeof(small));
}

Test(ps_parse, amounts_are_short)
{
	static const struct {
		double bytes;
		const char *text;
	} rows[] = {
		{ 0, "0" },
		{ 0.4, "0" },
		{ 999, "999" },
		{ 999.6, "1.0K" },
		{ 1024, "1.0K" },
		{ 10240, "10K" },
		{ 134217728, "128M" },
		{ 1.5 * 1024 * 1024 * 1024, "1.5G" },
		{ 1e18, "888P" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char buf[16];

		t_row_has(rows[i].text, ps_amount(rows[i].bytes, buf), rows[i].text);
		t_row_int(rows[i].text, strlen(buf), strlen(rows[i].text));
	}
	for (double bytes = 1; bytes < 1e18; bytes *= 1.37) {
		char buf[16];

		t_true(strlen(ps_amount(bytes, buf)) <= 5);
	}
}

Test(ps_parse, durations_are_short)
{
	static const struct {
		double seconds;
		const char *text;
	} rows[] = {
		{ 0, "0.0s" },
		{ -3, "0.0s" },
		{ 0.34, "0.3s" },
		{ 42.9, "42s" },
		{ 312, "5m12s" },
		{ 11100, "3h05m" },
		{ 1051200, "12d4h" },
		{ 1e300, "0s" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char buf[32];

		t_row_true(
			rows[i].text, strcmp(ps_duration(rows[i].seconds, buf), rows[i].text) == 0);
	}
}
