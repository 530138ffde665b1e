/* The values of --disk and --net: every option, every bad value. */
#include "t.h"

#include <stdio.h>

#include "base/err.h"
#include "device_options.h"

TestSuite(device_options, .timeout = T_SECONDS);

enum { TEXT_MAX = 512 };

/* The parsers take text apart in place. */
static int parse_disk(const char *text, char buf[TEXT_MAX], struct disk_config *d, struct err *e)
{
	INVARIANT(strlen(text) < TEXT_MAX);
	strcpy(buf, text);
	return device_options_disk(buf, d, e);
}

static int parse_net(const char *text, char buf[TEXT_MAX], struct net_config *n, struct err *e)
{
	INVARIANT(strlen(text) < TEXT_MAX);
	strcpy(buf, text);
	return device_options_net(buf, n, e);
}

static void is_rate(
	const char *row, const struct bucket_config *b, uint64_t size, uint64_t ms, uint64_t burst)
{
	t_row_int(row, b->size, size);
	t_row_int(row, b->refill_ms, ms);
	t_row_int(row, b->burst, burst);
}

/* --- disks --- */

Test(device_options, a_path_is_a_disk_with_defaults)
{
	struct disk_config d;
	struct err e = { 0 };
	char buf[TEXT_MAX];

	memset(&d, 0xff, sizeof(d));
	cr_assert(eq(int, parse_disk("/img", buf, &d, &e), 0), "%s", e.text);
	t_str(d.path, "/img");
	t_true(d.id == NULL);
	t_false(d.read_only || d.direct || d.sync_engine || d.unsafe_cache);
	is_rate("bytes", &d.limit.bytes, 0, 0, 0);
	is_rate("ops", &d.limit.ops, 0, 0, 0);
}

Test(device_options, every_option_of_a_disk_is_taken)
{
	struct disk_config d;
	struct err e = { 0 };
	char buf[TEXT_MAX];

	cr_assert(eq(int,
			  parse_disk("a b=c,ro,id=root-1,cache=unsafe,engine=sync,direct,bw=10M,"
				     "ops=500/100+2000",
				  buf, &d, &e),
			  0),
		"%s", e.text);
	t_str(d.path, "a b=c");
	t_str(d.id, "root-1");
	t_true(d.read_only && d.direct && d.sync_engine && d.unsafe_cache);
	is_rate("bytes", &d.limit.bytes, 10 << 20, 1000, 0);
	is_rate("ops", &d.limit.ops, 500, 100, 2000);
}

