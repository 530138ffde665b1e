/* The MSRs of a vCPU (cpu_msrs.h, cpu_state.h).  Section names are those of api.rst. */
#include "x86/cpu_msrs.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/err.h"

enum {
	MSR_TSC = 0x10,
	MSR_TSC_DEADLINE = 0x6e0,
	BATCH = 255, /* KVM_GET_MSRS and KVM_SET_MSRS take fewer than 256 (x86.c, MAX_IO_MSRS) */
};

struct range {
	uint32_t first, last;
};

/*
 * What KVM lists and no guest of ours has: performance counters, their debug store and last branch
 * records (cpuid.h has them taken away), and nested virtualisation.
 */
static const struct range unwanted[] = {
	{ 0xc1, 0xc8 },             /* IA32_PMC */
	{ 0x186, 0x18d },           /* IA32_PERFEVTSEL */
	{ 0x1db, 0x1de },           /* AMD's last branch records, which cannot be written */
	{ 0x309, 0x30c },           /* IA32_FIXED_CTR */
	{ 0x345, 0x345 },           /* IA32_PERF_CAPABILITIES */
	{ 0x38d, 0x390 },           /* their control */
	{ 0x3f1, 0x3f2 },           /* PEBS */
	{ 0x480, 0x493 },           /* VMX */
	{ 0x4c1, 0x4c8 },           /* IA32_A_PMC */
	{ 0x600, 0x600 },           /* IA32_DS_AREA */
	{ 0xc0000300, 0xc0000303 }, /* AMD's counters, version 2 */
	{ 0xc0010000, 0xc0010007 }, /* AMD's counters */
	{ 0xc0010200, 0xc001020b },
};

/* What KVM keeps and does not list: MTRRs and machine check banks.  A new vCPU has zeros there, so
 * only others are saved. */
static const struct range unlisted[] = {
	{ 0x200, 0x20f },                                     /* variable MTRRs */
	{ 0x250, 0x250 }, { 0x258, 0x259 }, { 0x268, 0x26f }, /* fixed MTRRs */
	{ 0x2ff, 0x2ff },                                     /* MTRR_DEF_TYPE */
	{ 0x400, 0x47f },                                     /* 32 banks */
};

enum { UNLISTED = 16 + 1 + 2 + 8 + 1 + 128, LISTED_MAX = CPU_MSRS_MAX - UNLISTED };

struct batch {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[BATCH];
};

_Static_assert(offsetof(struct batch, entry) == sizeof(struct kvm_msrs),
	"the entries are where KVM looks for them");
_Static_assert(offsetof(struct msr_list, index) == sizeof(struct kvm_msr_list),
	"KVM fills the list itself");

static bool is_in(const struct range *r, size_t n, uint32_t index)
{
	for (size_t i = 0; i < n; i++) {
		if (index >= r[i].first && index <= r[i].last)
			return true;
	}
	return false;
}

int msr_list_get(int dev_fd, struct msr_list *ret, struct err *e)
{
	unsigned kept = 0;

	ret->n = LISTED_MAX;
	if (ioctl(dev_fd, KVM_GET_MSR_INDEX_LIST, ret) < 0)
		return err_sys(e, -errno, NULL, "KVM_GET_MSR_INDEX_LIST failed");
	for (unsigned i = 0; i < ret->n; i++) {
		if (!is_in(unwanted, ARRAY_SIZE(unwanted), ret->index[i]) &&
			!is_in(unlisted, ARRAY_SIZE(unlisted), ret->index[i]))
			ret->index[kept++] = ret->index[i];
	}
	for (unsigned i = 0; i < ARRAY_SIZE(unlisted); i++) {
		for (uint32_t index = unlisted[i].first; index <= unlisted[i].last; index++)
			ret->index[kept++] = index;
	}
	ret->n = kept;
	return 0;
}

/* Reads a batch, without those that cannot be read: the rest is in front afterwards, *ret_kept of
 * them. */
