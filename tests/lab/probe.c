/*
 * For selftest: is /dev/kvm here the real thing?  Says the API version, runs a guest of three
 * instructions, and prints how long an exit takes and how fast guest code runs.  Exit status 0 when
 * all of it worked.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEM_SIZE   4096
#define PORT       0x10
#define EXITS      2000
#define LOOP_STEPS 10000000u

/* out %al,$PORT as often as cx says; then a loop of ecx steps; then hlt.  16 bits, loaded and
 * started at 0. */
static const uint8_t guest_code[] = {
	0xb9, EXITS & 0xff, EXITS >> 8,  /* mov $EXITS,%cx */
	0xe6, PORT,                      /* 1: out %al,$PORT */
	0x49,                            /* dec %cx */
	0x75, 0xfb,                      /* jnz 1b */
	0x66, 0xb9, (uint8_t)LOOP_STEPS, /* mov $LOOP_STEPS,%ecx */
	(uint8_t)(LOOP_STEPS >> 8), (uint8_t)(LOOP_STEPS >> 16), (uint8_t)(LOOP_STEPS >> 24), 0x66,
	0x49,       /* 2: dec %ecx */
	0x75, 0xfc, /* jnz 2b */
	0xf4,       /* hlt */
};

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int failed(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	return 1;
}

int main(void)
{
	struct kvm_userspace_memory_region slot = { .memory_size = MEM_SIZE };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2 };
	double start, ports_us = 0;
	struct kvm_run *run;
	int kvm, vm, cpu, size, exits = 0;
	void *mem;

	kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0)
		return failed("/dev/kvm");
	printf("api version %d\n", ioctl(kvm, KVM_GET_API_VERSION, 0));
	mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(mem, guest_code, sizeof(guest_code));
	slot.userspace_addr = (uintptr_t)mem;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return failed("virtual machine");
	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (cpu < 0 || size < 0)
		return failed("virtual CPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	if (run == MAP_FAILED || ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
		return failed("registers");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(cpu, KVM_SET_REGS, &regs) < 0)
		return failed("registers");

	start = now_us();
	for (;;) {
		if (ioctl(cpu, KVM_RUN, 0) < 0)
			return failed("KVM_RUN");
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT)
			break;
		if (++exits == EXITS) {
			ports_us = now_us() - start;
			start = now_us();
		}
	}
	if (run->exit_reason != KVM_EXIT_HLT || exits != EXITS) {
		printf("exit reason %u after %d port writes\n", run->exit_reason, exits);
		return 1;
	}
	printf("%d exits, %.1f us each; %.0f million guest instructions a second\n", exits,
		ports_us / EXITS, 2.0 * LOOP_STEPS / (now_us() - start));
	return 0;
}
