/*
 * Port 0x80, where PC firmware shows its progress (power-on self-test codes).
 *
 * Kernels also write single bytes to it to pass the time (io_delay), so those are swallowed without
 * a word.  A write of four bytes is a time mark: the guest says "now", and the value is how many
 * microseconds its own clock has run.
 */
#ifndef MVM_LEGACY_POST_H
#define MVM_LEGACY_POST_H

#include <stdint.h>

#include "core/bus.h"

struct post {
	void (*mark)(void *ctx, uint32_t guest_us); /* on the vCPU's thread */
	void *ctx;
};

extern const struct bus_ops
	post_bus_ops; /* dev is the struct post; four ports, for the one wide write */

#endif
