/* The 16550A UART. */
#include "t.h"

#include <pthread.h>
#include <sched.h>

#include "legacy/serial.h"

TestSuite(serial, .timeout = T_SECONDS);

enum {
	DATA,
	IER,
	IIR,
	FCR = IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR,

	IER_RX = 1,
	IER_TX = 2,
	IER_LINE = 4,
	FCR_ON = 1,
	FCR_CLEAR_RX = 2,
	LCR_DLAB = 0x80,
	MCR_OUT2 = 8,
	MCR_LOOP = 16,
	LSR_READY = 1,
	LSR_OVERRUN = 2,
	LSR_BREAK = 16,
	LSR_IDLE = 0x60,
	ID_NONE = 1,
	ID_TX = 2,
	ID_RX = 4,
	ID_LINE = 6,
	ID_TIMEOUT = 12,
	ID_FIFOS = 0xc0,
};

struct uart {
	struct serial s;
	uint8_t sent[64];
	unsigned nsent, rooms;
	unsigned wrong; /* the reading thread's */
};

static void on_tx(void *ctx, uint8_t byte)
{
	struct uart *u = ctx;

	u->sent[u->nsent++ % sizeof(u->sent)] = byte;
}

static void on_room(void *ctx)
{
	struct uart *u = ctx;

	u->rooms++;
}

static void setup(struct uart *u)
{
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 4 };
	struct serial_host host = { on_tx, on_room, u };

	memset(u, 0, sizeof(*u));
	serial_init(&u->s, nowhere, &host);
}

static uint8_t in(struct uart *u, unsigned reg)
{
	uint8_t byte = 0xff;

	serial_bus_ops.read(&u->s, reg, &byte, 1);
	return byte;
}

static void out(struct uart *u, unsigned reg, unsigned value)
{
	uint8_t byte = (uint8_t)value;

	serial_bus_ops.write(&u->s, reg, &byte, 1);
}

/* As a driver starts: interrupts to the bus, FIFO as fcr says, the interrupts of ier. */
static void start(struct uart *u, unsigned fcr, unsigned ier)
{
	setup(u);
	out(u, MCR, MCR_OUT2);
	out(u, FCR, fcr);
	out(u, IER, ier);
}

static size_t type(struct uart *u, const char *text)
{
	return serial_receive(&u->s, (const uint8_t *)text, strlen(text));
}

/* --- registers --- */

Test(serial, registers_after_reset_are_those_of_the_data_sheet)
{
	static const struct {
		const char *name;
		unsigned reg;
		uint8_t want;
	} rows[] = {
		{ "IER", IER, 0 },
		{ "IIR", IIR, ID_NONE },
		{ "LCR", LCR, 0 },
		{ "MCR", MCR, 0 },
		{ "LSR", LSR, LSR_IDLE },
		{ "MSR: CTS, DSR, DCD", MSR, 0xb0 },
		{ "SCR", SCR, 0 },
		{ "DATA", DATA, 0 },
	};
	struct uart u;

	setup(&u);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		t_row_hex(rows[i].name, in(&u, rows[i].reg), rows[i].want);
	serial_fini(&u.s);
}

