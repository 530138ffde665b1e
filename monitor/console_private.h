/* Between the halves of the console: console.c (life, input) and console_out.c (output). */
#ifndef MVM_CONSOLE_PRIVATE_H
#define MVM_CONSOLE_PRIVATE_H

#include "backlog.h"
#include "console.h"
#include "panic_scan.h"

enum { HELD_MAX = 65536 };

/* Where the output goes that nobody has to ask for. */
struct console_sink {
	int fd;
	bool is_owned, is_socket, is_gone;
	uint64_t at;   /* position in the backlog */
	uint64_t lost; /* bytes that were overwritten in the backlog, or thrown away because is_gone
			*/
	struct bucket limit; /* limits nothing where it is not set */
	uint64_t paid;       /* bytes that the limit has let pass and that are not written yet */
	uint64_t limited;    /* bytes that it has not */
	struct loop_op op;
};

struct console {
	struct loop *loop;
	struct console_host host;
	struct serial *serial; /* NULL: none yet, or no more */
	/* output */
	int out_fd; /* as given */
	struct backlog out;
	struct console_sink sink;
	struct panic_scan scan;
	uint64_t scan_at;
	struct console_reader *readers, *last_reader;
	struct loop_post out_post;
	/* input */
	int in_fd;
	bool in_ended, has_keys, escaped, is_paused;
	/* Typed, and the UART has no room yet.  Keys are read all the same, because one of them may
	 * be a command: a guest that never reads cannot keep the person from leaving. */
	uint8_t held[HELD_MAX];
	size_t held_len;
	uint64_t keys_lost;
	struct loop_op in_op;
	struct loop_post room_post;
};

/* 0 or -ENOMEM. */
MUST_CHECK int console_out_init(struct console *c);
void console_out_fini(struct console *c);

/* Tells readers that wait for it that there is room in the UART. */
void console_offer_room(struct console *c);

#endif
