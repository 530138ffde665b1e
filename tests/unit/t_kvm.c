/* A KVM that is not there (t_kvm.h). */
#include "t_kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"

struct t_kvm t_kvm;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards t_kvm and files */

enum kind { NOT_OURS, DEVICE, VM, VCPU };

enum { FDS_MAX = 1024 };

static struct {
	enum kind kind;
	struct t_vcpu *vcpu;
} files[FDS_MAX];

static bool counting;

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
int __real_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __real_pthread_create(
	pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(
	pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

void t_kvm_init(void)
{
	t_kvm = (struct t_kvm){ .api_version = KVM_API_VERSION,
		.xsave_size = 4096,
		.nlisted = 3,
		.listed = { 0x10, 0x174, 0x6e0 },
		.missing_cap = UINT32_MAX,
		.run_size = 3 * 4096,
		.tsc_khz = 2500000,
		.cpuid_entries = 3,
		.fail_errno = ENOMEM,
		.vm_fd = -1 };
	memset(files, 0, sizeof(files));
}

void t_kvm_count(bool on)
{
	(void)pthread_mutex_lock(&lock);
	counting = on;
	t_kvm.steps = 0;
	(void)pthread_mutex_unlock(&lock);
}

/* True when this step is the one to fail; errno is then set. */
static bool step_fails(void)
{
	bool fails;

	(void)pthread_mutex_lock(&lock);
	fails = counting && ++t_kvm.steps == t_kvm.fail_step;
	(void)pthread_mutex_unlock(&lock);
	if (fails)
		errno = t_kvm.fail_errno;
	return fails;
}

int t_kvm_position(unsigned long request)
{
	for (unsigned i = 0; i < t_kvm.ntrace; i++) {
		if (t_kvm.trace[i] == request)
			return (int)i;
	}
	return -1;
}

int t_kvm_last_position(unsigned long request)
{
	for (int i = (int)t_kvm.ntrace; i-- > 0;) {
		if (t_kvm.trace[i] == request)
			return i;
	}
	return -1;
}

unsigned t_kvm_calls(unsigned long request)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t_kvm.ntrace; i++)
		n += t_kvm.trace[i] == request;
	return n;
}

/* --- files --- */

static enum kind kind_of(int fd)
{
	return fd >= 0 && fd < FDS_MAX ? files[fd].kind : NOT_OURS;
}

static int new_file(enum kind kind)
{
	int fd = memfd_create("kvm", MFD_CLOEXEC);

	INVARIANT(fd >= 0 && fd < FDS_MAX);
	files[fd].kind = kind;
	return fd;
}

int __wrap_open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	int fd;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_list args;

		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	if (step_fails())
		return -1;
	if (strcmp(path, T_KVM_PATH) != 0)
		return __real_open64(path, flags, mode);
	if (t_kvm.open_errno) {
		errno = t_kvm.open_errno;
		return -1;
	}
	(void)pthread_mutex_lock(&lock);
	fd = new_file(DEVICE);
	(void)pthread_mutex_unlock(&lock);
	return fd;
}

static void free_vcpu(struct t_vcpu *v)
{
	(void)munmap(v->run, (size_t)t_kvm.run_size);
	v->run = NULL;
	v->fd = -1;
}

int __wrap_close(int fd)
{
	(void)pthread_mutex_lock(&lock);
	if (kind_of(fd) != NOT_OURS) {
		if (files[fd].vcpu)
			free_vcpu(files[fd].vcpu);
		files[fd].kind = NOT_OURS;
		files[fd].vcpu = NULL;
	}
	(void)pthread_mutex_unlock(&lock);
	return __real_close(fd);
}

