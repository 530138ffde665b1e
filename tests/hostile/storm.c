/*
 * Writes random values of random width to every register of every device, reads as many, and only
 * leaves out what would end the machine.  "n=" on the command line says how many, "seed=" where to
 * begin.  All CPUs take part.
 */
#include "smp.h"

static uint64_t seed, rounds;
static volatile uint32_t ended;

static uint32_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 16);
}

static bool would_end(uint16_t port, uint32_t value)
{
	uint8_t byte = (uint8_t)value;

	switch (port) {
	case PORT_I8042: return byte == 0xd1 || (byte >= 0xf0 && !(byte & 1));
	case PORT_I8042_DATA: return !(byte & 1); /* may be what another CPU's 0xd1 waits for */
	case PORT_SLEEP: return true;
	case PORT_RESET: return byte == 1;
	default: return false;
	}
}

static void storm(uint32_t number)
{
	static const uint16_t bases[] = { COM1, COM1, COM1, PORT_I8042_DATA, PORT_I8042, PORT_MARK,
		PORT_SLEEP };
	uint64_t state = seed * 0x9e3779b97f4a7c15 + number + 1;

	for (uint64_t i = 0; i < rounds; i++) {
		uint32_t r = next(&state), value = next(&state);
		uint16_t base = bases[r % (sizeof(bases) / sizeof(bases[0]))];
		uint16_t port = base == COM1         ? base + (r >> 8 & 7)
				: base == PORT_SLEEP ? base + (r >> 8) % 3
						     : base;

		if (r >> 16 & 1) {
			(void)(r >> 17 & 1 ? inb(port) : r >> 18 & 1 ? inw(port) : inl(port));
			continue;
		}
		if (would_end(port, value))
			continue;
		if (r >> 17 & 1)
			outb(port, (uint8_t)value);
		else if (r >> 18 & 1)
			outw(port, (uint16_t)value);
		else
			outl(port, value);
	}
	__atomic_fetch_add(&ended, 1, __ATOMIC_SEQ_CST);
}

void guest_ap(uint32_t number)
{
	storm(number);
}

void guest_main(uint64_t protocol, const void *info)
{
	const char *cmdline = guest_cmdline(protocol, info);
	uint32_t cpus = (uint32_t)guest_number(cmdline, "cpus", 1);

	seed = guest_number(cmdline, "seed", 1);
	rounds = guest_number(cmdline, "n", 20000);
	if (cpus > 1)
		start_cpus(cpus - 1);
	storm(0);
	while (ended < cpus)
		__asm__ volatile("pause");
	/* The port may be in any state. */
	outb(COM1 + 3, 3);
	outb(COM1 + 1, 0);
	outb(COM1 + 4, 0);
	put_text("\nthe storm is over\n");
	power_off();
}
