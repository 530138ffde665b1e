/* What a machine is made of, but for its devices; log and metrics (handlers.h). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "api/handlers.h"
#include "api/metrics.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "x86/layout.h"

/* --- machine --- */

int check_machine_patch(struct request *r, struct fault *f)
{
	const struct machine_body *b = r->body;

	return b->given ? 0 : fault_set(f, "Empty PATCH request.");
}

static int check_machine(const struct machine_spec *m, struct fault *f)
{
	uint64_t step = m->pages == MEM_PAGES_2M ? 2 : 1;

	if (m->cpus < 1 || m->cpus > CONFIG_CPUS_MAX || (m->smt && m->cpus > 1 && m->cpus % 2 != 0))
		return fault_set(f,
			"Machine config error: The number of vCPUs must be greater than 0, less "
			"than 32 and must be 1 or an even number if SMT is enabled.");
	if (m->mem_mib == 0 || m->mem_mib % step != 0)
		return fault_set(f, "Machine config error: The memory size (MiB) is either 0, or "
				    "not a multiple of the configured page size.");
	return 0;
}

static void merge_machine(const struct machine_body *b, struct machine_spec *m)
{
	static const enum mem_pages pages[] = {
		[HUGE_NONE] = MEM_PAGES_HOST,
		[HUGE_TRANSPARENT] = MEM_PAGES_THP,
		[HUGE_2M] = MEM_PAGES_2M,
	};

	if (is_given(b, MACHINE_VCPUS))
		m->cpus = (unsigned)b->vcpu_count;
	if (is_given(b, MACHINE_MEM))
		m->mem_mib = b->mem_size_mib;
	if (is_given(b, MACHINE_SMT))
		m->smt = b->smt;
	if (is_given(b, MACHINE_DIRTY))
		m->track_dirty_pages = b->track_dirty_pages;
	if (is_given(b, MACHINE_HUGE))
		m->pages = pages[b->huge_pages];
}

int apply_machine(struct api *a, const struct machine_body *b, bool is_patch, struct fault *f)
{
	struct machine_spec m = { 0 };
	struct err e = { 0 };
	int rc;

	if (is_patch)
		m = a->instance->machine;
	merge_machine(b, &m);
	if (is_given(b, MACHINE_TEMPLATE) && b->cpu_template != CPU_NONE)
		return fault_set(f,
			"Machine config error: There are no static CPU templates (field "
			"`cpu_template`); use /cpu-config.");
	rc = check_machine(&m, f);
	if (rc < 0)
		return rc;
	rc = instance_put_machine(a->instance, &m, &e);
	return rc < 0 ? fault_set(f, "Machine config error: %s", e.text) : 0;
}

int put_machine(struct request *r, struct fault *f)
{
	return apply_machine(r->api, r->body, false, f);
}

int patch_machine(struct request *r, struct fault *f)
{
	return apply_machine(r->api, r->body, true, f);
}

/* --- kernel --- */

/* Whether path can be opened now and is no folder; a FIFO is not waited for. */
static int check_file(const char *path)
{
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) ? -EISDIR : 0;
}

static int check_boot_args(const char *args, struct fault *f)
{
	size_t len = strlen(args);

	if (len >= LAYOUT_CMDLINE_MAX)
		return fault_set(f,
			"Boot source error: The kernel command line is invalid: `boot_args` has "
			"%zu bytes, the limit is %d.",
			len, LAYOUT_CMDLINE_MAX - 1);
	for (size_t i = 0; i < len; i++) {
		if (args[i] < ' ' || args[i] > '~')
			return fault_set(f,
				"Boot source error: The kernel command line is invalid: "
				"`boot_args` contains a non-printable ASCII character.");
	}
	return 0;
}