static int new_vcpu(void)
{
	struct t_vcpu *v;
	int fd;

	INVARIANT(t_kvm.nvcpus < T_KVM_VCPUS);
	v = &t_kvm.vcpu[t_kvm.nvcpus++];
	fd = new_file(VCPU);
	INVARIANT(ftruncate(fd, t_kvm.run_size) == 0);
	v->fd = fd;
	v->run = __real_mmap64(
		NULL, (size_t)t_kvm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	files[fd].vcpu = v;
	return fd;
}

int t_kvm_vcpu(void)
{
	int fd;

	(void)pthread_mutex_lock(&lock);
	fd = new_vcpu();
	(void)pthread_mutex_unlock(&lock);
	return fd;
}

/* --- ioctl: each returns 0 or more, or -errno --- */

/* A CPU with as few leaves as the policy can work on. */
static int supported_cpuid(struct kvm_cpuid2 *table)
{
	if (t_kvm.cpuid_entries < 0)
		return -E2BIG;
	memset(table->entries, 0, (size_t)t_kvm.cpuid_entries * sizeof(table->entries[0]));
	for (int i = 0; i < t_kvm.cpuid_entries; i++)
		table->entries[i].function = i < 2 ? (uint32_t)i : 0x40000000U + (uint32_t)i - 2;
	table->nent = (uint32_t)t_kvm.cpuid_entries;
	return 0;
}

static int msr_index_list(struct kvm_msr_list *list)
{
	unsigned room = list->nmsrs;

	list->nmsrs = t_kvm.nlisted;
	if (room < t_kvm.nlisted)
		return -E2BIG;
	memcpy(list->indices, t_kvm.listed, t_kvm.nlisted * sizeof(t_kvm.listed[0]));
	return 0;
}

static int capability(unsigned number)
{
	if (number == t_kvm.missing_cap)
		return 0;
	return number == KVM_CAP_XSAVE2        ? t_kvm.xsave_size
	       : number == KVM_CAP_TSC_CONTROL ? t_kvm.has_tsc_control
					       : 1;
}

static int on_device(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_API_VERSION: return t_kvm.api_version;
	case KVM_CHECK_EXTENSION: return capability((unsigned)(uintptr_t)arg);
	case KVM_GET_VCPU_MMAP_SIZE: return t_kvm.run_size;
	case KVM_GET_SUPPORTED_CPUID: return supported_cpuid(arg);
	case KVM_GET_MSR_INDEX_LIST: return msr_index_list(arg);
	case KVM_CREATE_VM: return t_kvm.vm_fd = new_file(VM);
	default: return -ENOTTY;
	}
}

static int copy_irqchip(struct kvm_irqchip *chip, bool set)
{
	if (chip->chip_id >= ARRAY_SIZE(t_kvm.irqchip))
		return -EINVAL;
	if (set)
		memcpy(&t_kvm.irqchip[chip->chip_id], chip, sizeof(*chip));
	else
		memcpy(&chip->chip, &t_kvm.irqchip[chip->chip_id].chip, sizeof(chip->chip));
	return 0;
}

/* A new one, or other flags for one that there is. */
static int set_slot(const struct kvm_userspace_memory_region *slot)
{
	INVARIANT(slot->slot <= t_kvm.nslots && slot->slot < ARRAY_SIZE(t_kvm.slot));
	t_kvm.slot[slot->slot] = *slot;
	t_kvm.nslots = MAX(t_kvm.nslots, slot->slot + 1);
	return 0;
}

