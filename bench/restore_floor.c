/*
 * The floor of a restore: only the calls that no monitor can avoid, one after the other.
 *
 *     restore-floor save STATE MEMORY BYTES   makes the smallest machine and keeps its state, as
 * KVM gives it restore-floor STATE MEMORY              makes it again from that; prints the
 * CLOCK_MONOTONIC microsecond at which its guest's first instruction had run
 *
 * The state has the size and the calls of a real one, in KVM's own structures; nothing is checked.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CODE_AT = 0x1000, PORT = 0x80, ENTRIES = 256, TSS_AT = 0xfffbd000 };

/* mov $0x80, %dx; out %eax, (%dx): real mode. */
static const uint8_t code[] = { 0xba, PORT, 0, 0x66, 0xef };

struct state {
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[ENTRIES];
	} cpuid;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_xsave xsave;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[ENTRIES];
	} msrs;
	struct kvm_mp_state mp_state;
	struct kvm_vcpu_events events;
	struct kvm_irqchip irqchip[3];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
};

static struct state s;

static int check(int result, const char *call)
{
	if (result < 0) {
		perror(call);
		exit(1);
	}
	return result;
}

#define CALL(fd, request, arg) check(ioctl(fd, request, arg), #request)

struct machine {
	int kvm, vm, vcpu;
	uint8_t *memory;
	size_t bytes;
	struct kvm_run *run;
};

