/*
 * Works, checks its own work and tells of it, so that whoever saves it and lets it go on elsewhere
 * sees whether anything was lost.  "cpus=" on the command line says how many CPUs take part.
 *
 * In each round every CPU goes through its pages, "pages=" of them.  A page has to hold what the
 * round before wrote and gets what this one writes: a page that is older or younger than the CPUs
 * is seen in this round or the next.  A round ends when all CPUs have, and a tick has come from the
 * local APIC's timer and one from the PIT (not with "fast=1"); then there is a line "ROUND CHAIN",
 * where the chain is a hash of all rounds.  Who knows the rounds knows all bytes that ever come.
 *
 * With "once=N" N more pages are written at the start and verified now and then.
 *
 * What arrives on the serial port comes back as "got C"; a 'q' ends it.
 */
#include "smp.h"

enum {
	PIC1 = 0x20,
	PIC2 = 0xa0,
	VECTOR_PIC = 0x20,
	VECTOR_TIMER = 0x40,
	PIT_DATA = 0x40,
	PIT_MODE = 0x43,
	PIT_DIVISOR = 11932,    /* some 10 ms */
	TIMER_COUNT = 10000000, /* the same for KVM's, which counts nanoseconds */
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_TIMER_INIT = 0x380,
	LAPIC_TIMER_DIVIDE = 0x3e0,
	PAGE_SIZE = 4096,
	PAGE_WORDS = PAGE_SIZE / 8,
	CPUS_MAX = 32,
};

static const uint64_t AREAS = 16 << 20; /* where the pages begin */

struct gate {
	uint16_t offset_low, selector, flags, offset_mid;
	uint32_t offset_high, reserved;
};

static struct gate idt[VECTOR_TIMER + 1] __attribute__((aligned(16)));
static volatile uint32_t pit_ticks, timer_ticks;

static volatile uint64_t begun, pages = 64; /* the round that all may begin */
static volatile uint64_t finished[CPUS_MAX];
static volatile uint32_t is_torn;

void on_pit(void);
void on_timer(void);

/* 0xfee000b0: the local APIC's end of interrupt. */
__asm__(".globl on_pit, on_timer\n"
	"on_pit:\n"
	"	pushq %rax\n"
	"	movb $0x20, %al\n"
	"	outb %al, $0x20\n"
	"	incl pit_ticks(%rip)\n"
	"	popq %rax\n"
	"	iretq\n"
	"on_timer:\n"
	"	pushq %rax\n"
	"	movl $0xfee000b0, %eax\n"
	"	movl $0, (%rax)\n"
	"	incl timer_ticks(%rip)\n"
	"	popq %rax\n"
	"	iretq\n");

static void set_gate(unsigned vector, void (*handler)(void))
{
	uint64_t at = (uint64_t)handler;

	idt[vector] = (struct gate){
		.offset_low = (uint16_t)at,
		.selector = 0x10,
		.flags = 0x8e00, /* present, interrupt gate */
		.offset_mid = (uint16_t)(at >> 16),
		.offset_high = (uint32_t)(at >> 32),
	};
}

static void set_up_ticks(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint64_t)idt };

	set_gate(VECTOR_PIC, on_pit);
	set_gate(VECTOR_TIMER, on_timer);
	__asm__ volatile("lidt %0" : : "m"(pointer));
	/* The classic start of two 8259, all masked but the PIT. */
	outb(PIC1, 0x11);
	outb(PIC2, 0x11);
	outb(PIC1 + 1, VECTOR_PIC);
	outb(PIC2 + 1, VECTOR_PIC + 8);
	outb(PIC1 + 1, 4);
	outb(PIC2 + 1, 2);
	outb(PIC1 + 1, 1);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, 0xfe);
	outb(PIC2 + 1, 0xff);
	outb(PIT_MODE, 0x34); /* channel 0, both bytes, rate generator */
	outb(PIT_DATA, PIT_DIVISOR & 0xff);
	outb(PIT_DATA, PIT_DIVISOR >> 8);
	*lapic(LAPIC_SVR) |= 0x100;
	*lapic(LAPIC_LVT_LINT0) = 0x700;                  /* the 8259s */
	*lapic(LAPIC_TIMER_DIVIDE) = 0xb;                 /* by one */
	*lapic(LAPIC_LVT_TIMER) = 0x20000 | VECTOR_TIMER; /* periodic */
	*lapic(LAPIC_TIMER_INIT) = TIMER_COUNT;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static void work(uint64_t cpu, uint64_t round)
{
	for (uint64_t i = 0; i < pages; i++) {
		volatile uint64_t *page =
			(volatile uint64_t *)(AREAS + (cpu * pages + i) * PAGE_SIZE);

		if (page[0] != round - 1 ||
			page[PAGE_WORDS - 1] != (round == 1 ? 0 : mix(round - 1 + (i << 32))))
			is_torn = 1;
		page[0] = round;
		page[PAGE_WORDS - 1] = mix(round + (i << 32));
	}
}

/* The pages behind everybody's, which never change again. */
static void work_once(uint64_t cpus, uint64_t count, bool is_first)
{
	for (uint64_t i = 0; i < count; i++) {
		volatile uint64_t *page =
			(volatile uint64_t *)(AREAS + (cpus * pages + i) * PAGE_SIZE);

		if (is_first)
			page[i % PAGE_WORDS] = mix(i);
		else if (page[i % PAGE_WORDS] != mix(i))
			is_torn = 1;
	}
}

void guest_ap(uint32_t number)
{
	for (uint64_t round = 1;; round++) {
		while (begun < round)
			__asm__ volatile("pause");
		work(number, round);
		finished[number] = round;
	}
}

static void await_ticks(void)
{
	uint32_t pit = pit_ticks, timer = timer_ticks;

	while (pit_ticks == pit || timer_ticks == timer)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void tell(uint64_t round, uint64_t chain)
{
	put_number(round, 10);
	put_char(' ');
	put_number(chain, 16);
	put_char('\n');
	if (is_torn) {
		put_text("TORN\n");
		power_off();
	}
}

static void listen(void)
{
	char c;

	if (!(inb(COM1 + 5) & LSR_DATA_READY))
		return;
	c = (char)inb(COM1);
	if (c == 'q')
		power_off();
	put_text("got ");
	put_char(c);
	put_char('\n');
}

void guest_main(uint64_t protocol, const void *info)
{
	const char *cmdline = guest_cmdline(protocol, info);
	uint64_t cpus = guest_number(cmdline, "cpus", 1), chain = 0, last = 0;
	uint64_t once = guest_number(cmdline, "once", 0);
	bool is_fast = guest_number(cmdline, "fast", 0) != 0;

	pages = guest_number(cmdline, "pages", pages);
	if (cpus > 1)
		start_cpus((uint32_t)cpus - 1);
	work_once(cpus, once, true);
	set_up_ticks();
	outb(COM1 + 2, 0x07); /* FIFO on and empty */
	outb(COM1 + 1, 0x01); /* the sign that somebody listens; the interrupt is masked */
	put_text("ready\n");
	for (uint64_t round = 1;; round++) {
		begun = round;
		work(0, round);
		for (uint64_t i = 1; i < cpus; i++) {
			while (finished[i] < round)
				__asm__ volatile("pause");
		}
		if (!is_fast)
			await_ticks();
		if (read_tsc() < last)
			put_text("TIME WENT BACK\n");
		last = read_tsc();
		if (round % 4 == 0)
			work_once(cpus, once, false);
		chain = mix(chain ^ round);
		tell(round, chain);
		listen();
	}
}
