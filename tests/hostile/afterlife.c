/* Powers off and does not stay dead: it goes on writing, resets, and crashes.  The first word
 * counts. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	(void)protocol;
	(void)info;
	put_text("last words\n");
	outb(PORT_SLEEP, 0x34);
	put_text("after the end\n");
	outb(PORT_RESET, 1);
	__asm__ volatile("ud2");
}
