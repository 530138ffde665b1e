/* Jumps to an address with no memory behind it: "at=" on the command line in decimal, else the
 * hole. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	uint64_t at = guest_number(guest_cmdline(protocol, info), "at", 0xd0000000);

	put_text("jumping\n");
	((void (*)(void))at)();
}