/* As KVM does it: the log of a slot without one is no question. */
static int take_log(const struct kvm_dirty_log *log)
{
	const struct kvm_userspace_memory_region *slot = &t_kvm.slot[log->slot];
	uint64_t words = align_up(slot->memory_size / 4096, 64) / 64;

	if (log->slot >= t_kvm.nslots || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
		return -ENOENT;
	memset(log->dirty_bitmap, 0, words * sizeof(uint64_t));
	if (t_kvm.take_log)
		t_kvm.take_log(log->slot, log->dirty_bitmap);
	return 0;
}

static int on_vm(unsigned long request, void *arg)
{
	switch (request) {
	case KVM_CHECK_EXTENSION: return capability((unsigned)(uintptr_t)arg);
	case KVM_ENABLE_CAP: memcpy(&t_kvm.enabled, arg, sizeof(t_kvm.enabled)); return 0;
	case KVM_SET_TSS_ADDR: t_kvm.tss = (unsigned long)(uintptr_t)arg; return 0;
	case KVM_SET_USER_MEMORY_REGION: return set_slot(arg);
	case KVM_GET_DIRTY_LOG: return take_log(arg);
	case KVM_CREATE_IRQCHIP: return 0;
	case KVM_CREATE_PIT2: memcpy(&t_kvm.pit, arg, sizeof(t_kvm.pit)); return 0;
	case KVM_GET_IRQCHIP: return copy_irqchip(arg, false);
	case KVM_SET_IRQCHIP: return copy_irqchip(arg, true);
	case KVM_GET_PIT2: memcpy(arg, &t_kvm.pit_state, sizeof(t_kvm.pit_state)); return 0;
	case KVM_SET_PIT2: memcpy(&t_kvm.pit_state, arg, sizeof(t_kvm.pit_state)); return 0;
	case KVM_GET_CLOCK: memcpy(arg, &t_kvm.clock, sizeof(t_kvm.clock)); return 0;
	case KVM_SET_CLOCK: memcpy(&t_kvm.clock, arg, sizeof(t_kvm.clock)); return 0;
	case KVM_CREATE_VCPU: return new_vcpu();
	case KVM_IOEVENTFD:
		INVARIANT(t_kvm.nioeventfds < T_KVM_EVENTFDS);
		memcpy(&t_kvm.ioeventfd[t_kvm.nioeventfds++], arg, sizeof(t_kvm.ioeventfd[0]));
		return 0;
	case KVM_IRQFD:
		INVARIANT(t_kvm.nirqfds < T_KVM_EVENTFDS);
		memcpy(&t_kvm.irqfd[t_kvm.nirqfds++], arg, sizeof(t_kvm.irqfd[0]));
		return 0;
	case KVM_IRQ_LINE:
		if (t_kvm.nirq < ARRAY_SIZE(t_kvm.irq))
			memcpy(&t_kvm.irq[t_kvm.nirq], arg, sizeof(t_kvm.irq[0]));
		t_kvm.nirq++;
		return 0;
	default: return -ENOTTY;
	}
}

static bool is_odd(uint32_t index)
{
	bool odd = false;

	for (unsigned i = 0; i < ARRAY_SIZE(t_kvm.odd_msr); i++)
		odd |= index != 0 && t_kvm.odd_msr[i] == index;
	return odd;
}

static struct kvm_msr_entry *kept(struct t_vcpu *v, uint32_t index)
{
	for (unsigned i = 0; i < v->nkept; i++) {
		if (v->kept[i].index == index)
			return &v->kept[i];
	}
	return NULL;
}

/* As KVM does it: as many as it can up to the first that it cannot. */
static int set_msrs(struct t_vcpu *v, const struct kvm_msrs *msrs)
{
	unsigned n = msrs->nmsrs - MIN(t_kvm.msrs_refused, msrs->nmsrs);

	if (msrs->nmsrs >= 256)
		return -E2BIG;
	for (unsigned i = 0; i < n; i++) {
		if (is_odd(msrs->entries[i].index))
			n = i;
	}
	memcpy(v->msr, msrs->entries, n * sizeof(v->msr[0]));
	v->nmsrs = n;
	for (unsigned i = 0; i < n && t_kvm.msrs_are_kept; i++) {
		struct kvm_msr_entry *e = kept(v, msrs->entries[i].index);

		INVARIANT(e || v->nkept < T_KVM_MSRS);
		e = e ? e : &v->kept[v->nkept++];
		*e = msrs->entries[i];
	}
	return (int)n;
}

static int get_msrs(struct t_vcpu *v, struct kvm_msrs *msrs)
{
	unsigned refused = t_kvm.msrs_are_read ? 0 : t_kvm.msrs_refused;
	unsigned n = msrs->nmsrs - MIN(refused, msrs->nmsrs);

	if (msrs->nmsrs >= 256)
		return -E2BIG;
	for (unsigned i = 0; i < n; i++) {
		const struct kvm_msr_entry *e = kept(v, msrs->entries[i].index);

		if (is_odd(msrs->entries[i].index))
			n = i;
		else
			msrs->entries[i].data = e ? e->data : t_kvm.msr_value;
	}
	return (int)n;
}

/* State that the fake keeps as it is. */
static int keep(struct t_vcpu *v, unsigned long request, void *arg)
{
	const struct {
		unsigned long get, set;
		void *at;
		size_t len;
	} kinds[] = {
		{ KVM_GET_XCRS, KVM_SET_XCRS, &v->xcrs, sizeof(v->xcrs) },
		{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, &v->debugregs, sizeof(v->debugregs) },
		{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, &v->events, sizeof(v->events) },
		{ KVM_GET_MP_STATE, KVM_SET_MP_STATE, &v->mp_state, sizeof(v->mp_state) },
		{ KVM_GET_XSAVE, KVM_SET_XSAVE, v->xsave, (size_t)t_kvm.xsave_size },
		{ KVM_GET_XSAVE2, 0, v->xsave, (size_t)t_kvm.xsave_size },
	};

	if (request == KVM_GET_XSAVE && t_kvm.xsave_size > 4096)
		return -EINVAL;
	if (request == KVM_GET_VCPU_EVENTS && v->fault_address) {
		v->sregs.cr2 = v->fault_address;
		v->fault_address = 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (request != kinds[i].get && request != kinds[i].set)
			continue;
		if (request == kinds[i].get)
			memcpy(arg, kinds[i].at, kinds[i].len);
		else
			memcpy(kinds[i].at, arg, kinds[i].len);
		return 0;
	}
	return -ENOTTY;
}

static int on_vcpu(struct t_vcpu *v, unsigned long request, void *arg)
{
	switch (request) {
	case KVM_GET_TSC_KHZ: return t_kvm.tsc_khz < 0 ? -EIO : t_kvm.tsc_khz;
	case KVM_SET_CPUID2: return 0;
	case KVM_KVMCLOCK_CTRL: return -t_kvm.clock_errno;
	case KVM_SET_TSC_KHZ: v->tsc_khz = (unsigned long)(uintptr_t)arg; return 0;
	case KVM_GET_MSRS: return get_msrs(v, arg);
	case KVM_SET_MSRS: return set_msrs(v, arg);
	case KVM_GET_REGS: memcpy(arg, &v->regs, sizeof(v->regs)); return 0;
	case KVM_SET_REGS:
		memcpy(&v->regs, arg, sizeof(v->regs));
		v->has_regs = true;
		return 0;
	case KVM_GET_SREGS: memcpy(arg, &v->sregs, sizeof(v->sregs)); return 0;
	case KVM_SET_SREGS:
		memcpy(&v->sregs, arg, sizeof(v->sregs));
		v->has_sregs = true;
		return 0;
	case KVM_GET_LAPIC: memcpy(arg, &v->lapic, sizeof(v->lapic)); return 0;
	case KVM_SET_LAPIC:
		memcpy(&v->lapic, arg, sizeof(v->lapic));
		v->has_lapic = true;
		return 0;
	default: return keep(v, request, arg);
	}
}

/* In the guest until the kick; the signal only has to end the sleep. */
static int wait_for_kick(struct t_vcpu *v)
{
	while (!READ_ONCE(v->run->immediate_exit))
		(void)usleep(200);
	return -EINTR;
}

/* Questions whose answer may be no. */
static bool is_optional(unsigned long request, const void *arg)
{
	return request == KVM_GET_TSC_KHZ || request == KVM_SET_TSC_KHZ ||
	       request == KVM_IRQ_LINE || request == KVM_RUN || request == KVM_KVMCLOCK_CTRL ||
	       (request == KVM_CHECK_EXTENSION &&
		       ((uintptr_t)arg == KVM_CAP_TSC_DEADLINE_TIMER ||
			       (uintptr_t)arg == KVM_CAP_TSC_CONTROL ||
			       (uintptr_t)arg == KVM_CAP_XSAVE2 ||
			       (uintptr_t)arg == KVM_CAP_PMU_CAPABILITY));
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	enum kind kind;
	struct t_vcpu *v = NULL;
	int rc;

	(void)pthread_mutex_lock(&lock);
	kind = kind_of(fd);
	if (kind != NOT_OURS) {
		v = files[fd].vcpu;
		if (t_kvm.ntrace < T_KVM_TRACE)
			t_kvm.trace[t_kvm.ntrace++] = request;
	}
	(void)pthread_mutex_unlock(&lock);
	if (kind == NOT_OURS)
		return __real_ioctl(fd, request, arg);
	if (!is_optional(request, arg) && step_fails())
		return -1;
	if (kind == VCPU && request == KVM_RUN) {
		/* Without the lock: this is where vCPUs spend their lives. */
		rc = t_kvm.on_run ? t_kvm.on_run(v) : wait_for_kick(v);
	} else {
		(void)pthread_mutex_lock(&lock);
		if (t_kvm.is_other_device)
			rc = -ENOTTY;
		else
			rc = kind == DEVICE ? on_device(request, arg)
			     : kind == VM   ? on_vm(request, arg)
					    : on_vcpu(v, request, arg);
		(void)pthread_mutex_unlock(&lock);
	}
	if (rc < 0) {
		errno = -rc;
		return -1;
	}
	return rc;
}

/* --- the rest of the steps --- */

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return step_fails() ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, off);
}

int __wrap_eventfd(unsigned count, int flags)
{
	return step_fails() ? -1 : __real_eventfd(count, flags);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return step_fails() ? NULL : __real_calloc(n, size);
}

int __wrap_pthread_create(
	pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	return step_fails() ? t_kvm.fail_errno : __real_pthread_create(ret, attr, run, arg);
}
