/* ACPI sleep, reset and power button (acpi_pm.h). */
#include "legacy/acpi_pm.h"

enum {
	REG_SLEEP_CONTROL,
	REG_SLEEP_STATUS,
	REG_RESET,
	SLEEP_ENABLE = 1 << 5,
	SLEEP_TYPE_SHIFT = 2,
	SLEEP_TYPE_MASK = 7,
	S5 = 5, /* as the DSDT's \_S5 says */
	RESET_VALUE = 1,
};

static void read_register(void *dev, uint64_t off, uint8_t *buf, uint32_t len)
{
	/* Never asleep, so never woken: the status has nothing to show and the rest is write-only.
	 */
	(void)dev;
	(void)off;
	for (uint32_t i = 0; i < len; i++)
		buf[i] = 0;
}

static void write_register(void *dev, uint64_t off, const uint8_t *buf, uint32_t len)
{
	struct acpi_pm *pm = dev;

	if (len != 1)
		return;
	if (off == REG_SLEEP_CONTROL && (buf[0] & SLEEP_ENABLE) &&
		(buf[0] >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == S5)
		pm->power.event(pm->power.ctx, POWER_OFF, "ACPI power-off");
	else if (off == REG_RESET && buf[0] == RESET_VALUE)
		pm->power.event(pm->power.ctx, POWER_RESET, "ACPI reset");
}

const struct bus_ops acpi_pm_bus_ops = { .read = read_register, .write = write_register };

void acpi_pm_init(struct acpi_pm *pm, struct irq_line button, const struct power_host *power)
{
	*pm = (struct acpi_pm){ .button = button, .power = *power };
}

void acpi_pm_press_button(struct acpi_pm *pm)
{
	irq_line_set(&pm->button, true);
	irq_line_set(&pm->button, false);
}
