/*
 * Writes the seeds that are made rather than found: well-formed kernel files and scripts of what
 * real drivers do. seeds DIRECTORY      fills DIRECTORY/fuzz_image, DIRECTORY/fuzz_serial,
 * DIRECTORY/fuzz_i8042, DIRECTORY/fuzz_blk, DIRECTORY/fuzz_net, DIRECTORY/fuzz_queue,
 * DIRECTORY/fuzz_mmio and DIRECTORY/fuzz_state
 */
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "fuzz.h"
#include "snapshot/snapshot.h"
#include "snapshot/state_file.h"
#include "t_image.h"
#include "t_state.h"

enum { PATH_LEN = 4096 };

static const char *root;
static unsigned failures;

static void save(const char *target, const char *name, const void *data, size_t len)
{
	char path[PATH_LEN];
	FILE *out;

	(void)snprintf(path, sizeof(path), "%s/%s", root, target);
	(void)mkdir(path, 0777);
	(void)snprintf(path, sizeof(path), "%s/%s/%s", root, target, name);
	out = fopen(path, "wbe");
	if (!out || fwrite(data, 1, len, out) != len || fclose(out) != 0) {
		(void)fprintf(stderr, "cannot write '%s'\n", path);
		failures++;
	}
}

/* --- kernel files; the byte behind the file chooses the machine (fuzz_image.c) --- */

static struct t_file file;

static void save_image(const char *name, uint8_t machine)
{
	file.data[file.len] = machine;
	save("fuzz_image", name, file.data, file.len + 1);
}

static void small_elf(void)
{
	t_elf_begin(&file, 3, 0x200004);
	(void)t_elf_add(&file, PT_LOAD, 0x200000, 0x2000, 16, NULL, 40);
	(void)t_elf_add(&file, PT_LOAD, 0x202000, 0x1000, 4, NULL, 20);
}

static void images(void)
{
	small_elf();
	save_image("elf-two-segments", 0);
	save_image("elf-high-memory", 3 | 0x60);
	(void)t_elf_add_pvh(&file, 0x200008);
	save_image("elf-pvh", 4);
	save_image("elf-pvh-asked-for", 4 | 1 << 3);
	t_elf_phdr(&file, 1)->p_paddr = 0x201000;
	save_image("elf-overlap", 0);
	small_elf();
	t_elf_phdr(&file, 1)->p_memsz = 19;
	save_image("elf-more-in-file-than-in-memory", 0);
	small_elf();
	t_elf_header(&file)->e_ident[EI_CLASS] = ELFCLASS32;
	save_image("elf-32-bit", 0);
	t_elf_begin(&file, 1, 0x100000);
	(void)t_elf_add(&file, PT_LOAD, 0x100000, 0x3000, 4096, NULL, 4096 + 100);
	save_image("elf-mapped-page", 4);
	t_bzimage(&file, 0x240);
	save_image("bzimage", 2);
	save_image("bzimage-moves-down", 0);
	t_bzimage_setup(&file)->relocatable_kernel = 0;
	save_image("bzimage-fixed", 1);
	file.len = T_SETUP_HEADER_AT + sizeof(struct setup_header);
	save_image("bzimage-header-only", 0);
	memset(&file, 'x', 100);
	file.len = 100;
	save_image("text", 0);
}

/* --- serial: operation, register and width in one byte, then the bytes written (fuzz_serial.c) ---
 */

struct bytes {
	size_t len;
	uint8_t at[512];
};

static void add(struct bytes *b, unsigned byte)
{
	b->at[b->len++] = (uint8_t)byte;
}

static void uart_write(struct bytes *b, unsigned reg, unsigned value)
{
	add(b, reg << 2 | 1);
	add(b, value);
}

static void uart_read(struct bytes *b, unsigned reg)
{
	add(b, reg << 2 | 0);
}

static void uart_receive(struct bytes *b, const char *text)
{
	add(b, (unsigned)strlen(text) << 2 | 2);
	while (*text)
		add(b, (unsigned char)*text++);
}

