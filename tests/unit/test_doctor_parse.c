/* Readers of the texts that the kernel shows, for "mvm doctor". */
#include "t.h"

#include "doctor_parse.h"

TestSuite(doctor_parse, .timeout = T_SECONDS);

Test(doctor_parse, kernel_takes_what_uname_says)
{
	static const struct {
		const char *text;
		unsigned want;
	} rows[] = {
		{ "6.1.0-18-amd64", KERNEL(6, 1) },
		{ "5.10.0", KERNEL(5, 10) },
		{ "5.9-rc1", KERNEL(5, 9) },
		{ "4.18", KERNEL(4, 18) },
		{ "10.200.3", KERNEL(10, 200) },
		{ "65535.65535", KERNEL(65535, 65535) },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned got = 99;

		t_row_int(rows[i].text, doctor_parse_kernel(rows[i].text, &got), 0);
		t_row_hex(rows[i].text, got, rows[i].want);
	}
	t_true(KERNEL(5, 9) < KERNEL(5, 10) && KERNEL(5, 19) < KERNEL(6, 0));
}

Test(doctor_parse, kernel_refuses_anything_else)
{
	static const char *const rows[] = { "", "6", "6.", ".1", "v6.1", "6 .1", "65536.1",
		"6.65536", "6.123456", "99999999999999999999.1", "-6.1" };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned got = 99;

		t_row_int(rows[i], doctor_parse_kernel(rows[i], &got), -EINVAL);
		t_row_int(rows[i], got, 99);
	}
}

#define V2 "31 23 0:28 / /sys/fs/cgroup rw,nosuid,nodev - cgroup2 cgroup2 rw,nsdelegate\n"
#define V2_FAVOR                                                                                   \
	"31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,"          \
	"favordynmods,memory_recursiveprot\n"
#define V1       "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
#define V1_FAVOR "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,favordynmods\n"
#define UNIFIED  "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
#define ROOT     "27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard\n"

