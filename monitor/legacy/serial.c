/* A 16550A UART (serial.h). */
#include "legacy/serial.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

enum {
	REG_DATA,
	REG_IER,
	REG_IIR_FCR,
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCR,

	IER_RECEIVED = 1 << 0,
	IER_THR_EMPTY = 1 << 1,
	IER_LINE_STATUS = 1 << 2,
	IER_MASK = 0x0f,
	IIR_NONE = 0x01,
	IIR_THR_EMPTY = 0x02,
	IIR_RECEIVED = 0x04,
	IIR_LINE_STATUS = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFO = 0xc0,
	FCR_ENABLE = 1 << 0,
	FCR_CLEAR_RECEIVER = 1 << 1,
	FCR_TRIGGER_SHIFT = 6,
	LCR_DLAB = 1 << 7,
	MCR_OUT2 = 1 << 3,
	MCR_LOOP = 1 << 4,
	MCR_MASK = 0x1f,
	LSR_DATA_READY = 1 << 0,
	LSR_OVERRUN = 1 << 1,
	LSR_BREAK = 1 << 4,
	LSR_THR_EMPTY = 1 << 5,
	LSR_TRANSMITTER_EMPTY = 1 << 6,
	MSR_CTS = 1 << 4,
	MSR_DSR = 1 << 5,
	MSR_RI = 1 << 6,
	MSR_DCD = 1 << 7,

	IDLE_POLLS = 16, /* this many looks at LSR in a row, with nothing sent, are a guest that
			    waits for input */
};

static unsigned capacity(const struct serial *s)
{
	return s->fcr & FCR_ENABLE ? SERIAL_FIFO : 1;
}

static unsigned trigger_level(const struct serial *s)
{
	static const uint8_t levels[] = { 1, 4, 8, 14 };

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> FCR_TRIGGER_SHIFT & 3] : 1;
}

/* The pending interrupt of highest priority, as IIR shows it (data sheet, table 5). */
static uint8_t interrupt_id(const struct serial *s)
{
	if ((s->ier & IER_LINE_STATUS) && (s->overrun || s->brk))
		return IIR_LINE_STATUS;
	/* Below the trigger level the character timeout speaks; there is no clock here, so it has
	 * always passed. */
	if ((s->ier & IER_RECEIVED) && s->count > 0)
		return s->count >= trigger_level(s) ? IIR_RECEIVED : IIR_TIMEOUT;
	if ((s->ier & IER_THR_EMPTY) && s->thr_empty_pending)
		return IIR_THR_EMPTY;
	return IIR_NONE;
}

static void update_irq(struct serial *s)
{
	/* On a PC, OUT2 connects the chip's interrupt to the bus; in loopback it is disconnected.
	 */
	bool wired = (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);

	irq_line_set(&s->irq, wired && interrupt_id(s) != IIR_NONE);
}

static size_t room(const struct serial *s)
{
	return s->listening && !(s->mcr & MCR_LOOP) ? capacity(s) - s->count : 0;
}

static void clear_receiver(struct serial *s)
{
	s->first = s->count = 0;
}

static void push(struct serial *s, uint8_t byte)
{
	if (s->count == capacity(s)) {
		s->overrun = true;
		s->counters.errors++;
		return;
	}
	s->fifo[(s->first + s->count) % SERIAL_FIFO] = byte;
	s->count++;
}

static uint8_t pop(struct serial *s)
{
	uint8_t byte = s->fifo[s->first];

	if (s->count == 0) {
		s->counters.missed_reads++;
		return 0;
	}
	s->counters.reads++;
	s->first = (s->first + 1) % SERIAL_FIFO;
	s->count--;
	return byte;
}

static void start_listening(struct serial *s)
{
	if (!s->listening) {
		s->listening = true;
		s->host.room(s->host.ctx);
	}
}

