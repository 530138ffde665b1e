/*
 * Starts the application CPUs and prints how many there are with the boot CPU; "cpus=" on the
 * command line says how many to wait for.  Each CPU's number in its local APIC must be the one that
 * CPUID tells, and no two the same.
 */
#include "smp.h"

static volatile uint32_t ids, odd, counted;

static void take_part(void)
{
	uint32_t eax = 1, ebx, ecx = 0, edx, id = *lapic(LAPIC_ID) >> 24;

	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	if (ebx >> 24 != id || id > 31)
		__atomic_fetch_add(&odd, 1, __ATOMIC_SEQ_CST);
	eax = 0xb;
	ecx = 0;
	__asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	if (ebx != 0 && edx != id)
		__atomic_fetch_add(&odd, 1, __ATOMIC_SEQ_CST);
	if (__atomic_fetch_or(&ids, 1U << (id & 31), __ATOMIC_SEQ_CST) & 1U << (id & 31))
		__atomic_fetch_add(&odd, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&counted, 1, __ATOMIC_SEQ_CST);
}

void guest_ap(uint32_t number)
{
	(void)number;
	take_part();
}

void guest_main(uint64_t protocol, const void *info)
{
	uint32_t want = (uint32_t)guest_number(guest_cmdline(protocol, info), "cpus", 1);

	take_part();
	start_cpus(want - 1);
	put_value("cpus", counted);
	put_text(odd == 0 && ids == (want == 32 ? ~0U : (1U << want) - 1) ? "ids are good\n"
									  : "IDS ARE BAD\n");
	power_off();
}
