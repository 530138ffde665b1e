/* Prints its command line between brackets. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	put_char('[');
	put_text(guest_cmdline(protocol, info));
	put_text("]\n");
	power_off();
}
