/* Saving and loading (handlers.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/handlers.h"
#include "base/log.h"
#include "snapshot/load.h"
#include "snapshot/save.h"
#include "snapshot/snapshots.h"
#include "snapshot/state_file.h"

#define SAVE_FAULT    "Create snapshot error: "
#define LOAD_FAULT    "Load snapshot error: "
#define RESTORE_FAULT LOAD_FAULT "Failed to restore from snapshot: "
#define STATE_FAULT   RESTORE_FAULT "Failed to get snapshot state from file: "
#define MEMORY_FAULT  RESTORE_FAULT "Failed to load guest memory: Error creating guest memory from "

/* --- saving --- */

/* Whether a file could be made there, as far as can be seen without making it: 0 or -errno. */
static int look_at_place(const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	struct stat st;

	if (path[0] == '\0')
		return -ENOENT;
	if (strlen(path) >= sizeof(folder))
		return -ENAMETOOLONG;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return -EISDIR;
	if (slash)
		(void)snprintf(folder, sizeof(folder), "%.*s",
			slash == path ? 1 : (int)(slash - path), path);
	else
		(void)snprintf(folder, sizeof(folder), ".");
	if (stat(folder, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

/* In the contract's words, before the machine hears of it. */
static int check_create(const struct api *a, const struct create_body *b, struct fault *f)
{
	int rc;

	if (a->instance->state == INSTANCE_RUNNING && !b->live)
		return fault_set(f, SAVE_FAULT
			"Cannot save the microVM state: Operation not allowed: save/restore "
			"unavailable while running");
	if (b->live && b->stop)
		return fault_set(f, SAVE_FAULT
			"`live` and `stop` exclude each other: a machine that is saved live goes "
			"on");
	rc = look_at_place(b->snapshot_path);
	if (rc < 0)
		return fault_os(
			f, rc, SAVE_FAULT "Cannot perform open on the snapshot backing file: ");
	rc = look_at_place(b->mem_file_path);
	if (rc < 0)
		return fault_os(
			f, rc, SAVE_FAULT "Cannot perform open on the memory backing file: ");
	if (strcmp(b->snapshot_path, b->mem_file_path) == 0)
		return fault_set(
			f, SAVE_FAULT "`snapshot_path` and `mem_file_path` are the same file");
	return 0;
}

static void note_save(struct request *r, enum snapshot_kind kind, const struct save_result *result)
{
	struct api_counters *c = &r->api->counters;
	enum api_latency what = kind == SNAPSHOT_DIFF ? API_SAVE_DIFF : API_SAVE_FULL;
	const char *words = kind == SNAPSHOT_DIFF ? "diff" : "full";

	c->latency_us[what] = request_now_us() - r->began_us;
	c->vmm_latency_us[what] = result->total_us;
	*(kind == SNAPSHOT_DIFF ? &c->saves.diff : &c->saves.full) += 1;
	c->saves.pages_written += result->pages_written;
	c->saves.last_pages_written = result->pages_written;
	c->saves.last_pause_us = result->pause_us;
	c->saves.last_total_us = result->total_us;
	log_info("'create %s snapshot' VMM action took %llu us.", words,
		(unsigned long long)result->total_us);
	log_info("'create %s snapshot' API request took %llu us.", words,
		(unsigned long long)c->latency_us[what]);
}

static void saved(void *ctx, int rc, const struct save_result *result, const struct err *e)
{
	struct request *r = ctx;
	const struct create_body *b = r->body;
	struct fault f = { 0 };

	if (rc < 0)
		rc = fault_set(&f, SAVE_FAULT "%s", e->text);
	if (r->api && rc < 0)
		r->api->counters.saves.failed++;
	else if (r->api)
		note_save(r, (enum snapshot_kind)b->snapshot_type, result);
	/* Before the answer, so that nobody who waited for it can let the machine go on. */
	if (r->api && rc == 0 && b->stop)
		instance_stop(r->api->instance, "stopped after a snapshot");
	request_done(r, rc, &f);
}

int create_snapshot(struct request *r, struct fault *f)
{
	const struct create_body *b = r->body;
	struct api *a = r->api;
	struct save_options o = {
		.state_path = b->snapshot_path,
		.memory_path = b->mem_file_path,
		.disks_dir = b->disks_dir,
		.kind = (enum snapshot_kind)b->snapshot_type,
		.is_live = b->live,
	};
	struct err e = { 0 };
	int rc = check_create(a, b, f);

	if (rc < 0)
		return rc;
	rc = saver_begin(a->snapshots->saver, &o, saved, r, &e);
	if (rc == 0)
		return HANDLER_LATER;
	a->counters.saves.failed++;
	return fault_set(f, SAVE_FAULT "%s", e.text);
}

/* --- loading --- */

int check_load(struct request *r, struct fault *f)
{
	const struct load_body *b = r->body;
	bool has_backend = is_given(b, LOAD_BACKEND), has_file = is_given(b, LOAD_MEM_FILE);

	if (!has_backend && !has_file)
		return fault_set(f, "missing field: either `mem_backend` or `mem_file_path` is "
				    "required");
	if (has_backend && has_file)
		return fault_set(f, "too many fields: either `mem_backend` or `mem_file_path` "
				    "exclusively is required");
	if (is_given(b, LOAD_VSOCK))
		return fault_set(f, LOAD_FAULT "This monitor has no vsock device (field "
					       "`vsock_override`).");
	if (b->clock_realtime && b->clock == CLOCK_WORD_FROZEN)
		return fault_set(f, LOAD_FAULT "`clock_realtime` is true, and `clock` is "
					       "`Frozen`.");
	return 0;
}

static int read_override(const struct override_body *b, struct load_nic *ret, struct fault *f)
{
	*ret = (struct load_nic){ .id = b->iface_id, .tap = b->host_dev_name, .tap_fd = -1 };
	if (!b->guest_mac)
		return 0;
	ret->has_mac = true;
	if (!read_mac(b->guest_mac, ret->mac) || (ret->mac[0] & 1))
		return fault_set(f,
			LOAD_FAULT "`guest_mac` \"%.64s\" is not the MAC address of an interface: "
				   "six bytes in hexadecimal with colons between them, the first "
				   "one even",
			b->guest_mac);
	return 0;
}

static int read_load(const struct load_body *b, struct load_options *o, struct fault *f)
{
	bool is_uffd = is_given(b, LOAD_BACKEND) && b->mem_backend.backend_type == BACKEND_UFFD;
	const char *path =
		is_given(b, LOAD_BACKEND) ? b->mem_backend.backend_path : b->mem_file_path;

	*o = (struct load_options){
		.state_path = b->snapshot_path,
		.memory_path = is_uffd ? NULL : path,
		.backend = is_uffd ? LOAD_BACKEND_UFFD : LOAD_BACKEND_FILE,
		.uffd_path = is_uffd ? path : NULL,
		.pages = (enum load_pages)b->huge_pages,
		.track_dirty = b->track_dirty_pages || b->enable_diff_snapshots,
		.accepts_any_cpu = b->accept_any_cpu,
		.goes_on = b->resume_vm,
		.holds_clock = b->clock == CLOCK_WORD_FROZEN,
		.record_ms = b->record_working_set_ms,
		.ndrives = b->ndrives,
		.nnics = b->noverrides,
		.naccepted = b->naccepted,
	};
	for (unsigned i = 0; i < b->ndrives; i++)
		o->drive[i] = (struct load_drive){ b->drive[i].drive_id, b->drive[i].path_on_host };
	for (unsigned i = 0; i < b->naccepted; i++)
		o->accepted[i] = b->accepted[i];
	for (unsigned i = 0; i < b->noverrides; i++) {
		if (read_override(&b->override[i], &o->nic[i], f) < 0)
			return -EINVAL;
	}
	return 0;
}

/* Opens for reading and closes: 0 or -errno. */
static int look_at(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

static bool has_drive(const struct snapshot *s, const char *id)
{
	for (unsigned i = 0; i < s->ndrives; i++) {
		if (strcmp(s->drive[i].id, id) == 0)
			return true;
	}
	return false;
}

static bool has_nic(const struct snapshot *s, const char *id)
{
	for (unsigned i = 0; i < s->nnics; i++) {
		if (strcmp(s->nic[i].id, id) == 0)
			return true;
	}
	return false;
}

/* An id that the snapshot does not have has words of its own; 0: none such. */
static int blame_ids(const struct load_options *o, struct fault *f)
{
	struct snapshot *s = NULL;
	int rc = 0;

	if (state_read(o->state_path, &s, NULL) < 0)
		return 0;
	for (unsigned i = 0; i < o->nnics && rc == 0; i++) {
		if (!has_nic(s, o->nic[i].id))
			rc = fault_set(f, RESTORE_FAULT "Unknown Network Device.");
	}
	for (unsigned i = 0; i < o->ndrives && rc == 0; i++) {
		if (!has_drive(s, o->drive[i].id))
			rc = fault_set(f, RESTORE_FAULT "Unknown Block Device.");
	}
	snapshot_free(s);
	return rc;
}

/*
 * Why a load failed, in the words that clients match where they have some: files that are not there
 * are looked for once more, now that time does not count.
 */
static int blame(const struct load_options *o, const struct err *e, struct fault *f)
{
	enum { CHECKSUM_BYTES = 8 };
	struct stat st;
	int rc = look_at(o->state_path);

	if (rc < 0)
		return fault_os(f, rc, STATE_FAULT "Failed to open snapshot file: ");
	if (stat(o->state_path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size < CHECKSUM_BYTES)
		return fault_set(f, STATE_FAULT "Failed to load snapshot state from file: IO "
						"Error: File too short to contain CRC");
	rc = o->memory_path ? look_at(o->memory_path) : 0;
	if (rc < 0 && e->code == rc)
		return fault_os(f, rc, MEMORY_FAULT "file: Failed to load guest memory: ");
	if (o->uffd_path && stat(o->uffd_path, &st) < 0)
		return fault_os(
			f, -errno, MEMORY_FAULT "uffd: Failed to connect to UDS Unix stream: ");
	if (o->uffd_path && e->code == -ECONNREFUSED)
		return fault_os(
			f, e->code, MEMORY_FAULT "uffd: Failed to connect to UDS Unix stream: ");
	rc = blame_ids(o, f);
	return rc < 0 ? rc : fault_set(f, RESTORE_FAULT "%s", e->text);
}

int load_snapshot(struct request *r, struct fault *f)
{
	const struct load_body *b = r->body;
	struct api *a = r->api;
	struct api_counters *c = &a->counters;
	struct load_options o;
	struct err e = { 0 };
	int rc;

	if (a->instance->is_boot_path)
		return fault_set(f, LOAD_FAULT "Loading a microVM snapshot not allowed "
					       "after configuring boot-specific resources.");
	rc = read_load(b, &o, f);
	if (rc < 0)
		return rc;
	/* From here on clients expect that a failure is the end. */
	r->is_fatal = true;
	rc = snapshots_load(a->snapshots, a->instance, &o, &e);
	if (rc < 0)
		return blame(&o, &e, f);
	r->is_fatal = false;
	c->latency_us[API_LOAD] = c->vmm_latency_us[API_LOAD] = request_now_us() - r->began_us;
	log_info("'load snapshot' API request took %llu us.",
		(unsigned long long)c->latency_us[API_LOAD]);
	return 0;
}
