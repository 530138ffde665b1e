/* The i8042 keyboard controller. */
#include "t.h"

#include "legacy/i8042.h"
#include "t_power.h"

TestSuite(i8042, .timeout = T_SECONDS);

enum { STATUS_FULL = 1, STATUS_SYSTEM = 4, CTR_KBD_INTERRUPT = 1, CTR_KBD_OFF = 0x10, ACK = 0xfa };

struct pc {
	struct t_power power;
	struct i8042 k;
};

static void setup(struct pc *pc)
{
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 1 };
	struct power_host host;

	memset(pc, 0, sizeof(*pc));
	host = t_power_host(&pc->power);
	i8042_init(&pc->k, nowhere, &host);
}

static uint8_t status(struct pc *pc)
{
	uint8_t byte = 0xff;

	i8042_command_ops.read(&pc->k, 0, &byte, 1);
	return byte;
}

static uint8_t data(struct pc *pc)
{
	uint8_t byte = 0xff;

	i8042_data_ops.read(&pc->k, 0, &byte, 1);
	return byte;
}

static void command(struct pc *pc, uint8_t byte)
{
	i8042_command_ops.write(&pc->k, 0, &byte, 1);
}

static void write_data(struct pc *pc, uint8_t byte)
{
	i8042_data_ops.write(&pc->k, 0, &byte, 1);
}

static void set_control(struct pc *pc, uint8_t value)
{
	command(pc, 0x60);
	write_data(pc, value);
}

Test(i8042, nothing_waits_after_reset)
{
	struct pc pc;

	setup(&pc);
	t_uint(status(&pc) & STATUS_FULL, 0);
	t_uint(status(&pc) & STATUS_SYSTEM, 0);
	i8042_fini(&pc.k);
}

Test(i8042, the_self_test_passes_and_sets_the_system_flag)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xaa);
	t_uint(status(&pc) & STATUS_FULL, STATUS_FULL);
	t_hex(data(&pc), 0x55);
	t_uint(status(&pc) & STATUS_FULL, 0);
	t_uint(status(&pc) & STATUS_SYSTEM, STATUS_SYSTEM);
	i8042_fini(&pc.k);
}

Test(i8042, the_self_test_discards_what_waited)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd0);
	command(&pc, 0xaa);
	t_hex(data(&pc), 0x55);
	t_uint(status(&pc) & STATUS_FULL, 0);
	i8042_fini(&pc.k);
}

Test(i8042, the_control_byte_is_what_was_written)
{
	struct pc pc;

	setup(&pc);
	set_control(&pc, 0x47);
	command(&pc, 0x20);
	t_hex(data(&pc), 0x47);
	i8042_fini(&pc.k);
}

Test(i8042, port_commands_switch_bits_of_the_control_byte)
{
	static const struct {
		const char *name;
		uint8_t before, command, after;
	} rows[] = {
		{ "keyboard off", 0x01, 0xad, 0x11 },
		{ "keyboard on", 0x31, 0xae, 0x21 },
		{ "mouse off", 0x01, 0xa7, 0x21 },
		{ "mouse on", 0x31, 0xa8, 0x11 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pc pc;

		setup(&pc);
		set_control(&pc, rows[i].before);
		command(&pc, rows[i].command);
		command(&pc, 0x20);
		t_row_hex(rows[i].name, data(&pc), rows[i].after);
		i8042_fini(&pc.k);
	}
}

Test(i8042, the_keyboard_port_tests_well_and_the_mouse_port_does_not)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xab);
	t_hex(data(&pc), 0x00);
	command(&pc, 0xa9);
	t_true(data(&pc) != 0x00);
	i8042_fini(&pc.k);
}

Test(i8042, a_probe_of_the_mouse_port_is_answered_at_once_as_from_the_keyboard)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd3);
	write_data(&pc, 0x5a);
	t_uint(status(&pc) & STATUS_FULL, STATUS_FULL);
	t_uint(status(&pc) & 0x20, 0); /* not marked as the mouse's */
	t_hex(data(&pc), 0x5a);
	i8042_fini(&pc.k);
}

Test(i8042, a_byte_to_the_mouse_is_swallowed)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd4);
	write_data(&pc, 0xff);
	t_uint(status(&pc) & STATUS_FULL, 0);
	i8042_fini(&pc.k);
}

