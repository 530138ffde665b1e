/* The words of /cpu-config as numbers. */
#include "t.h"

#include "api/handlers.h"
#include "base/err.h"

#define X4  "xxxx"
#define X16 X4 X4 X4 X4

TestSuite(cpu_config, .timeout = T_SECONDS);

static struct cpu_body b;
static struct cpu_template c;
static struct err e;

Test(cpu_config, good_words)
{
	b = (struct cpu_body){
		.ncaps = 2,
		.cap = { "121", "!4294967295" },
		.nleaves = 1,
		.leaf = { { .leaf = "0x8000001E",
			.subleaf = "0b101",
			.flags = 1,
			.nmodifiers = 2,
			.modifier = { { .name = CPUID_EBX, .bitmap = "0bx10_x" },
				{ .name = CPUID_EDX,
					.bitmap = "0b11111111111111111111111111111111" } } } },
		.nmsrs = 1,
		.msr = { { .addr = "266", .bitmap = "0b1" X16 X16 X16 X4 X4 X4 "x01" } },
	};
	t_int(cpu_config_read(&b, &c, &e), 0);
	t_uint(c.ncaps, 2);
	t_uint(c.cap[0].cap, 121);
	t_false(c.cap[0].drop);
	t_uint(c.cap[1].cap, UINT32_MAX);
	t_true(c.cap[1].drop);
	t_hex(c.leaf[0].leaf, 0x8000001e);
	t_hex(c.leaf[0].subleaf, 5);
	t_hex(c.leaf[0].mask[CPUID_EBX], 6);
	t_hex(c.leaf[0].value[CPUID_EBX], 4);
	t_hex(c.leaf[0].mask[CPUID_EAX], 0);
	t_hex(c.leaf[0].value[CPUID_EDX], UINT32_MAX);
	t_uint(c.msr[0].addr, 266);
	t_hex(c.msr[0].mask, 1ULL << 63 | 3);
	t_hex(c.msr[0].value, 1ULL << 63 | 1);
}

Test(cpu_config, wrong_capabilities)
{
	static const char *const bad[] = { "", "!", "x", "-1", "4294967296", "!!1", "1 ", "0x1" };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		b = (struct cpu_body){ .ncaps = 2, .cap = { "1", bad[i] } };
		t_row_int(bad[i], cpu_config_read(&b, &c, &e), -EINVAL);
		t_row_has(bad[i], e.text, "kvm_capabilities[1]: ");
	}
}

Test(cpu_config, wrong_numbers)
{
	static const char *const bad[] = { "", "0x", "0b", "0b2", "0xg", "0x100000000",
		"0b111111111111111111111111111111111", "4294967296", "-1", "0X1", "1_0" };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		b = (struct cpu_body){ .nleaves = 1,
			.leaf = { { .leaf = bad[i], .subleaf = "0" } } };
		t_row_int(bad[i], cpu_config_read(&b, &c, &e), -EINVAL);
		t_row_has(bad[i], e.text, "cpuid_modifiers[0]: leaf: ");
		b = (struct cpu_body){ .nleaves = 1,
			.leaf = { { .leaf = "0", .subleaf = bad[i] } } };
		t_row_int(bad[i], cpu_config_read(&b, &c, &e), -EINVAL);
		t_row_has(bad[i], e.text, "cpuid_modifiers[0]: subleaf: ");
		b = (struct cpu_body){ .nmsrs = 1, .msr = { { .addr = bad[i], .bitmap = "0b1" } } };
		t_row_int(bad[i], cpu_config_read(&b, &c, &e), -EINVAL);
		t_row_has(bad[i], e.text, "msr_modifiers[0]: addr: ");
	}
}

Test(cpu_config, wrong_bitmaps)
{
	static const char *const bad[] = { "", "0b", "0b_", "1", "0x1", "0b2", "0b1 ", "0bX",
		"0b11111111111111111111111111111111111111111111111111111111111111111" };

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		b = (struct cpu_body){ .nmsrs = 1, .msr = { { .addr = "1", .bitmap = bad[i] } } };
		t_row_int(bad[i], cpu_config_read(&b, &c, &e), -EINVAL);
		t_row_has(bad[i], e.text, "msr_modifiers[0]: bitmap: ");
		b = (struct cpu_body){ .nleaves = 1,
			.leaf = { { .leaf = "1",
				.subleaf = "0",
				.nmodifiers = 1,
				.modifier = { { .bitmap = bad[i] } } } } };
		t_row_int(bad[i], cpu_config_read(&b, &c, &e), -EINVAL);
		t_row_has(bad[i], e.text, "cpuid_modifiers[0]: modifiers[0].bitmap: ");
	}
}

Test(cpu_config, register_twice)
{
	b = (struct cpu_body){ .nleaves = 1,
		.leaf = { { .leaf = "1",
			.subleaf = "0",
			.nmodifiers = 2,
			.modifier = { { .bitmap = "0b1" }, { .bitmap = "0b0" } } } } };
	t_int(cpu_config_read(&b, &c, &e), -EINVAL);
	t_has(e.text, "the register appears twice");
}