Test(serial, registers_keep_the_bits_that_they_have)
{
	static const struct {
		const char *name;
		unsigned reg;
		uint8_t in, want;
	} rows[] = {
		{ "IER has four", IER, 0xff, 0x0f },
		{ "LCR has eight", LCR, 0x7f, 0x7f },
		{ "MCR has five", MCR, 0xff, 0x1f },
		{ "SCR has eight", SCR, 0xa5, 0xa5 },
		{ "LSR is read-only", LSR, 0xff, LSR_IDLE },
		{ "MSR is read-only", MSR, 0x00, 0xb0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct uart u;

		setup(&u);
		out(&u, rows[i].reg, rows[i].in);
		t_row_hex(rows[i].name, in(&u, rows[i].reg), rows[i].want);
		serial_fini(&u.s);
	}
}

Test(serial, the_divisor_hides_behind_the_access_bit)
{
	struct uart u;

	setup(&u);
	out(&u, IER, IER_LINE);
	out(&u, LCR, LCR_DLAB | 3);
	t_hex(in(&u, DATA), 12); /* 9600 baud */
	out(&u, DATA, 0x34);
	out(&u, IER, 0x12);
	t_hex(in(&u, DATA), 0x34);
	t_hex(in(&u, IER), 0x12);
	out(&u, LCR, 3);
	t_hex(in(&u, IER), IER_LINE);
	t_uint(u.nsent, 0);
	serial_fini(&u.s);
}

/* --- sending --- */

Test(serial, a_byte_written_is_sent_at_once_and_the_transmitter_is_empty)
{
	struct uart u;

	setup(&u);
	out(&u, DATA, 'A');
	t_uint(u.nsent, 1);
	t_uint(u.sent[0], 'A');
	t_hex(in(&u, LSR) & LSR_IDLE, LSR_IDLE);
	t_uint(u.s.counters.writes, 1);
	serial_fini(&u.s);
}

Test(serial, enabling_the_transmitter_interrupt_raises_it_at_once)
{
	struct uart u;

	start(&u, 0, IER_TX);
	t_true(u.s.irq.level);
	t_hex(in(&u, IIR), ID_TX);
	serial_fini(&u.s);
}

Test(serial, reading_the_id_of_the_transmitter_interrupt_clears_it)
{
	struct uart u;

	start(&u, 0, IER_TX);
	t_hex(in(&u, IIR), ID_TX);
	t_false(u.s.irq.level);
	t_hex(in(&u, IIR), ID_NONE);
	serial_fini(&u.s);
}

Test(serial, each_byte_sent_raises_the_transmitter_interrupt_again)
{
	struct uart u;

	start(&u, 0, IER_TX);
	(void)in(&u, IIR);
	out(&u, DATA, 'A');
	t_true(u.s.irq.level);
	t_hex(in(&u, IIR), ID_TX);
	t_false(u.s.irq.level);
	serial_fini(&u.s);
}

Test(serial, writing_the_same_interrupts_again_does_not_raise_the_transmitter_interrupt)
{
	struct uart u;

	start(&u, 0, IER_TX);
	(void)in(&u, IIR);
	out(&u, IER, IER_TX | IER_RX);
	t_false(u.s.irq.level);
	out(&u, IER, IER_RX);
	out(&u, IER, IER_TX);
	t_true(u.s.irq.level);
	serial_fini(&u.s);
}

Test(serial, an_id_of_higher_priority_does_not_clear_the_transmitter_interrupt)
{
	struct uart u;

	start(&u, FCR_ON, IER_TX | IER_RX);
	t_uint(type(&u, "x"), 1);
	t_hex(in(&u, IIR) & 0xf, ID_RX);
	t_uint(in(&u, DATA), 'x');
	t_hex(in(&u, IIR) & 0xf, ID_TX);
	serial_fini(&u.s);
}

/* --- receiving --- */

Test(serial, a_byte_received_is_ready_and_read_once)
{
	struct uart u;

	start(&u, 0, IER_RX);
	t_uint(type(&u, "x"), 1);
	t_hex(in(&u, LSR) & LSR_READY, LSR_READY);
	t_uint(in(&u, DATA), 'x');
	t_hex(in(&u, LSR) & LSR_READY, 0);
	t_uint(u.s.counters.reads, 1);
	serial_fini(&u.s);
}

Test(serial, without_fifo_there_is_room_for_one_byte)
{
	struct uart u;

	start(&u, 0, IER_RX);
	t_uint(serial_room(&u.s), 1);
	t_uint(type(&u, "abc"), 1);
	t_uint(serial_room(&u.s), 0);
	t_uint(type(&u, "d"), 0);
	t_uint(in(&u, DATA), 'a');
	t_uint(in(&u, DATA), 0);
	serial_fini(&u.s);
}

Test(serial, with_fifo_there_is_room_for_sixteen_in_order)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	t_uint(serial_room(&u.s), 16);
	t_uint(type(&u, "0123456789abcdefXYZ"), 16);
	t_uint(serial_room(&u.s), 0);
	for (const char *want = "0123456789abcdef"; *want; want++)
		cr_expect(eq(chr, (char)in(&u, DATA), *want));
	t_hex(in(&u, LSR) & LSR_READY, 0);
	serial_fini(&u.s);
}

Test(serial, nothing_is_lost_when_the_host_delivers_what_there_is_room_for)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "0123456789abcdefXYZ");
	t_hex(in(&u, LSR) & LSR_OVERRUN, 0);
	serial_fini(&u.s);
}