static uint8_t line_status(struct serial *s)
{
	uint8_t lsr = LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY;

	if (s->count > 0)
		lsr |= LSR_DATA_READY;
	if (s->overrun)
		lsr |= LSR_OVERRUN;
	if (s->brk)
		lsr |= LSR_BREAK;
	s->overrun = s->brk = false;
	if (!s->listening && ++s->idle_polls >= IDLE_POLLS)
		start_listening(s);
	return lsr;
}

static uint8_t modem_status(const struct serial *s)
{
	uint8_t msr = 0;

	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	/* In loopback the four outputs appear as the four inputs. */
	if (s->mcr & (1 << 1))
		msr |= MSR_CTS;
	if (s->mcr & (1 << 0))
		msr |= MSR_DSR;
	if (s->mcr & (1 << 2))
		msr |= MSR_RI;
	if (s->mcr & MCR_OUT2)
		msr |= MSR_DCD;
	return msr;
}

static uint8_t read_data(struct serial *s)
{
	bool was_full = room(s) == 0;
	uint8_t byte = pop(s);

	if (was_full && room(s) > 0)
		s->host.room(s->host.ctx);
	return byte;
}

static uint8_t read_interrupt_id(struct serial *s)
{
	uint8_t id = interrupt_id(s);

	if (id == IIR_THR_EMPTY)
		s->thr_empty_pending = false;
	return (uint8_t)(id | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0));
}

static uint8_t read_register(struct serial *s, uint64_t reg)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA: return dlab ? s->dll : read_data(s);
	case REG_IER: return dlab ? s->dlm : s->ier;
	case REG_IIR_FCR: return read_interrupt_id(s);
	case REG_LCR: return s->lcr;
	case REG_MCR: return s->mcr;
	case REG_LSR: return line_status(s);
	case REG_MSR: return modem_status(s);
	default: return s->scr;
	}
}

static void write_data(struct serial *s, uint8_t byte)
{
	s->thr_empty_pending = true;
	s->idle_polls = 0;
	if (s->mcr & MCR_LOOP) {
		push(s, byte);
		return;
	}
	s->counters.writes++;
	s->host.tx(s->host.ctx, byte);
}

static void write_ier(struct serial *s, uint8_t value)
{
	/* Enabling the transmitter interrupt while the transmitter is empty raises it at once. */
	if (!(s->ier & IER_THR_EMPTY) && (value & IER_THR_EMPTY))
		s->thr_empty_pending = true;
	s->ier = value & IER_MASK;
	if (s->ier & IER_RECEIVED)
		start_listening(s);
}

static void write_fcr(struct serial *s, uint8_t value)
{
	bool had_room = room(s) > 0;

	if ((value & FCR_CLEAR_RECEIVER) || ((value ^ s->fcr) & FCR_ENABLE))
		clear_receiver(s);
	/* The clear bits clear themselves; the others mean something only with the FIFO on. */
	s->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | 3 << FCR_TRIGGER_SHIFT) : 0;
	if (!had_room && room(s) > 0)
		s->host.room(s->host.ctx);
}

static void write_mcr(struct serial *s, uint8_t value)
{
	bool had_room = room(s) > 0;

	s->mcr = value & MCR_MASK;
	if (!had_room && room(s) > 0)
		s->host.room(s->host.ctx);
}

static void write_register(struct serial *s, uint64_t reg, uint8_t value)
{
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (dlab)
			s->dll = value;
		else
			write_data(s, value);
		break;
	case REG_IER:
		if (dlab)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case REG_IIR_FCR: write_fcr(s, value); break;
	case REG_LCR: s->lcr = value; break;
	case REG_MCR: write_mcr(s, value); break;
	case REG_SCR: s->scr = value; break;
	default:
		s->counters.missed_writes++;
		break; /* LSR and MSR are read-only outside the factory */
	}
}

static void bus_read_serial(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	struct serial *s = dev;

	/* An 8-bit chip: wider accesses reach one register after the other. */
	(void)pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < len; i++)
		buf[i] = read_register(s, off + i);
	update_irq(s);
	(void)pthread_mutex_unlock(&s->lock);
}

