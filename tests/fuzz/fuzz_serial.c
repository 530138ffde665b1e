/*
 * A UART under a driver that does anything and a host that types at any time.  The input is a
 * script of operations; a small model beside it knows what the receiver must hold and who must have
 * been told.
 */
#include <string.h>

#include "fuzz.h"
#include "legacy/serial.h"

enum {
	OP_READ,
	OP_WRITE,
	OP_RECEIVE,
	OP_BREAK,
	OPS,
	OPERATIONS_MAX = 4096,

	FCR_ENABLE = 1,
	LCR_DLAB = 0x80,
	LSR_DATA_READY = 1,
	MCR_OUT2 = 8,
	MCR_LOOP = 16,
	IIR_NOTHING = 1,
};

/* What the host has seen; locked is whether it is being called by the device. */
struct host {
	uint64_t sent;
	bool told_room;
};

static void on_tx(void *ctx, uint8_t byte)
{
	struct host *h = ctx;

	(void)byte;
	h->sent++;
}

static void on_room(void *ctx)
{
	struct host *h = ctx;

	h->told_room = true;
}

/* The receiver as a queue that only the driver's and the host's visible acts change. */
struct model {
	uint8_t fifo[SERIAL_FIFO];
	unsigned count;
	uint64_t sent;
	uint8_t fcr, lcr, mcr;
};

static unsigned model_capacity(const struct model *m)
{
	return m->fcr & FCR_ENABLE ? SERIAL_FIFO : 1;
}

static void model_push(struct model *m, uint8_t byte)
{
	if (m->count < model_capacity(m))
		m->fifo[m->count++] = byte;
}

static uint8_t model_pop(struct model *m)
{
	uint8_t byte = m->fifo[0];

	if (m->count == 0)
		return 0;
	m->count--;
	memmove(m->fifo, m->fifo + 1, m->count);
	return byte;
}

static void model_write(struct model *m, unsigned reg, uint8_t value)
{
	switch (reg) {
	case 0:
		if (m->lcr & LCR_DLAB)
			break;
		if (m->mcr & MCR_LOOP)
			model_push(m, value);
		else
			m->sent++;
		break;
	case 2:
		if ((value & 2) || ((value ^ m->fcr) & FCR_ENABLE))
			m->count = 0;
		m->fcr = value & FCR_ENABLE ? value : 0;
		break;
	case 3: m->lcr = value; break;
	case 4: m->mcr = value & 0x1f; break;
	default: break;
	}
}

static void check_read(struct model *m, unsigned reg, uint8_t got)
{
	if (reg == 0 && !(m->lcr & LCR_DLAB))
		FUZZ_CHECK(got == model_pop(m));
	else if (reg == 2)
		FUZZ_CHECK((got & 0xc0) == (m->fcr & FCR_ENABLE ? 0xc0 : 0));
	else if (reg == 3)
		FUZZ_CHECK(got == m->lcr);
	else if (reg == 4)
		FUZZ_CHECK(got == m->mcr);
	else if (reg == 5)
		FUZZ_CHECK((got & 0x60) == 0x60 && (got & LSR_DATA_READY) == (m->count > 0));
	else if (reg == 6)
		FUZZ_CHECK((got & 0x0f) == 0);
}

static void check_state(
	struct serial *s, const struct host *h, const struct model *m, size_t room_before)
{
	size_t room = serial_room(s);

	FUZZ_CHECK(s->count <= model_capacity(m) && s->first < SERIAL_FIFO);
	FUZZ_CHECK(s->count == m->count);
	for (unsigned i = 0; i < s->count; i++)
		FUZZ_CHECK(s->fifo[(s->first + i) % SERIAL_FIFO] == m->fifo[i]);
	FUZZ_CHECK(h->sent == m->sent && s->counters.writes == m->sent);
	FUZZ_CHECK(room + s->count <= SERIAL_FIFO);
	/* A host that was turned away is told when it may come back; if it were not, input would
	 * stop for good. */
	FUZZ_CHECK(room_before > 0 || room == 0 || h->told_room);
	/* The line is up exactly while something enabled is pending, and only where OUT2 connects
	 * it. */
	if ((m->mcr & (MCR_OUT2 | MCR_LOOP)) != MCR_OUT2) {
		FUZZ_CHECK(!s->irq.level);
	} else {
		bool received = (s->ier & 1) && s->count > 0;
		bool empty = (s->ier & 2) && s->thr_empty_pending;
		bool status = (s->ier & 4) && (s->overrun || s->brk);

		FUZZ_CHECK(s->irq.level == (received || empty || status));
	}
}

static void do_read(struct serial *s, struct model *m, unsigned reg, unsigned len)
{
	uint8_t buf[8];

	memset(buf, 0xff, sizeof(buf));
	serial_bus_ops.read(s, reg, buf, len);
	for (unsigned i = 0; i < len; i++)
		check_read(m, reg + i, buf[i]);
	for (unsigned i = len; i < sizeof(buf); i++)
		FUZZ_CHECK(buf[i] == 0xff);
}

static void do_write(
	struct serial *s, struct model *m, unsigned reg, unsigned len, struct script *script)
{
	uint8_t buf[8];

	for (unsigned i = 0; i < len; i++)
		buf[i] = script_byte(script);
	serial_bus_ops.write(s, reg, buf, len);
	for (unsigned i = 0; i < len; i++)
		model_write(m, reg + i, buf[i]);
}

static void do_receive(struct serial *s, struct model *m, unsigned len, struct script *script)
{
	uint8_t buf[32];
	size_t room = serial_room(s), n;

	for (unsigned i = 0; i < len; i++)
		buf[i] = script_byte(script);
	n = serial_receive(s, buf, len);
	FUZZ_CHECK(n == (len < room ? len : room));
	for (size_t i = 0; i < n; i++)
		model_push(m, buf[i]);
}

static void step(struct serial *s, struct host *h, struct model *m, struct script *script)
{
	uint8_t op = script_byte(script);
	unsigned reg = op >> 2 & 7, len = 1U << (op >> 5 & 3);
	size_t room = serial_room(s);

	/* The bus refuses what reaches behind the last register. */
	while (reg + len > SERIAL_REGISTERS)
		len /= 2;
	h->told_room = false;
	switch (op % OPS) {
	case OP_READ: do_read(s, m, reg, len); break;
	case OP_WRITE: do_write(s, m, reg, len, script); break;
	case OP_RECEIVE: do_receive(s, m, op >> 2 & 31, script); break;
	default:
		if (room > 0)
			model_push(m, 0);
		serial_break(s);
		break;
	}
	check_state(s, h, m, room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script script = { data, size };
	struct host h = { 0 };
	struct model m = { 0 };
	struct serial_host host = { on_tx, on_room, &h };
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 4 };
	struct serial s;

	serial_init(&s, nowhere, &host);
	for (unsigned n = 0; script.left > 0 && n < OPERATIONS_MAX; n++)
		step(&s, &h, &m, &script);
	serial_fini(&s);
	return 0;
}
