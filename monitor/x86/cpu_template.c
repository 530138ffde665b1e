/* Changes to what a guest sees of its CPU (cpu_template.h). */
#include "x86/cpu_template.h"

#include <errno.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "base/err.h"

/* --- CPUID --- */

static struct kvm_cpuid_entry2 *find(struct cpuid_table *c, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < c->head.nent; i++) {
		if (c->entry[i].function == leaf && c->entry[i].index == subleaf)
			return &c->entry[i];
	}
	return NULL;
}

static void change(uint32_t *word, uint32_t mask, uint32_t value)
{
	*word = (*word & ~mask) | (value & mask);
}

int cpu_template_apply_cpuid(const struct cpu_template *t, struct cpuid_table *c, struct err *e)
{
	for (unsigned i = 0; i < t->nleaves; i++) {
		const struct cpuid_modifier *m = &t->leaf[i];
		struct kvm_cpuid_entry2 *entry = find(c, m->leaf, m->subleaf);

		if (!entry)
			return err_set(e, -ENOENT,
				"the guest's CPUID has no leaf 0x%x, subleaf 0x%x, that could be "
				"changed",
				m->leaf, m->subleaf);
		entry->flags = m->flags;
		change(&entry->eax, m->mask[CPUID_EAX], m->value[CPUID_EAX]);
		change(&entry->ebx, m->mask[CPUID_EBX], m->value[CPUID_EBX]);
		change(&entry->ecx, m->mask[CPUID_ECX], m->value[CPUID_ECX]);
		change(&entry->edx, m->mask[CPUID_EDX], m->value[CPUID_EDX]);
	}
	return 0;
}

/* --- MSRs --- */

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

_Static_assert(offsetof(struct one_msr, entry) == sizeof(struct kvm_msrs),
	"the entry is where KVM looks for it");

/* One at a time, because KVM says only how many it has done.  request is KVM_GET_MSRS or
 * KVM_SET_MSRS. */
static int transfer(int vcpu_fd, unsigned long request, struct one_msr *m, struct err *e)
{
	const char *what = request == KVM_GET_MSRS ? "read" : "written";
	int done = ioctl(vcpu_fd, request, m);

	if (done < 0)
		return err_sys(
			e, -errno, NULL, "MSR 0x%x of the CPU cannot be %s", m->entry.index, what);
	if (done != 1)
		return err_set(e, -EINVAL, "MSR 0x%x cannot be %s: KVM does not have it%s",
			m->entry.index, what,
			request == KVM_GET_MSRS ? "" : ", or not with this value");
	return 0;
}

int cpu_template_apply_msrs(const struct cpu_template *t, int vcpu_fd, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; i < t->nmsrs && rc == 0; i++) {
		const struct msr_modifier *m = &t->msr[i];
		struct one_msr one = { .head.nmsrs = 1, .entry.index = m->addr };

		rc = transfer(vcpu_fd, KVM_GET_MSRS, &one, e);
		one.entry.data = (one.entry.data & ~m->mask) | (m->value & m->mask);
		if (rc == 0)
			rc = transfer(vcpu_fd, KVM_SET_MSRS, &one, e);
	}
	return rc;
}

/* --- capabilities --- */

int cpu_template_check_caps(const struct cpu_template *t, const struct kvm *k, struct err *e)
{
	for (unsigned i = 0; i < t->ncaps; i++) {
		const struct cap_modifier *c = &t->cap[i];

		if (c->drop)
			continue;
		if (ioctl(k->dev_fd, KVM_CHECK_EXTENSION, (unsigned long)c->cap) <= 0)
			return err_set(e, -ENOTSUP,
				"this KVM lacks capability %u, which the CPU template "
				"asks for",
				c->cap);
	}
	return 0;
}
