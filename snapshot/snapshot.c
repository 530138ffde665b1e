/* What snapshots are as values (snapshot.h). */
#include "snapshot/snapshot.h"

#include <stdlib.h>

#include "base/sparse.h"

struct snapshot *snapshot_new(unsigned cpus)
{
	struct snapshot *s = sparse_new(sizeof(*s));

	if (!s)
		return NULL;
	s->vm = vm_state_new(cpus);
	if (!s->vm) {
		sparse_free(s);
		return NULL;
	}
	return s;
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	vm_state_free(s->vm);
	free(s->run);
	sparse_free(s);
}
