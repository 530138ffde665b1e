/*
 * Why a request is refused: the text that its client reads, {"fault_message": "..."}, and the words
 * that clients match.
 */
#ifndef MVM_API_FAULTS_H
#define MVM_API_FAULTS_H

#include "base/check.h"

struct answer;

enum { FAULT_TEXT_MAX = 1024 };

struct fault {
	char text[FAULT_TEXT_MAX]; /* any bytes; made valid UTF-8 on the way out */
};

/* Fills f and returns -EINVAL, so that "return fault_set(f, ...)" reads well. */
int fault_set(struct fault *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same with the system's words for code (-errno) behind: "No such file or directory (os error
 * 2)". */
int fault_os(struct fault *f, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* "No such file or directory (os error 2)" for -ENOENT. */
void fault_os_text(int code, char *buf, size_t size);

/* JSON that does not fit: detail with the words of the contract around it. */
int fault_json(struct fault *f, const char *detail);

/* The answer 400.  Without memory it has no body. */
void fault_answer(const struct fault *f, struct answer *ret);

#define FAULT_BEFORE_START "The requested operation is not supported before starting the microVM."
#define FAULT_AFTER_START  "The requested operation is not supported after starting the microVM."
#define FAULT_AFTER_END    "The requested operation is not supported after the end of the microVM."
#define FAULT_NO_HOTPLUG   "PCI manager error: PCI is not enabled."

#endif
