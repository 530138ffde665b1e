// A QEMU plugin that counts the instructions a guest kernel executes from its first one at a kernel
// address to the first one of user space, as a whole and by function.  Emulated instructions have
// no noise: the same kernel gives the same figure on any machine, to within interrupt timing.
//
// Left out of the total and shown apart:
//  - iterations of string instructions (rep movs, rep stos): one emulated step each, a fraction of
//  a cycle on a CPU;
//  - functions that only wait for a clock, which under KVM do not wait: calibrations, delays.
//
// The plugin interface is declared by hand because Debian does not ship its header.
// Arguments: map=FILE (System.map), top=N (functions to list).

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*vcpu_udata_cb)(unsigned, void *);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans_cb);
void qemu_plugin_register_vcpu_tb_exec_cb(
	struct qemu_plugin_tb *, vcpu_udata_cb, int flags, void *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum { MAX_BLOCKS = 1 << 20, MAX_SYMBOLS = 1 << 18 };

struct block {
	uint64_t address, runs;
	uint32_t instructions, strings;
};

struct symbol {
	uint64_t address, instructions, strings;
	char name[56];
	bool waits;
};

static struct block *blocks;
static size_t block_count;
static struct symbol *symbols;
static size_t symbol_count;
static size_t top = 0;
static uint64_t exec_address; // of the function that starts init
static bool armed, done;

static bool is_kernel(uint64_t address)
{
	return address >> 63;
}

static bool is_string(const struct qemu_plugin_insn *insn)
{
	const uint8_t *data = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn);
	if (size < 2 || (data[0] != 0xf3 && data[0] != 0xf2))
		return false;
	size_t at = (data[1] & 0xf0) == 0x40 ? 2 : 1; // a REX prefix
	if (at >= size)
		return false;
	return (data[at] >= 0xa4 && data[at] <= 0xa7) || (data[at] >= 0xaa && data[at] <= 0xaf);
}

static bool only_waits(const char *name)
{
	static const char *const names[] = {
		"setup_boot_APIC_clock",
		"calibrate_APIC_clock",
		"delay_tsc",
		"delay_loop",
		"__delay",
		"__const_udelay",
		"quick_pit_calibrate",
		"native_calibrate_cpu_early",
		"native_calibrate_tsc",
		"mach_get_cmos_time",
		"mc146818_get_time",
		"mc146818_avoid_UIP",
		"calibrate_delay",
		"pit_hpet_ptimer_calibrate_cpu",
		"default_idle",
		"native_safe_halt",
		"acpi_idle_enter",
		"amd_e400_idle",
		"setup_APIC_timer",
		"lapic_cal_handler",
		"read_hpet",
	};
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;
	return (x->address > y->address) - (x->address < y->address);
}

static int by_instructions(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;
	uint64_t p = x->instructions + x->strings / 16, q = y->instructions + y->strings / 16;
	return (q > p) - (q < p);
}

static void load_map(const char *path)
{
	FILE *file = fopen(path, "r");
	if (!file) {
		perror(path);
		exit(1);
	}
	char line[512], kind, name[256];
	uint64_t address;
	while (fgets(line, sizeof line, file) && symbol_count < MAX_SYMBOLS) {
		if (sscanf(line, "%" SCNx64 " %c %255s", &address, &kind, name) != 3 ||
			!is_kernel(address))
			continue;
		if (!strchr("tTwW", kind))
			continue;
		struct symbol *s = &symbols[symbol_count++];
		s->address = address;
		snprintf(s->name, sizeof s->name, "%.55s", name);
		s->waits = only_waits(name);
		if (strcmp(name, "kernel_execve") == 0)
			exec_address = address;
	}
	fclose(file);
	qsort(symbols, symbol_count, sizeof *symbols, by_address);
}

static struct symbol *find(uint64_t address)
{
	size_t low = 0, high = symbol_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &symbols[low - 1] : NULL;
}

static void report(void)
{
	uint64_t instructions = 0, strings = 0, waits = 0;
	for (size_t i = 0; i < block_count; i++) {
		struct block *b = &blocks[i];
		struct symbol *s = find(b->address);
		uint64_t n = b->runs * b->instructions, r = b->runs * b->strings;
		if (s) {
			s->instructions += n;
			s->strings += r;
		}
		if (s && s->waits)
			waits += n;
		else
			instructions += n;
		strings += r;
	}
	fprintf(stderr, "count: instructions %" PRIu64 " strings %" PRIu64 " waiting %" PRIu64 "\n",
		instructions, strings, waits);
	if (!top)
		return;
	qsort(symbols, symbol_count, sizeof *symbols, by_instructions);
	for (size_t i = 0; i < symbol_count && i < top; i++)
		fprintf(stderr, "count: %10" PRIu64 " %10" PRIu64 "  %s%s\n",
			symbols[i].instructions, symbols[i].strings, symbols[i].name,
			symbols[i].waits ? " (waits)" : "");
}

static void starts_init(unsigned cpu, void *data)
{
	(void)cpu;
	(void)data;
	armed = true;
}

// Runs before each block at a low address: firmware, the kernel before it reaches its own
// addresses, the first steps of a further CPU; and, once the kernel has been about to start init,
// user space.
static void low_address(unsigned cpu, void *data)
{
	(void)cpu;
	(void)data;
	if (done || !armed)
		return;
	done = true;
	report();
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	if (done || block_count == MAX_BLOCKS)
		return;
	if (!is_kernel(address)) {
		qemu_plugin_register_vcpu_tb_exec_cb(tb, low_address, 0, NULL);
		return;
	}
	struct block *b = &blocks[block_count++];
	b->address = address;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		if (is_string(qemu_plugin_tb_get_insn(tb, i)))
			b->strings++;
		else
			b->instructions++;
	}
	qemu_plugin_register_vcpu_tb_exec_inline(tb, 0, &b->runs, 1);
	if (address == exec_address)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, starts_init, 0, NULL);
}

__attribute__((visibility("default"))) int qemu_plugin_install(
	qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	blocks = calloc(MAX_BLOCKS, sizeof *blocks);
	symbols = calloc(MAX_SYMBOLS, sizeof *symbols);
	if (!blocks || !symbols)
		return -1;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "map=", 4) == 0)
			load_map(argv[i] + 4);
		else if (strncmp(argv[i], "top=", 4) == 0)
			top = strtoul(argv[i] + 4, NULL, 10);
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
