/* ACPI sleep, reset and power button. */
#include "t.h"

#include "legacy/acpi_pm.h"
#include "t_power.h"

TestSuite(acpi_pm, .timeout = T_SECONDS);

enum { SLEEP_CONTROL, SLEEP_STATUS, RESET };

static struct acpi_pm make(struct t_power *p)
{
	struct irq_line nowhere = { .vm_fd = -1, .gsi = 9 };
	struct power_host host = t_power_host(p);
	struct acpi_pm pm;

	acpi_pm_init(&pm, nowhere, &host);
	return pm;
}

static void write8(struct acpi_pm *pm, uint64_t off, uint8_t value)
{
	acpi_pm_bus_ops.write(pm, off, &value, 1);
}

Test(acpi_pm, sleep_type_5_with_sleep_enable_powers_off)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);

	write8(&pm, SLEEP_CONTROL, 5 << 2 | 1 << 5);
	t_uint(p.offs, 1);
	t_uint(p.resets, 0);
	t_has(p.why, "ACPI");
}

Test(acpi_pm, other_sleep_types_and_a_type_without_enable_do_nothing)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);

	for (unsigned value = 0; value < 256; value++) {
		if ((value & 0x3c) != (5 << 2 | 1 << 5))
			write8(&pm, SLEEP_CONTROL, (uint8_t)value);
	}
	t_uint(p.offs + p.resets, 0);
}

Test(acpi_pm, one_in_the_reset_register_resets)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);

	write8(&pm, RESET, 1);
	t_uint(p.resets, 1);
	t_uint(p.offs, 0);
}

Test(acpi_pm, other_values_in_the_reset_register_do_nothing)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);

	for (unsigned value = 0; value < 256; value++) {
		if (value != 1)
			write8(&pm, RESET, (uint8_t)value);
	}
	t_uint(p.offs + p.resets, 0);
}

Test(acpi_pm, the_status_register_takes_no_command)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);

	for (unsigned value = 0; value < 256; value++)
		write8(&pm, SLEEP_STATUS, (uint8_t)value);
	t_uint(p.offs + p.resets, 0);
}

Test(acpi_pm, a_wide_write_is_no_command)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);
	uint8_t buf[2] = { 5 << 2 | 1 << 5, 0 }, reset[2] = { 1, 1 };

	acpi_pm_bus_ops.write(&pm, SLEEP_CONTROL, buf, 2);
	acpi_pm_bus_ops.write(&pm, SLEEP_STATUS, reset, 2);
	t_uint(p.offs + p.resets, 0);
}

Test(acpi_pm, all_registers_read_zero_at_any_width)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);
	uint8_t buf[4] = { 0xff, 0xff, 0xff, 0xff };

	acpi_pm_bus_ops.read(&pm, SLEEP_CONTROL, buf, 2);
	t_uint(buf[0] | buf[1], 0);
	t_uint(buf[2], 0xff);
	acpi_pm_bus_ops.read(&pm, RESET, buf + 2, 1);
	t_uint(buf[2], 0);
}

Test(acpi_pm, a_press_leaves_the_line_low)
{
	struct t_power p = { 0 };
	struct acpi_pm pm = make(&p);

	acpi_pm_press_button(&pm);
	t_false(pm.button.level);
	t_uint(p.offs + p.resets, 0);
}