/* The order that is fast: memory before the interrupt controllers. */
static void make(struct machine *m, int memory_fd, int flags)
{
	struct kvm_userspace_memory_region slot = { 0 };
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct stat st;

	check(fstat(memory_fd, &st), "fstat");
	m->bytes = (size_t)st.st_size;
	m->kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	m->vm = CALL(m->kvm, KVM_CREATE_VM, 0);
	CALL(m->vm, KVM_SET_TSS_ADDR, (unsigned long)TSS_AT);
	m->memory =
		mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, memory_fd, 0);
	check(m->memory == MAP_FAILED ? -1 : 0, "mmap");
	slot.memory_size = m->bytes;
	slot.userspace_addr = (uintptr_t)m->memory;
	/* As a PC has it: a hole below 4 GiB. */
	if (m->bytes > 3ULL << 30)
		slot.memory_size = 3ULL << 30;
	CALL(m->vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (m->bytes > 3ULL << 30) {
		slot.slot = 1;
		slot.guest_phys_addr = 4ULL << 30;
		slot.userspace_addr += 3ULL << 30;
		slot.memory_size = m->bytes - (3ULL << 30);
		CALL(m->vm, KVM_SET_USER_MEMORY_REGION, &slot);
	}
	CALL(m->vm, KVM_CREATE_IRQCHIP, 0);
	CALL(m->vm, KVM_CREATE_PIT2, &pit);
	m->vcpu = CALL(m->vm, KVM_CREATE_VCPU, 0);
	m->run = mmap(NULL, (size_t)CALL(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		MAP_SHARED, m->vcpu, 0);
	check(m->run == MAP_FAILED ? -1 : 0, "mmap of the vCPU");
}

/* Those that can be read; KVM stops at the first that cannot. */
static void save_msrs(const struct machine *m)
{
	static struct {
		struct kvm_msr_list head;
		uint32_t index[ENTRIES];
	} list = { .head.nmsrs = ENTRIES };

	CALL(m->kvm, KVM_GET_MSR_INDEX_LIST, &list.head);
	for (unsigned i = 0; i < list.head.nmsrs && s.msrs.head.nmsrs < ENTRIES; i++) {
		struct {
			struct kvm_msrs head;
			struct kvm_msr_entry entry;
		} one = { .head.nmsrs = 1, .entry.index = list.index[i] };

		if (ioctl(m->vcpu, KVM_GET_MSRS, &one.head) == 1 &&
			ioctl(m->vcpu, KVM_SET_MSRS, &one.head) == 1)
			s.msrs.entry[s.msrs.head.nmsrs++] = one.entry;
	}
}

static void save_chips(const struct machine *m)
{
	for (unsigned i = 0; i < 3; i++) {
		s.irqchip[i].chip_id = i;
		CALL(m->vm, KVM_GET_IRQCHIP, &s.irqchip[i]);
	}
	CALL(m->vm, KVM_GET_PIT2, &s.pit);
	CALL(m->vm, KVM_GET_CLOCK, &s.clock);
	s.clock.flags = 0;
}

static int save(const char *state, const char *memory, const char *bytes)
{
	int memory_fd = check(open(memory, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), memory);
	int state_fd = check(open(state, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), state);
	struct machine m = { 0 };

	check(ftruncate(memory_fd, (off_t)strtoull(bytes, NULL, 10)), "ftruncate");
	make(&m, memory_fd, MAP_SHARED);
	memcpy(m.memory + CODE_AT, code, sizeof(code));
	s.cpuid.head.nent = ENTRIES;
	CALL(m.kvm, KVM_GET_SUPPORTED_CPUID, &s.cpuid.head);
	CALL(m.vcpu, KVM_SET_CPUID2, &s.cpuid.head);
	CALL(m.vcpu, KVM_GET_SREGS, &s.sregs);
	s.sregs.cs.base = s.sregs.cs.selector = 0;
	s.regs = (struct kvm_regs){ .rip = CODE_AT, .rflags = 2 };
	CALL(m.vcpu, KVM_GET_XCRS, &s.xcrs);
	CALL(m.vcpu, KVM_GET_XSAVE, &s.xsave);
	CALL(m.vcpu, KVM_GET_DEBUGREGS, &s.debugregs);
	CALL(m.vcpu, KVM_GET_LAPIC, &s.lapic);
	save_msrs(&m);
	CALL(m.vcpu, KVM_GET_MP_STATE, &s.mp_state);
	CALL(m.vcpu, KVM_GET_VCPU_EVENTS, &s.events);
	save_chips(&m);
	return write(state_fd, &s, sizeof(s)) == sizeof(s) ? 0 : 1;
}

static void load_vcpu(const struct machine *m)
{
	CALL(m->vcpu, KVM_SET_CPUID2, &s.cpuid.head);
	CALL(m->vcpu, KVM_SET_SREGS, &s.sregs);
	CALL(m->vcpu, KVM_SET_REGS, &s.regs);
	CALL(m->vcpu, KVM_SET_XCRS, &s.xcrs);
	CALL(m->vcpu, KVM_SET_XSAVE, &s.xsave);
	CALL(m->vcpu, KVM_SET_DEBUGREGS, &s.debugregs);
	CALL(m->vcpu, KVM_SET_LAPIC, &s.lapic);
	CALL(m->vcpu, KVM_SET_MSRS, &s.msrs.head);
	CALL(m->vcpu, KVM_SET_MP_STATE, &s.mp_state);
	CALL(m->vcpu, KVM_SET_VCPU_EVENTS, &s.events);
}

static int load(const char *state, const char *memory)
{
	int state_fd = check(open(state, O_RDONLY | O_CLOEXEC), state);
	int memory_fd = check(open(memory, O_RDONLY | O_CLOEXEC), memory);
	struct machine m = { 0 };
	struct timespec ts;

	if (read(state_fd, &s, sizeof(s)) != sizeof(s))
		return 1;
	make(&m, memory_fd, MAP_PRIVATE);
	for (unsigned i = 0; i < 3; i++)
		CALL(m.vm, KVM_SET_IRQCHIP, &s.irqchip[i]);
	CALL(m.vm, KVM_SET_PIT2, &s.pit);
	CALL(m.vm, KVM_SET_CLOCK, &s.clock);
	load_vcpu(&m);
	CALL(m.vcpu, KVM_RUN, 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	if (m.run->exit_reason != KVM_EXIT_IO || m.run->io.port != PORT) {
		(void)fprintf(stderr, "unexpected exit %u\n", m.run->exit_reason);
		return 1;
	}
	(void)printf("%llu\n",
		(unsigned long long)ts.tv_sec * 1000000 + (unsigned long long)ts.tv_nsec / 1000);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "save") == 0)
		return save(argv[2], argv[3], argv[4]);
	if (argc == 3)
		return load(argv[1], argv[2]);
	(void)fprintf(stderr, "usage: restore-floor [save] STATE MEMORY [BYTES]\n");
	return 2;
}