Test(device_options, each_flag_of_a_disk_sets_itself_alone)
{
	static const struct {
		const char *text;
		unsigned bits; /* read-only, direct, sync, unsafe */
	} rows[] = { { "/d,ro", 1 }, { "/d,direct", 2 }, { "/d,engine=sync", 4 },
		{ "/d,cache=unsafe", 8 }, { "/d,engine=async", 0 }, { "/d,cache=writeback", 0 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct disk_config d;
		char buf[TEXT_MAX];

		t_row_int(rows[i].text, parse_disk(rows[i].text, buf, &d, NULL), 0);
		t_row_int(rows[i].text,
			d.read_only | d.direct << 1 | d.sync_engine << 2 | d.unsafe_cache << 3,
			rows[i].bits);
	}
}

Test(device_options, a_comma_that_is_doubled_is_a_comma_of_the_path)
{
	static const struct {
		const char *text, *path;
		bool read_only;
	} rows[] = { { "a,,b", "a,b", false }, { "a,,b,ro", "a,b", true }, { ",,", ",", false },
		{ "a,,,ro", "a,", true }, { ",,,,", ",,", false },
		{ ",,a,,,,b,,,ro", ",a,,b,", true }, { "a,,ro", "a,ro", false } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct disk_config d;
		char buf[TEXT_MAX];

		t_row_int(rows[i].text, parse_disk(rows[i].text, buf, &d, NULL), 0);
		cr_expect(eq(int, strcmp(d.path, rows[i].path), 0), "'%s' is '%s'", rows[i].text,
			d.path);
		t_row_int(rows[i].text, d.read_only, rows[i].read_only);
	}
}

Test(device_options, a_disk_that_is_wrong_is_refused_with_the_word_named)
{
	static const struct {
		const char *text, *word;
	} rows[] = { { "", "path is missing" }, { ",ro", "path is missing" }, { "/d,", "''" },
		{ "/d,ro,", "''" }, { "/d, ro", "' ro'" }, { "/d,RO", "'RO'" },
		{ "/d,rox", "'rox'" }, { "/d,ro=1", "'ro=1'" }, { "/d,cache=none", "'cache=none'" },
		{ "/d,cache", "'cache'" }, { "/d,engine=io_uring", "'engine=io_uring'" },
		{ "/d,id", "'id'" }, { "/d,direct=on", "'direct=on'" }, { "/d,mac=1", "'mac=1'" },
		{ "/d,a,,b", "'a,b'" }, { "/d,bandwidth=1", "'bandwidth=1'" },
		{ "/d,bw", "'bw'" } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct disk_config d = { .path = "untouched" };
		struct err e = { 0 };
		char buf[TEXT_MAX];

		t_row_int(rows[i].text, parse_disk(rows[i].text, buf, &d, &e), -EINVAL);
		t_row_int(rows[i].text, e.code, -EINVAL);
		t_row_has(rows[i].text, e.text, rows[i].word);
		t_row_has(rows[i].text, e.text, "--disk");
		cr_expect(eq(int, strcmp(d.path, "untouched"), 0), "'%s'", rows[i].text);
	}
}

/* --- rates --- */

Test(device_options, rates_have_a_size_and_may_have_a_time_and_a_burst)
{
	static const struct {
		const char *text;
		uint64_t size, ms, burst;
	} rows[] = { { "/d,bw=1", 1, 1000, 0 }, { "/d,bw=10M", 10 << 20, 1000, 0 },
		{ "/d,bw=10m/1", 10 << 20, 1, 0 }, { "/d,bw=5+7K", 5, 1000, 7 << 10 },
		{ "/d,bw=5/250+0", 5, 250, 0 }, { "/d,bw=1G/60000+2G", 1 << 30, 60000, 2ULL << 30 },
		{ "/d,bw=18446744073709551615/4294967295", UINT64_MAX, UINT32_MAX, 0 },
		{ "/d,bw=1,bw=2", 2, 1000, 0 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct disk_config d;
		char buf[TEXT_MAX];

		t_row_int(rows[i].text, parse_disk(rows[i].text, buf, &d, NULL), 0);
		is_rate(rows[i].text, &d.limit.bytes, rows[i].size, rows[i].ms, rows[i].burst);
		is_rate(rows[i].text, &d.limit.ops, 0, 0, 0);
	}
}

Test(device_options, rates_that_are_wrong_are_refused)
{
	static const char *const bad[] = { "", "0", "/100", "+5", "-1", "ten", "10X", "1.5M", " 1",
		"10M/", "10M/0", "10M/ms", "10M/4294967296", "10M+", "10M+x", "10M+5/100",
		"10M/100+", "10M//100", "10M++5", "10M/100/100", "18446744073709551616",
		"16777216T" };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		for (unsigned k = 0; k < 2; k++) {
			struct disk_config d;
			struct err e = { 0 };
			char text[TEXT_MAX], buf[TEXT_MAX];

			(void)snprintf(
				text, sizeof(text), k == 0 ? "/d,bw=%s" : "/d,ops=%s", bad[i]);
			t_row_int(text, parse_disk(text, buf, &d, &e), -EINVAL);
			t_row_has(text, e.text, "SIZE[/MS][+BURST]");
			/* All of it, not what the parser made of it. */
			(void)snprintf(text, sizeof(text), k == 0 ? "'bw=%s'" : "'ops=%s'", bad[i]);
			t_row_has(bad[i], e.text, text);
		}
	}
}

/* --- networks --- */

Test(device_options, a_name_is_a_tap_with_defaults)
{
	struct net_config n;
	struct err e = { 0 };
	char buf[TEXT_MAX];

	memset(&n, 0xff, sizeof(n));
	cr_assert(eq(int, parse_net("tap0", buf, &n, &e), 0), "%s", e.text);
	t_str(n.tap, "tap0");
	t_int(n.tap_fd, -1);
	t_true(n.id == NULL);
	t_false(n.has_mac || n.no_csum || n.no_tso || n.no_ufo || n.no_uso || n.no_mrg);
	t_uint(n.mtu, 0);
	is_rate("rx", &n.rx.bytes, 0, 0, 0);
	is_rate("tx", &n.tx.ops, 0, 0, 0);
}

Test(device_options, every_option_of_a_network_is_taken)
{
	static const uint8_t mac[] = { 0x02, 0xAb, 0xcD, 0x00, 0xff, 0x09 };
	struct net_config n;
	struct err e = { 0 };
	char buf[TEXT_MAX];

	cr_assert(eq(int,
			  parse_net("tap0,id=lan,mac=02:Ab:cD:00:ff:09,mtu=9000,no-csum,no-tso,"
				    "no-ufo,no-uso,no-mrg,rx-bw=1M,rx-ops=2/3,tx-bw=4+5,tx-ops=6",
				  buf, &n, &e),
			  0),
		"%s", e.text);
	t_str(n.id, "lan");
	t_true(n.has_mac);
	t_int(memcmp(n.mac, mac, sizeof(mac)), 0);
	t_uint(n.mtu, 9000);
	t_true(n.no_csum && n.no_tso && n.no_ufo && n.no_uso && n.no_mrg);
	is_rate("rx-bw", &n.rx.bytes, 1 << 20, 1000, 0);
	is_rate("rx-ops", &n.rx.ops, 2, 3, 0);
	is_rate("tx-bw", &n.tx.bytes, 4, 1000, 5);
	is_rate("tx-ops", &n.tx.ops, 6, 1000, 0);
}

Test(device_options, each_flag_of_a_network_sets_itself_alone)
{
	static const char *const rows[] = { "t,no-csum", "t,no-tso", "t,no-ufo", "t,no-uso",
		"t,no-mrg" };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_config n;
		char buf[TEXT_MAX];

		t_row_int(rows[i], parse_net(rows[i], buf, &n, NULL), 0);
		t_row_int(rows[i],
			n.no_csum | n.no_tso << 1 | n.no_ufo << 2 | n.no_uso << 3 | n.no_mrg << 4,
			1 << i);
	}
}

