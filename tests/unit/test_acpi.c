/* ACPI tables, found and read as a kernel finds and reads them. */
#include "t.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "x86/acpi.h"
#include "x86/layout.h"

TestSuite(acpi, .timeout = T_SECONDS);

extern char **environ;

static const unsigned slot_counts[] = { 0, 1, 18, 32 };
static const unsigned cpu_counts[] = { 1, 2, 8, 32 };

enum { HEADER = 36, TABLE_MAX = 8192 };

static struct acpi_config config(unsigned cpus, unsigned nslots)
{
	struct acpi_config c = { .cpus = cpus, .nslots = nslots };

	for (unsigned i = 0; i < nslots; i++)
		c.slot[i] =
			(struct acpi_slot){ (uint32_t)(LAYOUT_VIRTIO_BASE + i * LAYOUT_VIRTIO_LEN),
				(uint32_t)LAYOUT_VIRTIO_LEN, 5 + i % 19 };
	return c;
}

static void setup(struct guest_mem *m, unsigned cpus, unsigned nslots)
{
	struct acpi_config c = config(cpus, nslots);

	t_mem_init(m, 16ULL << 20);
	acpi_write_tables(m, &c);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *p++);
	return total;
}

static uint64_t u64_at(const uint8_t *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static uint32_t u32_at(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

/* The table at gpa: within the area, with this signature, and its bytes sum up to zero. */
static const uint8_t *table_at(const struct guest_mem *m, uint64_t gpa, const char *signature)
{
	const uint8_t *t = mem_ptr(m, gpa, HEADER);
	uint32_t len;

	t_true(t);
	t_true(gpa > LAYOUT_ACPI && gpa < LAYOUT_MPTABLE);
	len = u32_at(t + 4);
	t_true(len >= HEADER && gpa + len <= LAYOUT_MPTABLE);
	cr_assert(eq(int, memcmp(t, signature, 4), 0), "%.4s instead of %s", t, signature);
	t_uint(sum(t, len), 0);
	return t;
}

/* RSDP, then XSDT, then the table of this signature; the DSDT hangs off the FADT. */
static const uint8_t *find(const struct guest_mem *m, const char *signature)
{
	const uint8_t *rsdp = mem_ptr(m, LAYOUT_ACPI, HEADER), *xsdt;

	xsdt = table_at(m, u64_at(rsdp + 24), "XSDT");
	if (strcmp(signature, "XSDT") == 0)
		return xsdt;
	if (strcmp(signature, "DSDT") == 0)
		return table_at(m, u64_at(find(m, "FACP") + 140), "DSDT");
	for (uint32_t at = HEADER; at < u32_at(xsdt + 4); at += 8) {
		const uint8_t *t = mem_ptr(m, u64_at(xsdt + at), HEADER);

		if (t && memcmp(t, signature, 4) == 0)
			return table_at(m, u64_at(xsdt + at), signature);
	}
	return NULL;
}

Test(acpi, the_root_pointer_is_where_kernels_search_and_both_its_sums_are_right)
{
	struct guest_mem m;
	const uint8_t *rsdp;

	setup(&m, 1, 0);
	t_true(LAYOUT_ACPI % 16 == 0 && LAYOUT_ACPI >= 0xe0000 && LAYOUT_ACPI < 0x100000);
	rsdp = mem_ptr(&m, LAYOUT_ACPI, HEADER);
	t_int(memcmp(rsdp, "RSD PTR ", 8), 0);
	t_uint(sum(rsdp, 20), 0);
	t_uint(sum(rsdp, 36), 0);
	t_uint(rsdp[15], 2);
	t_uint(u32_at(rsdp + 20), 36);
	guest_mem_fini(&m);
}

Test(acpi, every_table_is_found_and_sums_up_for_any_machine)
{
	static const char *const tables[] = { "XSDT", "FACP", "APIC", "DSDT" };

	for (unsigned i = 0; i < ARRAY_SIZE(slot_counts); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(cpu_counts); k++) {
			struct guest_mem m;

			setup(&m, cpu_counts[k], slot_counts[i]);
			for (unsigned t = 0; t < ARRAY_SIZE(tables); t++)
				cr_expect(ne(ptr, (void *)find(&m, tables[t]), NULL),
					"%s of %u CPUs and %u slots", tables[t], cpu_counts[k],
					slot_counts[i]);
			guest_mem_fini(&m);
		}
	}
}

Test(acpi, the_hardware_is_reduced_and_has_sleep_and_reset_registers)
{
	struct guest_mem m;
	const uint8_t *fadt;

	setup(&m, 1, 0);
	fadt = find(&m, "FACP");
	t_uint(u32_at(fadt + 4), 276);
	t_uint(u32_at(fadt + 112) >> 20 & 1, 1); /* HW_REDUCED_ACPI */
	t_uint(u32_at(fadt + 112) >> 10 & 1, 1); /* RESET_REG_SUP */
	t_uint(fadt[116], 1);                    /* port I/O */
	t_uint(u64_at(fadt + 120), LAYOUT_ACPI_PM + 2);
	t_uint(fadt[128], 1); /* the value that resets */
	t_uint(u64_at(fadt + 248), LAYOUT_ACPI_PM);
	t_uint(u64_at(fadt + 260), LAYOUT_ACPI_PM + 1);
	guest_mem_fini(&m);
}

Test(acpi, the_boot_flags_announce_the_keyboard_controller_and_no_vga)
{
	struct guest_mem m;
	const uint8_t *fadt;

	setup(&m, 1, 0);
	fadt = find(&m, "FACP");
	t_uint(fadt[109] & 2, 2);
	t_uint(fadt[109] & 4, 4);
	guest_mem_fini(&m);
}

Test(acpi, every_cpu_has_an_enabled_local_apic)
{
	for (unsigned k = 0; k < ARRAY_SIZE(cpu_counts); k++) {
		struct guest_mem m;
		const uint8_t *madt;
		unsigned lapics = 0, ioapics = 0;

		setup(&m, cpu_counts[k], 0);
		madt = find(&m, "APIC");
		cr_expect(eq(u32, u32_at(madt + 36), (uint32_t)LAYOUT_LAPIC));
		cr_expect(eq(u32, u32_at(madt + 40), 1)); /* PICs are there too */
		for (uint32_t at = 44; at < u32_at(madt + 4); at += madt[at + 1]) {
			cr_assert(ge(u8, madt[at + 1], 8));
			if (madt[at] == 1) {
				ioapics++;
				cr_expect(eq(u32, u32_at(madt + at + 4), (uint32_t)LAYOUT_IOAPIC));
				cr_expect(eq(u32, u32_at(madt + at + 8), 0));
			} else {
				cr_expect(eq(u8, madt[at], 0));
				cr_expect(eq(u8, madt[at + 2], (uint8_t)lapics));
				cr_expect(eq(u8, madt[at + 3], (uint8_t)lapics));
				cr_expect(eq(u32, u32_at(madt + at + 4), 1));
				lapics++;
			}
		}
		cr_expect(eq(uint, lapics, cpu_counts[k]));
		cr_expect(eq(uint, ioapics, 1));
		guest_mem_fini(&m);
	}
}

/* How often the bytes of text are in the DSDT. */
static unsigned count_in_dsdt(const struct guest_mem *m, const char *text)
{
	const uint8_t *dsdt = find(m, "DSDT");
	size_t len = strlen(text);
	unsigned n = 0;

	for (uint32_t at = HEADER; at + len <= u32_at(dsdt + 4); at++)
		n += memcmp(dsdt + at, text, len) == 0;
	return n;
}

Test(acpi, the_dsdt_has_a_device_for_each_slot)
{
	for (unsigned i = 0; i < ARRAY_SIZE(slot_counts); i++) {
		struct guest_mem m;

		setup(&m, 1, slot_counts[i]);
		cr_expect(eq(uint, count_in_dsdt(&m, "LNRO0005"), slot_counts[i]));
		cr_expect(eq(uint, count_in_dsdt(&m, "VR"), slot_counts[i]));
		guest_mem_fini(&m);
	}
}

Test(acpi, the_tables_stay_out_of_the_mp_table_and_of_the_generation_ids_page)
{
	struct guest_mem m;
	const uint8_t *p;

	setup(&m, 32, 32);
	p = mem_ptr(&m, LAYOUT_VMGENID, 4096);
	for (unsigned i = 0; i < 4096; i++)
		t_uint(p[i], 0);
	p = mem_ptr(&m, LAYOUT_MPTABLE, 16);
	t_uint(sum(p, 16), 0);
	t_uint(p[0], 0);
	guest_mem_fini(&m);
}

Test(acpi, more_cpus_or_slots_than_there_can_be_abort, .signal = SIGABRT)
{
	struct guest_mem m;

	setup(&m, LAYOUT_CPUS_MAX + 1, 0);
}

/* --- the referee: Intel's own compiler --- */

/* Runs argv in dir with its output thrown away; the exit status. */
static int run(char *const argv[], const char *dir)
{
	posix_spawn_file_actions_t act;
	pid_t pid;
	int status = -1;

	(void)posix_spawn_file_actions_init(&act);
	(void)posix_spawn_file_actions_addopen(&act, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_addopen(&act, 1, "/dev/null", O_WRONLY, 0);
	(void)posix_spawn_file_actions_addopen(&act, 2, "/dev/null", O_WRONLY, 0);
	(void)posix_spawn_file_actions_addchdir_np(&act, dir);
	if (posix_spawnp(&pid, argv[0], &act, NULL, argv, environ) != 0)
		return -1;
	(void)posix_spawn_file_actions_destroy(&act);
	t_int(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool has_iasl(void)
{
	return run((char *[]){ (char *)"iasl", (char *)"-v", NULL }, "/tmp") == 0;
}

static void save_table(const struct guest_mem *m, const char *signature, const char *path)
{
	const uint8_t *t = find(m, signature);
	FILE *out = fopen(path, "wbe");

	t_true(out);
	t_uint(fwrite(t, 1, u32_at(t + 4), out), u32_at(t + 4));
	(void)fclose(out);
}

static char *read_text(const char *path)
{
	static char text[256 * 1024];
	FILE *in = fopen(path, "re");
	size_t n;

	cr_assert(ne(ptr, in, NULL), "iasl left no %s", path);
	n = fread(text, 1, sizeof(text) - 1, in);
	(void)fclose(in);
	text[n] = '\0';
	return text;
}

/* Disassembles a table of a machine, and compiles what came out again. */
static const char *disassemble(const char *signature, unsigned cpus, unsigned nslots)
{
	static const char *const made[] = { "t.dat", "t.dsl", "t.aml" };
	static char *text;
	char dir[] = "/tmp/mvm-test-acpi-XXXXXX", path[64];
	struct guest_mem m;

	t_true(mkdtemp(dir));
	setup(&m, cpus, nslots);
	(void)snprintf(path, sizeof(path), "%s/t.dat", dir);
	save_table(&m, signature, path);
	cr_expect(
		eq(int, run((char *[]){ (char *)"iasl", (char *)"-d", (char *)"t.dat", NULL }, dir),
			0),
		"%s of %u CPUs and %u slots", signature, cpus, nslots);
	(void)snprintf(path, sizeof(path), "%s/t.dsl", dir);
	text = read_text(path);
	/* The compiler checks what the disassembler takes on trust. */
	cr_expect(eq(int,
			  run((char *[]){ (char *)"iasl", (char *)"-p", (char *)"t",
				      (char *)"t.dsl", NULL },
				  dir),
			  0),
		"%s of %u CPUs and %u slots compiles", signature, cpus, nslots);
	for (unsigned i = 0; i < ARRAY_SIZE(made); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, made[i]);
		(void)unlink(path);
	}
	cr_expect(eq(int, rmdir(dir), 0));
	guest_mem_fini(&m);
	return text;
}

Test(acpi, iasl_understands_the_dsdt_and_finds_every_device)
{
	if (!has_iasl())
		cr_skip_test("no iasl (package acpica-tools)");
	for (unsigned i = 0; i < ARRAY_SIZE(slot_counts); i++) {
		const char *text = disassemble("DSDT", 1, slot_counts[i]);
		char name[32];

		t_has(text, "Device (COM1)");
		t_has(text, "Device (PS2K)");
		t_has(text, "Device (PWRB)");
		t_has(text, "Device (GED)");
		t_has(text, "Name (\\_S5, Package");
		t_has(text, "Notify (\\_SB.PWRB, 0x80)");
		t_has(text, "Device (VGEN)");
		t_has(text, "Notify (\\_SB.VGEN, 0x80)");
		t_false(strstr(text, "Error"));
		for (unsigned k = 0; k < 33; k++) {
			(void)snprintf(name, sizeof(name), "Device (VR%02u)", k);
			cr_expect(eq(int, strstr(text, name) != NULL, k < slot_counts[i]),
				"%s of %u slots", name, slot_counts[i]);
		}
	}
}

Test(acpi, iasl_reads_ports_memory_and_interrupts_as_they_were_meant)
{
	const char *text;

	if (!has_iasl())
		cr_skip_test("no iasl (package acpica-tools)");
	text = disassemble("DSDT", 1, 1);
	t_has(text, "EisaId (\"PNP0501\")");
	t_has(text, "0x03F8,             // Range Minimum");
	t_has(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive");
	t_has(text, "0x00000004,");
	t_has(text, "0xC0001000,         // Address Base");
	t_has(text, "0x00001000,         // Address Length");
	t_has(text, "0x00000005,");
}

Test(acpi, iasl_reads_the_generation_id_as_drivers_do)
{
	const char *text, *is;

	if (!has_iasl())
		cr_skip_test("no iasl (package acpica-tools)");
	text = disassemble("DSDT", 1, 0);
	t_has(text, "Name (_CID, Package (0x02)");
	t_has(text, "\"VM_Gen_Counter\"");
	t_has(text, "\"VMGENCTR\"");
	t_has(text, "Name (ADDR, Package (0x02)");
	t_has(text, "0x000EF000,");
	/* Each interrupt announces one device. */
	is = strstr(text, "If ((Arg0 == 0x09))");
	t_true(is);
	t_true(strstr(is, "Notify") == strstr(is, "Notify (\\_SB.PWRB, 0x80)"));
	is = strstr(text, "If ((Arg0 == 0x03))");
	t_true(is);
	t_true(strstr(is, "Notify") == strstr(is, "Notify (\\_SB.VGEN, 0x80)"));
}

Test(acpi, iasl_understands_the_other_tables)
{
	if (!has_iasl())
		cr_skip_test("no iasl (package acpica-tools)");
	t_has(disassemble("FACP", 1, 0), "Hardware Reduced (V5) : 1");
	t_has(disassemble("APIC", 32, 0), "Local Apic ID : 1F");
	t_has(disassemble("APIC", 1, 0), "I/O Apic ID : 00");
	t_has(disassemble("XSDT", 1, 0), "ACPI Table Address   1");
}
