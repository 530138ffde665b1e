/*
 * Reads and writes that finish: EINTR and short transfers are handled here and nowhere else.
 */
#ifndef MVM_BASE_IO_H
#define MVM_BASE_IO_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

/* Exactly len bytes at off: 0, -ENODATA when the file ends first, or the -errno of pread. */
MUST_CHECK int io_pread_full(int fd, void *buf, size_t len, uint64_t off);

/* All of buf to a stream: 0 or the -errno of write. */
MUST_CHECK int io_write_full(int fd, const void *buf, size_t len);

/*
 * A small text file whole, as those of /proc and /sys are: the number of bytes, with a NUL behind
 * them, or -errno
 * (-EFBIG when it does not fit into len - 1 bytes).
 */
MUST_CHECK int io_read_text(const char *path, char *buf, size_t len);

/*
 * Opens what lines are appended to without ever waiting: a file, made (0600) where it is not there,
 * or a FIFO, which needs no reader.  The descriptor is non-blocking and close-on-exec, or it is
 * -errno: -EISDIR for a folder.
 */
MUST_CHECK int io_open_sink(const char *path);

#endif
