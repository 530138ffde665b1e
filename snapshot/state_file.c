/* The state file (state_file.h). */
#include "snapshot/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "snapshot/decode.h"
#include "snapshot/section.h"
#include "snapshot/snapshot.h"
#include "snapshot/visit.h"

/* What the lengths of texts and the section headers add to the structures themselves. */
enum { ENCODE_SLACK = 16384 };

_Static_assert((uint64_t)SNAPSHOT_RUNS_MAX * sizeof(struct page_run) +
			       CONFIG_CPUS_MAX * sizeof(struct cpu_state) +
			       sizeof(struct snapshot) + sizeof(struct vm_state) + ENCODE_SLACK <=
		       STATE_FILE_MAX,
	"whatever passes state_check() has room in a file");

/* --- writing --- */

static void encode_all(struct section_writer *f, struct snapshot *s)
{
	for (unsigned k = 0; k < section_kinds_count; k++) {
		const struct section_kind *kind = &section_kinds[k];
		unsigned n = kind->count(s);

		for (unsigned i = 0; i < n; i++) {
			section_begin(f, kind->type, kind->version, kind->flags, i);
			kind->visit(&f->w, s, i);
			section_end(f);
		}
	}
}

int state_encode(const struct snapshot *s, uint8_t **ret, size_t *ret_len, struct err *e)
{
	/* Every field takes as many bytes in the file as in its structure, or fewer, but for the
	 * length in front of a text. */
	size_t size = sizeof(*s) + sizeof(*s->vm) + s->vm->cpus * sizeof(*s->vm->cpu) +
		      s->nruns * sizeof(*s->run) + ENCODE_SLACK;
	uint8_t *buf CLEANUP(freep) = NULL;
	uint8_t *fitting;
	struct section_writer f;
	int rc = state_check(s, e);

	if (rc < 0) {
		err_prefix(e, "this machine cannot be saved");
		return -EINVAL;
	}
	buf = malloc(size);
	if (!buf)
		return err_sys(e, -ENOMEM, NULL, "cannot write a snapshot's state");
	section_begin_file(&f, buf, size);
	/* A writer's visitors only read. */
	encode_all(&f, (struct snapshot *)s);
	rc = section_end_file(&f, ret_len);
	INVARIANT(rc != -ENOBUFS);
	if (rc < 0)
		return err_set(e, -EINVAL,
			"this machine cannot be saved: a text without an end, or a value that "
			"cannot be");
	fitting = realloc(buf, *ret_len);
	*ret = fitting ? fitting : buf;
	buf = NULL;
	return 0;
}

/* --- reading --- */

static int decode_all(const struct section_list *l, struct snapshot *s, struct err *e)
{
	int rc = 0;

	for (unsigned k = 0; k < section_kinds_count && rc >= 0; k++) {
		const struct section_kind *kind = &section_kinds[k];
		unsigned n = kind->count(s);

		for (unsigned i = 0; i < n && rc >= 0; i++)
			rc = decode_section(l, kind, i, s, e);
	}
	for (unsigned i = 0; i < l->n && rc >= 0; i++)
		rc = decode_check_instance(l, i, s, e);
	return rc < 0 ? rc : state_check(s, e);
}

static void snapshot_freep(struct snapshot **s)
{
	snapshot_free(*s);
}

int state_decode(const uint8_t *data, size_t len, struct snapshot **ret, struct err *e)
{
	struct snapshot *s CLEANUP(snapshot_freep) = NULL;
	struct section_list list UNINITIALIZED;
	struct file_header h;
	int rc = section_read_header(data, len, &h, e);

	if (rc == 0)
		rc = decode_check_header(&h, e);
	if (rc == 0)
		rc = section_list_all(data, len, &h, &list, e);
	for (unsigned i = 0; rc == 0 && i < list.n; i++)
		rc = decode_check_section(&list, i, e);
	if (rc == 0)
		rc = decode_make_room(&list, &s, e);
	if (rc == 0)
		rc = decode_all(&list, s, e);
	if (rc < 0)
		return rc;
	*ret = ptr_take(s);
	return 0;
}

/* --- files --- */

/* The descriptor of a regular file, "state" in path where that is a folder; or -errno with e
 * filled. */
static int open_state(const char *path, uint64_t *ret_size, struct err *e)
{
	static const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd CLEANUP(fd_closep) = open(path, flags);
	struct stat st;

	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot open '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, NULL, "cannot look at '%s'", path);
	if (S_ISDIR(st.st_mode)) {
		int file = openat(fd, "state", flags);

		if (file < 0)
			return err_sys(e, -errno, NULL, "cannot open '%s/state'", path);
		(void)close(fd);
		fd = file;
		if (fstat(fd, &st) < 0)
			return err_sys(e, -errno, NULL, "cannot look at '%s/state'", path);
	}
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "'%s' is not a regular file", path);
	*ret_size = (uint64_t)st.st_size;
	return fd_take(&fd);
}

int state_read_bytes(const char *path, uint8_t **ret, size_t *ret_len, struct err *e)
{
	uint8_t *buf CLEANUP(freep) = NULL;
	uint64_t size = 0;
	int fd CLEANUP(fd_closep) = open_state(path, &size, e);
	int rc;

	if (fd < 0)
		return fd;
	if (size > STATE_FILE_MAX)
		return err_set(e, -EFBIG, "'%s' has %" PRIu64 " bytes, and a state file at most %d",
			path, size, STATE_FILE_MAX);
	buf = malloc(size > 0 ? size : 1);
	if (!buf)
		return err_sys(e, -ENOMEM, NULL, "cannot read '%s'", path);
	rc = io_pread_full(fd, buf, size, 0);
	if (rc < 0)
		return err_sys(e, rc, NULL, "cannot read '%s'", path);
	*ret = ptr_take(buf);
	*ret_len = size;
	return 0;
}

int state_read(const char *path, struct snapshot **ret, struct err *e)
{
	uint8_t *data CLEANUP(freep) = NULL;
	size_t len = 0;
	int rc = state_read_bytes(path, &data, &len, e);

	if (rc < 0)
		return rc;
	rc = state_decode(data, len, ret, e);
	if (rc < 0)
		err_prefix(e, "'%s'", path);
	return rc;
}

int state_read_version(const char *path, unsigned *ret_major, unsigned *ret_minor, struct err *e)
{
	uint8_t data[FORMAT_HEADER_LEN_MAX] UNINITIALIZED;
	uint64_t size = 0;
	int fd CLEANUP(fd_closep) = open_state(path, &size, e);
	struct file_header h;
	int rc;

	if (fd < 0)
		return fd;
	size = MIN(size, sizeof(data));
	rc = io_pread_full(fd, data, size, 0);
	if (rc < 0)
		return err_sys(e, rc, NULL, "cannot read '%s'", path);
	rc = section_read_header(data, size, &h, e);
	if (rc < 0) {
		err_prefix(e, "'%s'", path);
		return rc;
	}
	*ret_major = h.major;
	*ret_minor = h.minor;
	return 0;
}