/* As Linux's 8250 driver starts: FIFO on and cleared, divisor, 8N1, OUT2, interrupts. */
static void uart_start(struct bytes *b, unsigned fcr, unsigned ier)
{
	b->len = 0;
	uart_write(b, 2, 7);
	uart_write(b, 3, 0x83);
	uart_write(b, 0, 1);
	uart_write(b, 1, 0);
	uart_write(b, 3, 3);
	uart_write(b, 4, 0x0b);
	uart_write(b, 2, fcr);
	uart_write(b, 1, ier);
}

static void serial(void)
{
	struct bytes b;

	uart_start(&b, 0x81, 7);
	uart_receive(&b, "hello");
	for (unsigned i = 0; i < 6; i++) {
		uart_read(&b, 2);
		uart_read(&b, 0);
		uart_read(&b, 5);
	}
	uart_write(&b, 0, 'A');
	uart_read(&b, 2);
	uart_read(&b, 2);
	save("fuzz_serial", "driver-with-fifo", b.at, b.len);
	uart_receive(&b, "twenty bytes of input");
	add(&b, 3);
	uart_read(&b, 5);
	uart_write(&b, 2, 0);
	uart_receive(&b, "x");
	uart_read(&b, 0);
	save("fuzz_serial", "full-fifo-break-and-fifo-off", b.at, b.len);
	uart_start(&b, 0, 0);
	for (unsigned i = 0; i < 17; i++)
		uart_read(&b, 5);
	uart_receive(&b, "p");
	uart_read(&b, 0);
	save("fuzz_serial", "polling-without-fifo", b.at, b.len);
	uart_start(&b, 1, 5);
	uart_write(&b, 4, 0x1b);
	for (unsigned i = 0; i < 18; i++)
		uart_write(&b, 0, 'a' + i);
	uart_read(&b, 5);
	uart_read(&b, 6);
	uart_write(&b, 4, 0x0b);
	uart_read(&b, 0);
	save("fuzz_serial", "loopback-overrun", b.at, b.len);
	add(&b, 3 << 5 | 0);
	add(&b, 3 << 5 | 1);
	for (unsigned i = 0; i < 8; i++)
		add(&b, i);
	save("fuzz_serial", "eight-bytes-wide", b.at, b.len);
}

/* --- i8042: operation, then the byte written (fuzz_i8042.c) --- */

static void keyboard(void)
{
	static const uint8_t probe[] = { 3, 0xaa, 0, 3, 0x20, 0, 3, 0x60, 2, 0x45, 3, 0xa9, 0, 3,
		0xd3, 2, 0x5a, 1, 0, 2, 0xff, 0, 0, 2, 0xf2, 0, 0, 0, 2, 0xed, 2, 7, 0, 0 };
	static const uint8_t keys[] = { 3, 0x60, 2, 0x01, 4, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		4 };
	static const uint8_t pulse[] = { 3, 0xfe };
	static const uint8_t outport[] = { 3, 0xd0, 0, 3, 0xd1, 2, 0xfe };
	uint8_t full[64];

	for (unsigned i = 0; i < sizeof(full); i += 2) {
		full[i] = 2;
		full[i + 1] = 0xf2;
	}
	save("fuzz_i8042", "driver-probe", probe, sizeof(probe));
	save("fuzz_i8042", "ctrl-alt-del", keys, sizeof(keys));
	save("fuzz_i8042", "reset-pulse", pulse, sizeof(pulse));
	save("fuzz_i8042", "reset-by-output-port", outport, sizeof(outport));
	save("fuzz_i8042", "queue-full", full, sizeof(full));
}

/* --- block requests: shape, descriptor, place, a length for each segment, type, sector, filling
 * (fuzz_blk.c) --- */

enum { BLK_LAST = 63, BLK_SIXTEEN = 15, BLK_SECTORS = 0x40, BLK_SECTORS_AND_ONE = 0x80 };

