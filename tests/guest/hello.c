/* Greets and powers off. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	(void)info;
	put_text(protocol == GUEST_PVH ? "hello by PVH\n" : "hello by linux64\n");
	power_off();
}
