/*
 * The least a guest can do: its first instruction writes the time mark (a 32-bit zero to port 0x80), the
 * next ones power off.  The bytes mean the same in 32-bit and in 64-bit mode, so both entries are here.
 */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 4, 18 /* name and descriptor are four bytes each; 18: XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start64

	.section .text.start, "ax"
	.globl start64
	.code32
start64:
	outl %eax, $0x80
	movb $0x34, %al /* sleep type 5, enable */
	movw $0x600, %dx
	outb %al, %dx
1:	hlt
	jmp 1b
