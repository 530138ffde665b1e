/*
 * The text of a config file, to the calls of the instance, the log and the metrics that it comes
 * to. These are replaced: no file is opened and no tap is made.  What they are given has been
 * checked.
 *
 * open64 and log_open are replaced by the linker (--wrap).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/handlers.h"
#include "api/metrics.h"
#include "base/err.h"
#include "base/log.h"
#include "fuzz.h"

static struct instance instance;
static unsigned calls;

/* --- what is called --- */

int __wrap_open64(const char *path, int flags, ...);
int __wrap_log_open(const char *path, struct err *e);

/* Names that begin with k are there; those with c hold a CPU template. */
int __wrap_open64(const char *path, int flags, ...)
{
	static const char template[] =
		"{\"kvm_capabilities\":[\"!1\"],\"msr_modifiers\":[{\"addr\":"
		"\"0x1\",\"bitmap\":\"0b1\"}]}";
	int fd;

	(void)flags;
	errno = ENOENT;
	if (path[0] != 'k' && path[0] != 'c')
		return -1;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (path[0] == 'c' && fd >= 0)
		FUZZ_CHECK(write(fd, template, sizeof(template) - 1) > 0);
	return fd;
}

/* Every other call fails, so that both ways are seen. */
static int outcome(struct err *e)
{
	return calls++ % 8 == 7 ? err_set(e, -EINVAL, "it \"failed\"") : 0;
}

int __wrap_log_open(const char *path, struct err *e)
{
	FUZZ_CHECK(path != NULL);
	return outcome(e);
}

int metrics_open(struct metrics *m, const struct metrics_config *c, struct err *e)
{
	(void)m;
	FUZZ_CHECK(c->path && c->nproperties <= METRICS_PROPERTIES_MAX);
	for (unsigned i = 0; i < 2 * c->nproperties; i++)
		FUZZ_CHECK(c->property[i] != NULL);
	return outcome(e);
}

int instance_put_machine(struct instance *in, const struct machine_spec *spec, struct err *e)
{
	FUZZ_CHECK(spec->cpus >= 1 && spec->cpus <= CONFIG_CPUS_MAX && spec->mem_mib > 0);
	FUZZ_CHECK(!spec->smt || spec->cpus == 1 || spec->cpus % 2 == 0);
	in->machine = *spec;
	return outcome(e);
}

int instance_put_boot(struct instance *in, const struct boot_spec *spec, struct err *e)
{
	(void)in;
	FUZZ_CHECK(spec->kernel != NULL);
	FUZZ_CHECK(!spec->cmdline || strlen(spec->cmdline) < 2048);
	return outcome(e);
}

static void check_a_name(const char *id)
{
	FUZZ_CHECK(strlen(id) >= 1 && strlen(id) <= CONFIG_ID_MAX && !strpbrk(id, "/. -\n"));
}

static void check_shape(const struct limit_shape *s)
{
	FUZZ_CHECK(s->is_given || (!s->has_bytes && !s->has_ops));
}

int instance_put_drive(struct instance *in, const struct drive_spec *spec, struct err *e)
{
	(void)in;
	check_a_name(spec->disk.id);
	check_shape(&spec->shape);
	FUZZ_CHECK(spec->disk.path != NULL);
	return outcome(e);
}

int instance_put_net(struct instance *in, const struct net_spec *spec, struct err *e)
{
	(void)in;
	check_a_name(spec->net.id);
	check_shape(&spec->rx_shape);
	check_shape(&spec->tx_shape);
	FUZZ_CHECK(spec->net.tap != NULL);
	FUZZ_CHECK(spec->net.mtu == 0 || spec->net.mtu >= NET_MTU_MIN);
	FUZZ_CHECK(!spec->net.has_mac || !(spec->net.mac[0] & 1));
	return outcome(e);
}

int instance_put_cpu(struct instance *in, const struct cpu_template *spec, struct err *e)
{
	(void)in;
	FUZZ_CHECK(spec->nleaves <= CPU_TEMPLATE_LEAVES && spec->nmsrs <= CPU_TEMPLATE_MSRS);
	for (unsigned i = 0; i < spec->nmsrs; i++)
		FUZZ_CHECK((spec->msr[i].value & ~spec->msr[i].mask) == 0);
	return outcome(e);
}

/* --- what a config file does not come to --- */

int instance_put_serial(struct instance *in, const struct serial_spec *spec, struct err *e)
{
	(void)in;
	(void)spec;
	(void)e;
	abort();
}

int instance_patch_drive(struct instance *in, const struct drive_patch *patch,
	instance_done_fn *done, void *ctx, struct err *e)
{
	(void)in;
	(void)patch;
	(void)done;
	(void)ctx;
	(void)e;
	abort();
}

int instance_patch_net(struct instance *in, const struct net_patch *patch, struct err *e)
{
	(void)in;
	(void)patch;
	(void)e;
	abort();
}

const struct drive *instance_drive(const struct instance *in, const char *id)
{
	(void)in;
	(void)id;
	abort();
}

void request_done(struct request *r, int rc, const struct fault *f)
{
	(void)r;
	(void)rc;
	(void)f;
	abort();
}

/* --- the target --- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct api api = { .instance = &instance };
	struct err e = { 0 };

	calls = size % 8;
	if (api_apply_config(&api, (const char *)data, size, &e) < 0)
		FUZZ_CHECK(e.text[0] != '\0' && e.code < 0);
	/* What the log was told is forgotten. */
	log_init(LOG_OFF, STDERR_FILENO);
	return 0;
}
