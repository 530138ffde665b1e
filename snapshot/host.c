/* The host of a snapshot (host.h). */
#include "snapshot/host.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "x86/cpu_state.h"
#include "x86/cpuid_check.h"

/* Each CPUID may leave our own virtual machine, which takes microseconds: so no more of them than
 * tell CPUs apart. */
static void read_words(uint32_t word[8])
{
	unsigned max = __get_cpuid_max(0, NULL);
	uint32_t a, b, c, d;

	__cpuid(1, a, b, c, d);
	word[0] = a;
	/* Whether the host's kernel has enabled XSAVE says nothing of the CPU. */
	word[1] = c & ~(UINT32_C(1) << 27);
	word[2] = d;
	if (max >= 7) {
		__cpuid_count(7, 0, a, b, c, d);
		word[3] = b;
		word[4] = c;
		word[5] = d;
	}
	if (max >= 0xd) {
		__cpuid_count(0xd, 1, a, b, c, d);
		word[6] = a;
	}
	/* Every CPU that runs 64-bit code has it. */
	__cpuid(0x80000001, a, b, c, d);
	word[7] = c;
}

static void read_boot_id(char *ret, size_t len)
{
	if (io_read_text("/proc/sys/kernel/random/boot_id", ret, len) < 0)
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

static void read_brand(char *ret, size_t len)
{
	uint32_t word[12] = { 0 };
	size_t blanks;

	for (unsigned i = 0; i < 3; i++) {
		uint32_t *part = &word[(size_t)4 * i];

		if (!__get_cpuid(0x80000002 + i, &part[0], &part[1], &part[2], &part[3]))
			break;
	}
	(void)snprintf(ret, len, "%.48s", (const char *)word);
	blanks = strspn(ret, " ");
	memmove(ret, ret + blanks, strlen(ret) + 1 - blanks);
	/* It goes into a text that is to be UTF-8. */
	for (char *c = ret; *c; c++) {
		if (*c < ' ' || *c > '~')
			*c = '?';
	}
}

void host_describe(struct snapshot_host *ret)
{
	struct utsname name;

	*ret = (struct snapshot_host){ 0 };
	read_boot_id(ret->boot_id, sizeof(ret->boot_id));
	read_words(ret->cpu_words);
	read_brand(ret->cpu, sizeof(ret->cpu));
	if (uname(&name) == 0)
		(void)snprintf(ret->kernel, sizeof(ret->kernel), "%.*s", SNAPSHOT_HOST_TEXT_MAX - 1,
			name.release);
}

static bool is_same_host(const struct snapshot_host *saved)
{
	struct snapshot_host here = { 0 };

	read_boot_id(here.boot_id, sizeof(here.boot_id));
	if (here.boot_id[0] == '\0' || strcmp(here.boot_id, saved->boot_id) != 0)
		return false;
	/* The CPU as well: a virtual host may have moved. */
	read_words(here.cpu_words);
	return memcmp(here.cpu_words, saved->cpu_words, sizeof(here.cpu_words)) == 0;
}

struct host {
	struct cpuid_table supported;
	struct msr_list msrs;
};

static int check_with(struct host *h, const struct snapshot *s, const struct kvm *k, struct err *e)
{
	int rc = kvm_get_supported_cpuid(k, &h->supported, e);

	if (rc == 0)
		rc = cpuid_check_subset(&h->supported, &s->vm->cpuid, e);
	if (rc == 0)
		rc = msr_list_get(k->dev_fd, &h->msrs, e);
	for (unsigned i = 0; i < s->vm->cpus && rc == 0; i++)
		rc = msr_check_known(&h->msrs, &s->vm->cpu[i], e);
	return rc;
}

static int check(const struct snapshot *s, const struct kvm *k, struct err *e)
{
	struct host *h = calloc(1, sizeof(*h));
	int rc = h ? check_with(h, s, k, e) : err_sys(e, -ENOMEM, NULL, "cannot check this host");

	free(h);
	return rc;
}

int host_check(const struct snapshot *s, const char *kvm_path, struct err *e)
{
	struct kvm k;
	int rc;

	if (is_same_host(&s->host))
		return 0;
	rc = kvm_open(&k, kvm_path, e);
	if (rc < 0)
		return rc;
	rc = check(s, &k, e);
	kvm_close(&k);
	return rc;
}
