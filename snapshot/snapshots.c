/* A machine's saver and loader (snapshots.h). */
#include "snapshot/snapshots.h"

#include "base/cleanup.h"
#include "instance.h"
#include "snapshot/load.h"
#include "snapshot/save.h"

int snapshots_open(struct snapshots *s, struct instance *in, struct err *e)
{
	s->instance = in;
	return saver_new(in, &s->saver, e);
}

static void on_let_go(void *ctx)
{
	const struct snapshots *s = ctx;

	loader_resumed(s->loader);
}

int snapshots_load(
	struct snapshots *s, struct instance *in, const struct load_options *o, struct err *e)
{
	int rc = loader_load(in, o, s->saver, &s->loader, e);

	if (rc < 0)
		return rc;
	s->instance = in;
	in->let_go = on_let_go;
	in->let_go_ctx = s;
	return 0;
}

void snapshots_quiet(struct snapshots *s)
{
	saver_free(ptr_take(s->saver));
}

void snapshots_close(struct snapshots *s)
{
	if (s->loader)
		s->instance->let_go = NULL;
	loader_free(ptr_take(s->loader));
}