Test(doctor_parse, mounts_tell_the_cgroup_version)
{
	static const struct {
		const char *name;
		const char *line[4];
		bool v1, v2, favor;
		const char *path;
	} rows[] = {
		{ "none", { ROOT }, false, false, false, "" },
		{ "v2", { ROOT, V2 }, false, true, false, "/sys/fs/cgroup" },
		{ "v2, favoured", { ROOT, V2_FAVOR }, false, true, true, "/sys/fs/cgroup" },
		{ "v1", { V1, ROOT }, true, false, false, "" },
		{ "v1, favoured", { V1_FAVOR }, true, false, true, "" },
		{ "hybrid", { ROOT, V1, UNIFIED }, true, true, false, "/sys/fs/cgroup/unified" },
		{ "any favour counts", { V1_FAVOR, UNIFIED }, true, true, true,
			"/sys/fs/cgroup/unified" },
		{ "the first v2", { UNIFIED, V2 }, false, true, false, "/sys/fs/cgroup/unified" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doctor_cgroups c = { 0 };

		for (unsigned k = 0; k < ARRAY_SIZE(rows[i].line) && rows[i].line[k]; k++)
			doctor_parse_mount(rows[i].line[k], &c);
		t_row_int(rows[i].name, c.has_v1, rows[i].v1);
		t_row_int(rows[i].name, c.has_v2, rows[i].v2);
		t_row_int(rows[i].name, c.favordynmods, rows[i].favor);
		t_row_true(rows[i].name, strcmp(c.v2_path, rows[i].path) == 0);
	}
}

Test(doctor_parse, mounts_that_only_look_like_cgroups_are_passed_over)
{
	static const char *const rows[] = {
		"",
		"\n",
		"31 23 0:28 / /sys/fs/cgroup",
		"31 23 0:28 / /sys/fs/cgroup rw cgroup2 cgroup2 rw",  /* no separator */
		"31 23 0:28 / /sys/fs/cgroup rw -",                   /* nothing behind it */
		"31 23 0:28 / /cgroup2 rw - tmpfs cgroup2 rw",        /* path and source only */
		"31 23 0:28 / /x rw - cgroup22 cgroup2 favordynmods", /* another type */
		"31 23 0:28 / /x rw - cgrou cgroup favordynmods",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doctor_cgroups c = { 0 };

		doctor_parse_mount(rows[i], &c);
		t_row_true(rows[i], !c.has_v1 && !c.has_v2 && !c.favordynmods);
	}
}

Test(doctor_parse, an_option_is_a_whole_word_of_the_filesystem)
{
	static const char *const rows[] = {
		"31 23 0:28 / /x rw,favordynmods - cgroup2 cgroup2 rw", /* of the mount */
		"31 23 0:28 / /x rw - cgroup2 favordynmods rw",         /* the source */
		"31 23 0:28 / /x rw - cgroup2 cgroup2 rw,nofavordynmods",
		"31 23 0:28 / /x rw - cgroup2 cgroup2 favordynmods2,rw",
		"31 23 0:28 / /x rw - cgroup2 cgroup2 favordynmod",
		"31 23 0:28 / /x rw - cgroup2 cgroup2 ,,",
		"31 23 0:28 / /x rw - cgroup2 cgroup2",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct doctor_cgroups c = { 0 };

		doctor_parse_mount(rows[i], &c);
		t_row_true(rows[i], c.has_v2 && !c.favordynmods);
	}
}

Test(doctor_parse, a_long_path_is_cut)
{
	struct doctor_cgroups c = { 0 };
	char line[400] = "31 23 0:28 / /";

	memset(line + strlen(line), 'x', 300);
	(void)strcat(line, " rw - cgroup2 cgroup2 rw");
	doctor_parse_mount(line, &c);
	t_int(c.has_v2, 1);
	t_uint(strlen(c.v2_path), DOCTOR_PATH_MAX - 1);
}

Test(doctor_parse, choice_is_the_word_in_brackets)
{
	static const struct {
		const char *text;
		int want;
		const char *word;
	} rows[] = {
		{ "always [madvise] never\n", 0, "madvise" },
		{ "[always] madvise never\n", 0, "always" },
		{ "always madvise [never]", 0, "never" },
		{ "[1234567]", 0, "1234567" },
		{ "[12345678]", -EINVAL, "" }, /* does not fit */
		{ "always madvise never", -EINVAL, "" },
		{ "always [madvise never", -EINVAL, "" },
		{ "always] [", -EINVAL, "" },
		{ "[]", -EINVAL, "" },
		{ "", -EINVAL, "" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char word[8] = "";

		t_row_int(rows[i].text, doctor_parse_choice(rows[i].text, word, sizeof(word)),
			rows[i].want);
		t_row_true(rows[i].text, strcmp(word, rows[i].word) == 0);
	}
}

Test(doctor_parse, meminfo_finds_a_whole_key)
{
	static const char text[] = "MemTotal:       24682416 kB\n"
				   "MemFree:        1 kB\n"
				   "SwapCached:            7 kB\n"
				   "SwapTotal:             0 kB\n"
				   "HugePages_Total:       5\n"
				   "Odd:                  x1 kB\n"
				   "Huge: 18446744073709551615 kB\n"
				   "Last:                  3 kB";
	static const struct {
		const char *key;
		int want;
		uint64_t bytes;
	} rows[] = {
		{ "MemTotal", 0, 24682416ULL << 10 }, { "MemFree", 0, 1024 }, { "SwapTotal", 0, 0 },
		{ "Last", 0, 3072 }, { "Swap", -ENOENT, 99 }, { "Total", -ENOENT, 99 },
		{ "MemAvailable", -ENOENT, 99 }, { "HugePages_Total", -EINVAL, 99 }, /* no unit */
		{ "Odd", -EINVAL, 99 }, { "Huge", -EINVAL, 99 }, /* as bytes, more than 64 bits */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i].key, doctor_parse_meminfo(text, rows[i].key, &got), rows[i].want);
		t_row_hex(rows[i].key, got, rows[i].bytes);
	}
}

Test(doctor_parse, meminfo_of_nothing_has_nothing)
{
	uint64_t got = 99;

	t_int(doctor_parse_meminfo("", "MemTotal", &got), -ENOENT);
	t_int(doctor_parse_meminfo("MemTotal:", "MemTotal", &got), -EINVAL);
	t_int(doctor_parse_meminfo("MemTotal: kB", "MemTotal", &got), -EINVAL);
	t_uint(got, 99);
}

Test(doctor_parse, number_is_all_of_the_text)
{
	static const struct {
		const char *text;
		int want;
		uint64_t number;
	} rows[] = {
		{ "200000\n", 0, 200000 }, { "0", 0, 0 },
		{ "18446744073709551615\n", 0, UINT64_MAX },
		{ "18446744073709551616\n", -ERANGE, 99 }, { "1\n2\n", -EINVAL, 99 },
		{ "1 \n", -EINVAL, 99 }, { "-1\n", -EINVAL, 99 }, { "Y\n", -EINVAL, 99 },
		{ "\n", -EINVAL, 99 }, { "", -EINVAL, 99 },
		{ "000000000000000000000001\n", -EINVAL, 99 }, /* longer than any number */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t got = 99;

		t_row_int(rows[i].text, doctor_parse_number(rows[i].text, &got), rows[i].want);
		t_row_hex(rows[i].text, got, rows[i].number);
	}
}
