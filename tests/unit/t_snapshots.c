/* Saving and loading without files (t_snapshots.h). */
#include "t_snapshots.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "snapshot/state_file.h"
#include "t.h"
#include "t_image.h"

struct t_snapshots t_snapshots;

int __wrap_saver_new(struct instance *in, struct saver **ret, struct err *e);
void __wrap_saver_free(struct saver *s);
int __wrap_saver_begin(struct saver *s, const struct save_options *o, saver_done_fn *done,
	void *ctx, struct err *e);
bool __wrap_saver_progress(const struct saver *s, uint64_t *ret_done, uint64_t *ret_all);
int __wrap_loader_load(struct instance *in, const struct load_options *o, struct saver *s,
	struct loader **ret, struct err *e);
void __wrap_loader_free(struct loader *l);
void __wrap_loader_get_counters(const struct loader *l, struct loader_counters *ret);
int __wrap_state_read(const char *path, struct snapshot **ret, struct err *e);

static char one; /* what a saver and a loader point to */

/* The texts of the last options, which are their owner's. */
static char kept[4096];
static size_t kept_len;

static const char *keep(const char *text)
{
	char *copy = kept + kept_len;

	if (!text)
		return NULL;
	t_true(kept_len + strlen(text) < sizeof(kept));
	memcpy(copy, text, strlen(text) + 1);
	kept_len += strlen(text) + 1;
	return copy;
}

int __wrap_saver_new(struct instance *in, struct saver **ret, struct err *e)
{
	(void)e;
	t_snapshots.loop = in->loop;
	*ret = (struct saver *)&one;
	return 0;
}

/* As the real one: what is under way fails. */
void __wrap_saver_free(struct saver *s)
{
	if (s && t_snapshots.done)
		t_snapshots_done(-ECANCELED, NULL);
}

static void on_posted(struct loop_post *post)
{
	static const struct save_result result = { .pages_all = 1 };

	(void)post;
	t_snapshots_done(0, &result);
}

int __wrap_saver_begin(struct saver *s, const struct save_options *o, saver_done_fn *done,
	void *ctx, struct err *e)
{
	t_true((char *)s == &one);
	t_snapshots.begun++;
	kept_len = 0;
	t_snapshots.save = *o;
	t_snapshots.save.state_path = keep(o->state_path);
	t_snapshots.save.memory_path = keep(o->memory_path);
	t_snapshots.save.disks_dir = keep(o->disks_dir);
	if (t_snapshots.begin_rc < 0)
		return err_set(e, t_snapshots.begin_rc, "%s",
			t_snapshots.text ? t_snapshots.text : "test");
	t_snapshots.done = done;
	t_snapshots.ctx = ctx;
	t_snapshots.at_once.run = on_posted;
	if (!t_snapshots.is_held)
		loop_post(t_snapshots.loop, &t_snapshots.at_once);
	return 0;
}

void t_snapshots_done(int rc, const struct save_result *result)
{
	saver_done_fn *done = ptr_take(t_snapshots.done);
	struct err e = { 0 };

	if (rc < 0)
		(void)err_set(&e, rc, "%s", t_snapshots.text ? t_snapshots.text : "test");
	done(t_snapshots.ctx, rc, result, &e);
}

bool __wrap_saver_progress(const struct saver *s, uint64_t *ret_done, uint64_t *ret_all)
{
	t_true((const char *)s == &one);
	*ret_done = t_snapshots.done_pages;
	*ret_all = t_snapshots.all_pages;
	return t_snapshots.all_pages > 0;
}

static void on_let_go(void *ctx)
{
	t_true((char *)ctx == &one);
	t_snapshots.resumed++;
}

/* What a load leaves behind, by way of a start: a machine that stands still. */
static int load(struct instance *in, struct err *e)
{
	static struct t_file file;
	static char kernel[64];
	struct boot_spec boot = { .kernel = kernel };
	int rc;

	t_elf_kernel(&file);
	t_true(t_file_open(&file, kernel) >= 0);
	rc = instance_put_boot(in, &boot, e);
	if (rc == 0)
		rc = instance_start(in, NULL, e);
	if (rc == 0)
		rc = instance_pause(in, NULL, NULL, e);
	while (rc == 0 && in->state != INSTANCE_PAUSED)
		t_int(loop_turn(in->loop), 0);
	return rc;
}

static void keep_load(const struct load_options *o)
{
	struct load_options *own = &t_snapshots.load;

	kept_len = 0;
	*own = *o;
	own->state_path = keep(o->state_path);
	own->memory_path = keep(o->memory_path);
	own->uffd_path = keep(o->uffd_path);
	for (unsigned i = 0; i < o->ndrives; i++)
		own->drive[i] = (struct load_drive){ keep(o->drive[i].id), keep(o->drive[i].path) };
	for (unsigned i = 0; i < o->naccepted; i++)
		own->accepted[i] = keep(o->accepted[i]);
	for (unsigned i = 0; i < o->nnics; i++) {
		own->nic[i].id = keep(o->nic[i].id);
		own->nic[i].tap = keep(o->nic[i].tap);
	}
}

int __wrap_loader_load(struct instance *in, const struct load_options *o, struct saver *s,
	struct loader **ret, struct err *e)
{
	int rc = t_snapshots.load_rc;

	(void)s;
	t_snapshots.loads++;
	keep_load(o);
	if (rc < 0)
		return err_set(e, rc, "%s", t_snapshots.text ? t_snapshots.text : "test");
	rc = load(in, e);
	if (rc < 0)
		return rc;
	in->let_go = on_let_go;
	in->let_go_ctx = &one;
	*ret = (struct loader *)&one;
	return o->goes_on ? instance_resume(in, e) : 0;
}

void __wrap_loader_free(struct loader *l)
{
	t_snapshots.freed += l ? 1 : 0;
}

void __wrap_loader_get_counters(const struct loader *l, struct loader_counters *ret)
{
	t_true((const char *)l == &one);
	*ret = t_snapshots.counters;
}

int __wrap_state_read(const char *path, struct snapshot **ret, struct err *e)
{
	struct snapshot *copy;

	if (!t_snapshots.state)
		return err_set(e, -ENOENT, "cannot open '%s'", path);
	copy = malloc(sizeof(*copy));
	t_true(copy != NULL);
	*copy = *t_snapshots.state;
	copy->vm = NULL;
	copy->run = NULL;
	*ret = copy;
	return 0;
}
