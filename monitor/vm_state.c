/* A machine as plain values (vm_state.h). */
#include "vm_state.h"

#include <stdlib.h>

#include "base/check.h"

struct vm_state *vm_state_new(unsigned cpus)
{
	struct vm_state *s;

	INVARIANT(cpus >= 1 && cpus <= CONFIG_CPUS_MAX);
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->cpu = calloc(cpus, sizeof(*s->cpu));
	if (!s->cpu) {
		free(s);
		return NULL;
	}
	s->cpus = cpus;
	return s;
}

void vm_state_free(struct vm_state *s)
{
	if (!s)
		return;
	free(s->cpu);
	free(s);
}
