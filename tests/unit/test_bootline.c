/* The kernel's command line: what the devices add to what the user gave. */
#include "t.h"

#include <stdio.h>

#include "base/err.h"
#include "bootline.h"
#include "x86/layout.h"

TestSuite(bootline, .timeout = T_SECONDS);

/* A machine with disks and places for all of its devices. */
struct rig {
	struct vm_config c;
	struct devices d;
	char line[BOOTLINE_MAX];
	struct err e;
};

static void make(struct rig *r, const char *cmdline, unsigned ndisks, unsigned nnets)
{
	memset(r, 0, sizeof(*r));
	memset(r->line, 0xff, sizeof(r->line));
	config_init(&r->c);
	r->c.cmdline = cmdline;
	r->c.ndisks = ndisks;
	r->c.nnets = nnets;
	r->d.n = ndisks + nnets;
	for (unsigned i = 0; i < r->d.n; i++) {
		r->d.slot[i].base = LAYOUT_VIRTIO_BASE + i * LAYOUT_VIRTIO_LEN;
		r->d.slot[i].gsi = 16 + i;
	}
}

static const char *compose(struct rig *r)
{
	cr_assert(eq(int, bootline_compose(&r->c, &r->d, r->line, &r->e), 0), "%s", r->e.text);
	return r->line;
}

Test(bootline, without_devices_it_is_what_the_user_gave)
{
	static const char *const lines[] = { "", "console=ttyS0 panic=-1", " two  spaces ", "--",
		"a -- b c", "-- --", "a--b" };

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		struct rig r;

		make(&r, lines[i], 0, 0);
		cr_expect(eq(int, strcmp(compose(&r), lines[i]), 0), "'%s' became '%s'", lines[i],
			r.line);
		make(&r, lines[i], 0, 2); /* networks are no roots, and ACPI tells of them */
		cr_expect(eq(int, strcmp(compose(&r), lines[i]), 0), "'%s' became '%s'", lines[i],
			r.line);
	}
}

