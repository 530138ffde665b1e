/*
 * Something that has time: it is done once, some milliseconds from now, unless it is ended before.
 * The loop's thread.
 */
#ifndef MVM_CORE_LATER_H
#define MVM_CORE_LATER_H

#include "core/loop.h"

/* Embedded, zeroed. */
struct later {
	struct loop *loop;
	struct loop_op timer;
	void (*run)(struct later *later);
};

/* Not while another start of it is pending. */
void later_start(
	struct later *later, struct loop *l, uint64_t ms, void (*run)(struct later *later));

/* It is not run any more; before the loop is gone, in any state. */
void later_end(struct later *later);

#endif
