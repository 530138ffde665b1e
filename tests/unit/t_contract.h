/*
 * Rows of the contract: requests and their whole answers, in a folder with some files.
 *
 * A program that uses it is linked as t_api.h says.
 */
#ifndef MVM_TESTS_T_CONTRACT_H
#define MVM_TESTS_T_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"
#include "t_api.h"

struct route;

/* The machine of the rows. */
extern struct t_api t;

/* Goes to a new folder with the files disk (4 KiB), other (8 KiB), kernel (empty) and fifo; and
 * takes it away. */
void t_folder(void);
void t_folder_done(void);

/*
 * "METHOD target body": body is what follows the second blank, if there is one.  text is the fault,
 * or the body of another answer; NULL: whatever it is.
 */
struct row {
	const char *request;
	int status;
	const char *text;
	bool is_deprecated;
};

/* The status of one request in that form. */
int ask(const char *request);

/* Asks for each row, one after the other, on the same machine, and compares. */
void t_rows(const struct row *row, unsigned n);
#define RUN(rows) t_rows(rows, ARRAY_SIZE(rows))

/* The path of a route, with x for an id. */
void t_target(const struct route *r, char *buf, size_t size);

/* Prints how many rows there were for r. */
void t_say_rows(const struct route *r, unsigned rows);

#define JSON      "An error occurred when deserializing the json body of a request: "
#define BEFORE    "The requested operation is not supported before starting the microVM."
#define AFTER     "The requested operation is not supported after starting the microVM."
#define BAD_ID    "API Resource IDs can only contain alphanumeric characters and underscores."
#define ID_64     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DRIVE(id) "{\"drive_id\":\"" id "\",\"is_root_device\":false,\"path_on_host\":\"disk\"}"
#define MACHINE(cpus, mem, smt, dirty, pages)                                                      \
	"{\"vcpu_count\":" cpus ",\"mem_size_mib\":" mem ",\"smt\":" smt                           \
	",\"track_dirty_pages\":" dirty ",\"huge_pages\":\"" pages "\"}"

#endif