static void blk_start(struct bytes *b, unsigned how)
{
	b->len = 0;
	add(b, how);
	add(b, 0); /* event index */
	add(b, 0); /* flushes */
}

/* n whole sectors from sector on. */
static void blk_read(struct bytes *b, unsigned sector, unsigned n)
{
	const uint8_t bytes[] = { 0, 1 | 1 << 3, 0, 0, BLK_SIXTEEN,
		(uint8_t)(BLK_SECTORS_AND_ONE | (n - 1)), 0, (uint8_t)sector, 0, 0 };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		add(b, bytes[i]);
}

static void blk_write(struct bytes *b, unsigned sector, unsigned n, unsigned value)
{
	const uint8_t bytes[] = { 0, 2 | 1 << 3, 3, 0, BLK_SIXTEEN,
		(uint8_t)(BLK_SECTORS | (n - 1)), 0, 1, (uint8_t)sector, (uint8_t)value, 0 };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		add(b, bytes[i]);
}

/* A discard (11) or write-zeroes (13) of one range. */
static void blk_range(struct bytes *b, unsigned type, unsigned sector, unsigned n, unsigned flags)
{
	const uint8_t bytes[] = { 0, 2 | 1 << 3, 5, 0, BLK_SIXTEEN, BLK_SIXTEEN, 0, (uint8_t)type,
		0, 0, (uint8_t)sector, (uint8_t)n, (uint8_t)flags, 0xff };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		add(b, bytes[i]);
}

/* A request of a header and room bytes, the status among them. */
static void blk_other(struct bytes *b, unsigned type, unsigned room)
{
	const uint8_t bytes[] = { 0, 1 | 1 << 3, 7, 0, BLK_SIXTEEN, (uint8_t)(room - 1),
		(uint8_t)type, 0, 0 };

	for (unsigned i = 0; i < sizeof(bytes); i++)
		add(b, bytes[i]);
}

static void blk(void)
{
	/* The asynchronous engine, the synchronous one, read-only, limited. */
	static const uint8_t how[] = { 0, 64, 7, 16 | 32 };
	struct bytes b;

	for (unsigned i = 0; i < sizeof(how); i++) {
		char name[32];

		blk_start(&b, how[i]);
		blk_write(&b, 8, 4, 0x5a);
		blk_other(&b, 4, 1);
		blk_read(&b, 6, 8);
		blk_other(&b, 8, 21);
		blk_range(&b, 11, 9, 2, 0);
		blk_range(&b, 13, 10, 1, 1);
		blk_read(&b, 8, 4);
		blk_other(&b, 3, 1);
		(void)snprintf(name, sizeof(name), "session-%u", how[i]);
		save("fuzz_blk", name, b.at, b.len);
		/* Up to the last sector, and one more. */
		blk_start(&b, how[i]);
		for (unsigned n = 1; n <= 3; n++) {
			blk_read(&b, BLK_LAST - 1, n);
			blk_write(&b, BLK_LAST - 1, n, n);
			blk_range(&b, 11, BLK_LAST - 1, n, 0);
			blk_range(&b, 13, BLK_LAST - 1, n, 1);
		}
		(void)snprintf(name, sizeof(name), "last-sector-%u", how[i]);
		save("fuzz_blk", name, b.at, b.len);
	}
}

/* --- net: an operation and what it wants (fuzz_net.c); lengths are odd --- */

enum { NET_GIVE, NET_SEND, NET_COMMAND, NET_KICK, NET_ARRIVE, NET_TAP, NET_TURN, NET_TIME };
enum { NET_PAUSE = 8, NET_RESET, NET_SETTINGS, NET_WILD };

static void net_bytes(struct bytes *b, const uint8_t *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		add(b, bytes[i]);
}

