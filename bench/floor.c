/*
 * The floor of a cold start: only the calls that no monitor can avoid, one after the other.  Prints
 * the CLOCK_MONOTONIC microsecond at which its guest's first instruction had run.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

enum { MEMORY = 128 << 20, CODE_AT = 0x100000, PORT = 0x80, CPUID_ENTRIES = 256 };

/* mov $0x80, %edx; out %eax, (%dx): 32-bit protected mode, no paging. */
static const uint8_t code[] = { 0xba, PORT, 0, 0, 0, 0xef };

static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[CPUID_ENTRIES];
} cpuid = { .head.nent = CPUID_ENTRIES };

static int check(int result, const char *call)
{
	if (result < 0) {
		perror(call);
		exit(1);
	}
	return result;
}

static void set_registers(int vcpu)
{
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = CODE_AT, .rflags = 2 };

	check(ioctl(vcpu, KVM_GET_SREGS, &s), "KVM_GET_SREGS");
	s.cs.base = 0;
	s.cs.limit = 0xffffffff;
	s.cs.g = 1;
	s.cs.db = 1;
	s.cs.selector = 0x10;
	s.ds = s.es = s.ss = s.fs = s.gs = s.cs;
	s.ds.type = s.es.type = s.ss.type = s.fs.type = s.gs.type = 3;
	s.cs.type = 11;
	s.cr0 |= 1;
	check(ioctl(vcpu, KVM_SET_SREGS, &s), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &r), "KVM_SET_REGS");
}

int main(void)
{
	int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM"), vcpu;
	struct kvm_userspace_memory_region slot = { .memory_size = MEMORY };
	struct kvm_run *run;
	struct timespec ts;
	uint8_t *memory;

	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	check(memory == MAP_FAILED ? -1 : 0, "mmap");
	memcpy(memory + CODE_AT, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)memory;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	check(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run = mmap(NULL,
		(size_t)check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE"),
		PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	check(run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
	check(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid.head), "KVM_GET_SUPPORTED_CPUID");
	check(ioctl(vcpu, KVM_SET_CPUID2, &cpuid.head), "KVM_SET_CPUID2");
	set_registers(vcpu);
	check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT) {
		(void)fprintf(stderr, "unexpected exit %u\n", run->exit_reason);
		return 1;
	}
	(void)printf("%llu\n",
		(unsigned long long)ts.tv_sec * 1000000 + (unsigned long long)ts.tv_nsec / 1000);
	return 0;
}
