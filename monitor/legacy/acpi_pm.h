/*
 * The hardware-reduced ACPI registers (ACPI 6.4, 4.8.3.7): sleep control, sleep status, reset; and
 * the power button, which is an interrupt that the generic event device of the DSDT listens to.
 */
#ifndef MVM_LEGACY_ACPI_PM_H
#define MVM_LEGACY_ACPI_PM_H

#include "core/bus.h"
#include "core/irq.h"
#include "legacy/power.h"

struct acpi_pm {
	struct irq_line button;
	struct power_host power;
};

extern const struct bus_ops acpi_pm_bus_ops; /* dev is the struct acpi_pm; three ports */

void acpi_pm_init(struct acpi_pm *pm, struct irq_line button, const struct power_host *power);

/* One press.  The loop's thread. */
void acpi_pm_press_button(struct acpi_pm *pm);

#endif
