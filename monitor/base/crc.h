/*
 * CRC-32C (Castagnoli; RFC 3720, appendix B.4), by the CPU's instruction where there is one.
 */
#ifndef MVM_BASE_CRC_H
#define MVM_BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* Of len bytes behind what crc stands for; crc is 0 at the beginning. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
