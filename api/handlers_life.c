/* Start, pause, resume (handlers.h). */
#include <errno.h>

#include "api/handlers.h"
#include "api/metrics.h"
#include "base/log.h"

/* --- actions --- */

static int start(struct api *a, struct fault *f)
{
	const struct start_options options = { 0 };
	struct err e = { 0 };
	int rc;

	if (!a->instance->boot.kernel)
		return fault_set(f, "Start microvm error: Cannot start microvm without kernel "
				    "configuration.");
	rc = instance_start(a->instance, &options, &e);
	if (rc == -ENOMEM)
		return fault_set(f,
			"Start microvm error: Invalid Memory Configuration: Cannot create mmap "
			"region: Out of memory (os error 12). %s.",
			e.text);
	if (rc < 0)
		return fault_set(f, "Start microvm error: %s", e.text);
	return 0;
}

static int flush(struct api *a, struct fault *f)
{
	struct err e = { 0 };
	int rc = metrics_flush(a->metrics, &e);

	/* Without a file there is nothing to flush to, and nothing wrong. */
	if (rc < 0 && rc != -ENOENT)
		return fault_set(f, "Internal VMM error: The metrics were lost: %s", e.text);
	return 0;
}

int put_action(struct request *r, struct fault *f)
{
	const struct action_body *b = r->body;
	struct api *a = r->api;
	struct err e = { 0 };
	int rc = check_phase(a, b->action_type == ACTION_START ? PHASE_BEFORE : PHASE_STARTED, f);

	if (rc < 0)
		return rc;
	if (b->action_type == ACTION_START)
		return start(a, f);
	if (b->action_type == ACTION_FLUSH)
		return flush(a, f);
	rc = instance_request_shutdown(a->instance, &e);
	return rc < 0 ? fault_set(f, "Internal VMM error: %s", e.text) : 0;
}

/* --- pause and resume --- */

static void note_latency(struct request *r, enum api_latency what, const char *words)
{
	uint64_t us = request_now_us() - r->began_us;

	/* The request is read, served and answered on one thread: both are the same. */
	r->api->counters.latency_us[what] = us;
	r->api->counters.vmm_latency_us[what] = us;
	log_info("'%s vm' API request took %llu us.", words, (unsigned long long)us);
}

static void paused(void *ctx, int rc, const struct err *e)
{
	struct request *r = ctx;
	struct fault f = { 0 };

	if (rc < 0)
		rc = fault_set(&f, "Internal VMM error: %s", e->text);
	else if (r->api)
		note_latency(r, API_PAUSE, "pause");
	request_done(r, rc, &f);
}

int patch_vm(struct request *r, struct fault *f)
{
	const struct vm_body *b = r->body;
	struct err e = { 0 };
	int rc;

	if (b->state == VM_STATE_PAUSED) {
		rc = instance_pause(r->api->instance, paused, r, &e);
		return rc < 0 ? fault_set(f, "Internal VMM error: %s", e.text) : HANDLER_LATER;
	}
	rc = instance_resume(r->api->instance, &e);
	if (rc < 0)
		return fault_set(f, "Internal VMM error: %s", e.text);
	note_latency(r, API_RESUME, "resume");
	return 0;
}