static void bus_write_serial(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct serial *s = dev;

	(void)pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < len; i++)
		write_register(s, off + i, buf[i]);
	update_irq(s);
	(void)pthread_mutex_unlock(&s->lock);
}

const struct bus_ops serial_bus_ops = { .read = bus_read_serial, .write = bus_write_serial };

void serial_init(struct serial *s, struct irq_line irq, const struct serial_host *host)
{
	/* After reset: 9600 baud, everything off. */
	*s = (struct serial){ .irq = irq, .host = *host, .dll = 12 };
	(void)pthread_mutex_init(&s->lock, NULL);
}

void serial_fini(struct serial *s)
{
	(void)pthread_mutex_destroy(&s->lock);
}

size_t serial_room(struct serial *s)
{
	size_t n;

	(void)pthread_mutex_lock(&s->lock);
	n = room(s);
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

size_t serial_receive(struct serial *s, const uint8_t *buf, size_t len)
{
	size_t n;

	(void)pthread_mutex_lock(&s->lock);
	n = MIN(len, room(s));
	for (size_t i = 0; i < n; i++)
		push(s, buf[i]);
	update_irq(s);
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

/* --- state --- */

void serial_save(struct serial *s, struct serial_state *ret)
{
	(void)pthread_mutex_lock(&s->lock);
	*ret = (struct serial_state){ .ier = s->ier,
		.fcr = s->fcr,
		.lcr = s->lcr,
		.mcr = s->mcr,
		.scr = s->scr,
		.dll = s->dll,
		.dlm = s->dlm,
		.thr_empty_pending = s->thr_empty_pending,
		.overrun = s->overrun,
		.brk = s->brk,
		.listening = s->listening,
		.count = s->count };
	for (unsigned i = 0; i < s->count; i++)
		ret->fifo[i] = s->fifo[(s->first + i) % SERIAL_FIFO];
	(void)pthread_mutex_unlock(&s->lock);
}

/* What write_register() can leave behind. */
static bool can_be(const struct serial_state *state)
{
	uint8_t fcr = FCR_ENABLE | 3 << FCR_TRIGGER_SHIFT;

	if ((state->ier & ~IER_MASK) || (state->mcr & ~MCR_MASK) || (state->fcr & ~fcr))
		return false;
	if (!(state->fcr & FCR_ENABLE) && (state->fcr != 0 || state->count > 1))
		return false;
	/* Who enables the receive interrupt listens. */
	return state->count <= SERIAL_FIFO && (state->listening || !(state->ier & IER_RECEIVED));
}

int serial_load(struct serial *s, const struct serial_state *state)
{
	if (!can_be(state))
		return -EBADMSG;
	(void)pthread_mutex_lock(&s->lock);
	s->ier = state->ier;
	s->fcr = state->fcr;
	s->lcr = state->lcr;
	s->mcr = state->mcr;
	s->scr = state->scr;
	s->dll = state->dll;
	s->dlm = state->dlm;
	s->thr_empty_pending = state->thr_empty_pending;
	s->overrun = state->overrun;
	s->brk = state->brk;
	s->listening = state->listening;
	s->first = 0;
	s->count = state->count;
	memcpy(s->fifo, state->fifo, sizeof(s->fifo));
	/* KVM was told nothing yet, and irq says so. */
	update_irq(s);
	(void)pthread_mutex_unlock(&s->lock);
	return 0;
}

void serial_get_counters(struct serial *s, struct serial_counters *ret)
{
	(void)pthread_mutex_lock(&s->lock);
	*ret = s->counters;
	(void)pthread_mutex_unlock(&s->lock);
}

void serial_break(struct serial *s)
{
	(void)pthread_mutex_lock(&s->lock);
	if (room(s) > 0) {
		/* A break arrives as a zero byte with the flag beside it. */
		push(s, 0);
		s->brk = true;
		update_irq(s);
	}
	(void)pthread_mutex_unlock(&s->lock);
}
