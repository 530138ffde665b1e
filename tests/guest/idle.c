/* Says so and idles for ever, as a machine does whose memory is being measured. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	(void)protocol;
	(void)info;
	put_text("idle\n");
	halt_forever();
}