#define NET(b, ...)                                                                                \
	net_bytes(b, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* A buffer of one segment; a frame of the guest and one of the wire, with an empty header. */
static void net_give(struct bytes *b, unsigned len)
{
	NET(b, NET_GIVE, 0, (uint8_t)(len | 1), (uint8_t)(len >> 8), 1);
}

static void net_send(struct bytes *b, unsigned len)
{
	NET(b, NET_SEND, 0, (uint8_t)(len | 1), (uint8_t)(len >> 8), 0, 0xff, 0xff, 1);
}

static void net_arrive(struct bytes *b, unsigned len)
{
	NET(b, NET_ARRIVE, 0, (uint8_t)(len | 1), (uint8_t)(len >> 8), 0);
}

static void net_session(struct bytes *b, uint8_t how)
{
	b->len = 0;
	add(b, how);
	for (unsigned i = 0; i < 6; i++)
		net_give(b, 2000);
	NET(b, NET_KICK, 0);
	net_arrive(b, 100);
	net_arrive(b, 5000);
	NET(b, NET_TURN);
	for (unsigned i = 0; i < 3; i++)
		net_send(b, 60 + 500 * i);
	NET(b, NET_KICK, 1, NET_TURN, NET_SETTINGS, 2, 0, 0, 0, 0, 0);
	NET(b, NET_COMMAND, 0, 1, 3);
}

static void net(void)
{
	/* An honest driver with merged buffers, one without, and one that is not honest. */
	static const uint8_t how[] = { 1 | 2 | 16, 1, 16 };
	struct bytes b;

	for (unsigned i = 0; i < sizeof(how); i++) {
		char name[32];

		net_session(&b, how[i]);
		/* A frame longer than all buffers, a pause, more buffers. */
		net_arrive(&b, 60000);
		NET(&b, NET_TURN, NET_PAUSE, NET_PAUSE);
		for (unsigned n = 0; n < 8; n++)
			net_give(&b, 9000);
		NET(&b, NET_KICK, 0, NET_TURN);
		(void)snprintf(name, sizeof(name), "session-%u", how[i]);
		save("fuzz_net", name, b.at, b.len);
		/* One frame each 16 ms, a full tap, a reset. */
		net_session(&b, how[i]);
		NET(&b, NET_SETTINGS, 12, 0, 0, 0, 1, 16, NET_TAP, 8);
		net_send(&b, 700);
		net_arrive(&b, 700);
		NET(&b, NET_KICK, 1, NET_TURN, NET_TIME | 24, 255, 255, NET_TURN, NET_TAP, 0,
			NET_TURN, NET_RESET, 1);
		net_give(&b, 3000);
		net_send(&b, 800);
		NET(&b, NET_KICK, 0, NET_KICK, 1, NET_WILD, 1, 0x12, 3, 4, 5, 6);
		(void)snprintf(name, sizeof(name), "limits-%u", how[i]);
		save("fuzz_net", name, b.at, b.len);
		/* More than one run's share, both ways, and a pause in the middle. */
		b.len = 0;
		add(&b, how[i]);
		for (unsigned n = 0; n < 7; n++) {
			NET(&b, NET_GIVE, 7);
			for (unsigned seg = 0; seg < 8; seg++)
				NET(&b, 0xff, 0x27);
			net_send(&b, 60000);
		}
		for (unsigned n = 0; n < 7; n++)
			net_arrive(&b, 60000);
		NET(&b, NET_KICK, 0, NET_KICK, 1, NET_PAUSE, NET_PAUSE, NET_TURN);
		(void)snprintf(name, sizeof(name), "much-%u", how[i]);
		save("fuzz_net", name, b.at, b.len);
	}
}

/* --- queues: operation and what it takes (fuzz_queue.c) --- */

/* A descriptor of length 200 in memory; flags, and next behind them. */
static void queue_desc(struct bytes *b, unsigned op, unsigned index, unsigned flags, unsigned next)
{
	add(b, op);
	add(b, index);
	add(b, 1);
	add(b, 0);
	add(b, 200);
	add(b, next << 3 | flags);
}

/* Offered, taken, given back, published, and kicks on again. */
static void queue_trip(struct bytes *b, unsigned head, unsigned room)
{
	const unsigned rest[] = { 3, head, 5, room, 6, 1, 0, 7, 8, 1 };

	for (unsigned i = 0; i < ARRAY_SIZE(rest); i++)
		add(b, rest[i]);
}

static void queue(void)
{
	struct bytes b;

	for (unsigned features = 0; features < 4; features++) {
		char name[32];

		b.len = 0;
		add(&b, features);
		queue_desc(&b, 0, 0, 1, 1);
		queue_desc(&b, 0, 1, 2, 0);
		queue_trip(&b, 0, 1);
		queue_trip(&b, 0, 2);
		queue_desc(&b, 1, 0, 1, 2);
		queue_desc(&b, 1, 2, 2, 0);
		add(&b, 2);
		add(&b, 4);
		add(&b, 3);
		queue_trip(&b, 4, 8);
		add(&b, 2);
		add(&b, 0x80); /* and a table in the table */
		add(&b, 2);
		queue_trip(&b, 4, 8);
		(void)snprintf(name, sizeof(name), "session-%u", features);
		save("fuzz_queue", name, b.at, b.len);
	}
}

/* --- windows: operation and what it takes; one byte more where a vCPU waits (fuzz_mmio.c) --- */

static void mmio_start(struct bytes *b)
{
	static const uint8_t steps[] = { 4, 2, 4, 2, 4, 2, 3, 0, 3, 3, 1, 3, 4, 2, 0 };

	b->len = 0;
	for (unsigned i = 0; i < sizeof(steps); i++)
		add(b, steps[i]);
}

static void mmio(void)
{
	static const uint8_t work[] = { 5, 0, 0x88, 6, 0, 7, 1, 0x18, 5, 1, 0x88, 6, 1, 9, 0 };
	static const uint8_t hold[] = { 8, 1, 1, 5, 0, 0x88, 6, 0 };
	static const uint8_t reset[] = { 0, 8, 0, 0, 0, 0 }, stop[] = { 0, 5, 0, 0, 0, 0 },
			     die[] = { 0, 8, 0, 15 };
	const struct {
		const char *name;
		const uint8_t *end;
		size_t len;
	} rows[] = { { "reset", reset, sizeof(reset) }, { "stop-queue", stop, sizeof(stop) },
		{ "machine-ends", die, sizeof(die) } };
	struct bytes b;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		mmio_start(&b);
		for (unsigned k = 0; k < sizeof(work); k++)
			add(&b, work[k]);
		for (unsigned k = 0; k < sizeof(hold); k++)
			add(&b, hold[k]);
		for (unsigned k = 0; k < rows[i].len; k++)
			add(&b, rows[i].end[k]);
		save("fuzz_mmio", rows[i].name, b.at, b.len);
	}
}

/* --- state files --- */

static void state(void)
{
	static const struct {
		const char *name;
		struct t_state_shape shape;
	} rows[] = {
		{ "bare", { .cpus = 1, .is_small = true, .seed = 1 } },
		{ "devices", { .cpus = 1, .drives = 2, .nics = 1, .is_small = true, .seed = 2 } },
		{ "difference", { .cpus = 1, .runs = 3, .is_small = true, .seed = 3 } },
		{ "smp", { .cpus = 2, .drives = 1, .is_small = true, .seed = 4 } },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct snapshot *s = t_state_new(&rows[i].shape);
		uint8_t *data = NULL;
		size_t len = 0;

		if (state_encode(s, &data, &len, NULL) < 0)
			failures++;
		save("fuzz_state", rows[i].name, data, len);
		free(data);
		snapshot_free(s);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: seeds DIRECTORY\n");
		return 2;
	}
	root = argv[1];
	(void)mkdir(root, 0777);
	images();
	serial();
	keyboard();
	blk();
	net();
	queue();
	mmio();
	state();
	return failures > 0 ? 1 : 0;
}
