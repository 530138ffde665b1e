/* The i8042 keyboard controller (i8042.h). */
#include "legacy/i8042.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

enum {
	STATUS_OUTPUT_FULL = 1 << 0,
	STATUS_SYSTEM = 1 << 2,
	STATUS_UNLOCKED = 1 << 4,

	CONTROL_KBD_INTERRUPT = 1 << 0,
	CONTROL_SYSTEM = 1 << 2,
	CONTROL_KBD_DISABLED = 1 << 4,
	CONTROL_AUX_DISABLED = 1 << 5,

	CMD_READ_CONTROL = 0x20,
	CMD_WRITE_CONTROL = 0x60,
	CMD_AUX_DISABLE = 0xa7,
	CMD_AUX_ENABLE = 0xa8,
	CMD_AUX_TEST = 0xa9,
	CMD_SELF_TEST = 0xaa,
	CMD_KBD_TEST = 0xab,
	CMD_KBD_DISABLE = 0xad,
	CMD_KBD_ENABLE = 0xae,
	CMD_READ_OUTPORT = 0xd0,
	CMD_WRITE_OUTPORT = 0xd1,
	CMD_KBD_LOOP = 0xd2,
	CMD_AUX_LOOP = 0xd3,
	CMD_AUX_SEND = 0xd4,
	CMD_PULSE = 0xf0,

	OUTPORT_NOT_RESET = 1 << 0,
	OUTPORT_A20 = 1 << 1,

	KBD_ACK = 0xfa,
	KBD_RESEND = 0xfe,
	KBD_SELF_TEST_PASSED = 0xaa,
	KBD_SET_LEDS = 0xed,
	KBD_SCAN_SET = 0xf0,
	KBD_IDENTIFY = 0xf2,
	KBD_RATE = 0xf3,
	KBD_ENABLE = 0xf4,
	KBD_DISABLE = 0xf5,
	KBD_DEFAULTS = 0xf6,
	KBD_RESET = 0xff,
};

static void update_irq(struct i8042 *k)
{
	irq_line_set(&k->irq, k->count > 0 && (k->control & CONTROL_KBD_INTERRUPT));
}

/* What does not fit is lost, as on the real one. */
static void put(struct i8042 *k, uint8_t byte)
{
	if (k->count == I8042_QUEUE) {
		k->counters.missed_writes++;
		return;
	}
	k->queue[(k->first + k->count) % I8042_QUEUE] = byte;
	k->count++;
}

static void flush(struct i8042 *k)
{
	k->first = (k->first + k->count) % I8042_QUEUE;
	k->count = 0;
}

static void keyboard(struct i8042 *k, uint8_t byte)
{
	if (k->kbd_expects) {
		k->kbd_expects = false;
		put(k, KBD_ACK);
		return;
	}
	put(k, KBD_ACK);
	switch (byte) {
	case KBD_SET_LEDS:
	case KBD_SCAN_SET:
	case KBD_RATE: k->kbd_expects = true; break;
	case KBD_IDENTIFY: /* an MF2 keyboard */
		put(k, 0xab);
		put(k, 0x83);
		break;
	case KBD_ENABLE: k->kbd_scans = true; break;
	case KBD_DISABLE: k->kbd_scans = false; break;
	case KBD_RESET:
		k->kbd_scans = true;
		put(k, KBD_SELF_TEST_PASSED);
		break;
	default: break;
	}
}

/* True when the parameter asks for a reset of the machine. */
static bool parameter(struct i8042 *k, uint8_t command, uint8_t byte)
{
	switch (command) {
	case CMD_WRITE_CONTROL: k->control = byte; break;
	case CMD_WRITE_OUTPORT: k->outport = byte; return !(byte & OUTPORT_NOT_RESET);
	case CMD_KBD_LOOP:
	/* Comes back without the mark of the mouse port, which tells a driver at once that there is
	 * none. */
	case CMD_AUX_LOOP: put(k, byte); break;
	default: break; /* CMD_AUX_SEND: nobody there */
	}
	return false;
}

/* True when the command resets the machine. */
static bool command(struct i8042 *k, uint8_t byte)
{
	switch (byte) {
	case CMD_READ_CONTROL: put(k, k->control); break;
	case CMD_READ_OUTPORT: put(k, k->outport); break;
	case CMD_SELF_TEST:
		flush(k);
		k->control |= CONTROL_SYSTEM;
		put(k, 0x55);
		break;
	case CMD_KBD_TEST: put(k, 0x00); break;
	case CMD_AUX_TEST: put(k, 0x02); break; /* clock line stuck: no mouse */
	case CMD_KBD_DISABLE: k->control |= CONTROL_KBD_DISABLED; break;
	case CMD_KBD_ENABLE: k->control &= (uint8_t)~CONTROL_KBD_DISABLED; break;
	case CMD_AUX_DISABLE: k->control |= CONTROL_AUX_DISABLED; break;
	case CMD_AUX_ENABLE: k->control &= (uint8_t)~CONTROL_AUX_DISABLED; break;
	case CMD_WRITE_CONTROL:
	case CMD_WRITE_OUTPORT:
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_SEND: k->expects = byte; break;
	default:
		if (byte < CMD_PULSE)
			k->counters.errors++;
		/* 0xf0 to 0xff pulse output lines low; line 0 is the CPU's reset. */
		return byte >= CMD_PULSE && !(byte & OUTPORT_NOT_RESET);
	}
	return false;
}

