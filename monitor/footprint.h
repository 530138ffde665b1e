/*
 * How much memory the monitor itself keeps.
 */
#ifndef MVM_FOOTPRINT_H
#define MVM_FOOTPRINT_H

/*
 * Lets go of what only the start needed: memory that was allocated and freed, and the program's own
 * code and constants, of which what still runs comes back from the page cache, which all processes
 * of mvm share, a few pages at a time. Once, when the guest runs.  Any thread.
 */
void footprint_trim(void);

#endif
