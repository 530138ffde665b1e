/*
 * Resets the machine as kernels do that trust nothing but the BIOS: in real mode, by a jump to
 * F000:FFF0.  The second CPU does it, because it starts in real mode.
 */
#include "smp.h"

void guest_ap(uint32_t number)
{
	(void)number;
}

void guest_main(uint64_t protocol, const void *info)
{
	static const uint8_t jump[] = { 0xea, 0xf0, 0xff, 0x00, 0xf0 };
	volatile uint8_t *to = (volatile uint8_t *)TRAMPOLINE;

	(void)protocol;
	(void)info;
	put_text("resetting\n");
	for (unsigned i = 0; i < sizeof(jump); i++)
		to[i] = jump[i];
	send_startup();
	halt_forever();
}
