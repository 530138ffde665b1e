/*
 * Guest memory whose pages another process brings: userfaultfd (userfaultfd(2)), handed over to a
 * handler that listens on a Unix stream socket.  It gets one message, a JSON array with an object
 * for each region of memory
 *
 *     {"base_host_virt_addr": N, "size": N, "offset": N, "page_size": N, "page_size_kib": N}
 *
 * (the last is in bytes, too: clients know it so), and with it the descriptor (SCM_RIGHTS).  The
 * connection stays open for the machine's life.
 *
 * The handler is trusted: with the guest's memory, and because the kernel lets it register other
 * parts of this process's memory by the same descriptor.  When it goes away the pages it has not
 * brought would be zero, and a guest that runs on would corrupt its disks: so the process ends at
 * once (uffd_watch).
 */
#ifndef MVM_SNAPSHOT_UFFD_H
#define MVM_SNAPSHOT_UFFD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "core/mem.h"

struct err;

struct uffd {
	int fd;     /* -1: none */
	int socket; /* to the handler; -1: none */
	/* private */
	bool has_watcher;
	pthread_t watcher;
	int stop_fd;                  /* eventfd that ends the watcher */
	_Atomic uint64_t deadline_ms; /* of CLOCK_MONOTONIC; 0: none */
	void (*gone)(void *ctx);
	void *ctx;
};

/*
 * Registers all of m (MISSING) and hands it to the handler at path.  0, or -errno with e filled and
 * nothing left behind.  When nobody listens there the text is what clients know: "Failed to connect
 * to UDS Unix stream: No such file or directory (os error 2)".  A handler that does not accept is
 * waited for a few seconds (-ETIMEDOUT).
 */
MUST_CHECK int uffd_serve(
	struct uffd *u, const struct guest_mem *m, const char *path, struct err *e);

/*
 * Calls gone once, on a thread of its own, when the handler closes its socket; gone does not return
 * to the guest.  u stays where it is until uffd_close(), which gone does not call.  What the
 * handler says is read and not listened to.
 */
MUST_CHECK int uffd_watch(struct uffd *u, void (*gone)(void *ctx), void *ctx, struct err *e);

/*
 * The handler has so long from now on (0: as long as it likes); then gone is called as if it had
 * gone away.  For work that needs pages on a thread that nobody may keep for ever.
 */
void uffd_set_deadline(struct uffd *u, unsigned ms);

/*
 * The machine is being left.  vCPUs, and I/O that is in flight, may wait for pages, and the handler
 * has UFFD_HURRY_MS for these; then gone is called as if it had gone away.  There is no way to let
 * them go that would not give zeroes to a disk.
 */
enum { UFFD_HURRY_MS = 5000 };

void uffd_hurry(struct uffd *u);

/* Accepts a zeroed u with fd and socket -1.  When no vCPU runs any more. */
void uffd_close(struct uffd *u);

#endif
