/*
 * struct err: the story of one failure, for cold paths.  The code is a negative errno and what
 * functions return; the text is for a person: what failed, on which resource, what to do.  It is
 * written once, where the noun is known, and lives on the caller's stack; nothing is allocated.
 */
#ifndef MVM_BASE_ERR_H
#define MVM_BASE_ERR_H

#include "base/check.h"

enum { ERR_TEXT_MAX = 512 };

struct err {
	int code;                /* 0 or -errno */
	char text[ERR_TEXT_MAX]; /* one line, no newline at the end */
};

/* Fills e (which may be NULL) and returns code, so that "return err_set(e, -EINVAL, ...)" reads
 * well. */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/*
 * The same with the system's words for code appended: "cannot open '/x': No such file or
 * directory".  hint, which may be NULL, follows in brackets and tells what to do.
 */
int err_sys(struct err *e, int code, const char *hint, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Puts "prefix: " before the text that is already there. */
void err_prefix(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
