/* Starting the application CPUs, as the MultiProcessor Specification (appendix B.4) tells: INIT,
 * then SIPI. */
#ifndef MVM_TESTS_SMP_H
#define MVM_TESTS_SMP_H

#include "guest.h"

enum { LAPIC_ID = 0x20, LAPIC_SVR = 0xf0, LAPIC_ICR = 0x300, TRAMPOLINE = 0x1000 };

/* What every application CPU runs; number counts from 1 in the order of arrival. */
void guest_ap(uint32_t number);

static inline volatile uint32_t *lapic(unsigned reg)
{
	return (volatile uint32_t *)(0xfee00000ULL + reg);
}

/* Application CPUs that have arrived. */
static inline uint32_t aps_seen(void)
{
	extern volatile uint32_t guest_aps;

	return guest_aps - 1;
}

static inline void wait_tsc(uint64_t cycles)
{
	uint64_t start = read_tsc();

	while (read_tsc() - start < cycles)
		__asm__ volatile("pause");
}

/* Lets all others begin at TRAMPOLINE. */
static inline void send_startup(void)
{
	*lapic(LAPIC_SVR) |= 0x100;                     /* on */
	*lapic(LAPIC_ICR) = 0xc4500;                    /* all but self, assert, INIT */
	wait_tsc(20000000);                             /* some 10 ms */
	*lapic(LAPIC_ICR) = 0xc4600 | TRAMPOLINE >> 12; /* SIPI */
}

/* Wakes all others and waits for want of them, at most half a minute; then a moment for one too
 * many. */
static inline void start_cpus(uint32_t want)
{
	extern const uint8_t guest_trampoline[], guest_trampoline_end[];
	volatile uint8_t *to = (volatile uint8_t *)TRAMPOLINE;
	uint64_t start;

	for (const uint8_t *from = guest_trampoline; from < guest_trampoline_end; from++)
		*to++ = *from;
	send_startup();
	for (start = read_tsc(); aps_seen() < want && read_tsc() - start < 60000000000;)
		__asm__ volatile("pause");
	wait_tsc(20000000);
}

#endif
