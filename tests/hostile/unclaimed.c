/*
 * Reads and writes what is nobody's: ports, and addresses in the hole, behind RAM and far away, in
 * every size, over the edges of what is somebody's.  Reads must give all ones, writes must change
 * nothing.
 */
#include "guest.h"

static bool good = true;

static void check(bool ok, const char *what, uint64_t at, uint64_t got)
{
	good = good && ok;
	if (ok)
		return;
	put_text("BAD: ");
	put_text(what);
	put_text(" 0x");
	put_number(at, 16);
	put_text(" gives 0x");
	put_number(got, 16);
	put_char('\n');
}

static void try_port(uint16_t port)
{
	outb(port, 0x12);
	outw(port, 0x1234);
	outl(port, 0x12345678);
	check(inb(port) == 0xff, "byte at port", port, inb(port));
	check(inw(port) == 0xffff, "word at port", port, inw(port));
	check(inl(port) == 0xffffffff, "long at port", port, inl(port));
}

static void try_address(uint64_t gpa)
{
	volatile uint8_t *at = window(gpa);

	*(volatile uint8_t *)at = 0x12;
	*(volatile uint16_t *)at = 0x1234;
	*(volatile uint32_t *)at = 0x12345678;
	*(volatile uint64_t *)at = 0x123456789abcdef0;
	check(*(volatile uint8_t *)at == 0xff, "byte at", gpa, *at);
	check(*(volatile uint16_t *)at == 0xffff, "word at", gpa, *(volatile uint16_t *)at);
	check(*(volatile uint32_t *)at == ~0U, "long at", gpa, *(volatile uint32_t *)at);
	check(*(volatile uint64_t *)at == ~0ULL, "quad at", gpa, *(volatile uint64_t *)at);
}

/* Half in RAM, half behind it. */
static void try_edge(uint64_t end)
{
	volatile uint8_t *at = window(end - 4);
	uint64_t value;

	*(volatile uint32_t *)at = 0;
	*(volatile uint64_t *)at = 0x1122334455667788;
	value = *(volatile uint64_t *)at;
	check(value == 0xffffffff55667788, "over the end of RAM", end, value);
}

/* Accesses that begin or end in somebody's ports but fit in nobody's range. */
static void try_overlaps(void)
{
	outw(0x63, 0xfefe);       /* the second byte would reset */
	outw(PORT_I8042, 0xfefe); /* one port is one byte wide */
	outl(PORT_I8042, 0xfefefefe);
	outl(0x5fe, 0x34343434); /* the third byte would power off */
	outl(PORT_SLEEP, 0x34343434);
	outw(PORT_RESET, 0x0101);
	outw(PORT_SLEEP, 0x3434); /* within the range, but the registers are bytes */
	check(inw(PORT_I8042) == 0xffff, "word at port", PORT_I8042, inw(PORT_I8042));
	check(inl(COM1 + 6) == ~0U, "long at port", COM1 + 6, inl(COM1 + 6));
	check(inw(COM1 - 1) == 0xffff, "word at port", COM1 - 1, inw(COM1 - 1));
	(void)inl(COM1);
	(void)inl(PORT_MARK);
	outb(PORT_MARK, 1);
}

void guest_main(uint64_t protocol, const void *info)
{
	static const uint16_t ports[] = { 0x01f0, 0x02f8, 0x03f0, 0x0400, 0x0603, 0x0cf8, 0x0cfc,
		0x1234, 0x8000, 0xc000, 0xfff0, 0xfffc };
	static const uint64_t addresses[] = { 0xc0000000, 0xc0000ff8, 0xc1000000, 0xd0000001,
		0xdffffffd, 0xe0000000, 0xfec01000, 0xff000003, 0xfffffff8, 1ULL << 36,
		(1ULL << 38) + 5 };
	uint64_t ram = guest_number(guest_cmdline(protocol, info), "mem_mib", 128) << 20;

	for (unsigned i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
		try_port(ports[i]);
	for (unsigned i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		try_address(addresses[i]);
	try_address(ram);
	try_address(ram + 0x123457);
	try_edge(ram);
	try_overlaps();
	put_text(good ? "nobody is there\n" : "SOMEBODY IS THERE\n");
	power_off();
}
