/*
 * A virtio driver that breaks the rules.  The device in the first window is its victim; the disk in
 * the second one must never notice.  After each misdeed the victim is reset, and both disks answer
 * an honest request.
 *
 * Command line: mem_mib=N, the machine's memory.  Both disks hold their own number, 0 or 1, in
 * every byte of their first sector and are smaller than 1 GiB.
 */
#include "guest.h"

enum {
	WINDOW = 0xc0001000,
	WINDOW_LEN = 0x1000,
	/* registers */
	DEVICE_FEATURES = 0x10,
	DEVICE_FEATURES_SEL = 0x14,
	DRIVER_FEATURES = 0x20,
	DRIVER_FEATURES_SEL = 0x24,
	QUEUE_SEL = 0x30,
	QUEUE_NUM_MAX = 0x34,
	QUEUE_NUM = 0x38,
	QUEUE_READY = 0x44,
	QUEUE_NOTIFY = 0x50,
	STATUS = 0x70,
	DESC = 0x80,
	DRIVER = 0x90,
	DEVICE = 0xa0,
	CONFIG = 0x100,
	/* status */
	SET_UP = 3,
	DRIVER_OK = 4,
	FEATURES_OK = 8,
	NEEDS_RESET = 64,
	/* features: indirect tables and version 1 */
	INDIRECT = 1 << 28,
	VERSION_1_HIGH = 1,
	/* descriptors */
	NEXT = 1,
	WRITE = 2,
	TABLE = 4,
	NUM = 16,
	SECTOR = 512,
	/* answers */
	OK = 0,
	IOERR = 1,
	UNSUPP = 2,
	NO_ANSWER = 0xff,