Test(serial, the_fifo_wraps_around)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	for (unsigned round = 0; round < 20; round++) {
		t_uint(type(&u, "abcde"), 5);
		for (const char *want = "abcde"; *want; want++)
			cr_expect(eq(chr, (char)in(&u, DATA), *want));
	}
	serial_fini(&u.s);
}

Test(serial, the_id_shows_whether_the_fifo_is_on)
{
	struct uart u;

	start(&u, FCR_ON, 0);
	t_hex(in(&u, IIR), ID_FIFOS | ID_NONE);
	out(&u, FCR, 0);
	t_hex(in(&u, IIR), ID_NONE);
	serial_fini(&u.s);
}

Test(serial, the_trigger_level_decides_between_data_and_timeout)
{
	static const struct {
		const char *name;
		unsigned fcr, below;
	} rows[] = {
		{ "1", FCR_ON, 0 },
		{ "4", FCR_ON | 1 << 6, 3 },
		{ "8", FCR_ON | 2 << 6, 7 },
		{ "14", FCR_ON | 3 << 6, 13 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct uart u;

		start(&u, rows[i].fcr, IER_RX);
		for (unsigned n = 0; n < rows[i].below; n++)
			(void)type(&u, "x");
		if (rows[i].below > 0)
			t_row_hex(rows[i].name, in(&u, IIR), ID_FIFOS | ID_TIMEOUT);
		(void)type(&u, "x");
		t_row_hex(rows[i].name, in(&u, IIR), ID_FIFOS | ID_RX);
		t_row_true(rows[i].name, u.s.irq.level);
		serial_fini(&u.s);
	}
}

Test(serial, the_receive_interrupt_falls_when_all_is_read)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "ab");
	(void)in(&u, DATA);
	t_true(u.s.irq.level);
	(void)in(&u, DATA);
	t_false(u.s.irq.level);
	t_hex(in(&u, IIR), ID_FIFOS | ID_NONE);
	serial_fini(&u.s);
}

Test(serial, clearing_the_receiver_discards_what_waits)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "abc");
	out(&u, FCR, FCR_ON | FCR_CLEAR_RX);
	t_hex(in(&u, LSR) & LSR_READY, 0);
	t_false(u.s.irq.level);
	t_uint(serial_room(&u.s), 16);
	serial_fini(&u.s);
}

Test(serial, switching_the_fifo_clears_the_receiver_and_rewriting_it_does_not)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "abc");
	out(&u, FCR, FCR_ON | 2 << 6);
	t_uint(u.s.count, 3);
	out(&u, FCR, 0);
	t_uint(u.s.count, 0);
	serial_fini(&u.s);
}

/* --- back-pressure and listening --- */

Test(serial, a_full_receiver_that_is_read_tells_the_host_that_there_is_room)
{
	struct uart u;
	unsigned rooms;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "0123456789abcdef");
	rooms = u.rooms;
	(void)in(&u, DATA);
	t_uint(u.rooms, rooms + 1);
	t_uint(serial_room(&u.s), 1);
	serial_fini(&u.s);
}

Test(serial, a_receiver_that_had_room_all_along_tells_nobody)
{
	struct uart u;
	unsigned rooms;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "ab");
	rooms = u.rooms;
	(void)in(&u, DATA);
	t_uint(u.rooms, rooms);
	serial_fini(&u.s);
}

Test(serial, clearing_a_full_receiver_tells_the_host_that_there_is_room)
{
	struct uart u;
	unsigned rooms;

	start(&u, FCR_ON, IER_RX);
	(void)type(&u, "0123456789abcdef");
	rooms = u.rooms;
	out(&u, FCR, FCR_ON | FCR_CLEAR_RX);
	t_uint(u.rooms, rooms + 1);
	serial_fini(&u.s);
}

Test(serial, input_waits_until_the_guest_listens)
{
	struct uart u;

	setup(&u);
	t_uint(serial_room(&u.s), 0);
	t_uint(type(&u, "x"), 0);
	t_uint(u.rooms, 0);
	out(&u, IER, IER_TX | IER_LINE);
	t_uint(serial_room(&u.s), 0);
	out(&u, IER, IER_RX);
	t_uint(u.rooms, 1);
	t_uint(serial_room(&u.s), 1);
	serial_fini(&u.s);
}

