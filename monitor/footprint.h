/*
 * How much memory the monitor itself keeps.
 */
#ifndef MVM_FOOTPRINT_H
#define MVM_FOOTPRINT_H

#include "core/later.h"

/*
 * Lets go of what only the start needed: memory that was allocated and freed, and the program's own
 * code and constants, of which what still runs comes back from the page cache, which all processes
 * of mvm share, a few pages at a time.  Once, when the guest runs; some milliseconds after that, so
 * that it does not run into the guest's own first pages.  The loop's thread.
 */
void footprint_trim_later(struct later *later, struct loop *l);

#endif
