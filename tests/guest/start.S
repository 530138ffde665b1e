/*
 * Entry of the tiny guests that are written in C.  Two ways in, one way on: by PVH in 32-bit protected mode
 * without paging (start32, %ebx points to the start info), or by Linux's 64-bit protocol (start64, %rsi
 * points to the zero page).  Both end in guest_main(protocol, info) in 64-bit mode with our own descriptor
 * and page tables: the first 4 GiB mapped to themselves, and a window at 4 GiB (guest.h, window()).
 */
	.set CODE64, 0x10
	.set DATA, 0x18
	.set CODE32, 0x20
	.set APS_MAX, 32

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 4, 18 /* name and descriptor are four bytes each; 18: XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start32

	.section .text.start, "ax"
	.code32
start32:
	movl %ebx, %esi
	xorl %edi, %edi
	/* Application CPUs come here too, from the trampoline below, with 2 in %edi. */
enter_long_mode:
	movl $page_map, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax /* PAE */
	movl %eax, %cr4
	movl $0xc0000080, %ecx /* EFER */
	rdmsr
	orl $0x100, %eax /* LME */
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax /* PG */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $CODE64, $in_long_mode

	.code64
	.globl start64
start64:
	movq $page_map, %rax
	movq %rax, %cr3
	lgdt gdt_pointer
	movl $1, %edi
	pushq $CODE64
	pushq $in_long_mode
	lretq

in_long_mode:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %ebp, %ebp
	cmpl $2, %edi
	je 2f
	movq $stack_top, %rsp
	call guest_main
1:	cli
	hlt
	jmp 1b
	/* An application CPU draws its number, which gives it a stack, and calls guest_ap(number). */
2:	movl $1, %edi
	lock xaddl %edi, guest_aps(%rip)
	movl %edi, %esp
	shll $12, %esp
	addq $ap_stacks, %rsp
	call guest_ap
	jmp 1b

	.weak guest_ap

	/* Copied to a page below 1 MiB (guest.h, start_cpus): where a start-up interrupt lets a CPU begin. */
	.section .rodata
	.globl guest_trampoline, guest_trampoline_end
	.code16
guest_trampoline:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl trampoline_pointer - guest_trampoline
	movl %cr0, %eax
	orl $1, %eax /* PE */
	movl %eax, %cr0
	ljmpl $CODE32, $ap_start32
	.balign 4
trampoline_pointer:
	.word gdt_end - gdt - 1
	.long gdt
guest_trampoline_end:

	.section .text.start, "ax"
	.code32
ap_start32:
	movl $DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $2, %edi
	jmp enter_long_mode
	.section .data
	.balign 16
gdt:
	.quad 0, 0
	.quad 0x00af9b000000ffff /* 0x10: 64-bit code */
	.quad 0x00cf93000000ffff /* 0x18: data */
	.quad 0x00cf9b000000ffff /* 0x20: 32-bit code */
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt
	.balign 4
	.globl guest_aps
guest_aps: /* application CPUs that have come here; stacks grow down, so numbers begin at 1 */
	.long 1

	/* Present, writable, accessed, dirty; large pages of 2 MiB. */
	.balign 4096
page_map:
	.quad page_directories + 0x23
	.fill 511, 8, 0
page_directories:
	.set i, 0
	.rept 5
	.quad page_directory + i * 4096 + 0x23
	.set i, i + 1
	.endr
	.fill 507, 8, 0
page_directory:
	.set i, 0
	.rept 2048
	.quad i * 0x200000 + 0xe3
	.set i, i + 1
	.endr
	.globl guest_window
guest_window: /* filled by window() */
	.fill 512, 8, 0

	.section .bss
	.balign 16
	.skip 16384
stack_top:
ap_stacks:
	.skip APS_MAX * 4096