Test(serial, a_guest_that_polls_the_line_status_listens)
{
	struct uart u;

	setup(&u);
	for (unsigned i = 0; i < 15; i++)
		(void)in(&u, LSR);
	t_uint(serial_room(&u.s), 0);
	(void)in(&u, LSR);
	t_uint(u.rooms, 1);
	t_uint(serial_room(&u.s), 1);
	serial_fini(&u.s);
}

Test(serial, a_guest_that_polls_the_line_status_between_bytes_that_it_sends_does_not_listen)
{
	struct uart u;

	setup(&u);
	for (unsigned i = 0; i < 200; i++) {
		(void)in(&u, LSR);
		if (i % 10 == 0)
			out(&u, DATA, 'x');
	}
	t_uint(serial_room(&u.s), 0);
	t_uint(u.rooms, 0);
	serial_fini(&u.s);
}

Test(serial, a_guest_that_listened_once_listens_for_good)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	out(&u, IER, 0);
	t_uint(serial_room(&u.s), 16);
	t_uint(type(&u, "x"), 1);
	t_false(u.s.irq.level);
	serial_fini(&u.s);
}

/* --- line status --- */

Test(serial, a_break_is_a_zero_byte_with_the_flag_and_an_interrupt)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX | IER_LINE);
	serial_break(&u.s);
	t_true(u.s.irq.level);
	t_hex(in(&u, IIR), ID_FIFOS | ID_LINE);
	t_hex(in(&u, LSR), LSR_IDLE | LSR_READY | LSR_BREAK);
	t_hex(in(&u, LSR), LSR_IDLE | LSR_READY); /* reading clears the flag */
	t_uint(in(&u, DATA), 0);
	t_false(u.s.irq.level);
	serial_fini(&u.s);
}

Test(serial, a_break_to_a_guest_that_does_not_listen_is_lost)
{
	struct uart u;

	setup(&u);
	serial_break(&u.s);
	t_hex(in(&u, LSR), LSR_IDLE);
	serial_fini(&u.s);
}

/* --- loopback --- */

Test(serial, in_loopback_what_is_sent_is_received_and_the_host_sees_nothing)
{
	struct uart u;

	start(&u, FCR_ON, 0);
	out(&u, MCR, MCR_LOOP);
	out(&u, DATA, 0xae);
	t_uint(u.nsent, 0);
	t_hex(in(&u, LSR) & LSR_READY, LSR_READY);
	t_hex(in(&u, DATA), 0xae);
	serial_fini(&u.s);
}

Test(serial, in_loopback_the_modem_outputs_appear_as_its_inputs)
{
	static const struct {
		const char *name;
		unsigned mcr;
		uint8_t msr;
	} rows[] = {
		{ "none", 0, 0 },
		{ "DTR is DSR", 1, 0x20 },
		{ "RTS is CTS", 2, 0x10 },
		{ "OUT1 is RI", 4, 0x40 },
		{ "OUT2 is DCD", 8, 0x80 },
		{ "as drivers probe", 0x0a, 0x90 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct uart u;

		setup(&u);
		out(&u, MCR, MCR_LOOP | rows[i].mcr);
		t_row_hex(rows[i].name, in(&u, MSR), rows[i].msr);
		serial_fini(&u.s);
	}
}

Test(serial, in_loopback_the_interrupt_is_disconnected)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX | IER_TX);
	out(&u, MCR, MCR_LOOP | MCR_OUT2);
	out(&u, DATA, 'x');
	t_false(u.s.irq.level);
	out(&u, MCR, MCR_OUT2);
	t_true(u.s.irq.level);
	serial_fini(&u.s);
}

Test(serial, in_loopback_the_host_has_no_room_and_is_told_when_it_ends)
{
	struct uart u;
	unsigned rooms;

	start(&u, FCR_ON, IER_RX);
	out(&u, MCR, MCR_LOOP);
	t_uint(serial_room(&u.s), 0);
	t_uint(type(&u, "x"), 0);
	rooms = u.rooms;
	out(&u, MCR, MCR_OUT2);
	t_uint(u.rooms, rooms + 1);
	t_uint(serial_room(&u.s), 16);
	serial_fini(&u.s);
}

