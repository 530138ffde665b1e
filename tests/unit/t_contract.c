/* Rows of the contract (t_contract.h). */
#include "t_contract.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "api/routes.h"
#include "t.h"

struct t_api t;

static char folder[] = "/tmp/mvm-test-XXXXXX";

static void make_file(const char *name, off_t bytes)
{
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	t_true(fd >= 0);
	t_int(ftruncate(fd, bytes), 0);
	(void)close(fd);
}

void t_folder(void)
{
	t_true(mkdtemp(folder) != NULL);
	t_int(chdir(folder), 0);
	make_file("disk", 4096);
	make_file("other", 8192);
	make_file("kernel", 0);
	t_int(mkfifo("fifo", 0600), 0);
}

void t_folder_done(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -r %s", folder);
	t_int(system(command), 0);
}

int ask(const char *request)
{
	char method[16] = "", target[1024] = "";
	const char *blank = strchr(request, ' '), *body;

	t_true(blank != NULL);
	body = strchr(blank + 1, ' ');
	(void)snprintf(method, sizeof(method), "%.*s", (int)(blank - request), request);
	(void)snprintf(target, sizeof(target), "%.*s",
		(int)(body ? (size_t)(body - blank - 1) : strlen(blank + 1)), blank + 1);
	return t_api(&t, method, target, body ? body + 1 : NULL);
}

void t_rows(const struct row *row, unsigned n)
{
	for (unsigned i = 0; i < n; i++, row++) {
		int status = ask(row->request);
		const char *text = status == 400 ? t_fault() : t_body();

		cr_expect(eq(int, status, row->status), "'%s': %s", row->request, text);
		if (row->text)
			cr_expect(eq(int, strcmp(text, row->text), 0),
				"'%s':\n got \"%s\"\nwant \"%s\"", row->request, text, row->text);
		t_row_int(row->request, t_is_deprecated(), row->is_deprecated);
	}
	(void)printf("# %u rows\n", n);
	(void)fflush(stdout);
}

void t_target(const struct route *r, char *buf, size_t size)
{
	(void)snprintf(buf, size, "/%s%s%s%s", r->first, r->second ? "/" : "",
		r->second ? r->second : "", r->id == ROUTE_ID ? "/x" : "");
}

void t_say_rows(const struct route *r, unsigned rows)
{
	char target[64];

	t_target(r, target, sizeof(target));
	(void)printf("# %-6s %-24s %4u rows\n", http_method_name(r->method), target, rows);
	(void)fflush(stdout);
}
