/*
 * An i8042 under a driver that does anything and a host that presses Ctrl-Alt-Del at any time.  The
 * input is a script of operations; a model of the output queue runs beside it.
 */
#include <string.h>

#include "fuzz.h"
#include "legacy/i8042.h"

enum {
	OP_READ_DATA,
	OP_READ_STATUS,
	OP_WRITE_DATA,
	OP_WRITE_COMMAND,
	OP_KEYS,
	OPS,
	OPERATIONS_MAX = 4096,
	KEYS_BYTES = 11,
	STATUS_FULL = 1,
	CONTROL_INTERRUPT = 1,
	CONTROL_KBD_DISABLED = 16,
};

struct host {
	unsigned resets;
	uint8_t last; /* byte that was read, which the latch shows until there is another */
};

static void on_power(void *ctx, enum power_event event, const char *why)
{
	struct host *h = ctx;

	/* The controller resets; it cannot switch off. */
	FUZZ_CHECK(event == POWER_RESET && why && why[0] != '\0');
	h->resets++;
}

static uint8_t read_port(struct i8042 *k, const struct bus_ops *ops)
{
	uint8_t byte = 0xff;

	ops->read(k, 0, &byte, 1);
	return byte;
}

/* One write resets at most once, and a reset pulse always does. */
static void do_command(struct i8042 *k, struct host *h, uint8_t byte)
{
	unsigned before = h->resets;

	i8042_command_ops.write(k, 0, &byte, 1);
	FUZZ_CHECK(h->resets == before + (byte >= 0xf0 && !(byte & 1)));
	if (byte == 0xaa)
		FUZZ_CHECK(k->count == 1 && k->queue[k->first] == 0x55);
}

static void do_data(struct i8042 *k, struct host *h, uint8_t byte)
{
	unsigned before = h->resets, count = k->count;
	bool is_outport = k->expects == 0xd1, is_plain = k->expects == 0;

	i8042_data_ops.write(k, 0, &byte, 1);
	FUZZ_CHECK(h->resets == before + (is_outport && !(byte & 1)));
	FUZZ_CHECK(k->expects == 0);
	/* The keyboard answers every byte, while there is room, with at most three. */
	if (is_plain)
		FUZZ_CHECK(k->count >= count && k->count <= count + 3 &&
			   (k->count > count || count == I8042_QUEUE));
}

static void do_read_data(struct i8042 *k, struct host *h)
{
	unsigned count = k->count;

	if (count > 0)
		h->last = k->queue[k->first];
	FUZZ_CHECK(read_port(k, &i8042_data_ops) == h->last);
	FUZZ_CHECK(k->count == (count > 0 ? count - 1 : 0));
}

static void do_keys(struct i8042 *k)
{
	unsigned count = k->count;
	bool listens = k->kbd_scans && (k->control & CONTROL_INTERRUPT) &&
		       !(k->control & CONTROL_KBD_DISABLED);
	bool sent = i8042_ctrl_alt_del(k);

	/* All keys or none: half of them would leave a key pressed. */
	FUZZ_CHECK(k->count == count + (sent ? KEYS_BYTES : 0));
	FUZZ_CHECK(sent == (listens && count + KEYS_BYTES <= I8042_QUEUE));
}

static void check_state(struct i8042 *k)
{
	uint8_t status = read_port(k, &i8042_command_ops);

	FUZZ_CHECK(k->count <= I8042_QUEUE && k->first < I8042_QUEUE);
	FUZZ_CHECK((status & STATUS_FULL) == (k->count > 0));
	FUZZ_CHECK(k->irq.level == (k->count > 0 && (k->control & CONTROL_INTERRUPT)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script script = { data, size };
	struct host h = { 0 };
	struct power_host power = { on_power, &h };
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 1 };
	struct i8042 k;

	i8042_init(&k, nowhere, &power);
	for (unsigned n = 0; script.left > 0 && n < OPERATIONS_MAX; n++) {
		switch (script_byte(&script) % OPS) {
		case OP_READ_DATA: do_read_data(&k, &h); break;
		case OP_READ_STATUS: (void)read_port(&k, &i8042_command_ops); break;
		case OP_WRITE_DATA: do_data(&k, &h, script_byte(&script)); break;
		case OP_WRITE_COMMAND: do_command(&k, &h, script_byte(&script)); break;
		default: do_keys(&k); break;
		}
		check_state(&k);
	}
	i8042_fini(&k);
	return 0;
}
