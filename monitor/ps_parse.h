/*
 * What "mvm ps" reads: lines of /proc and answers of machines, which are other people's texts.
 * No I/O; nothing is believed that was not checked.
 */
#ifndef MVM_PS_PARSE_H
#define MVM_PS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

enum { PS_ID_MAX = 64, PS_CPUS_MAX = 1024 };

/* A line of /proc/PID/net/unix, without its newline: true for a listening stream socket with a
 * path in the file system; *ret_path points into the line. */
bool ps_parse_unix(const char *line, uint64_t *ret_inode, const char **ret_path);

/* What a link in /proc/PID/fd leads to: true for "socket:[INODE]". */
bool ps_parse_fd(const char *link, uint64_t *ret_inode);

/* The text of /proc/PID/stat: when the process began, in clock ticks since boot. */
bool ps_parse_stat(const char *text, uint64_t *ret_ticks);

/* The text of /proc/PID/statm: resident pages. */
bool ps_parse_statm(const char *text, uint64_t *ret_pages);

/* The words of /proc/PID/cmdline, each with a NUL behind it: the value of --api-sock in either
 * spelling, NULL when there is none.  text[len] is NUL. */
const char *ps_parse_cmdline(const char *text, size_t len);

/*
 * The sum of all samples with this name and these labels in OpenMetrics text; false when there is
 * none.  labels is a list as it stands in a sample, kind="net",queue="rx", of which each must be
 * there, beside others and in any order; "" for any.  Samples that are no positive numbers up to
 * 1e18 are left out.
 */
bool ps_sum_metric(const char *text, size_t len, const char *name, const char *labels, double *ret);

enum ps_state { PS_UNKNOWN, PS_NOT_STARTED, PS_RUNNING, PS_PAUSED, PS_ENDED };

/* "?", "not-started", "running", "paused", "ended". */
const char *ps_state_word(enum ps_state state);

/* The body of GET /: false when it is not one.  id holds letters, digits and '-' only. */
bool ps_parse_instance(
	const char *json, size_t len, char id[PS_ID_MAX + 1], enum ps_state *ret_state);

/* The body of GET /machine-config: false when it is not one. */
bool ps_parse_machine(const char *json, size_t len, unsigned *ret_cpus, uint64_t *ret_mib);

/* Copies text with everything but printable ASCII as \xNN, cut off at size.  Returns buf. */
const char *ps_printable(const char *text, char *buf, size_t size);

/* "512", "1.5K", "20M", "3.1G": at most 5 characters below 1000 T.  Returns buf. */
const char *ps_amount(double bytes, char buf[16]);

/* "0.3s", "42s", "5m12s", "3h05m", "12d4h".  Returns buf. */
const char *ps_duration(double seconds, char buf[32]);

#endif
