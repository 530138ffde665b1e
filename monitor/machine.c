/* The board (machine.h). */
#include "machine.h"

#include "legacy/boot_timer.h"
#include "x86/layout.h"

static struct irq_line line(int vm_fd, uint32_t gsi)
{
	return (struct irq_line){ .vm_fd = vm_fd, .gsi = gsi };
}

void machine_init(struct machine *m, int vm_fd, const struct machine_host *host)
{
	const struct {
		uint64_t base, len;
		const struct bus_ops *ops;
		void *dev;
	} ports[] = {
		{ LAYOUT_I8042_DATA, 1, &i8042_data_ops, &m->i8042 },
		{ LAYOUT_I8042_COMMAND, 1, &i8042_command_ops, &m->i8042 },
		{ LAYOUT_POST, sizeof(uint32_t), &post_bus_ops, &m->post },
		{ LAYOUT_COM1, LAYOUT_COM1_LEN, &serial_bus_ops, &m->serial },
		{ LAYOUT_ACPI_PM, LAYOUT_ACPI_PM_LEN, &acpi_pm_bus_ops, &m->pm },
	};

	m->pio.n = m->mmio.n = 0;
	serial_init(&m->serial, line(vm_fd, LAYOUT_GSI_COM1), &host->serial);
	i8042_init(&m->i8042, line(vm_fd, LAYOUT_GSI_I8042), &host->power);
	acpi_pm_init(&m->pm, line(vm_fd, LAYOUT_GSI_POWER_BUTTON), &host->power);
	m->generation = line(vm_fd, LAYOUT_GSI_VMGENID);
	m->post = host->post;
	if (host->has_boot_timer)
		INVARIANT(bus_add(&m->mmio, LAYOUT_BOOT_TIMER, BOOT_TIMER_LEN, &boot_timer_bus_ops,
				  &m->post) == 0);
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		/* The layout is ours: it overlaps nowhere. */
		INVARIANT(bus_add(&m->pio, ports[i].base, ports[i].len, ports[i].ops,
				  ports[i].dev) == 0);
}

void machine_fini(struct machine *m)
{
	serial_fini(&m->serial);
	i8042_fini(&m->i8042);
}

void machine_request_shutdown(struct machine *m)
{
	if (!i8042_ctrl_alt_del(&m->i8042))
		acpi_pm_press_button(&m->pm);
}

void machine_announce_generation(struct machine *m)
{
	irq_line_set(&m->generation, true);
	irq_line_set(&m->generation, false);
}
