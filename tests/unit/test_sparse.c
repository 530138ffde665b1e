/* Large structures that are mostly empty. */
#include "t.h"

#include <stdio.h>

#include "base/sparse.h"
#include "vm_state.h"

TestSuite(sparse, .timeout = T_SECONDS);

/* KiB of address space.  AddressSanitizer keeps what was freed, and looks for leaks itself. */
static unsigned long mapped(void)
{
#ifdef __SANITIZE_ADDRESS__
	return 0;
#else
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[256];

	t_true(f);
	while (fgets(line, sizeof(line), f))
		(void)sscanf(line, "VmSize: %lu", &kib);
	(void)fclose(f);
	return kib;
#endif
}

Test(sparse, it_is_zeroed_and_aligned_and_all_of_it_goes)
{
	static const size_t sizes[] = { 1, 4032, 4096, 1 << 20 };
	unsigned long before = mapped(); /* what reading it takes, too */

	before = mapped();
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint8_t *p = sparse_new(sizes[i]);

		t_true(p);
		t_uint((uintptr_t)p % 16, 0);
		t_uint(p[0] | p[sizes[i] - 1], 0);
		p[sizes[i] - 1] = 1;
		sparse_free(p);
	}
	sparse_free(NULL);
	t_uint(mapped(), before);
	T_NO_LEAKS();
}

Test(sparse, more_than_there_can_be_is_refused)
{
	void *p = NULL;

#ifndef __SANITIZE_ADDRESS__
	p = sparse_new(SIZE_MAX);
#endif
	t_true(!p);
}

Test(sparse, a_count_that_has_changed_unmaps_nobody)
{
	unsigned long before = mapped();

	before = mapped();
	for (unsigned cpus = 1; cpus <= 32; cpus += 31) {
		struct vm_state *s = vm_state_new(4), *other = vm_state_new(4);

		s->cpus = cpus;
		vm_state_free(s);
		memset(other->cpu, 1, 4 * sizeof(*other->cpu));
		vm_state_free(other);
	}
	t_uint(mapped(), before);
	T_NO_LEAKS();
}