Test(i8042, a_byte_may_be_put_into_the_output_as_if_typed)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd2);
	write_data(&pc, 0x1c);
	t_hex(data(&pc), 0x1c);
	i8042_fini(&pc.k);
}

Test(i8042, the_reset_pulse_resets)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xfe);
	t_uint(pc.power.resets, 1);
	t_uint(pc.power.offs, 0);
	t_has(pc.power.why, "i8042");
	i8042_fini(&pc.k);
}

Test(i8042, every_pulse_with_line_0_low_resets_and_no_other_command_does)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		struct pc pc;

		setup(&pc);
		command(&pc, (uint8_t)byte);
		cr_expect(eq(uint, pc.power.resets, byte >= 0xf0 && byte % 2 == 0), "command 0x%x",
			byte);
		i8042_fini(&pc.k);
	}
}

Test(i8042, the_output_port_resets_when_its_reset_line_goes_low)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd1);
	write_data(&pc, 0x02);
	t_uint(pc.power.resets, 1);
	i8042_fini(&pc.k);
}

Test(i8042, the_output_port_is_what_was_written)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd0);
	t_hex(data(&pc), 0x03);
	command(&pc, 0xd1);
	write_data(&pc, 0xdf);
	command(&pc, 0xd0);
	t_hex(data(&pc), 0xdf);
	t_uint(pc.power.resets, 0);
	i8042_fini(&pc.k);
}

Test(i8042, a_parameter_belongs_to_the_last_command_only)
{
	struct pc pc;

	setup(&pc);
	command(&pc, 0xd1);
	command(&pc, 0xab);
	(void)data(&pc);
	write_data(&pc, 0xf4); /* for the keyboard, which acknowledges */
	t_hex(data(&pc), ACK);
	t_uint(pc.power.resets, 0);
	i8042_fini(&pc.k);
}

Test(i8042, commands_that_are_not_listed_are_ignored)
{
	static const uint8_t unlisted[] = { 0x00, 0x21, 0x3f, 0x61, 0xa4, 0xa5, 0xc0, 0xd5, 0xe0,
		0xef };

	for (unsigned i = 0; i < ARRAY_SIZE(unlisted); i++) {
		struct pc pc;

		setup(&pc);
		command(&pc, unlisted[i]);
		cr_expect(eq(uint, pc.k.count, 0), "command 0x%x", unlisted[i]);
		cr_expect(eq(uint, pc.k.expects, 0), "command 0x%x", unlisted[i]);
		cr_expect(eq(uint, pc.power.resets, 0), "command 0x%x", unlisted[i]);
		i8042_fini(&pc.k);
	}
}

/* --- the keyboard --- */