static int read_batch(int vcpu_fd, struct batch *b, unsigned *ret_kept, struct err *e)
{
	unsigned left = b->head.nmsrs, kept = 0;
	struct batch UNINITIALIZED rest;

	memcpy(rest.entry, b->entry, left * sizeof(rest.entry[0]));
	while (left > 0) {
		int n;

		rest.head.nmsrs = left;
		n = ioctl(vcpu_fd, KVM_GET_MSRS, &rest);
		if (n < 0)
			return err_sys(e, -errno, NULL, "KVM_GET_MSRS failed");
		INVARIANT((unsigned)n <= left);
		memcpy(b->entry + kept, rest.entry, (unsigned)n * sizeof(rest.entry[0]));
		kept += (unsigned)n;
		left -= (unsigned)n;
		/* It stopped at one that it cannot read: on behind that. */
		if (left > 0) {
			left--;
			memmove(rest.entry, rest.entry + n + 1, left * sizeof(rest.entry[0]));
		}
	}
	*ret_kept = kept;
	return 0;
}

int cpu_msrs_save(int vcpu_fd, const struct msr_list *list, struct cpu_state *ret, struct err *e)
{
	INVARIANT(list->n <= CPU_MSRS_MAX);
	ret->nmsrs = 0;
	for (unsigned at = 0; at < list->n;) {
		unsigned take = MIN(list->n - at, (unsigned)BATCH), kept = 0;
		struct batch UNINITIALIZED b;
		int rc;

		b.head.nmsrs = take;
		for (unsigned i = 0; i < take; i++)
			b.entry[i] = (struct kvm_msr_entry){ .index = list->index[at + i] };
		rc = read_batch(vcpu_fd, &b, &kept, e);
		if (rc < 0)
			return rc;
		for (unsigned i = 0; i < kept; i++) {
			if (b.entry[i].data != 0 ||
				!is_in(unlisted, ARRAY_SIZE(unlisted), b.entry[i].index))
				ret->msr[ret->nmsrs++] = b.entry[i];
		}
		at += take;
	}
	return 0;
}

static int write_batch(int vcpu_fd, struct batch *b, struct err *e)
{
	while (b->head.nmsrs > 0) {
		int n = ioctl(vcpu_fd, KVM_SET_MSRS, b);
		unsigned done = (unsigned)n + 1;

		if (n < 0)
			return err_sys(e, -errno, NULL, "KVM_SET_MSRS failed");
		if ((unsigned)n >= b->head.nmsrs)
			break;
		if (b->entry[n].data != 0)
			return err_set(e, -EOPNOTSUPP,
				"this host's KVM refuses MSR 0x%x with the value 0x%llx: it has "
				"not the CPU that was saved",
				b->entry[n].index, (unsigned long long)b->entry[n].data);
		b->head.nmsrs -= done;
		memmove(b->entry, b->entry + done, b->head.nmsrs * sizeof(b->entry[0]));
	}
	b->head.nmsrs = 0;
	return 0;
}

static int put(int vcpu_fd, struct batch *b, const struct kvm_msr_entry *m, struct err *e)
{
	int rc = b->head.nmsrs == BATCH ? write_batch(vcpu_fd, b, e) : 0;

	if (rc == 0)
		b->entry[b->head.nmsrs++] = *m;
	return rc;
}

int cpu_msrs_load(int vcpu_fd, const struct cpu_state *s, uint64_t tsc_ticks, struct err *e)
{
	const struct kvm_msr_entry *deadline = NULL;
	struct batch UNINITIALIZED b;
	int rc = 0;

	INVARIANT(s->nmsrs <= CPU_MSRS_MAX);
	b.head.nmsrs = 0;
	for (unsigned i = 0; i < s->nmsrs && rc == 0; i++) {
		struct kvm_msr_entry m = s->msr[i];

		if (m.index == MSR_TSC_DEADLINE) {
			deadline = &s->msr[i];
			continue;
		}
		if (m.index == MSR_TSC)
			m.data += tsc_ticks;
		rc = put(vcpu_fd, &b, &m, e);
	}
	if (rc == 0 && deadline)
		rc = put(vcpu_fd, &b, deadline, e);
	return rc == 0 ? write_batch(vcpu_fd, &b, e) : rc;
}

int msr_check_known(const struct msr_list *host, const struct cpu_state *s, struct err *e)
{
	for (unsigned i = 0; i < s->nmsrs; i++) {
		bool found = s->msr[i].data == 0; /* which is what a new vCPU has */

		for (unsigned k = 0; k < host->n && !found; k++)
			found = host->index[k] == s->msr[i].index;
		if (!found)
			return err_set(e, -EOPNOTSUPP,
				"this host's KVM does not have MSR 0x%x, which the guest has",
				s->msr[i].index);
	}
	return 0;
}