	PATIENCE = 20000000,
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

/* One for each disk. */
static struct {
	struct desc desc[NUM] __attribute__((aligned(4096)));
	struct {
		volatile uint16_t flags, idx, ring[NUM], event;
	} avail __attribute__((aligned(4096)));
	struct {
		volatile uint16_t flags, idx;
		volatile struct {
			uint32_t id, len;
		} ring[NUM];
	} used __attribute__((aligned(4096)));
	struct header header;
	volatile uint8_t status;
	uint8_t data[SECTOR];
	struct desc table[NUM + 1];
} disk[2];

static uint64_t ram_end;
static bool good = true;

/* --- a driver that knows how it should be --- */

static volatile uint32_t *reg(unsigned d, unsigned at)
{
	return (volatile uint32_t *)(uintptr_t)(WINDOW + d * WINDOW_LEN + at);
}

static uint64_t address(const volatile void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void set_address(unsigned d, unsigned at, uint64_t value)
{
	*reg(d, at) = (uint32_t)value;
	*reg(d, at + 4) = (uint32_t)(value >> 32);
}

static void clear(volatile void *p, uint64_t n)
{
	for (volatile uint8_t *at = p; n > 0; n--)
		*at++ = 0;
}

static void begin(unsigned d)
{
	*reg(d, STATUS) = 0;
	clear(&disk[d], sizeof(disk[d]));
	*reg(d, STATUS) = SET_UP;
}

static void agree(unsigned d)
{
	*reg(d, DRIVER_FEATURES_SEL) = 0;
	*reg(d, DRIVER_FEATURES) = INDIRECT;
	*reg(d, DRIVER_FEATURES_SEL) = 1;
	*reg(d, DRIVER_FEATURES) = VERSION_1_HIGH;
	*reg(d, STATUS) = SET_UP | FEATURES_OK;
}

static void place(unsigned d, uint32_t num, uint64_t used)
{
	*reg(d, QUEUE_SEL) = 0;
	*reg(d, QUEUE_NUM) = num;
	set_address(d, DESC, address(disk[d].desc));
	set_address(d, DRIVER, address(&disk[d].avail));
	set_address(d, DEVICE, used);
	*reg(d, QUEUE_READY) = 1;
}

static void start(unsigned d)
{
	begin(d);
	agree(d);
	place(d, NUM, address(&disk[d].used));
	*reg(d, STATUS) = SET_UP | FEATURES_OK | DRIVER_OK;
}

static void describe(
	unsigned d, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	disk[d].desc[i] = (struct desc){ addr, len, (uint16_t)flags, (uint16_t)next };
}

/* A read of the first sector in descriptors 0 to 2; what a misdeed then changes. */
static void honest_chain(unsigned d)
{
	disk[d].header = (struct header){ 0 };
	disk[d].status = NO_ANSWER;
	describe(d, 0, address(&disk[d].header), sizeof(struct header), NEXT, 1);
	describe(d, 1, address(disk[d].data), SECTOR, NEXT | WRITE, 2);
	describe(d, 2, address(&disk[d].status), 1, WRITE, 0);
}

static void send(unsigned d, unsigned head)
{
	disk[d].avail.ring[disk[d].avail.idx % NUM] = (uint16_t)head;
	__asm__ volatile("" ::: "memory");
	disk[d].avail.idx++;
	*reg(d, QUEUE_NOTIFY) = 0;
}

/* Until everything was answered or the device asks for a reset: what the status byte says. */
static unsigned answer(unsigned d)
{
	for (unsigned i = 0; i < PATIENCE; i++) {
		if (disk[d].used.idx == disk[d].avail.idx)
			break;
		if (i % 256 == 0 && (*reg(d, STATUS) & NEEDS_RESET))
			break;
	}
	return disk[d].status;
}

static bool answers_honestly(unsigned d)
{
	start(d);
	honest_chain(d);
	send(d, 0);
	if (answer(d) != OK)
		return false;
	for (unsigned i = 0; i < SECTOR; i++) {
		if (disk[d].data[i] != d)
			return false;
	}
	return true;
}

/* --- misdeeds: chains --- */

static void head_out_of_range(void)
{
	send(0, NUM);
}
static void next_out_of_range(void)
{
	describe(0, 1, address(disk[0].data), SECTOR, NEXT | WRITE, NUM), send(0, 0);
}
static void loop(void)
{
	describe(0, 2, address(&disk[0].status), 1, WRITE | NEXT, 1), send(0, 0);
}
static void wraps(void)
{
	describe(0, 1, UINT64_MAX - 255, SECTOR, NEXT | WRITE, 2), send(0, 0);
}
static void past_ram(void)
{
	describe(0, 1, ram_end - SECTOR + 1, SECTOR, NEXT | WRITE, 2), send(0, 0);
}
static void in_the_hole(void)
{
	describe(0, 1, 0xd0000000, SECTOR, NEXT | WRITE, 2), send(0, 0);
}
static void in_the_window(void)
{
	describe(0, 1, WINDOW, SECTOR, NEXT | WRITE, 2), send(0, 0);
}
static void no_length(void)
{
	describe(0, 1, address(disk[0].data), 0, NEXT | WRITE, 2), send(0, 0);
}
static void huge_length(void)
{
	describe(0, 1, address(disk[0].data), UINT32_MAX, NEXT | WRITE, 2), send(0, 0);
}
static void read_after_write(void)
{
	describe(0, 2, address(&disk[0].status), 1, 0, 0), send(0, 0);
}

static void avail_jumps(void)
{
	disk[0].avail.idx = NUM + 1;
	*reg(0, QUEUE_NOTIFY) = 0;
}

static void nested_table(void)
{
	disk[0].table[0] = (struct desc){ address(disk[0].table), 32, TABLE, 0 };
	describe(0, 0, address(disk[0].table), sizeof(struct desc), TABLE, 0);
	send(0, 0);
}

static void table_past_ram(void)
{
	describe(0, 0, ram_end - 16, 32, TABLE, 0);
	send(0, 0);
}

static void table_and_next(void)
{
	describe(0, 0, address(disk[0].table), 32, TABLE | NEXT, 1);
	send(0, 0);
}

static void table_of_odd_length(void)
{
	describe(0, 0, address(disk[0].table), 17, TABLE, 0);
	send(0, 0);
}

static void longer_than_the_queue(void)
{
	for (unsigned i = 0; i <= NUM; i++)
		disk[0].table[i] =
			(struct desc){ address(disk[0].data), 1, NEXT, (uint16_t)(i + 1) };
	disk[0].table[NUM].flags = WRITE;
	describe(0, 0, address(disk[0].table), sizeof(disk[0].table), TABLE, 0);
	send(0, 0);
}

static void no_status_byte(void)
{
	describe(0, 1, address(disk[0].data), SECTOR, 0, 0);
	send(0, 0);
}

static void short_header(void)
{
	describe(0, 0, address(&disk[0].header), sizeof(struct header) - 1, NEXT, 1);
	send(0, 0);
}

/* --- misdeeds: requests --- */

static void beyond_capacity(void)
{
	disk[0].header.sector = 1 << 21, send(0, 0);
}
static void sector_wraps(void)
{
	disk[0].header.sector = UINT64_MAX, send(0, 0);
}
static void unknown_type(void)
{
	disk[0].header.type = 77, send(0, 0);
}
static void part_of_a_sector(void)
{
	describe(0, 1, address(disk[0].data), 100, NEXT | WRITE, 2), send(0, 0);
}

static void header_in_five(void)
{
	for (unsigned i = 0; i < 5; i++)
		describe(0, i, address(&disk[0].header) + 3 * i, i < 4 ? 3 : 4, NEXT, i + 1);
	describe(0, 5, address(disk[0].data), SECTOR, NEXT | WRITE, 6);
	describe(0, 6, address(&disk[0].status), 1, WRITE, 0);
	send(0, 0);
}

static void table_at_odd_address(void)
{
	struct desc *t = (struct desc *)(void *)((uint8_t *)disk[0].table + 1);

	for (unsigned i = 0; i < 3; i++)
		__builtin_memcpy(&t[i], &disk[0].desc[i], sizeof(*t));
	describe(0, 0, address(t), 3 * sizeof(*t), TABLE, 0);
	send(0, 0);
}

/* --- misdeeds: registers --- */

static void used_over_table(void)
{
	begin(0);
	agree(0);
	place(0, NUM, address(disk[0].desc));
}

static void queue_of(uint32_t num)
{
	begin(0);
	agree(0);
	place(0, num, address(&disk[0].used));
}

static void queue_of_0(void)
{
	queue_of(0);
}
static void queue_of_3(void)
{
	queue_of(3);
}
static void queue_of_4096(void)
{
	queue_of(4096);
}

static void ready_without_features(void)
{
	begin(0);
	*reg(0, STATUS) = SET_UP | DRIVER_OK;
}

static void queue_that_is_not(void)
{
	*reg(0, QUEUE_SEL) = 65535;
	if (*reg(0, QUEUE_NUM_MAX) != 0)
		put_text("BAD: there is a queue 65535\n"), good = false;
	*reg(0, QUEUE_NUM) = NUM;
}

static void kick_of_nothing(void)
{
	*reg(0, QUEUE_NOTIFY) = 65535;
}

static void moves_a_ready_queue(void)
{
	*reg(0, QUEUE_SEL) = 0;
	*reg(0, DESC) = 0;
}

static void features_not_offered(void)
{
	begin(0);
	for (unsigned sel = 0; sel < 4; sel++) {
		*reg(0, DRIVER_FEATURES_SEL) = sel;
		*reg(0, DRIVER_FEATURES) = UINT32_MAX;
	}
	*reg(0, STATUS) = SET_UP | FEATURES_OK;
	if (*reg(0, STATUS) & FEATURES_OK)
		put_text("BAD: features that were not offered\n"), good = false;
	start(0);
	honest_chain(0);
	send(0, 0);
}

static void odd_accesses(void)
{
	for (unsigned at = 0; at < 0x300; at++) {
		volatile uint8_t *p = (volatile uint8_t *)reg(0, at & ~3U) + (at & 3);

		/* Not the status: that one would be a reset; nor what moves the queue. */
		(void)*p;
		(void)*(volatile uint16_t *)(void *)p;
		(void)*(volatile uint64_t *)(void *)p;
		if (at >= CONFIG || at % 4 != 0) {
			*p = 0xff;
			*(volatile uint16_t *)(void *)p = 0xffff;
		}
		if (at >= CONFIG)
			*(volatile uint64_t *)(void *)p = UINT64_MAX;
	}
	send(0, 0);
}

static void many_kicks(void)
{
	for (unsigned i = 0; i < 100000; i++)
		*reg(0, QUEUE_NOTIFY) = 0;
	send(0, 0);
}

static void kicks_on_a_dead_queue(void)
{
	begin(0);
	for (unsigned i = 0; i < 1000; i++)
		*reg(0, QUEUE_NOTIFY) = 0;
	start(0);
	honest_chain(0);
	send(0, 0);
}

/* A hundred requests, of which a reset catches some. */
static void reset_in_the_middle(void)
{
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 0; k < NUM; k++)
			disk[0].avail.ring[k] = 0;
		disk[0].avail.idx = (uint16_t)(disk[0].avail.idx + NUM / 2);
		*reg(0, QUEUE_NOTIFY) = 0;
		*reg(0, STATUS) = 0;
		start(0);
		honest_chain(0);
	}
	send(0, 0);
}

