/* What crc.c shows its test. */
#ifndef MVM_BASE_CRC_PRIVATE_H
#define MVM_BASE_CRC_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

/* crc32c() as it is on a CPU without the instruction. */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t len);

#endif