Test(i8042, the_keyboard_answers_commands_as_keyboards_do)
{
	static const struct {
		const char *name;
		uint8_t in[3], nin;
		uint8_t out[3], nout;
	} rows[] = {
		{ "reset", { 0xff }, 1, { ACK, 0xaa }, 2 },
		{ "identify", { 0xf2 }, 1, { ACK, 0xab, 0x83 }, 3 },
		{ "set lights", { 0xed, 0x02 }, 2, { ACK, ACK }, 2 },
		{ "scan code set", { 0xf0, 0x02 }, 2, { ACK, ACK }, 2 },
		{ "rate", { 0xf3, 0x00 }, 2, { ACK, ACK }, 2 },
		{ "a parameter that looks like a command", { 0xed, 0xff }, 2, { ACK, ACK }, 2 },
		{ "enable", { 0xf4 }, 1, { ACK }, 1 },
		{ "disable", { 0xf5 }, 1, { ACK }, 1 },
		{ "defaults", { 0xf6 }, 1, { ACK }, 1 },
		{ "unknown", { 0x00 }, 1, { ACK }, 1 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pc pc;

		setup(&pc);
		for (unsigned k = 0; k < rows[i].nin; k++)
			write_data(&pc, rows[i].in[k]);
		t_row_int(rows[i].name, pc.k.count, rows[i].nout);
		for (unsigned k = 0; k < rows[i].nout; k++)
			t_row_hex(rows[i].name, data(&pc), rows[i].out[k]);
		i8042_fini(&pc.k);
	}
}

Test(i8042, an_empty_output_shows_no_new_byte)
{
	struct pc pc;

	setup(&pc);
	(void)data(&pc);
	t_uint(pc.k.count, 0);
	t_uint(status(&pc) & STATUS_FULL, 0);
	i8042_fini(&pc.k);
}

Test(i8042, a_full_queue_loses_what_comes_later_and_keeps_the_order)
{
	struct pc pc;

	setup(&pc);
	for (unsigned i = 0; i < I8042_QUEUE + 8; i++) {
		command(&pc, 0xd2);
		write_data(&pc, (uint8_t)i);
	}
	t_uint(pc.k.count, I8042_QUEUE);
	for (unsigned i = 0; i < I8042_QUEUE; i++)
		cr_expect(eq(u8, data(&pc), (uint8_t)i));
	t_uint(status(&pc) & STATUS_FULL, 0);
	i8042_fini(&pc.k);
}

/* --- the interrupt --- */

Test(i8042, a_waiting_byte_raises_the_line_only_where_the_control_byte_says_so)
{
	struct pc pc;

	setup(&pc);
	write_data(&pc, 0xf4);
	t_false(pc.k.irq.level);
	set_control(&pc, CTR_KBD_INTERRUPT);
	t_true(pc.k.irq.level);
	(void)data(&pc);
	t_false(pc.k.irq.level);
	i8042_fini(&pc.k);
}

Test(i8042, the_line_stays_up_while_bytes_wait)
{
	struct pc pc;

	setup(&pc);
	set_control(&pc, CTR_KBD_INTERRUPT);
	write_data(&pc, 0xf2);
	(void)data(&pc);
	t_true(pc.k.irq.level);
	(void)data(&pc);
	(void)data(&pc);
	t_false(pc.k.irq.level);
	i8042_fini(&pc.k);
}

/* --- Ctrl-Alt-Del --- */

Test(i8042, ctrl_alt_del_presses_three_keys_and_releases_them)
{
	static const uint8_t keys[] = { 0x14, 0x11, 0xe0, 0x71, 0xe0, 0xf0, 0x71, 0xf0, 0x11, 0xf0,
		0x14 };
	struct pc pc;

	setup(&pc);
	set_control(&pc, CTR_KBD_INTERRUPT);
	t_true(i8042_ctrl_alt_del(&pc.k));
	t_true(pc.k.irq.level);
	t_uint(pc.k.count, sizeof(keys));
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		cr_expect(eq(u8, data(&pc), keys[i]), "byte %u", i);
	i8042_fini(&pc.k);
}

Test(i8042, ctrl_alt_del_is_refused_where_nobody_listens)
{
	static const struct {
		const char *name;
		uint8_t control, keyboard;
	} rows[] = {
		{ "no interrupt", 0, 0xf4 },
		{ "keyboard port off", CTR_KBD_INTERRUPT | CTR_KBD_OFF, 0xf4 },
		{ "keyboard does not scan", CTR_KBD_INTERRUPT, 0xf5 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct pc pc;

		setup(&pc);
		set_control(&pc, rows[i].control);
		write_data(&pc, rows[i].keyboard);
		(void)data(&pc);
		t_row_int(rows[i].name, i8042_ctrl_alt_del(&pc.k), false);
		t_row_int(rows[i].name, pc.k.count, 0);
		i8042_fini(&pc.k);
	}
}

Test(i8042, ctrl_alt_del_is_refused_after_reset_before_a_driver_came)
{
	struct pc pc;

	setup(&pc);
	t_false(i8042_ctrl_alt_del(&pc.k));
	i8042_fini(&pc.k);
}

Test(i8042, ctrl_alt_del_is_sent_whole_or_not_at_all)
{
	struct pc pc;

	setup(&pc);
	set_control(&pc, CTR_KBD_INTERRUPT);
	for (unsigned i = 0; i < 6; i++)
		write_data(&pc, 0xf4);
	t_false(i8042_ctrl_alt_del(&pc.k));
	t_uint(pc.k.count, 6);
	(void)data(&pc);
	t_true(i8042_ctrl_alt_del(&pc.k));
	t_uint(pc.k.count, I8042_QUEUE);
	i8042_fini(&pc.k);
}

Test(i8042, what_the_guest_does_is_counted)
{
	struct i8042_counters c;
	struct pc pc;

	setup(&pc);
	command(&pc, 0xaa);
	(void)status(&pc);
	(void)data(&pc);
	(void)data(&pc); /* nothing is there */
	command(&pc, 0x99);
	command(&pc, 0xfe);
	i8042_get_counters(&pc.k, &c);
	t_uint(c.writes, 3);
	t_uint(c.reads, 3);
	t_uint(c.missed_reads, 1);
	t_uint(c.errors, 1);
	t_uint(c.resets, 1);
	t_uint(c.missed_writes, 0);
	for (unsigned i = 0; i < I8042_QUEUE + 3; i++)
		command(&pc, 0x20);
	i8042_get_counters(&pc.k, &c);
	t_uint(c.missed_writes, 3);
	i8042_fini(&pc.k);
}

Test(i8042, without_a_byte_that_waits_the_last_one_is_seen_again)
{
	struct pc pc;

	setup(&pc);
	t_hex(data(&pc), 0);
	command(&pc, 0xaa);
	command(&pc, 0xab);
	t_hex(data(&pc), 0x55);
	t_hex(data(&pc), 0);
	t_hex(data(&pc), 0);
	command(&pc, 0xaa);
	t_hex(data(&pc), 0x55);
	t_hex(data(&pc), 0x55);
	t_hex(data(&pc), 0x55);
	i8042_fini(&pc.k);
}

/* --- state --- */

/* One access, or the keys: what was read. */
static unsigned act(struct pc *pc, uint64_t *seed)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x20, 0x41, 0x60, 0xa7, 0xa8, 0xa9, 0xaa,
		0xab, 0xad, 0xae, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xed, 0xf0, 0xf2, 0xf4, 0xf5,
		0xff };
	unsigned kind, value;

	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	kind = (unsigned)(*seed >> 33) % 8;
	value = values[(unsigned)(*seed >> 40) % ARRAY_SIZE(values)];
	switch (kind) {
	case 0:
	case 1: return data(pc);
	case 2: return status(pc);
	case 3: return i8042_ctrl_alt_del(&pc->k);
	case 4:
	case 5: command(pc, (uint8_t)value); return 0;
	default: write_data(pc, (uint8_t)value); return 0;
	}
}

