/*
 * The file of a working set.  The first byte says whether the rest gets the checksum that it should
 * have; what is let through is within memory and in order.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc.h"
#include "fuzz.h"
#include "snapshot/working_set.h"

enum { PAGES = 32768, DATA_MAX = 1 << 16 };

static void check_runs(const struct page_run *run, unsigned n)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < n; i++) {
		if (run[i].first < end || run[i].first > PAGES ||
			run[i].count > PAGES - run[i].first)
			abort();
		end = run[i].first + run[i].count;
	}
}

static int make_file(const uint8_t *data, size_t size, bool is_summed, char *path, size_t path_size)
{
	uint32_t crc = crc32c(0, data, size);
	int fd = memfd_create("working-set", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	if (is_summed && write(fd, &crc, sizeof(crc)) != sizeof(crc))
		abort();
	(void)snprintf(path, path_size, "/proc/self/fd/%d", fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct working_set w = { 0 };
	char path[64];
	int fd;

	if (size < 1 || size > DATA_MAX)
		return 0;
	fd = make_file(data + 1, size - 1, data[0] & 1, path, sizeof(path));
	if (working_set_read(&w, path, PAGES, NULL) == 0) {
		check_runs(w.read, w.nread);
		check_runs(w.written, w.nwritten);
	} else if (w.read || w.written || w.nread || w.nwritten) {
		abort(); /* nothing of a refused one is handed out */
	}
	working_set_fini(&w);
	(void)close(fd);
	return 0;
}
