/* Gives back what arrives on the serial port, asleep until an interrupt says so; a 'q' ends it. */
#include "guest.h"

enum { PIC1 = 0x20, PIC2 = 0xa0, VECTORS = 0x20, IRQ_COM1 = 4 };

static volatile unsigned interrupts;

struct gate {
	uint16_t offset_low, selector, flags, offset_mid;
	uint32_t offset_high, reserved;
};

static struct gate idt[VECTORS + 16] __attribute__((aligned(16)));

/* Acknowledges and goes back; the main loop does the work.  No iret: some KVM do not emulate it. */
void on_serial(void);
void count_serial(void);

__asm__(".globl on_serial\n"
	"on_serial:\n"
	"	pushq %rax\n"
	"	movb $0x20, %al\n"
	"	outb %al, $0x20\n"
	"	incl interrupts(%rip)\n"
	"	popq %rax\n"
	"	iretq\n");

static void set_up_interrupts(void)
{
	uint64_t handler = (uint64_t)on_serial;
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint64_t)idt };

	idt[VECTORS + IRQ_COM1] = (struct gate){
		.offset_low = (uint16_t)handler,
		.selector = 0x10,
		.flags = 0x8e00, /* present, interrupt gate */
		.offset_mid = (uint16_t)(handler >> 16),
		.offset_high = (uint32_t)(handler >> 32),
	};
	__asm__ volatile("lidt %0" : : "m"(pointer));
	/* The classic start of two 8259: edge, cascaded, vectors, 8086 mode; then all masked but
	 * COM1. */
	outb(PIC1, 0x11);
	outb(PIC2, 0x11);
	outb(PIC1 + 1, VECTORS);
	outb(PIC2 + 1, VECTORS + 8);
	outb(PIC1 + 1, 4);
	outb(PIC2 + 1, 2);
	outb(PIC1 + 1, 1);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, (uint8_t) ~(1U << IRQ_COM1));
	outb(PIC2 + 1, 0xff);
}

void guest_main(uint64_t protocol, const void *info)
{
	char c = 0;

	(void)protocol;
	(void)info;
	set_up_interrupts();
	outb(COM1 + 2, 0x07); /* FIFO on and empty, interrupt with every byte */
	outb(COM1 + 4, 0x0b); /* DTR, RTS, and OUT2, which connects the interrupt */
	outb(COM1 + 1, 0x01); /* received data */
	put_text("ready\n");
	while (c != 'q') {
		__asm__ volatile("sti; hlt; cli" : : : "memory");
		while (c != 'q' && (inb(COM1 + 5) & LSR_DATA_READY)) {
			c = (char)inb(COM1);
			put_char(c);
		}
	}
	put_char('\n');
	put_text(interrupts > 0 ? "woken by interrupts\n" : "no interrupt\n");
	power_off();
}
