/*
 * A 16550A UART: registers, FIFOs, interrupt.  (National Semiconductor PC16550D data sheet.)
 *
 * Sending is instant: a byte written to THR is handed to the host's tx at once and the transmitter
 * is always empty. Receiving obeys the FIFO: the host asks serial_room(), delivers no more, and is
 * told by room() when there is space again, so that nothing is lost and nothing is buffered without
 * bound.
 *
 * Register accesses come from any vCPU thread, input from the loop's; one lock guards all.  The
 * host's functions are called with it held and must neither block nor call back.
 */
#ifndef MVM_LEGACY_SERIAL_H
#define MVM_LEGACY_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/irq.h"

enum { SERIAL_FIFO = 16, SERIAL_REGISTERS = 8 };

struct serial_host {
	void (*tx)(void *ctx, uint8_t byte);
	void (*room)(void *ctx);
	void *ctx;
};

struct serial_counters {
	uint64_t reads, writes; /* bytes that the guest took, and sent */
	uint64_t missed_reads;  /* looks at the receiver while it was empty */
	uint64_t missed_writes; /* writes to registers that are only read */
	uint64_t errors;        /* bytes that were lost because the receiver was full */
};

struct serial {
	pthread_mutex_t lock;
	struct serial_host host;
	struct irq_line irq;
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	bool thr_empty_pending; /* a transmitter-empty interrupt that IIR has not shown yet */
	bool overrun, brk;      /* LSR bits that reading clears */
	uint8_t fifo[SERIAL_FIFO];
	unsigned first, count;
	/*
	 * Input is held back until the guest listens: a driver clears the FIFO when it starts, and
	 * what was typed or piped before would be gone.  Listening is the receive interrupt, or
	 * polling LSR without sending.
	 */
	bool listening;
	unsigned idle_polls;
	struct serial_counters counters;
};

extern const struct bus_ops serial_bus_ops; /* dev is the struct serial; SERIAL_REGISTERS ports */

void serial_init(struct serial *s, struct irq_line irq, const struct serial_host *host);
void serial_fini(struct serial *s);

/* Bytes that serial_receive() would take now.  Any thread. */
size_t serial_room(struct serial *s);

/* Puts up to serial_room() bytes into the receive FIFO; returns how many.  Any thread. */
size_t serial_receive(struct serial *s, const uint8_t *buf, size_t len);

/* The chip as a snapshot keeps it: its registers and what waits in the FIFO. */
struct serial_state {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	bool thr_empty_pending, overrun, brk, listening;
	uint32_t count; /* at most SERIAL_FIFO */
	uint8_t fifo[SERIAL_FIFO];
};

/* While no vCPU runs.  load: right after serial_init(); the interrupt line follows the registers.
 * 0, or -EBADMSG for values that no chip has, and then nothing was changed. */
void serial_save(struct serial *s, struct serial_state *ret);
MUST_CHECK int serial_load(struct serial *s, const struct serial_state *state);

/* What was counted so far.  Any thread. */
void serial_get_counters(struct serial *s, struct serial_counters *ret);

/* A break condition, as a magic SysRq over the line begins.  Any thread. */
void serial_break(struct serial *s);

#endif
