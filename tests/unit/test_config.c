/* Defaults and limits of a machine. */
#include "t.h"

#include <stdio.h>

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
	t_int(c.describe, DESCRIBE_AUTO);
	t_uint(c.ndisks + c.nnets, 0);
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

Test(config, a_machine_that_goes_on_from_a_state_needs_no_kernel)
{
	struct vm_config c = valid();

	c.kernel = NULL;
	c.state = (const struct vm_state *)(uintptr_t)&c; /* not looked at */
	t_int(config_check(&c, 0, NULL), 0);
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

Test(config, a_tap_is_for_one_interface)
{
	static const struct {
		const char *name;
		struct net_config a, b;
		int want;
	} rows[] = {
		{ "the same descriptor", { .tap_fd = 7 }, { .tap_fd = 7 }, -EINVAL },
		{ "two descriptors", { .tap_fd = 7 }, { .tap_fd = 8 }, 0 },
		/* Where there is a name the number means nothing. */
		{ "two names", { .tap = "tap0", .tap_fd = -1 }, { .tap = "tap1", .tap_fd = -1 },
			0 },
		{ "a name and a descriptor", { .tap = "tap0" }, { .tap_fd = 0 }, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config c = valid();
		struct err e = { 0 };

		c.nnets = 3;
		c.net[0] = rows[i].a;
		c.net[0].id = "lan";
		c.net[1] = (struct net_config){ .id = "else", .tap = "tap9", .tap_fd = -1 };
		c.net[2] = rows[i].b;
		c.net[2].id = "wan";
		t_row_int(rows[i].name, config_check(&c, 0, &e), rows[i].want);
		if (rows[i].want == 0)
			continue;
		t_row_has(rows[i].name, e.text, "'lan' and 'wan'");
		t_row_has(rows[i].name, e.text, "descriptor 7");
	}
}

static struct vm_config with_devices(unsigned ndisks, unsigned nnets)
{
	static char ids[2 * CONFIG_DEVICES_MAX + 2][16];
	struct vm_config c = valid();
	unsigned n = 0;

	c.ndisks = ndisks;
	c.nnets = nnets;
	for (unsigned i = 0; i < MIN(ndisks, CONFIG_DEVICES_MAX); i++, n++) {
		(void)snprintf(ids[n], sizeof(ids[n]), "disk%u", i);
		c.disk[i] = (struct disk_config){ .id = ids[n], .path = "/d" };
	}
	for (unsigned i = 0; i < MIN(nnets, CONFIG_DEVICES_MAX); i++, n++) {
		(void)snprintf(ids[n], sizeof(ids[n]), "net%u", i);
		c.net[i] = (struct net_config){ .id = ids[n], .tap = "t", .tap_fd = -1 };
	}
	return c;
}

Test(config, a_machine_has_room_for_as_many_devices_as_pins)
{
	static const struct {
		const char *name;
		unsigned disks, nets;
		int want;
	} rows[] = {
		{ "full of disks", CONFIG_DEVICES_MAX, 0, 0 },
		{ "full of networks", 0, CONFIG_DEVICES_MAX, 0 },
		{ "full of both", 9, CONFIG_DEVICES_MAX - 9, 0 },
		{ "one more disk", CONFIG_DEVICES_MAX + 1, 0, -EINVAL },
		{ "one more network", 0, CONFIG_DEVICES_MAX + 1, -EINVAL },
		{ "one more of both", 9, CONFIG_DEVICES_MAX - 8, -EINVAL },
		{ "the sum wraps", UINT32_MAX, 2, -EINVAL },
		{ "the sum wraps too", 2, UINT32_MAX, -EINVAL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config c = with_devices(rows[i].disks, rows[i].nets);
		struct err e = { 0 };

		t_row_int(rows[i].name, config_check(&c, 0, &e), rows[i].want);
		if (rows[i].want < 0)
			t_row_has(rows[i].name, e.text, "room for 18 devices");
	}
}

Test(config, ids_are_words_of_letters_digits_and_two_signs)
{
	static char longest[CONFIG_ID_MAX + 2];
	struct {
		const char *id;
		int want;
	} rows[] = { { "a", 0 }, { "Root_disk-0", 0 }, { "0", 0 }, { "-", 0 }, { longest + 1, 0 },
		{ longest, -EINVAL }, { "", -EINVAL }, { "a b", -EINVAL }, { "a/b", -EINVAL },
		{ "a.b", -EINVAL }, { "a\n", -EINVAL }, { "\xc3\xa4", -EINVAL },
		{ "a'", -EINVAL } };

	memset(longest, 'x', CONFIG_ID_MAX + 1);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config disk = with_devices(2, 1), net = with_devices(1, 2);
		struct err e = { 0 };

		disk.disk[1].id = net.net[1].id = rows[i].id;
		t_row_int(rows[i].id, config_check(&disk, 0, NULL), rows[i].want);
		t_row_int(rows[i].id, config_check(&net, 0, &e), rows[i].want);
		if (rows[i].want < 0)
			t_row_has(rows[i].id, e.text, "cannot be the id of a device");
	}
}

Test(config, no_two_devices_of_whatever_kind_have_one_id)
{
	struct vm_config c = with_devices(2, 2);
	struct err e = { 0 };

	c.disk[1].id = "disk0";
	t_int(config_check(&c, 0, &e), -EINVAL);
	t_has(e.text, "two devices have the id 'disk0'");
	c = with_devices(2, 2);
	c.net[1].id = "disk1";
	t_int(config_check(&c, 0, &e), -EINVAL);
	t_has(e.text, "'disk1'");
	c = with_devices(2, 2);
	c.net[1].id = "Net0"; /* another word */
	t_int(config_check(&c, 0, &e), 0);
}

Test(config, a_mac_is_of_one_interface_and_never_of_a_group)
{
	struct vm_config c = with_devices(1, 3);
	struct err e = { 0 };

	/* Without has_mac the bytes mean nothing. */
	c.net[0].mac[0] = c.net[1].mac[0] = 1;
	t_int(config_check(&c, 0, &e), 0);
	c.net[1].has_mac = true;
	t_int(config_check(&c, 0, &e), -EINVAL);
	t_has(e.text, "'net1'");
	t_has(e.text, "multicast");
	memcpy(c.net[0].mac, "\x02\0\0\0\0\x05", 6);
	memcpy(c.net[1].mac, "\x02\0\0\0\0\x06", 6);
	memcpy(c.net[2].mac, "\x02\0\0\0\0\x05", 6);
	c.net[0].has_mac = c.net[2].has_mac = true;
	t_int(config_check(&c, 0, &e), -EINVAL);
	t_has(e.text, "'net0' and 'net2' have the same MAC");
	c.net[2].mac[5]++;
	c.net[2].mac[0] = 6;
	t_int(config_check(&c, 0, &e), 0);
}

Test(config, an_error_needs_no_place)
{
	struct vm_config c = valid();

	c.cpus = 0;
	t_int(config_check(&c, 0, NULL), -EINVAL);
}

Test(config, threads_of_a_core_come_in_twos)
{
	static const struct {
		unsigned cpus;
		int want;
	} rows[] = { { 1, 0 }, { 2, 0 }, { 3, -EINVAL }, { 31, -EINVAL }, { 32, 0 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config c = valid();
		struct err e = { 0 };

		c.smt = true;
		c.cpus = rows[i].cpus;
		cr_expect(eq(int, config_check(&c, 0, &e), rows[i].want), "%u CPUs", rows[i].cpus);
		if (rows[i].want < 0)
			t_row_has("smt", e.text, "even");
	}
}

/* It becomes a word of the kernel's command line, and nothing but a word. */
Test(config, the_uuid_of_a_partition_is_one_word)
{
	static char longest[CONFIG_ID_MAX + 1], too_long[CONFIG_ID_MAX + 2];
	const struct {
		const char *uuid;
		int want;
	} rows[] = { { NULL, 0 }, { "0eaa91a0-01", 0 }, { "a/PARTNROFF=1", 0 }, { longest, 0 },
		{ too_long, -EINVAL }, { "", -EINVAL }, { "a b", -EINVAL },
		{ "a init=/x", -EINVAL }, { "a\n", -EINVAL }, { "\xff", -EINVAL } };

	memset(longest, 'a', sizeof(longest) - 1);
	memset(too_long, 'a', sizeof(too_long) - 1);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct vm_config c = valid();

		c.partuuid = rows[i].uuid;
		cr_expect(eq(int, config_check(&c, 0, NULL), rows[i].want), "row %u", i);
	}
}
