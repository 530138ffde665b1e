/* Defaults and limits of a machine. */
#include "t.h"

#include "base/err.h"
#include "config.h"

TestSuite(config, .timeout = T_SECONDS);

#define MIB (1ULL << 20)

static struct vm_config valid(void)
{
	struct vm_config c;

	config_init(&c);
	c.kernel = "/boot/vmlinux";
	return c;
}

Test(config, the_defaults_are_one_cpu_and_128_mib)
{
	struct vm_config c;

	memset(&c, 0xff, sizeof(c));
	config_init(&c);
	t_str(c.kvm_path, "/dev/kvm");
	t_str(c.cmdline, "");
	t_uint(c.cpus, 1);
	t_uint(c.mem_size, 128 * MIB);
	t_int(c.pages, MEM_PAGES_HOST);
	t_int(c.protocol, BOOT_AUTO);
	t_false(c.kernel || c.initrd || c.prefault);
}

Test(config, the_defaults_with_a_kernel_are_valid)
{
	struct vm_config c = valid();
	struct err e = { 0 };

	cr_assert(eq(int, config_check(&c, 0, &e), 0), "%s", e.text);
}

Test(config, a_machine_without_a_kernel_is_refused)
{
	struct vm_config c = valid();
	struct err e = { 0 };

	c.kernel = NULL;
	t_int(config_check(&c, 0, &e), -EINVAL);
	t_has(e.text, "kernel");
}

Test(config, cpus_are_one_to_32)
{
	static const struct {
		unsigned cpus;
		int want;
	} rows[] = { { 0, -EINVAL }, { 1, 0 }, { 32, 0 }, { 33, -EINVAL },
		{ UINT32_MAX, -EINVAL } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config c = valid();
		struct err e = { 0 };

		c.cpus = rows[i].cpus;
		cr_expect(eq(int, config_check(&c, 0, &e), rows[i].want), "%u CPUs", rows[i].cpus);
		if (rows[i].want < 0)
			t_row_has("cpus", e.text, "1 to 32");
	}
}

Test(config, memory_has_limits_and_steps_and_the_error_names_value_and_rule)
{
	static const struct {
		const char *name;
		uint64_t size, host;
		enum mem_pages pages;
		int want;
		const char *words[2];
	} rows[] = {
		{ "zero", 0, 0, MEM_PAGES_HOST, -EINVAL, { "0 bytes", "16M to 1T" } },
		{ "too small", 15 * MIB, 0, MEM_PAGES_HOST, -EINVAL, { "15M", "16M to 1T" } },
		{ "smallest", 16 * MIB, 0, MEM_PAGES_HOST, 0, { "", "" } },
		{ "largest", 1ULL << 40, 0, MEM_PAGES_HOST, 0, { "", "" } },
		{ "too large", (1ULL << 40) + MIB, 0, MEM_PAGES_HOST, -EINVAL,
			{ "1048577M", "16M to 1T" } },
		{ "beyond all measure", UINT64_MAX, 0, MEM_PAGES_HOST, -EINVAL,
			{ "", "16M to 1T" } },
		{ "odd bytes", 16 * MIB + 1, 0, MEM_PAGES_HOST, -EINVAL,
			{ "16777217 bytes", "multiple of 1M" } },
		{ "half a step", 16 * MIB + MIB / 2, 0, MEM_PAGES_HOST, -EINVAL,
			{ "16896K", "multiple of 1M" } },
		{ "odd for huge pages", 17 * MIB, 0, MEM_PAGES_2M, -EINVAL,
			{ "17M", "multiple of 2M" } },
		{ "even for huge pages", 18 * MIB, 0, MEM_PAGES_2M, 0, { "", "" } },
		{ "all of the host", 512 * MIB, 512 * MIB, MEM_PAGES_HOST, 0, { "", "" } },
		{ "more than the host", 513 * MIB, 512 * MIB + 12345, MEM_PAGES_HOST, -ENOMEM,
			{ "513M", "512M" } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config c = valid();
		struct err e = { 0 };

		c.mem_size = rows[i].size;
		c.pages = rows[i].pages;
		t_row_int(rows[i].name, config_check(&c, rows[i].host, &e), rows[i].want);
		t_row_int(rows[i].name, e.code, rows[i].want);
		t_row_has(rows[i].name, e.text, rows[i].words[0]);
		t_row_has(rows[i].name, e.text, rows[i].words[1]);
	}
}

Test(config, an_error_needs_no_place)
{
	struct vm_config c = valid();

	c.cpus = 0;
	t_int(config_check(&c, 0, NULL), -EINVAL);
}
