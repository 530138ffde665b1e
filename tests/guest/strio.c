/* String I/O: many accesses in one instruction, across pages, in both directions and widths. */
#include "guest.h"

enum { PAGE = 4096, SCRATCH = COM1 + 7, NOBODY = 0x5000 };

static uint8_t buffer[4 * PAGE] __attribute__((aligned(PAGE)));
static bool good = true;

static void check(bool ok, const char *what)
{
	if (!ok) {
		put_text("BAD: ");
		put_text(what);
		put_char('\n');
	}
	good = good && ok;
}

static void in_bytes(void *at, uint16_t port, uint64_t n)
{
	__asm__ volatile("rep insb" : "+D"(at), "+c"(n) : "d"(port) : "memory");
}

static void in_longs(void *at, uint16_t port, uint64_t n)
{
	__asm__ volatile("rep insl" : "+D"(at), "+c"(n) : "d"(port) : "memory");
}

static void out_bytes(const void *at, uint16_t port, uint64_t n)
{
	__asm__ volatile("rep outsb" : "+S"(at), "+c"(n) : "d"(port) : "memory");
}

static void out_words(const void *at, uint16_t port, uint64_t n)
{
	__asm__ volatile("rep outsw" : "+S"(at), "+c"(n) : "d"(port) : "memory");
}

static void out_backwards(const void *at, uint16_t port, uint64_t n)
{
	__asm__ volatile("std; rep outsb; cld" : "+S"(at), "+c"(n) : "d"(port) : "memory");
}

static bool all(const uint8_t *at, uint64_t n, uint8_t want)
{
	for (uint64_t i = 0; i < n; i++) {
		if (at[i] != want)
			return false;
	}
	return true;
}

void guest_main(uint64_t protocol, const void *info)
{
	static const char reversed[] = "\nsdrawkcab";

	(void)protocol;
	(void)info;
	/* A line of three pages and a bit, over page borders, one 'x' after the other. */
	for (unsigned i = 0; i < 3 * PAGE; i++)
		buffer[i + 100] = 'x';
	buffer[3 * PAGE + 100] = '\n';
	out_bytes(buffer + 100, COM1, 3 * PAGE + 1);
	out_backwards(reversed + sizeof(reversed) - 2, COM1, sizeof(reversed) - 1);

	outb(SCRATCH, 0x5a);
	in_bytes(buffer + 1, SCRATCH, 2 * PAGE);
	check(all(buffer + 1, 2 * PAGE, 0x5a), "insb from the scratch register");
	in_longs(buffer, NOBODY, 3 * PAGE / 4);
	check(all(buffer, 3 * PAGE, 0xff), "insl from nobody's port");
	buffer[0] = 0;
	in_bytes(buffer, NOBODY, 0);
	check(buffer[0] == 0, "insb of nothing");
	out_words(buffer, NOBODY, PAGE);
	out_words(buffer, PORT_MARK, PAGE);
	out_bytes(buffer, SCRATCH, PAGE);
	check(inb(SCRATCH) == 0xff, "outsb to the scratch register");
	put_text(good ? "string I/O is good\n" : "string I/O is BAD\n");
	power_off();
}
