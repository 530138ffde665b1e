/*
 * The i8042 keyboard controller, as much of it as a kernel needs to find it quickly, to reset the
 * machine through it and to receive Ctrl-Alt-Del.  A keyboard is attached, a mouse is not.  (Intel
 * 8042 as in the IBM PC/AT; scan code set 2.)
 *
 * Register accesses come from any vCPU thread, the keys from the loop's; one lock guards all.
 */
#ifndef MVM_LEGACY_I8042_H
#define MVM_LEGACY_I8042_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/bus.h"
#include "core/irq.h"
#include "legacy/power.h"

enum { I8042_QUEUE = 16 };

struct i8042_counters {
	uint64_t reads, writes; /* accesses */
	uint64_t resets;        /* of the machine that the guest asked for here */
	uint64_t missed_reads;  /* of data when there was none */
	uint64_t missed_writes; /* bytes for the guest that had no room */
	uint64_t errors;        /* commands that do not exist */
};

struct i8042 {
	pthread_mutex_t lock;
	struct irq_line irq;
	struct power_host power;
	uint8_t queue[I8042_QUEUE]; /* bytes for port 0x60 */
	unsigned first, count;
	uint8_t control; /* the command byte */
	uint8_t outport;
	uint8_t expects;  /* controller command whose parameter comes next on port 0x60, 0 for none
			   */
	bool kbd_expects; /* the keyboard's own command has a parameter to come */
	bool kbd_scans;
	struct i8042_counters counters;
};

/* One byte-wide port each; dev is the struct i8042. */
extern const struct bus_ops i8042_data_ops, i8042_command_ops;

void i8042_init(struct i8042 *k, struct irq_line irq, const struct power_host *power);
void i8042_fini(struct i8042 *k);

/*
 * Presses and releases Ctrl-Alt-Del.  False when nobody in the guest listens to the keyboard, or
 * when keys wait unread and there is no room for all of these.  Any thread.
 */
bool i8042_ctrl_alt_del(struct i8042 *k);

/* The controller as a snapshot keeps it. */
struct i8042_state {
	uint32_t count; /* at most I8042_QUEUE */
	uint8_t queue[I8042_QUEUE];
	uint8_t control, outport, expects;
	bool kbd_expects, kbd_scans;
};

/* While no vCPU runs.  load: right after i8042_init(); the interrupt line follows.  0, or -EBADMSG
 * for values that no controller has, and then nothing was changed. */
void i8042_save(struct i8042 *k, struct i8042_state *ret);
MUST_CHECK int i8042_load(struct i8042 *k, const struct i8042_state *state);

/* What was counted so far.  Any thread. */
void i8042_get_counters(struct i8042 *k, struct i8042_counters *ret);

#endif
