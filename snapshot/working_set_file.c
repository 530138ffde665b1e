/* The file of a working set (working_set_file.h). */
#include "snapshot/working_set_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/io.h"
#include "base/wire.h"
#include "snapshot/working_set.h"

#define MAGIC UINT64_C(0x315445534b524f57) /* "WORKSET1" */

enum {
	VERSION = 1,
	HEAD_LEN = 8 + 4 + SNAPSHOT_ID_LEN + 8 + 4 + 4,
	RUN_LEN = 8 + 8,
	CRC_LEN = 4,
	FILE_LEN_MAX = HEAD_LEN + 2 * WORKING_SET_RUNS_MAX * RUN_LEN + CRC_LEN,
};

static void visit_head(struct wire *w, struct working_set *s)
{
	uint64_t magic = MAGIC;
	uint32_t version = VERSION;

	wire_u64(w, &magic);
	wire_u32(w, &version);
	if (magic != MAGIC || version != VERSION)
		wire_fail(w, -EBADMSG);
	wire_bytes(w, s->id, sizeof(s->id));
	wire_u64(w, &s->window_ms);
	wire_count(w, &s->nread, WORKING_SET_RUNS_MAX);
	wire_count(w, &s->nwritten, WORKING_SET_RUNS_MAX);
}

/* In order, apart from each other, and within pages. */
static void visit_runs(struct wire *w, struct page_run *run, unsigned n, uint64_t pages)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < n && w->error == 0; i++) {
		wire_u64(w, &run[i].first);
		wire_u64(w, &run[i].count);
		if (run[i].first < end || run[i].first > pages ||
			run[i].count > pages - run[i].first)
			wire_fail(w, -EBADMSG);
		end = run[i].first + run[i].count;
	}
}

/* --- write --- */

static int encode(const struct working_set *s, uint8_t **ret, size_t *ret_len)
{
	size_t len = HEAD_LEN + ((size_t)s->nread + s->nwritten) * RUN_LEN + CRC_LEN;
	struct working_set copy = *s; /* the visitor's is not const */
	uint8_t *buf CLEANUP(freep) = calloc(1, len);
	struct wire w;
	uint32_t crc;
	int rc;

	if (!buf)
		return -ENOMEM;
	wire_init_writer(&w, buf, len);
	visit_head(&w, &copy);
	visit_runs(&w, copy.read, copy.nread, UINT64_MAX);
	visit_runs(&w, copy.written, copy.nwritten, UINT64_MAX);
	crc = crc32c(0, buf, len - CRC_LEN);
	wire_u32(&w, &crc);
	rc = wire_finish(&w);
	if (rc < 0)
		return rc;
	*ret = ptr_take(buf);
	*ret_len = len;
	return 0;
}

int working_set_write(const struct working_set *s, const char *path, struct err *e)
{
	uint8_t *buf CLEANUP(freep) = NULL;
	int fd CLEANUP(fd_closep) = -1;
	char other[PATH_MAX];
	size_t len = 0;
	int rc, n = snprintf(other, sizeof(other), "%s.XXXXXX", path);

	if (n < 0 || (size_t)n >= sizeof(other))
		return err_sys(e, -ENAMETOOLONG, NULL, "cannot write '%s'", path);
	rc = encode(s, &buf, &len);
	if (rc < 0)
		return err_sys(e, rc, NULL, "cannot write '%s'", path);
	fd = mkostemp(other, O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot make '%s'", other);
	/* Not synced: what a crash leaves of it has a wrong checksum, and is only advice. */
	rc = io_write_full(fd, buf, len);
	if (rc == 0 && rename(other, path) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlink(other);
		return err_sys(e, rc, NULL, "cannot write '%s'", path);
	}
	return 0;
}

/* --- read --- */

static int decode(struct working_set *ret, const uint8_t *buf, size_t len, uint64_t pages)
{
	struct working_set s = { 0 };
	uint32_t crc = 0;
	struct wire w;
	int rc;

	/* The checksum first: nothing is believed before. */
	wire_init_reader(&w, buf + len - CRC_LEN, CRC_LEN);
	wire_u32(&w, &crc);
	if (crc != crc32c(0, buf, len - CRC_LEN))
		return -EBADMSG;
	wire_init_reader(&w, buf, len - CRC_LEN);
	visit_head(&w, &s);
	if (w.error < 0)
		return -EBADMSG;
	if (len != HEAD_LEN + ((size_t)s.nread + s.nwritten) * RUN_LEN + CRC_LEN)
		return -EBADMSG;
	s.read = calloc((size_t)s.nread + 1, sizeof(*s.read));
	s.written = calloc((size_t)s.nwritten + 1, sizeof(*s.written));
	if (!s.read || !s.written) {
		working_set_fini(&s);
		return -ENOMEM;
	}
	visit_runs(&w, s.read, s.nread, pages);
	visit_runs(&w, s.written, s.nwritten, pages);
	rc = wire_finish(&w);
	if (rc < 0) {
		working_set_fini(&s);
		return -EBADMSG;
	}
	*ret = s;
	return 0;
}

int working_set_read(struct working_set *s, const char *path, uint64_t pages, struct err *e)
{
	int fd CLEANUP(fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t *buf CLEANUP(freep) = NULL;
	struct stat st;
	size_t len;
	int rc;

	if (fd < 0)
		return err_sys(e, -errno, NULL, "cannot open '%s'", path);
	if (fstat(fd, &st) < 0)
		return err_sys(e, -errno, NULL, "cannot look at '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_size < HEAD_LEN + CRC_LEN || st.st_size > FILE_LEN_MAX)
		return err_set(e, -EBADMSG, "'%s' is not a working set", path);
	len = (size_t)st.st_size;
	buf = malloc(len);
	if (!buf)
		return err_sys(e, -ENOMEM, NULL, "cannot read '%s'", path);
	rc = io_pread_full(fd, buf, len, 0);
	if (rc == 0)
		rc = decode(s, buf, len, pages);
	if (rc == -EBADMSG || rc == -ENODATA)
		return err_set(
			e, -EBADMSG, "'%s' is damaged or not this snapshot's working set", path);
	return rc < 0 ? err_sys(e, rc, NULL, "cannot read '%s'", path) : 0;
}