int apply_boot(struct api *a, const struct boot_body *b, struct fault *f)
{
	struct boot_spec spec = {
		.kernel = b->kernel_image_path,
		.initrd = b->initrd_path,
		.cmdline = b->boot_args,
	};
	struct err e = { 0 };
	int rc;

	rc = check_file(spec.kernel);
	if (rc < 0)
		return fault_os(f, rc, "Boot source error: The kernel file cannot be opened: ");
	rc = spec.initrd ? check_file(spec.initrd) : 0;
	if (rc < 0)
		return fault_os(f, rc,
			"Boot source error: The initrd file cannot be opened due to "
			"invalid path or invalid permissions. ");
	rc = spec.cmdline ? check_boot_args(spec.cmdline, f) : 0;
	if (rc < 0)
		return rc;
	rc = instance_put_boot(a->instance, &spec, &e);
	return rc < 0 ? fault_set(f, "Boot source error: %s", e.text) : 0;
}

int put_boot(struct request *r, struct fault *f)
{
	return apply_boot(r->api, r->body, f);
}

/* --- CPU --- */

int apply_cpu(struct api *a, const struct cpu_body *b, struct fault *f)
{
	struct cpu_template t;
	struct err e = { 0 };
	int rc;

	rc = cpu_config_read(b, &t, &e);
	if (rc == 0)
		rc = instance_put_cpu(a->instance, &t, &e);
	return rc < 0 ? fault_set(f, "Configure CPU error: %s", e.text) : 0;
}

int put_cpu(struct request *r, struct fault *f)
{
	return apply_cpu(r->api, r->body, f);
}

/* --- serial port --- */

int put_serial(struct request *r, struct fault *f)
{
	const struct serial_body *b = r->body;
	struct serial_spec spec = {
		.path = b->serial_out_path,
		.has_limit = is_given(b, SERIAL_LIMITER),
		.limit_has_burst = is_given(&b->rate_limiter, BUCKET_BURST),
		.limit = { .size = b->rate_limiter.size,
			.refill_ms = b->rate_limiter.refill_time,
			.burst = b->rate_limiter.one_time_burst },
	};
	struct err e = { 0 };
	int rc;

	rc = instance_put_serial(r->api->instance, &spec, &e);
	return rc < 0 ? fault_set(f, "Serial config error: %s", e.text) : 0;
}

/* --- log and metrics --- */

int apply_logger(struct api *a, const struct logger_body *b, struct fault *f)
{
	static const enum log_level level_of[] = {
		[LEVEL_OFF] = LOG_OFF,
		[LEVEL_ERROR] = LOG_ERROR,
		[LEVEL_WARN] = LOG_WARNING,
		[LEVEL_WARNING] = LOG_WARNING,
		[LEVEL_INFO] = LOG_INFO,
		[LEVEL_DEBUG] = LOG_DEBUG,
		[LEVEL_TRACE] = LOG_TRACE,
	};
	struct err e = { 0 };
	int rc;

	rc = b->log_path ? log_open(b->log_path, &e) : 0;
	if (rc < 0)
		return fault_os(f, rc, "Logger error: Failed to open target file: ");
	if (is_given(b, LOGGER_LEVEL))
		log_set_level(level_of[b->level]);
	if (is_given(b, LOGGER_SHOW_LEVEL))
		a->log_shows_level = b->show_level;
	if (is_given(b, LOGGER_SHOW_ORIGIN))
		a->log_shows_origin = b->show_log_origin;
	log_show(a->log_shows_level, a->log_shows_origin);
	if (is_given(b, LOGGER_MODULE))
		log_set_module(b->module);
	return 0;
}

int put_logger(struct request *r, struct fault *f)
{
	return apply_logger(r->api, r->body, f);
}

int apply_metrics(struct api *a, const struct metrics_body *b, struct fault *f)
{
	struct metrics_config c = {
		.path = b->metrics_path,
		.emit_id = b->emit_id,
		.nproperties = b->nproperties,
		.property = b->property,
	};
	struct err e = { 0 };
	int rc;

	rc = metrics_open(a->metrics, &c, &e);
	if (rc == -EALREADY)
		return fault_set(f,
			"Metrics error: Cannot initialize the metrics system due to bad user "
			"input: Reinitialization of metrics not allowed.");
	if (rc < 0)
		return fault_os(f, rc,
			"Metrics error: Cannot initialize the metrics system due to "
			"bad user input: ");
	return 0;
}

int put_metrics(struct request *r, struct fault *f)
{
	return apply_metrics(r->api, r->body, f);
}
