/*
 * Says "ready" and looks at its time-stamp counter until that jumps, as it does when the machine
 * was saved and restored a while later; then it gives its time mark and powers off, or with
 * "stay=1" says "restored" and gives back what arrives on the serial port.  "dirty=N" first writes
 * to N pages.
 */
#include "guest.h"

/* Ticks; no emulation, and no host that is busy, makes two readings so far apart. */
enum { GAP_SHIFT = 31 };

static void echo_for_ever(void)
{
	for (;;) {
		while (!(inb(COM1 + 5) & LSR_DATA_READY))
			;
		put_char((char)inb(COM1));
	}
}

void guest_main(uint64_t protocol, const void *info)
{
	const char *cmdline = guest_cmdline(protocol, info);
	uint64_t pages = guest_number(cmdline, "dirty", 0), last, now;

	for (uint64_t i = 0; i < pages; i++)
		*window((4 << 20) + i * 4096) = (uint8_t)(i + 1);
	put_text("ready\n");
	last = now = read_tsc();
	while (now - last < (1ULL << GAP_SHIFT)) {
		last = now;
		now = read_tsc();
	}
	outl(PORT_MARK, 0);
	if (guest_number(cmdline, "stay", 0) == 0)
		power_off();
	put_text("restored\n");
	echo_for_ever();
}
