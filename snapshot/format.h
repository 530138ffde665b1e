/*
 * The state file on disk: every number of it.  Files of a released version are out there, so what
 * is here is FROZEN: things are added, nothing is changed, nothing is used a second time.
 *
 *     header | section header, payload | section header, payload | ... | end of the file
 *
 * All numbers are little-endian.  There is no padding, and nothing behind the last section.
 *
 *     header, 40 bytes
 *      0  8  magic
 *      8  2  major version
 *     10  2  minor version
 *     12  2  machine, as ELF has it
 *     14  2  0
 *     16  4  length of the header
 *     20  4  number of sections
 *     24  8  length of the file
 *     32  4  0
 *     36  4  CRC-32C of all bytes of the header before; always its last four
 *
 *     section header, 32 bytes
 *      0  4  type, four letters
 *      4  2  version of this type
 *      6  2  flags
 *      8  4  instance: the number of the vCPU, drive, ...
 *     12  4  0
 *     16  8  length of the payload
 *     24  4  CRC-32C of the payload
 *     28  4  CRC-32C of the 28 bytes before
 *
 * The two headers are the same in every version, major ones too, so that any mvm can list the
 * sections of any file (mvm-inspect(1)).  A later header may be longer: its length says so, the
 * checksum is at its end.
 *
 * What a section has in it is said by its visitor (visit.h), which is part of the format: the order
 * of its fields and their widths.  KVM's own structures are in it as they are, because their layout
 * is an ABI of Linux.
 *
 * TO ADD SOMETHING
 *
 * - A subject that a reader may leave out without harm: a new type without FORMAT_CRITICAL, and
 *   minor + 1.  Older readers pass over it.
 *
 * - A subject without which the machine would be wrong: a new type with FORMAT_CRITICAL, written
 *   only where the machine has that subject, and minor + 1.  Older readers refuse those files, by
 *   name, and take all others.
 *
 * - A field of a section that exists: at its end, read and written only from the section's version
 *   n + 1 on (the visitor is then told the version).  A reader of an older section leaves it zero,
 *   so zero has to mean "as it was before".  The version goes up in the table of visit.c, and minor
 *   with it.  Older readers refuse the section if they need it and pass over it otherwise, so
 *   version n is written wherever the field is zero.
 *
 * - Something that cannot be said so: major + 1.  A reader of major n + 1 goes on to read major n.
 *
 * In all cases tests/ gets a snapshot of the version that is released, and keeps those of all
 * versions before.  Types and values that are no more written stay reserved for ever.
 */
#ifndef MVM_SNAPSHOT_FORMAT_H
#define MVM_SNAPSHOT_FORMAT_H

#define FORMAT_MAGIC "mvmstate"

enum {
	FORMAT_MAGIC_LEN = 8,
	FORMAT_MAJOR = 1,
	FORMAT_MINOR = 0,
	FORMAT_ELF_MACHINE = 62, /* EM_X86_64 */
	FORMAT_HEADER_LEN = 40,
	FORMAT_HEADER_LEN_MAX = 4096,
	FORMAT_SECTION_LEN = 32,
	FORMAT_CRC_LEN = 4,
	/* More than any machine needs: 10 subjects, CONFIG_CPUS_MAX, three times
	   CONFIG_DEVICES_MAX. */
	FORMAT_SECTIONS_MAX = 256,
	FORMAT_NAME_MAX = 5, /* four letters and a NUL */
};

/* Flags of a section.  A bit that is not known is refused. */
enum {
	FORMAT_CRITICAL = 1, /* who does not know the type must not use the file */
	FORMAT_FLAGS = FORMAT_CRITICAL,
};

#define FORMAT_TYPE(a, b, c, d)                                                                    \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

/* Types: letters and digits, blanks behind them where there are fewer than four. */
#define FORMAT_SNAPSHOT FORMAT_TYPE('S', 'N', 'A', 'P') /* id, writer, when, kind, base */
#define FORMAT_HOST     FORMAT_TYPE('H', 'O', 'S', 'T') /* optional; who saved */
#define FORMAT_MACHINE  FORMAT_TYPE('M', 'A', 'C', 'H') /* vCPUs first: a reader makes room */
#define FORMAT_BOOT     FORMAT_TYPE('B', 'O', 'O', 'T') /* kernel, initrd, command line */
#define FORMAT_DRIVE    FORMAT_TYPE('D', 'R', 'I', 'V') /* one each: what was described */
#define FORMAT_NIC      FORMAT_TYPE('N', 'I', 'C', ' ') /* likewise */
#define FORMAT_CPUID    FORMAT_TYPE('C', 'P', 'I', 'D') /* of all vCPUs */
#define FORMAT_VCPU     FORMAT_TYPE('V', 'C', 'P', 'U') /* one each */
#define FORMAT_CHIPS    FORMAT_TYPE('C', 'H', 'I', 'P') /* PICs, I/O APIC, PIT */
#define FORMAT_CLOCK    FORMAT_TYPE('C', 'L', 'O', 'K')
#define FORMAT_SERIAL   FORMAT_TYPE('U', 'A', 'R', 'T')
#define FORMAT_I8042    FORMAT_TYPE('I', '8', '4', '2')
#define FORMAT_VIRTIO   FORMAT_TYPE('V', 'I', 'R', 'T') /* one each: drives, then NICs */
#define FORMAT_RUNS     FORMAT_TYPE('R', 'U', 'N', 'S') /* of a difference only */

/* Values in sections that our own enumerations give; theirs must not change (visit_snapshot.c
 * checks). */
enum {
	FORMAT_KIND_FULL = 0,
	FORMAT_KIND_DIFF = 1,
	FORMAT_PAGES_HOST = 0,
	FORMAT_PAGES_4K = 1,
	FORMAT_PAGES_THP = 2,
	FORMAT_PAGES_2M = 3,
};

#endif
