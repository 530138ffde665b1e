/* Every CPU writes to the serial port, and then all at once end the machine, each in its own way.
 */
#include "smp.h"

static volatile uint32_t written;
static uint32_t cpus;

static void take_part(uint32_t number)
{
	for (unsigned i = 0; i < 200; i++)
		outb(COM1, (uint8_t)('a' + number % 26));
	__atomic_fetch_add(&written, 1, __ATOMIC_SEQ_CST);
	while (written < cpus)
		__asm__ volatile("pause");
	switch (number % 3) {
	case 0: outb(PORT_SLEEP, 0x34); break;
	case 1: outb(PORT_RESET, 1); break;
	default: outb(PORT_I8042, 0xfe); break;
	}
}

void guest_ap(uint32_t number)
{
	take_part(number);
}

void guest_main(uint64_t protocol, const void *info)
{
	cpus = (uint32_t)guest_number(guest_cmdline(protocol, info), "cpus", 1);
	if (cpus > 1)
		start_cpus(cpus - 1);
	take_part(0);
	halt_forever();
}
