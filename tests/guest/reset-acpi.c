/* Resets the machine through the ACPI reset register. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	(void)protocol;
	(void)info;
	put_text("resetting\n");
	outb(PORT_RESET, 1);
	halt_forever();
}