Test(i8042, a_controller_that_was_loaded_does_what_the_other_would_have_done)
{
	for (uint64_t run = 0; run < 300; run++) {
		uint64_t seed = run, seed_b;
		struct i8042_state state, again;
		struct pc a, b;

		setup(&a);
		for (unsigned i = 0; i < run; i++)
			(void)act(&a, &seed);
		memset(&state, 0xa5, sizeof(state));
		i8042_save(&a.k, &state);
		setup(&b);
		t_int(i8042_load(&b.k, &state), 0);
		t_int(b.k.irq.level, a.k.irq.level);
		i8042_save(&b.k, &again);
		t_int(memcmp(&state, &again, sizeof(state)), 0);
		seed_b = seed;
		for (unsigned i = 0; i < 60; i++) {
			t_uint(act(&b, &seed_b), act(&a, &seed));
			t_int(b.k.irq.level, a.k.irq.level);
		}
		i8042_fini(&a.k);
		i8042_fini(&b.k);
	}
}

Test(i8042, values_that_no_controller_has_are_refused_and_change_nothing)
{
	static const struct {
		const char *name;
		struct i8042_state state;
		int rc;
	} rows[] = {
		{ "nothing", { 0 }, 0 },
		{ "full",
			{ .count = 16,
				.control = 0xff,
				.outport = 0xff,
				.expects = 0xd1,
				.kbd_expects = true,
				.kbd_scans = true },
			0 },
		{ "too many bytes", { .count = 17 }, -EBADMSG },
		{ "very many bytes", { .count = UINT32_MAX }, -EBADMSG },
		{ "a parameter of no command", { .expects = 0x61 }, -EBADMSG },
		{ "a parameter of a command without", { .expects = 0xaa }, -EBADMSG },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct i8042_state before, after;
		struct pc pc;

		setup(&pc);
		i8042_save(&pc.k, &before);
		t_row_int(rows[i].name, i8042_load(&pc.k, &rows[i].state), rows[i].rc);
		i8042_save(&pc.k, &after);
		t_row_int(rows[i].name,
			memcmp(&after, rows[i].rc == 0 ? &rows[i].state : &before, sizeof(after)),
			0);
		i8042_fini(&pc.k);
	}
}
