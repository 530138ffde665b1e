/*
 * Counts on the serial port, a number a line, until "until=" of the command line, and powers off.
 * Each number is in a register and in two places of memory, and the time stamp counter never goes
 * back: a machine that was saved in between and goes on elsewhere shows no seam.
 */
#include "guest.h"

enum { UNTIL = 1000, FAR_AT = 8 << 20 };

void guest_main(uint64_t protocol, const void *info)
{
	uint64_t until = guest_number(guest_cmdline(protocol, info), "until", UNTIL);
	static volatile uint64_t near;
	uint64_t before = read_tsc();

	for (uint64_t i = 0; i < until; i++) {
		volatile uint64_t *far = (volatile uint64_t *)window(FAR_AT);
		uint64_t now = read_tsc();

		if (near != i || far[i] != 0)
			put_text("MEMORY IS BAD\n");
		if (now < before)
			put_text("TIME WENT BACK\n");
		before = now;
		far[i] = i + 1;
		near = i + 1;
		put_number(i, 10);
		put_char('\n');
		for (uint64_t k = 0; k <= i; k += 64) {
			if (far[k] != k + 1)
				put_text("MEMORY IS BAD\n");
		}
	}
	power_off();
}
