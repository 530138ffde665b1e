/*
 * The file of a working set, all numbers little-endian:
 *
 *     u64 magic, u32 version, 16 bytes id, u64 window in ms, u32 nread, u32 nwritten
 *     nread + nwritten times: u64 first page, u64 count
 *     u32 CRC-32C of all before it
 */
#ifndef MVM_SNAPSHOT_WORKING_SET_FILE_H
#define MVM_SNAPSHOT_WORKING_SET_FILE_H

/* Of either kind, so that the file has a bound: 8 MiB.  More are joined when it is recorded. */
enum { WORKING_SET_RUNS_MAX = 1 << 18 };

#endif
