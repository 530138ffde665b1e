/* An exception without a table of handlers. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) empty = { 0, 0 };

	(void)protocol;
	(void)info;
	put_text("falling\n");
	__asm__ volatile("lidt %0; ud2" : : "m"(empty));
}
