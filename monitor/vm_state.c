/* A machine as plain values (vm_state.h). */
#include "vm_state.h"

#include "base/check.h"
#include "base/sparse.h"

struct vm_state *vm_state_new(unsigned cpus)
{
	struct vm_state *s;

	INVARIANT(cpus >= 1 && cpus <= CONFIG_CPUS_MAX);
	s = sparse_new(sizeof(*s));
	if (!s)
		return NULL;
	s->cpu = sparse_new(cpus * sizeof(*s->cpu));
	if (!s->cpu) {
		sparse_free(s);
		return NULL;
	}
	s->cpus = cpus;
	return s;
}

void vm_state_free(struct vm_state *s)
{
	if (!s)
		return;
	sparse_free(s->cpu);
	sparse_free(s);
}
