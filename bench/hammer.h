/*
 * An API server on a benchmark's own loop, and processes that ask it something without a pause.
 */
#ifndef BENCH_HAMMER_H
#define BENCH_HAMMER_H

#include <stdint.h>
#include <sys/types.h>

#include "core/loop.h"

enum { HAMMER_CLIENTS = 8 };

struct hammer {
	struct server *server;
	pid_t client[HAMMER_CLIENTS];
	uint64_t answered;
};

/* Ends the program when something fails: it is a benchmark. */
void hammer_start(struct hammer *h, struct loop *l);

/* Turns the loop until the server is gone. */
void hammer_end(struct hammer *h);

#endif
