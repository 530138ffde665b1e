/*
 * The boot timer that guests of this API know: a byte at a fixed address to which init writes a
 * magic number once it runs.  Only there when it was asked for (--boot-timer).
 */
#ifndef MVM_LEGACY_BOOT_TIMER_H
#define MVM_LEGACY_BOOT_TIMER_H

#include "core/bus.h"

enum { BOOT_TIMER_MAGIC = 123, BOOT_TIMER_LEN = 0x1000 };

/* dev is a struct post, whose mark is called on the vCPU's thread, with no time of the guest's. */
extern const struct bus_ops boot_timer_bus_ops;

#endif