static void read_data(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	struct i8042 *k = dev;

	(void)off;
	(void)len;
	(void)pthread_mutex_lock(&k->lock);
	k->counters.reads++;
	if (k->count == 0) {
		/* The latch still has the last byte. */
		buf[0] = k->queue[(k->first + I8042_QUEUE - 1) % I8042_QUEUE];
		k->counters.missed_reads++;
	} else {
		buf[0] = k->queue[k->first];
		k->first = (k->first + 1) % I8042_QUEUE;
		k->count--;
		/* Each byte is an edge of its own. */
		irq_line_set(&k->irq, false);
		update_irq(k);
	}
	(void)pthread_mutex_unlock(&k->lock);
}

static void write_data(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct i8042 *k = dev;
	bool reset = false;
	uint8_t expects;

	(void)off;
	(void)len;
	(void)pthread_mutex_lock(&k->lock);
	k->counters.writes++;
	expects = k->expects;
	k->expects = 0;
	if (expects)
		reset = parameter(k, expects, buf[0]);
	else
		keyboard(k, buf[0]);
	k->counters.resets += reset;
	update_irq(k);
	(void)pthread_mutex_unlock(&k->lock);
	if (reset)
		k->power.event(k->power.ctx, POWER_RESET, "i8042 output port");
}

static void read_status(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	struct i8042 *k = dev;

	(void)off;
	(void)len;
	(void)pthread_mutex_lock(&k->lock);
	k->counters.reads++;
	buf[0] = STATUS_UNLOCKED;
	if (k->count > 0)
		buf[0] |= STATUS_OUTPUT_FULL;
	if (k->control & CONTROL_SYSTEM)
		buf[0] |= STATUS_SYSTEM;
	(void)pthread_mutex_unlock(&k->lock);
}

static void write_command(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct i8042 *k = dev;
	bool reset;

	(void)off;
	(void)len;
	(void)pthread_mutex_lock(&k->lock);
	k->counters.writes++;
	k->expects = 0;
	reset = command(k, buf[0]);
	k->counters.resets += reset;
	update_irq(k);
	(void)pthread_mutex_unlock(&k->lock);
	if (reset)
		k->power.event(k->power.ctx, POWER_RESET, "i8042 reset");
}

const struct bus_ops i8042_data_ops = { .read = read_data, .write = write_data };
const struct bus_ops i8042_command_ops = { .read = read_status, .write = write_command };

void i8042_init(struct i8042 *k, struct irq_line irq, const struct power_host *power)
{
	*k = (struct i8042){ .irq = irq,
		.power = *power,
		.kbd_scans = true,
		.control = CONTROL_KBD_DISABLED | CONTROL_AUX_DISABLED,
		.outport = OUTPORT_NOT_RESET | OUTPORT_A20 };
	(void)pthread_mutex_init(&k->lock, NULL);
}

void i8042_fini(struct i8042 *k)
{
	(void)pthread_mutex_destroy(&k->lock);
}

bool i8042_ctrl_alt_del(struct i8042 *k)
{
	static const uint8_t keys[] = {
		0x14, 0x11, 0xe0, 0x71,                   /* Ctrl, Alt, Del down */
		0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0, 0x14, /* and up in reverse */
	};
	bool sent = false;

	(void)pthread_mutex_lock(&k->lock);
	if (k->kbd_scans && (k->control & CONTROL_KBD_INTERRUPT) &&
		!(k->control & CONTROL_KBD_DISABLED) &&
		k->count + ARRAY_SIZE(keys) <= I8042_QUEUE) {
		for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
			put(k, keys[i]);
		update_irq(k);
		sent = true;
	}
	(void)pthread_mutex_unlock(&k->lock);
	return sent;
}

/* --- state --- */

void i8042_save(struct i8042 *k, struct i8042_state *ret)
{
	(void)pthread_mutex_lock(&k->lock);
	*ret = (struct i8042_state){ .count = k->count,
		.control = k->control,
		.outport = k->outport,
		.expects = k->expects,
		.kbd_expects = k->kbd_expects,
		.kbd_scans = k->kbd_scans };
	/* All of it: the last one is what the latch shows when no byte waits. */
	for (unsigned i = 0; i < I8042_QUEUE; i++)
		ret->queue[i] = k->queue[(k->first + i) % I8042_QUEUE];
	(void)pthread_mutex_unlock(&k->lock);
}

/* Whether a parameter follows, on port 0x60. */
static bool has_parameter(uint8_t command)
{
	switch (command) {
	case CMD_WRITE_CONTROL:
	case CMD_WRITE_OUTPORT:
	case CMD_KBD_LOOP:
	case CMD_AUX_LOOP:
	case CMD_AUX_SEND: return true;
	default: return false;
	}
}

int i8042_load(struct i8042 *k, const struct i8042_state *state)
{
	if (state->count > I8042_QUEUE || (state->expects && !has_parameter(state->expects)))
		return -EBADMSG;
	(void)pthread_mutex_lock(&k->lock);
	k->first = 0;
	k->count = state->count;
	memcpy(k->queue, state->queue, sizeof(k->queue));
	k->control = state->control;
	k->outport = state->outport;
	k->expects = state->expects;
	k->kbd_expects = state->kbd_expects;
	k->kbd_scans = state->kbd_scans;
	/* KVM was told nothing yet, and irq says so. */
	update_irq(k);
	(void)pthread_mutex_unlock(&k->lock);
	return 0;
}

void i8042_get_counters(struct i8042 *k, struct i8042_counters *ret)
{
	(void)pthread_mutex_lock(&k->lock);
	*ret = k->counters;
	(void)pthread_mutex_unlock(&k->lock);
}
