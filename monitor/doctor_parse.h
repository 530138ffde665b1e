/*
 * Readers of the texts that the kernel shows, for "mvm doctor".  Pure functions over strings.
 */
#ifndef MVM_DOCTOR_PARSE_H
#define MVM_DOCTOR_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Comparable with < and >=; parts above 65535 do not occur. */
#define KERNEL(major, minor) ((unsigned)(major) << 16 | (unsigned)(minor))

enum { DOCTOR_PATH_MAX = 64 };

/* What /proc/self/mountinfo says about control groups. */
struct doctor_cgroups {
	bool has_v1, has_v2;
	bool favordynmods;             /* of any hierarchy: the lock that it makes cheap is one */
	char v2_path[DOCTOR_PATH_MAX]; /* where v2 is mounted first, cut when longer */
};

/* "6.1.0-18-amd64" to KERNEL(6, 1).  0, or -EINVAL with *ret untouched. */
int doctor_parse_kernel(const char *release, unsigned *ret);

/* Adds one line of mountinfo, with or without its newline; lines of other filesystems and broken
 * ones are passed over.  c starts as zero. */
void doctor_parse_mount(const char *line, struct doctor_cgroups *c);

/*
 * The word in brackets of "always [madvise] never".  0, or -EINVAL when there is none or it is
 * longer than len - 1.
 */
int doctor_parse_choice(const char *text, char *ret, size_t len);

/* The number behind "Key:" in the text of /proc/meminfo, in bytes.  0, or -ENOENT, -EINVAL. */
int doctor_parse_meminfo(const char *text, const char *key, uint64_t *ret_bytes);

/* The number that is all of a /proc or /sys text, but for a newline.  0, -EINVAL or -ERANGE. */
int doctor_parse_number(const char *text, uint64_t *ret);

#endif
