/*
 * The socket that the server listens on: made at a path, or handed over by a starter
 * (server_activated_fd() in server.h).
 */
#ifndef MVM_API_LISTENER_H
#define MVM_API_LISTENER_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/check.h"

struct err;

struct listener {
	int fd;
	char *path; /* malloc'ed; NULL: the file is not ours */
	dev_t dev;
	ino_t ino;
};

/*
 * Makes the socket's file with exactly mode, at no moment with more, and listens.  A path of any
 * length that a path may have.  0, or -errno with e filled: -EADDRINUSE when anything is there.
 */
MUST_CHECK int listener_open(struct listener *l, const char *path, unsigned mode, struct err *e);

/* Takes fd, a listening socket, over.  0, or -errno with e filled, and then fd is the caller's. */
MUST_CHECK int listener_adopt(struct listener *l, int fd, struct err *e);

/* Stops listening; the file stays. */
void listener_stop(struct listener *l);

/* Stops listening, and removes the file if it is still the one that was made. */
void listener_close(struct listener *l);

#endif
