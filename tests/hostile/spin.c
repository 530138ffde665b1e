/* Says so and computes for ever, without an exit to the monitor. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	(void)protocol;
	(void)info;
	put_text("spinning\n");
	for (;;)
		__asm__ volatile("");
}