Test(serial, an_overrun_in_loopback_is_flagged_once_and_keeps_the_old_bytes)
{
	struct uart u;

	start(&u, FCR_ON, IER_LINE);
	out(&u, MCR, MCR_LOOP);
	for (unsigned i = 0; i < 17; i++)
		out(&u, DATA, 'a' + i);
	t_hex(in(&u, LSR) & LSR_OVERRUN, LSR_OVERRUN);
	t_hex(in(&u, LSR) & LSR_OVERRUN, 0);
	for (unsigned i = 0; i < 16; i++)
		cr_expect(eq(u8, in(&u, DATA), (uint8_t)('a' + i)));
	t_hex(in(&u, LSR) & LSR_READY, 0);
	serial_fini(&u.s);
}

/* --- the interrupt line --- */

Test(serial, without_out2_no_interrupt_reaches_the_bus)
{
	struct uart u;

	setup(&u);
	out(&u, IER, IER_TX);
	t_hex(in(&u, IIR), ID_TX);
	out(&u, DATA, 'x');
	t_false(u.s.irq.level);
	out(&u, MCR, MCR_OUT2);
	t_true(u.s.irq.level);
	serial_fini(&u.s);
}

Test(serial, ids_come_in_the_order_of_their_priority)
{
	struct uart u;

	start(&u, FCR_ON, IER_RX | IER_TX | IER_LINE);
	(void)type(&u, "x");
	serial_break(&u.s);
	t_hex(in(&u, IIR) & 0xf, ID_LINE);
	(void)in(&u, LSR);
	t_hex(in(&u, IIR) & 0xf, ID_RX);
	(void)in(&u, DATA);
	(void)in(&u, DATA);
	t_hex(in(&u, IIR) & 0xf, ID_TX);
	t_hex(in(&u, IIR) & 0xf, ID_NONE);
	t_false(u.s.irq.level);
	serial_fini(&u.s);
}

/* --- the bus --- */

Test(serial, a_wide_access_reaches_one_register_after_the_other)
{
	struct uart u;
	uint8_t buf[8] = { 'A', IER_LINE, 0, 3, MCR_OUT2, 0, 0, 0x77 };

	setup(&u);
	serial_bus_ops.write(&u.s, 0, buf, 8);
	t_uint(u.nsent, 1);
	t_hex(in(&u, LCR), 3);
	t_hex(in(&u, SCR), 0x77);
	memset(buf, 0, sizeof(buf));
	serial_bus_ops.read(&u.s, LCR, buf, 2);
	t_hex(buf[0], 3);
	t_hex(buf[1], MCR_OUT2);
	t_hex(buf[2], 0);
	serial_fini(&u.s);
}

/* --- threads --- */

enum { STREAM = 2000 };

static void *reader(void *arg)
{
	struct uart *u = arg;

	for (unsigned n = 0; n < STREAM;) {
		if (!(in(u, LSR) & LSR_READY)) {
			(void)sched_yield();
			continue;
		}
		u->wrong += in(u, DATA) != (uint8_t)n;
		n++;
	}
	return NULL;
}

Test(serial, a_host_that_types_while_a_vcpu_reads_loses_nothing)
{
	static struct uart u;
	pthread_t thread;

	start(&u, FCR_ON, IER_RX);
	t_int(pthread_create(&thread, NULL, reader, &u), 0);
	for (unsigned n = 0; n < STREAM;) {
		uint8_t byte = (uint8_t)n;

		if (serial_receive(&u.s, &byte, 1) == 1)
			n++;
		else
			(void)sched_yield();
	}
	t_int(pthread_join(thread, NULL), 0);
	t_uint(u.wrong, 0);
	serial_fini(&u.s);
	T_NO_LEAKS();
}

/* --- counters --- */

Test(serial, what_the_guest_does_is_counted)
{
	struct serial_counters c;
	struct uart u;

	start(&u, 0, IER_RX);
	out(&u, DATA, 'a');
	out(&u, DATA, 'b');
	(void)in(&u, DATA); /* nothing is there */
	(void)type(&u, "x");
	(void)in(&u, DATA);
	out(&u, LSR, 0xff);
	serial_get_counters(&u.s, &c);
	t_uint(c.writes, 2);
	t_uint(c.reads, 1);
	t_uint(c.missed_reads, 1);
	t_uint(c.missed_writes, 1);
	t_uint(c.errors, 0);
	out(&u, MCR, 1 << 4); /* loopback, one byte deep */
	out(&u, DATA, 'c');
	out(&u, DATA, 'd');
	serial_get_counters(&u.s, &c);
	t_uint(c.errors, 1);
	t_uint(c.writes, 2);
	serial_fini(&u.s);
}

/* --- state --- */