Test(device_options, a_network_that_is_wrong_is_refused_with_the_word_named)
{
	static const struct {
		const char *text, *word;
	} rows[] = { { "", "tap is missing" }, { ",id=x", "tap is missing" }, { "t,", "''" },
		{ "t,mac=", "'mac='" }, { "t,mac=02:00:00:00:00", "'mac=02:00:00:00:00'" },
		{ "t,mac=02:00:00:00:00:0", "mac=" }, { "t,mac=02:00:00:00:00:000", "mac=" },
		{ "t,mac=02-00-00-00-00-00", "mac=" }, { "t,mac=0g:00:00:00:00:00", "mac=" },
		{ "t,mac=02:00:00:00:0:0:0", "mac=" }, { "t,mac=020:0:00:00:00:00", "mac=" },
		{ "t,mtu=67", "'mtu=67'" }, { "t,mtu=65536", "mtu=" }, { "t,mtu=", "mtu=" },
		{ "t,mtu=1500x", "mtu=" }, { "t,no-everything", "'no-everything'" },
		{ "t,bw=1", "'bw=1'" }, { "t,rx-bw=0", "'rx-bw" }, { "t,tx-ops=x", "'tx-ops" },
		{ "t,ro", "'ro'" }, { "fd=", "fd must be" }, { "fd=-1", "fd must be" },
		{ "fd=x", "fd must be" }, { "fd=2147483648", "fd must be" } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_config n = { .tap = "untouched" };
		struct err e = { 0 };
		char buf[TEXT_MAX];

		t_row_int(rows[i].text, parse_net(rows[i].text, buf, &n, &e), -EINVAL);
		t_row_int(rows[i].text, e.code, -EINVAL);
		t_row_has(rows[i].text, e.text, rows[i].word);
		t_row_has(rows[i].text, e.text, "--net");
		cr_expect(eq(int, strcmp(n.tap, "untouched"), 0), "'%s'", rows[i].text);
	}
}

Test(device_options, mtus_are_taken_to_their_limits)
{
	struct net_config n;
	char buf[TEXT_MAX];

	t_int(parse_net("t,mtu=68", buf, &n, NULL), 0);
	t_uint(n.mtu, 68);
	t_int(parse_net("t,mtu=65535", buf, &n, NULL), 0);
	t_uint(n.mtu, 65535);
}
