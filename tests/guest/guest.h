/*
 * What the tiny guests share: ports, serial output, power.  No library stands behind them, and they
 * use no instruction beyond the general ones: a KVM that emulates every instruction knows few
 * others.
 */
#ifndef MVM_TESTS_GUEST_H
#define MVM_TESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	COM1 = 0x3f8,
	PORT_I8042_DATA = 0x60,
	PORT_I8042 = 0x64,
	PORT_MARK = 0x80,
	PORT_SLEEP = 0x600,
	PORT_RESET = 0x602,

	LSR_DATA_READY = 1 << 0,
	LSR_THR_EMPTY = 1 << 5,
};

enum guest_protocol { GUEST_PVH = 0, GUEST_LINUX64 = 1 };

/* Every guest's main: info points to the PVH start info or to Linux's zero page.  Returning halts.
 */
void guest_main(uint64_t protocol, const void *info);

#define PORT_OPS(letter, type)                                                                     \
	static inline void out##letter(uint16_t port, type value)                                  \
	{                                                                                          \
		__asm__ volatile("out" #letter " %0, %1" : : "a"(value), "Nd"(port) : "memory");   \
	}                                                                                          \
	static inline type in##letter(uint16_t port)                                               \
	{                                                                                          \
		type value;                                                                        \
                                                                                                   \
		__asm__ volatile("in" #letter " %1, %0" : "=a"(value) : "Nd"(port) : "memory");    \
		return value;                                                                      \
	}

PORT_OPS(b, uint8_t)
PORT_OPS(w, uint16_t)
PORT_OPS(l, uint32_t)

static inline void put_char(char c)
{
	while (!(inb(COM1 + 5) & LSR_THR_EMPTY))
		;
	outb(COM1, (uint8_t)c);
}

static inline void put_text(const char *s)
{
	for (; *s; s++)
		put_char(*s);
}

static inline void put_number(uint64_t value, unsigned base)
{
	char digits[24];
	unsigned n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value > 0);
	while (n > 0)
		put_char(digits[--n]);
}

/* "name=value\n", in decimal. */
static inline void put_value(const char *name, uint64_t value)
{
	put_text(name);
	put_char('=');
	put_number(value, 10);
	put_char('\n');
}

static inline void halt_forever(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static inline void power_off(void)
{
	outb(PORT_SLEEP, 0x34);
	halt_forever();
}

/* Physical memory from gpa on, at least 2 MiB of it, at the returned address until the next call.
 */
static inline volatile uint8_t *window(uint64_t gpa)
{
	extern volatile uint64_t guest_window[512];
	const uint64_t at = 4ULL << 30, size = 2ULL << 20;

	for (unsigned i = 0; i < 2; i++) {
		guest_window[i] = ((gpa & ~(size - 1)) + i * size) | 0xe3;
		__asm__ volatile("invlpg (%0)" : : "r"(at + i * size) : "memory");
	}
	return (volatile uint8_t *)(at + (gpa & (size - 1)));
}

/* The kernel command line, wherever the protocol puts it. */
static inline const char *guest_cmdline(uint64_t protocol, const void *info)
{
	const uint8_t *at = info;

	return (const char *)(protocol == GUEST_PVH ? *(const uint64_t *)(at + 24)
						    : *(const uint32_t *)(at + 0x228));
}

/* The number behind "name=" at the start of the command line or behind a space; fallback without
 * one. */
static inline uint64_t guest_number(const char *cmdline, const char *name, uint64_t fallback)
{
	for (const char *at = cmdline; *at; at++) {
		const char *p = at, *n = name;
		uint64_t value = 0;

		if (at > cmdline && at[-1] != ' ')
			continue;
		while (*n && *p == *n)
			p++, n++;
		if (*n || *p++ != '=')
			continue;
		for (; *p >= '0' && *p <= '9'; p++)
			value = value * 10 + (uint64_t)(*p - '0');
		return value;
	}
	return fallback;
}

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

#endif
