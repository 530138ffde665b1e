/*
 * Asks machines what they are and what they do, all at the same time: one that hangs costs nobody
 * but itself.
 */
#ifndef MVM_PS_LOOK_H
#define MVM_PS_LOOK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "ps_parse.h"

enum {
	PS_ANSWER_MS = 500,        /* for each of the two looks */
	PS_BATCH = 256,            /* machines at the same time */
	PS_BODY_MAX = 1024 * 1024, /* of an answer */
};

enum ps_counter { PS_NET_RX, PS_NET_TX, PS_DISK_READ, PS_DISK_WRITE, PS_COUNTERS };

struct ps_look {
	/* what is asked */
	const char *reach; /* path of the socket */
	uid_t uid;         /* of the process that should be behind it */
	/* what came back */
	bool has_answered; /* id and state */
	bool has_machine;  /* cpus and mem_mib */
	bool has_rates;
	char id[PS_ID_MAX + 1];
	enum ps_state state;
	unsigned cpus;
	uint64_t mem_mib;
	double rate[PS_COUNTERS]; /* bytes a second */
};

/*
 * Fills what came back.  Counters are read twice, interval_ms apart; with 0 once, and there are no
 * rates.  Takes PS_ANSWER_MS twice and the interval at most, for each PS_BATCH machines.
 */
void ps_look(struct ps_look *looks, unsigned n, unsigned interval_ms);

#endif
