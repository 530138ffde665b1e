/*
 * The config file: one JSON object with the bodies that clients would send, in sections (api.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/handlers.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"

enum { CONFIG_FILE_MAX = 1 << 20 };

/* A section's fault as an error with its name. */
static int in_section(struct err *e, const char *section, const struct fault *f)
{
	return err_set(e, -EINVAL, "section `%s`: %s", section, f->text);
}

static int read_file(const char *path, char **ret, size_t *ret_len, struct err *e)
{
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	char *text;
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(e, -errno, NULL, "cannot read '%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "'%s' is not a file", path);
	if (st.st_size > CONFIG_FILE_MAX)
		return err_set(e, -EFBIG, "'%s' has more than %d bytes", path, CONFIG_FILE_MAX);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_sys(e, -ENOMEM, NULL, "cannot read '%s'", path);
	rc = io_pread_full(fd, text, (size_t)st.st_size, 0);
	if (rc < 0) {
		free(text);
		return err_sys(e, rc, NULL, "cannot read '%s'", path);
	}
	text[st.st_size] = '\0';
	*ret = text;
	*ret_len = (size_t)st.st_size;
	return 0;
}

/* --- cpu-config: an object, or the path of a file that has it --- */

static int apply_cpu_node(struct api *a, struct doc *d, uint32_t node, struct err *e)
{
	struct cpu_body *b = calloc(1, sizeof(*b));
	struct fault f = { 0 };
	int rc;

	if (!b)
		return err_sys(e, -ENOMEM, NULL, "cannot read the CPU's configuration");
	rc = body_decode(&body_cpu, d, node, b, e);
	if (rc < 0)
		err_prefix(e, "section `cpu-config`");
	else if (apply_cpu(a, b, &f) < 0)
		rc = in_section(e, "cpu-config", &f);
	free(b);
	return rc;
}

static int apply_cpu_file(struct api *a, const char *path, struct err *e)
{
	char *text CLEANUP(freep) = NULL;
	struct doc d CLEANUP(doc_fini) = { 0 };
	size_t len = 0;
	int rc;

	rc = read_file(path, &text, &len, e);
	if (rc == 0)
		rc = doc_read(&d, text, len, e);
	if (rc < 0) {
		err_prefix(e, "section `cpu-config`");
		return rc;
	}
	return apply_cpu_node(a, &d, 0, e);
}

static int apply_cpu_section(struct api *a, struct doc *d, uint32_t node, struct err *e)
{
	const struct doc_node *n = &d->node[node];
	const char *path;

	if (n->kind != DOC_STRING)
		return apply_cpu_node(a, d, node, e);
	path = doc_string(d, n->start, n->end);
	if (!path)
		return err_sys(e, -ENOMEM, NULL, "cannot read the configuration");
	return apply_cpu_file(a, path, e);
}

/* --- the whole --- */

static int refuse_absent(const struct config_body *b, struct err *e)
{
	for (unsigned i = CONFIG_BALLOON; i < CONFIG_SECTIONS; i++) {
		if (is_given(b, i))
			return err_set(e, -ENOTSUP,
				"section `%s`: this monitor has no such device: it has drives, "
				"network interfaces and a serial port",
				body_config.field[i].name);
	}
	return 0;
}

static int apply_first(struct api *a, const struct config_body *b, struct doc *d, struct err *e)
{
	struct fault f = { 0 };

	if (is_given(b, CONFIG_LOGGER) && apply_logger(a, &b->logger, &f) < 0)
		return in_section(e, "logger", &f);
	if (is_given(b, CONFIG_METRICS) && apply_metrics(a, &b->metrics, &f) < 0)
		return in_section(e, "metrics", &f);
	if (is_given(b, CONFIG_MACHINE) && apply_machine(a, &b->machine, false, &f) < 0)
		return in_section(e, "machine-config", &f);
	if (is_given(b, CONFIG_CPU))
		return apply_cpu_section(a, d, b->cpu, e);
	return 0;
}

static int apply_rest(struct api *a, const struct config_body *b, struct err *e)
{
	struct fault f = { 0 };

	if (apply_boot(a, &b->boot, &f) < 0)
		return in_section(e, "boot-source", &f);
	for (unsigned i = 0; i < b->ndrives; i++) {
		if (apply_drive(a, &b->drive[i], &f) < 0)
			return err_set(e, -EINVAL, "section `drives`, drive `%.64s`: %.400s",
				b->drive[i].drive_id, f.text);
	}
	for (unsigned i = 0; i < b->nnets; i++) {
		if (apply_net(a, &b->net[i], &f) < 0)
			return err_set(e, -EINVAL,
				"section `network-interfaces`, interface `%.64s`: %.400s",
				b->net[i].iface_id, f.text);
	}
	return 0;
}

static int apply_text(
	struct api *a, struct config_body *b, const char *text, size_t len, struct err *e)
{
	struct doc d CLEANUP(doc_fini) = { 0 };
	int rc = doc_read(&d, text, len, e);

	if (rc == 0)
		rc = body_decode(&body_config, &d, 0, b, e);
	if (rc == 0 && d.has_duplicates)
		rc = err_set(e, -EBADMSG, "duplicate field in a section that is ignored");
	if (rc == 0)
		rc = refuse_absent(b, e);
	if (rc == 0)
		rc = apply_first(a, b, &d, e);
	return rc == 0 ? apply_rest(a, b, e) : rc;
}

int api_apply_config(struct api *a, const char *text, uint64_t len, struct err *e)
{
	struct config_body *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return err_sys(e, -ENOMEM, NULL, "cannot read the configuration");
	rc = apply_text(a, b, text, len, e);
	free(b);
	return rc;
}

int api_apply_config_file(struct api *a, const char *path, struct err *e)
{
	char *text CLEANUP(freep) = NULL;
	size_t len = 0;
	int rc;

	rc = read_file(path, &text, &len, e);
	if (rc < 0)
		return rc;
	rc = api_apply_config(a, text, len, e);
	if (rc < 0)
		err_prefix(e, "config file '%s'", path);
	return rc;
}