Test(bootline, the_first_disk_is_the_root_unless_there_is_another)
{
	static const struct {
		const char *given, *want;
		bool read_only, initrd;
	} rows[] = {
		{ "quiet", "quiet root=/dev/vda rw", false, false },
		{ "quiet", "quiet root=/dev/vda ro", true, false },
		{ "", "root=/dev/vda rw", false, false },
		{ "quiet ", "quiet root=/dev/vda rw", false, false },
		{ "quiet", "quiet", false, true },
		{ "root=/dev/vdb", "root=/dev/vdb", false, false },
		{ "a root=LABEL=x ro", "a root=LABEL=x ro", false, false },
		{ "root=", "root=", false, false },
		{ "nfsroot=x rootwait", "nfsroot=x rootwait root=/dev/vda rw", false, false },
		{ "rootfstype=ext4", "rootfstype=ext4 root=/dev/vda rw", false, false },
		/* What is behind "--" is for init: it names no root and stays at the end. */
		{ "quiet -- root=/x", "quiet root=/dev/vda rw -- root=/x", false, false },
		{ "-- single", "root=/dev/vda rw -- single", false, false },
		{ "quiet --", "quiet root=/dev/vda rw --", false, false },
		{ "a --b -- c -- d", "a --b root=/dev/vda rw -- c -- d", false, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig r;

		make(&r, rows[i].given, 2, 0);
		r.c.disk[0].read_only = rows[i].read_only;
		r.c.disk[1].read_only = !rows[i].read_only;
		r.c.initrd = rows[i].initrd ? "/initrd" : NULL;
		cr_expect(eq(int, strcmp(compose(&r), rows[i].want), 0), "'%s' became '%s'",
			rows[i].given, r.line);
	}
}

Test(bootline, devices_are_described_where_and_how_the_configuration_says)
{
	static const struct {
		const char *cmdline;
		enum describe how;
		bool acpi, line;
	} rows[] = {
		{ "quiet", DESCRIBE_AUTO, true, false },
		{ "acpi=off", DESCRIBE_AUTO, true, true },
		{ "a acpi=off b", DESCRIBE_AUTO, true, true },
		{ "acpi=offline", DESCRIBE_AUTO, true, false },
		{ "noacpi=off", DESCRIBE_AUTO, true, false },
		{ "-- acpi=off", DESCRIBE_AUTO, true, false },
		{ "quiet", DESCRIBE_ACPI, true, false },
		{ "acpi=off", DESCRIBE_ACPI, true, false },
		{ "quiet", DESCRIBE_CMDLINE, false, true },
		{ "quiet", DESCRIBE_BOTH, true, true },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig r;
		bool has;

		make(&r, rows[i].cmdline, 0, 1);
		r.c.describe = rows[i].how;
		t_row_int(rows[i].cmdline, bootline_wants_acpi(&r.c), rows[i].acpi);
		t_row_int(rows[i].cmdline, bootline_wants_cmdline(&r.c), rows[i].line);
		has = strstr(compose(&r), "virtio_mmio.device=4K@0xc0001000:16") != NULL;
		t_row_int(rows[i].cmdline, has, rows[i].line);
	}
}

Test(bootline, all_devices_fit_and_stand_in_their_order_before_what_is_for_init)
{
	struct rig r;
	const char *at;

	make(&r, "quiet -- init", CONFIG_DEVICES_MAX, 0);
	r.c.describe = DESCRIBE_CMDLINE;
	at = compose(&r);
	for (unsigned i = 0; i < CONFIG_DEVICES_MAX; i++) {
		char word[64];

		(void)snprintf(word, sizeof(word), " virtio_mmio.device=4K@0x%llx:%u ",
			LAYOUT_VIRTIO_BASE + i * LAYOUT_VIRTIO_LEN, 16 + i);
		at = strstr(at, word);
		cr_assert(ne(ptr, (void *)at, NULL), "'%s' is not in '%s'", word, r.line);
	}
	t_str(strstr(at, " -- "), " -- init");
}

/* A line of n letters. */
static const char *letters(char buf[BOOTLINE_MAX * 2], size_t n)
{
	memset(buf, 'x', n);
	buf[n] = '\0';
	return buf;
}

Test(bootline, a_line_of_any_length_fits_or_is_an_error_and_never_cut)
{
	static char text[BOOTLINE_MAX * 2];

	for (size_t n = 0; n < BOOTLINE_MAX + 100; n++) {
		for (unsigned disks = 0; disks < 2; disks++) {
			struct rig r;
			int rc;

			make(&r, letters(text, n), disks, 0);
			rc = bootline_compose(&r.c, &r.d, r.line, &r.e);
			if (rc == 0) {
				cr_expect(eq(int, strncmp(r.line, text, n), 0), "%zu letters", n);
				cr_expect(eq(sz, strlen(r.line),
						  n + (disks ? strlen("root=/dev/vda rw") + (n > 0)
							     : 0)),
					"%zu letters", n);
			} else {
				cr_expect(eq(int, rc, -E2BIG));
				cr_expect(eq(int, r.e.code, -E2BIG));
				t_row_has("long", r.e.text, "kernel command line");
			}
			/* What a kernel takes is not refused here. */
			if (n + 20 < LAYOUT_CMDLINE_MAX)
				cr_expect(eq(int, rc, 0), "%zu letters", n);
		}
	}
}

Test(bootline, what_is_for_init_may_be_long_and_is_never_cut)
{
	static char text[BOOTLINE_MAX * 2];

	for (size_t n = BOOTLINE_MAX - 64; n < BOOTLINE_MAX + 64; n++) {
		struct rig r;
		int rc;

		(void)letters(text, n);
		memcpy(text, "a -- ", 5);
		make(&r, text, 1, 0);
		rc = bootline_compose(&r.c, &r.d, r.line, &r.e);
		t_true(rc == 0 || rc == -E2BIG);
		if (rc == 0)
			cr_expect(
				eq(sz, strlen(r.line), n + strlen("root=/dev/vda rw ")), "%zu", n);
	}
}

Test(bootline, the_root_is_the_first_disk_or_a_partition_of_it_or_nobody)
{
	static const struct {
		const char *given, *want, *partuuid;
		enum vm_root root;
		unsigned ndisks;
		bool read_only, initrd;
	} rows[] = {
		{ "a", "a root=/dev/vda rw", NULL, VM_ROOT_FIRST, 2, false, false },
		{ "a", "a root=/dev/vda ro", NULL, VM_ROOT_FIRST, 2, true, false },
		/* Whatever else there is. */
		{ "a", "a root=/dev/vda rw", NULL, VM_ROOT_FIRST, 2, false, true },
		{ "root=/dev/vdb", "root=/dev/vdb root=/dev/vda rw", NULL, VM_ROOT_FIRST, 2, false,
			false },
		{ "a -- b", "a root=PARTUUID=0eaa91a0-01 ro -- b", "0eaa91a0-01", VM_ROOT_FIRST, 1,
			true, false },
		{ "a", "a", NULL, VM_ROOT_FIRST, 0, false, false },
		{ "a", "a", NULL, VM_ROOT_NONE, 2, false, false },
		{ "a", "a", "0eaa91a0-01", VM_ROOT_NONE, 2, false, false },
		/* Counts with VM_ROOT_FIRST only. */
		{ "a", "a root=/dev/vda rw", "0eaa91a0-01", VM_ROOT_AUTO, 2, false, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig r;

		make(&r, rows[i].given, rows[i].ndisks, 0);
		r.c.root = rows[i].root;
		r.c.partuuid = rows[i].partuuid;
		r.c.disk[0].read_only = rows[i].read_only;
		r.c.initrd = rows[i].initrd ? "/initrd" : NULL;
		cr_expect(eq(int, strcmp(compose(&r), rows[i].want), 0), "row %u: '%s'", i, r.line);
	}
}
