/* A machine's saver and loader (snapshots.h). */
#include "snapshot/snapshots.h"

#include "base/cleanup.h"
#include "snapshot/load.h"
#include "snapshot/save.h"

int snapshots_open(struct snapshots *s, struct instance *in, struct err *e)
{
	return saver_new(in, &s->saver, e);
}

int snapshots_load(
	struct snapshots *s, struct instance *in, const struct load_options *o, struct err *e)
{
	return loader_load(in, o, s->saver, &s->loader, e);
}

int snapshots_build(
	struct snapshots *s, struct instance *in, const struct load_options *o, struct err *e)
{
	return loader_build(in, o, s->saver, &s->loader, e);
}

int snapshots_start(struct snapshots *s, struct err *e)
{
	return loader_start(s->loader, e);
}

void snapshots_close(struct snapshots *s)
{
	saver_free(ptr_take(s->saver));
	loader_free(ptr_take(s->loader));
}
