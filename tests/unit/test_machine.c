/* The board: which device answers where. */
#include "t.h"

#include "machine.h"
#include "t_power.h"
#include "x86/layout.h"

TestSuite(machine, .timeout = T_SECONDS);

struct host {
	struct t_power power;
	unsigned tx, marks;
	uint8_t last_tx;
};

static void on_tx(void *ctx, uint8_t byte)
{
	struct host *h = ctx;

	h->tx++;
	h->last_tx = byte;
}

static void on_room(void *ctx)
{
	(void)ctx;
}

static void on_mark(void *ctx, uint32_t guest_us)
{
	struct host *h = ctx;

	(void)guest_us;
	h->marks++;
}

static void setup(struct machine *m, struct host *h)
{
	struct machine_host host;

	memset(h, 0, sizeof(*h));
	host = (struct machine_host){ .power = t_power_host(&h->power),
		.serial = { on_tx, on_room, h },
		.post = { on_mark, h } };
	machine_init(m, -1, &host);
}

static void out8(struct machine *m, uint16_t port, uint8_t value)
{
	cr_assert(eq(int, bus_write(&m->pio, port, &value, 1), 1), "port 0x%x", port);
}

Test(machine, exactly_these_ports_are_claimed)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	for (unsigned port = 0; port < 0x10000; port++) {
		bool want = port == 0x60 || port == 0x64 || (port >= 0x80 && port <= 0x83) ||
			    (port >= 0x3f8 && port <= 0x3ff) || (port >= 0x600 && port <= 0x602);
		uint8_t byte;

		cr_expect(eq(int, bus_read(&m.pio, port, &byte, 1), want), "port 0x%x", port);
	}
	machine_fini(&m);
}

Test(machine, no_memory_address_is_claimed)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	t_uint(m.mmio.n, 0);
	machine_fini(&m);
}

Test(machine, com1_sends_to_the_host)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	out8(&m, 0x3f8, 'A');
	t_uint(h.tx, 1);
	t_uint(h.last_tx, 'A');
	machine_fini(&m);
}

Test(machine, the_keyboard_controller_and_acpi_end_the_machine)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	out8(&m, 0x64, 0xfe);
	t_uint(h.power.resets, 1);
	out8(&m, 0x600, 0x34);
	t_uint(h.power.offs, 1);
	out8(&m, 0x602, 1);
	t_uint(h.power.resets, 2);
	machine_fini(&m);
}

Test(machine, a_wide_write_to_port_0x80_is_a_mark)
{
	struct machine m;
	struct host h;
	uint8_t buf[4] = { 1 };

	setup(&m, &h);
	t_true(bus_write(&m.pio, 0x80, buf, 4));
	t_uint(h.marks, 1);
	machine_fini(&m);
}

Test(machine, the_devices_have_the_interrupts_that_the_tables_announce)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	t_uint(m.serial.irq.gsi, LAYOUT_GSI_COM1);
	t_uint(m.i8042.irq.gsi, LAYOUT_GSI_I8042);
	t_uint(m.pm.button.gsi, LAYOUT_GSI_POWER_BUTTON);
	t_uint(m.generation.gsi, LAYOUT_GSI_VMGENID);
	machine_fini(&m);
}

Test(machine, a_shutdown_request_goes_to_a_keyboard_that_is_listened_to)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	out8(&m, 0x64, 0x60);
	out8(&m, 0x60, 0x01);
	machine_request_shutdown(&m);
	t_uint(m.i8042.count, 11);
	machine_fini(&m);
}

Test(machine, a_shutdown_request_presses_the_power_button_where_no_keyboard_is_listened_to)
{
	struct machine m;
	struct host h;

	setup(&m, &h);
	machine_request_shutdown(&m);
	t_uint(m.i8042.count, 0);
	t_false(m.pm.button.level);
	machine_fini(&m);
}

Test(machine, two_machines_do_not_share_anything)
{
	struct machine a, b;
	struct host ha, hb;

	setup(&a, &ha);
	setup(&b, &hb);
	out8(&a, 0x3f8, 'A');
	out8(&a, 0x64, 0xfe);
	t_uint(hb.tx + hb.power.resets, 0);
	machine_fini(&a);
	machine_fini(&b);
	T_NO_LEAKS();
}
