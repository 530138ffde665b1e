/* Loading a machine (load.h). */
#include "snapshot/load.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/log.h"
#include "instance_change.h"
#include "snapshot/chain.h"
#include "snapshot/host.h"
#include "snapshot/load_private.h"
#include "snapshot/ram_load.h"
#include "snapshot/rebind.h"

/* --- memory --- */

/* For the pages that a load itself needs: a handler that takes longer is as good as gone. */
enum { HANDLER_MS = 30000 };

/* When a machine that goes on has its first pages. */
enum { TIDY_MS = 10 };

/*
 * On the watcher's thread.  Pages that were not brought would be zero: a guest that went on would
 * take them for its data, and write them to its disks.  Nothing here may wait for the loop, which
 * may itself wait for a page.
 */
static void on_handler_gone(void *ctx)
{
	const struct loader *l = ctx;

	if (atomic_load(&l->is_leaving))
		log_error("the handler of this machine's memory does not bring pages that are "
			  "waited for: the process ends without them");
	else
		log_error("the handler of this machine's memory has gone away, or does not answer: "
			  "the machine ends at once, because the guest would go on with pages that "
			  "are lost");
	(void)kill(getpid(), SIGKILL);
}

static int fill_memory(void *ctx, struct guest_mem *m, struct err *e)
{
	struct loader *l = ctx;
	struct ram_layer layer[RAM_LAYERS_MAX];
	int rc;

	if (l->options->backend == LOAD_BACKEND_FILE)
		return ram_load(m, layer, chain_layers(l->chain, layer), e);
	rc = uffd_serve(&l->uffd, m, l->options->uffd_path, e);
	if (rc == 0)
		rc = uffd_watch(&l->uffd, on_handler_gone, l, e);
	/* The first pages are asked for by the loop's thread, which serves nobody meanwhile. */
	if (rc == 0)
		uffd_set_deadline(&l->uffd, HANDLER_MS);
	return rc;
}

/* vCPUs are told to leave the guest; one that waits for a page that does not come would never hear
 * of it. */
static void release(void *ctx)
{
	struct loader *l = ctx;

	atomic_store(&l->is_leaving, true);
	if (l->saver)
		saver_cancel(l->saver);
	uffd_hurry(&l->uffd);
}

/* --- the steps --- */

static int build(struct loader *l, struct err *e)
{
	const struct start_options start = { .restore = &l->source };

	l->source = (struct restore_source){
		.state = l->chain->link[0].snapshot->vm,
		.fill_memory = fill_memory,
		.fill_ctx = l,
		.leaving = release,
		.leaving_ctx = l,
		.ahead = &l->ahead,
		.holds_clock = l->options->holds_clock,
		.goes_on = l->options->goes_on,
	};
	return instance_build(l->in, &start, e);
}

static int check_backend(const struct load_options *o, const struct chain *chain, struct err *e)
{
	if (o->backend == LOAD_BACKEND_UFFD && chain->n > 1)
		return err_set(e, -EINVAL,
			"a difference cannot be served by userfaultfd: merge it with its base "
			"first (mvm snapshot --merge)");
	return 0;
}

static int check_host(
	const struct snapshot *s, const struct load_options *o, const char *kvm_path, struct err *e)
{
	struct err missing = { 0 };
	int rc = host_check(s, kvm_path, &missing);

	if (rc == -EOPNOTSUPP && o->accepts_any_cpu) {
		log_warning("%s", missing.text);
		return 0;
	}
	if (rc < 0 && e)
		*e = missing;
	return rc;
}

static int prepare(struct loader *l, struct err *e)
{
	const struct load_options *o = l->options;
	const struct chain_link *top = &l->chain->link[0];
	const struct snapshot *s = top->snapshot;
	int rc = check_backend(o, l->chain, e);

	if (rc == 0)
		rc = rebind_check(s, o, e);
	if (rc == 0)
		rc = check_host(s, o, l->in->cfg.kvm_path, e);
	if (rc == 0)
		rc = rebind(l->in, s, o, top->state_path, e);
	return rc == 0 ? build(l, e) : rc;
}

static struct loader *new_loader(struct instance *in, struct saver *s)
{
	struct loader *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->in = in;
	l->saver = s;
	l->memory_fd = -1;
	l->uffd.fd = l->uffd.socket = l->uffd.stop_fd = -1;
	return l;
}

int loader_build(struct instance *in, const struct load_options *o, struct saver *s,
	struct loader **ret, struct err *e)
{
	struct loader *l;
	int rc;

	/* First: what was described is not ours to forget. */
	if (in->state != INSTANCE_NOT_STARTED || in->vm)
		return err_set(e, -EPERM, "the machine has been started");
	if (in->is_boot_path)
		return err_set(e, -EPERM, "the machine has been described already");
	l = new_loader(in, s);
	if (!l)
		return err_sys(e, -ENOMEM, NULL, "cannot load the snapshot");
	l->options = o;
	vcpu_ahead_begin(&l->ahead, in->cfg.kvm_path);
	rc = chain_open(
		&l->chain, o->state_path, o->memory_path, o->backend == LOAD_BACKEND_FILE, e);
	if (rc == 0)
		rc = prepare(l, e);
	if (rc == 0) {
		*ret = l;
		return 0;
	}
	loader_free(l);
	instance_forget(in);
	return rc;
}

static void tidy(struct later *later)
{
	struct loader *l = container_of(later, struct loader, tidy);

	chain_free(ptr_take(l->chain));
}

int loader_start(struct loader *l, struct err *e)
{
	const struct start_options start = { .restore = &l->source };
	const struct chain_link *top = &l->chain->link[0];
	int rc = instance_start(l->in, &start, e);

	if (rc < 0)
		return rc;
	uffd_set_deadline(&l->uffd, 0);
	if (l->saver)
		saver_set_base(l->saver, top->snapshot, top->state_path, top->memory_path);
	loader_keep_working_set(l, l->options, l->chain);
	if (l->options->goes_on)
		instance_tell_let_go(l->in);
	l->options = NULL;
	/* Not now, when the guest's first pages are mapped: unmapping would stand in their way. */
	later_start(&l->tidy, l->in->loop, TIDY_MS, tidy);
	return 0;
}

int loader_load(struct instance *in, const struct load_options *o, struct saver *s,
	struct loader **ret, struct err *e)
{
	struct loader *l = NULL;
	int rc = loader_build(in, o, s, &l, e);

	if (rc < 0)
		return rc;
	INVARIANT(l);
	rc = loader_start(l, e);
	if (rc == 0) {
		*ret = l;
		return 0;
	}
	loader_free(l);
	instance_forget(in);
	return rc;
}

void loader_free(struct loader *l)
{
	if (!l)
		return;
	later_end(&l->tidy);
	vcpu_ahead_end(&l->ahead);
	loader_end_working_set(l);
	chain_free(l->chain);
	uffd_close(&l->uffd);
	fd_closep(&l->memory_fd);
	free(l);
}

void loader_get_counters(const struct loader *l, struct loader_counters *ret)
{
	*ret = l->counters;
}
