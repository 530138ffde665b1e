/*
 * The board: everything on the port and memory buses that is not a CPU.  Registers reach it from
 * vCPU threads.
 */
#ifndef MVM_MACHINE_H
#define MVM_MACHINE_H

#include "base/check.h"
#include "core/bus.h"
#include "legacy/acpi_pm.h"
#include "legacy/i8042.h"
#include "legacy/post.h"
#include "legacy/serial.h"

/* Where the board's devices report to.  Called on vCPU threads. */
struct machine_host {
	struct power_host power;
	struct serial_host serial;
	struct post post;
	bool has_boot_timer; /* its mark is post's */
};

struct machine {
	struct bus pio, mmio;
	struct serial serial;
	struct i8042 i8042;
	struct acpi_pm pm;
	struct post post;
	struct irq_line generation; /* x86/vmgenid.h */
};

/* Puts all devices on their buses; vm_fd is borrowed for the interrupt lines (-1: none). */
void machine_init(struct machine *m, int vm_fd, const struct machine_host *host);
void machine_fini(struct machine *m);

/*
 * Asks the guest's kernel for an orderly end: Ctrl-Alt-Del where it listens to the keyboard, the
 * ACPI power button otherwise.  Loop thread.
 */
void machine_request_shutdown(struct machine *m);

/* Tells the guest that its generation id is another one. */
void machine_announce_generation(struct machine *m);

#endif
