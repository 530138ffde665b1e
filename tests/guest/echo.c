/* Gives back what arrives on the serial port, by polling; a 'q' ends it. */
#include "guest.h"

void guest_main(uint64_t protocol, const void *info)
{
	char c = 0;

	(void)protocol;
	(void)info;
	outb(COM1 + 2, 0x07); /* FIFO on and empty */
	put_text("ready\n");
	while (c != 'q') {
		while (!(inb(COM1 + 5) & LSR_DATA_READY))
			;
		c = (char)inb(COM1);
		put_char(c);
	}
	put_char('\n');
	power_off();
}
