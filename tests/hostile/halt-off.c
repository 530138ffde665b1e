/* Halts with interrupts off: nothing in the guest can end this. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	(void)protocol;
	(void)info;
	put_text("halting\n");
	halt_forever();
}