static unsigned random_below(uint64_t *seed, unsigned n)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(*seed >> 33) % n;
}

/* One access or one byte of input: the value that was read, or how many bytes were taken. */
static unsigned act(struct uart *u, uint64_t *seed)
{
	static const uint8_t values[] = { 0, 1, 2, 3, 7, 0x0b, 0x1b, 0x41, 0x81, 0xc1, 0xff };
	unsigned reg = random_below(seed, SERIAL_REGISTERS), kind = random_below(seed, 4);
	unsigned value = values[random_below(seed, ARRAY_SIZE(values))];

	if (kind == 0)
		return in(u, reg);
	if (kind == 1) {
		out(u, reg, value);
		return 0;
	}
	if (kind == 2)
		return (unsigned)type(u, value & 1 ? "abcdefgh" : "x");
	if (value == 7)
		serial_break(&u->s);
	return in(u, LSR);
}

Test(serial, a_chip_that_was_loaded_does_what_the_other_would_have_done)
{
	for (uint64_t run = 0; run < 300; run++) {
		uint64_t seed = run, seed_v;
		struct serial_state state, again;
		struct uart u, v;

		setup(&u);
		out(&u, IER, IER_RX); /* somebody listens */
		for (unsigned i = 0; i < run; i++)
			(void)act(&u, &seed);
		memset(&state, 0xa5, sizeof(state));
		serial_save(&u.s, &state);
		setup(&v);
		t_int(serial_load(&v.s, &state), 0);
		t_int(v.s.irq.level, u.s.irq.level);
		serial_save(&v.s, &again);
		t_int(memcmp(&state, &again, sizeof(state)), 0);
		u.nsent = 0;
		seed_v = seed;
		for (unsigned i = 0; i < 60; i++) {
			t_uint(act(&v, &seed_v), act(&u, &seed));
			t_int(v.s.irq.level, u.s.irq.level);
		}
		t_uint(v.nsent, u.nsent);
		t_int(memcmp(v.sent, u.sent, MIN(u.nsent, (unsigned)sizeof(u.sent))), 0);
		serial_fini(&u.s);
		serial_fini(&v.s);
	}
}

Test(serial, saving_changes_nothing)
{
	struct serial_state state;
	struct uart u;

	start(&u, FCR_ON, IER_RX);
	t_uint(type(&u, "abc"), 3);
	serial_save(&u.s, &state);
	t_uint(state.count, 3);
	t_int(memcmp(state.fifo, "abc", 3), 0);
	t_true(u.s.irq.level);
	t_hex(in(&u, DATA), 'a');
	serial_save(&u.s, &state);
	t_int(memcmp(state.fifo, "bc", 3), 0);
	serial_fini(&u.s);
}

Test(serial, values_that_no_chip_has_are_refused_and_change_nothing)
{
	static const struct {
		const char *name;
		struct serial_state state;
		int rc;
	} rows[] = {
		{ "reset", { .dll = 12 }, 0 },
		{ "everything",
			{ .ier = 0x0f,
				.fcr = 0xc1,
				.lcr = 0xff,
				.mcr = 0x1f,
				.scr = 0xff,
				.dll = 0xff,
				.dlm = 0xff,
				.listening = true,
				.count = 16 },
			0 },
		{ "IER", { .ier = 0x10 }, -EBADMSG },
		{ "MCR", { .mcr = 0x20 }, -EBADMSG },
		{ "FCR: a bit that clears itself", { .fcr = 3 }, -EBADMSG },
		{ "FCR: a trigger without a FIFO", { .fcr = 0x40 }, -EBADMSG },
		{ "two bytes without a FIFO", { .count = 2 }, -EBADMSG },
		{ "too many bytes", { .fcr = 1, .count = 17 }, -EBADMSG },
		{ "very many bytes", { .fcr = 1, .count = UINT32_MAX }, -EBADMSG },
		{ "nobody listens to the receive interrupt", { .ier = 1 }, -EBADMSG },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct serial_state before, after;
		struct uart u;

		setup(&u);
		serial_save(&u.s, &before);
		t_row_int(rows[i].name, serial_load(&u.s, &rows[i].state), rows[i].rc);
		serial_save(&u.s, &after);
		t_row_int(rows[i].name,
			memcmp(&after, rows[i].rc == 0 ? &rows[i].state : &before, sizeof(after)),
			0);
		serial_fini(&u.s);
	}
}