static void stops_its_queue(void)
{
	*reg(0, QUEUE_SEL) = 0;
	*reg(0, QUEUE_READY) = 0;
	if (*reg(0, QUEUE_READY) != 0)
		put_text("BAD: the queue is not stopped\n"), good = false;
	start(0);
	honest_chain(0);
	send(0, 0);
}

/* What must come of it: an answer to the request, or the wish for a reset and no answer at all. */
#define BREAKS 0x100

static const struct {
	const char *name;
	void (*act)(void);
	unsigned outcome;
} misdeeds[] = {
	{ "head out of range", head_out_of_range, BREAKS },
	{ "next out of range", next_out_of_range, BREAKS },
	{ "loop", loop, BREAKS },
	{ "longer than the queue", longer_than_the_queue, BREAKS },
	{ "address that wraps", wraps, BREAKS },
	{ "one byte past RAM", past_ram, BREAKS },
	{ "in the hole", in_the_hole, BREAKS },
	{ "in the window", in_the_window, BREAKS },
	{ "no length", no_length, BREAKS },
	{ "huge length", huge_length, BREAKS },
	{ "read after write", read_after_write, BREAKS },
	{ "avail jumps", avail_jumps, BREAKS },
	{ "nested table", nested_table, BREAKS },
	{ "table past RAM", table_past_ram, BREAKS },
	{ "table and next", table_and_next, BREAKS },
	{ "table of odd length", table_of_odd_length, BREAKS },
	{ "no status byte", no_status_byte, BREAKS },
	{ "short header", short_header, BREAKS },
	{ "used over table", used_over_table, BREAKS },
	{ "queue of 0", queue_of_0, BREAKS },
	{ "queue of 3", queue_of_3, BREAKS },
	{ "queue of 4096", queue_of_4096, BREAKS },
	{ "ready without features", ready_without_features, BREAKS },
	{ "queue that is not", queue_that_is_not, BREAKS },
	{ "kick of nothing", kick_of_nothing, BREAKS },
	{ "moves a ready queue", moves_a_ready_queue, BREAKS },
	{ "beyond capacity", beyond_capacity, IOERR },
	{ "sector wraps", sector_wraps, IOERR },
	{ "unknown type", unknown_type, UNSUPP },
	{ "part of a sector", part_of_a_sector, IOERR },
	{ "header in five", header_in_five, OK },
	{ "table at an odd address", table_at_odd_address, OK },
	{ "features not offered", features_not_offered, OK },
	{ "odd accesses", odd_accesses, OK },
	{ "many kicks", many_kicks, OK },
	{ "kicks on a dead queue", kicks_on_a_dead_queue, OK },
	{ "reset in the middle", reset_in_the_middle, OK },
	{ "stops its queue", stops_its_queue, OK },
};

static unsigned outcome(void)
{
	unsigned status = answer(0);

	/* Asked for by the loop's thread, which may take a moment. */
	for (unsigned i = 0; status == NO_ANSWER && i < PATIENCE / 1000; i++) {
		if (*reg(0, STATUS) & NEEDS_RESET)
			return BREAKS;
	}
	return *reg(0, STATUS) & NEEDS_RESET ? BREAKS : status;
}

void guest_main(uint64_t protocol, const void *info)
{
	ram_end = guest_number(guest_cmdline(protocol, info), "mem_mib", 128) << 20;
	for (unsigned i = 0; i < sizeof(misdeeds) / sizeof(misdeeds[0]); i++) {
		unsigned got;

		start(0);
		honest_chain(0);
		misdeeds[i].act();
		got = outcome();
		if (got != misdeeds[i].outcome || !answers_honestly(0) || !answers_honestly(1)) {
			good = false;
			put_text("BAD: ");
			put_text(misdeeds[i].name);
			put_value(" outcome", got);
		} else {
			put_text(misdeeds[i].name);
			put_char('\n');
		}
	}
	put_text(good ? "the rogue is done\n" : "the rogue got through\n");
	power_off();
}
