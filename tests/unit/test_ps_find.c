/* Machines found by their sockets, in a /proc that a test has made. */
#include "t.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/err.h"
#include "ps_find.h"

TestSuite(ps_find, .timeout = T_SECONDS);

enum { PATH_LEN = 512 };

static char proc[64];

static const char *at(const char *fmt, ...) PRINTF_LIKE(1, 2);

static const char *at(const char *fmt, ...)
{
	static char path[PATH_LEN];
	size_t len = (size_t)snprintf(path, sizeof(path), "%s/", proc);
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(path + len, sizeof(path) - len, fmt, args);
	va_end(args);
	return path;
}

static void put(const char *path, const char *text)
{
	FILE *out = fopen(path, "we");

	t_true(out != NULL);
	(void)fputs(text, out);
	t_int(fclose(out), 0);
}

/* A process; socket 0: none. */
static void process(int pid, const char *comm, const char *exe, int socket)
{
	char link[64];

	t_int(mkdir(at("%d", pid), 0700), 0);
	t_int(mkdir(at("%d/fd", pid), 0700), 0);
	t_int(mkdir(at("%d/net", pid), 0700), 0);
	put(at("%d/comm", pid), comm);
	put(at("%d/stat", pid), "5 (x) S 1 5 5 0 -1 4 9 0 0 0 0 0 0 0 20 0 3 0 777 1\n");
	t_int(symlink(exe, at("%d/exe", pid)), 0);
	t_int(symlink("/dev/null", at("%d/fd/0", pid)), 0);
	t_int(symlink("socket:[999]", at("%d/fd/3", pid)), 0);
	(void)snprintf(link, sizeof(link), "socket:[%d]", socket);
	if (socket)
		t_int(symlink(link, at("%d/fd/4", pid)), 0);
}

static void sockets(int pid, const char *text)
{
	put(at("%d/net/unix", pid), text);
}

static void begin(void)
{
	(void)snprintf(proc, sizeof(proc), "/tmp/test-ps-find-XXXXXX");
	t_true(mkdtemp(proc) != NULL);
}

static void end(void)
{
	char command[PATH_LEN];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", proc);
	t_int(system(command), 0);
}

#define HEADER               "Num       RefCount Protocol Flags    Type St Inode Path\n"
#define LISTENS(inode, path) "0: 2 0 00010000 0001 01 " #inode " " path "\n"

Test(ps_find, what_is_called_mvm_and_listens_is_a_machine)
{
	static const char table[] = HEADER LISTENS(12, "/run/b.sock") LISTENS(11, "/run/a.sock")
		LISTENS(13, "rel.sock") LISTENS(
			14, "/run/other.sock") "0: 3 0 00000000 0001 03 15 /run/connected\n";
	struct ps_list list;
	struct err e = { 0 };
	char want[PATH_LEN];

	begin();
	process(30, "mvm\n", "/usr/bin/mvm", 11);
	process(7, "firecracker\n", "/x/firecracker", 12);
	process(100, "renamed\n", "/opt/mvm (deleted)", 13);
	process(101, "systemd\n", "/lib/systemd/systemd", 14);
	process(102, "mvm\n", "/usr/bin/mvm", 15);
	process(103, "mvm\n", "/usr/bin/mvm", 0);
	process(104, "mvm2\n", "/usr/bin/mvm2", 14);
	t_int(mkdir(at("self"), 0700), 0);
	t_int(mkdir(at("105"), 0700), 0); /* it has gone */
	for (int pid = 7; pid <= 104; pid++) {
		if (access(at("%d", pid), F_OK) == 0)
			sockets(pid, table);
	}
	cr_assert(eq(int, ps_find(proc, false, &list, &e), 0), "%s", e.text);
	t_uint(list.n, 3);
	t_int(list.machine[0].pid, 7);
	t_str(list.machine[0].socket, "/run/b.sock");
	(void)snprintf(want, sizeof(want), "%s/7/root//run/b.sock", proc);
	t_str(list.machine[0].reach, want);
	t_int(list.machine[0].uid, geteuid());
	t_uint(list.machine[0].start_ticks, 777);
	t_int(list.machine[1].pid, 30);
	t_str(list.machine[1].socket, "/run/a.sock");
	t_int(list.machine[2].pid, 100);
	(void)snprintf(want, sizeof(want), "%s/100/cwd/rel.sock", proc);
	t_str(list.machine[2].reach, want);
	ps_list_fini(&list);
	ps_list_fini(&list);
	end();
	T_NO_LEAKS();
}

Test(ps_find, a_path_that_was_too_long_is_on_the_command_line)
{
	static const char words[] = "mvm\0serve\0--api-sock\0/long/s";
	struct ps_list list;
	struct err e = { 0 };
	FILE *out;

	begin();
	process(5, "mvm\n", "/usr/bin/mvm", 11);
	process(6, "mvm\n", "/usr/bin/mvm", 11);
	sockets(5, HEADER LISTENS(11, "/proc/self/fd/6/s"));
	out = fopen(at("5/cmdline"), "we");
	t_true(out && fwrite(words, 1, sizeof(words), out) == sizeof(words) && fclose(out) == 0);
	cr_assert(eq(int, ps_find(proc, false, &list, &e), 0), "%s", e.text);
	t_uint(list.n, 2);
	t_str(list.machine[0].socket, "/long/s");
	t_str(list.machine[1].socket, "/proc/self/fd/6/s");
	ps_list_fini(&list);
	end();
}

Test(ps_find, a_network_namespace_has_sockets_of_its_own)
{
	struct ps_list list;
	struct err e = { 0 };

	begin();
	for (int pid = 1; pid <= 3; pid++) {
		process(pid, "mvm\n", "/usr/bin/mvm", 11);
		t_int(mkdir(at("%d/ns", pid), 0700), 0);
	}
	put(at("one"), "");
	put(at("two"), "");
	t_int(symlink("../../one", at("1/ns/net")), 0);
	t_int(symlink("../../two", at("2/ns/net")), 0);
	t_int(symlink("../../one", at("3/ns/net")), 0);
	sockets(1, HEADER LISTENS(11, "/run/1.sock"));
	sockets(2, HEADER LISTENS(11, "/run/2.sock"));
	sockets(3, HEADER LISTENS(11, "/not looked at again"));
	cr_assert(eq(int, ps_find(proc, false, &list, &e), 0), "%s", e.text);
	t_uint(list.n, 3);
	t_str(list.machine[1].socket, "/run/2.sock");
	t_str(list.machine[0].socket, list.machine[2].socket);
	ps_list_fini(&list);
	end();
}

Test(ps_find, other_users_are_left_out_unless_asked_for)
{
	struct ps_list list;
	struct err e = { 0 };

	if (geteuid() != 0)
		cr_skip_test("needs root to make a folder of somebody else");
	begin();
	process(5, "mvm\n", "/usr/bin/mvm", 11);
	sockets(5, HEADER LISTENS(11, "/run/1.sock"));
	t_int(chown(at("5"), 12345, 12345), 0);
	t_int(ps_find(proc, false, &list, &e), 0);
	t_uint(list.n, 0);
	ps_list_fini(&list);
	t_int(ps_find(proc, true, &list, &e), 0);
	t_uint(list.n, 1);
	t_int(list.machine[0].uid, 12345);
	ps_list_fini(&list);
	end();
}

Test(ps_find, a_hostile_table_is_only_text)
{
	struct ps_list list;
	struct err e = { 0 };

	begin();
	process(5, "mvm\n", "/usr/bin/mvm", 11);
	sockets(5,
		HEADER LISTENS(11, "/a\n0: 2 0 10000 1 1 11 /forged\x1b[2J") "garbage\n\n: : :\n");
	t_int(ps_find(proc, false, &list, &e), 0);
	t_uint(list.n, 1);
	ps_list_fini(&list);
	sockets(5, "");
	t_int(ps_find(proc, false, &list, &e), 0);
	t_uint(list.n, 0);
	ps_list_fini(&list);
	end();
}

Test(ps_find, nowhere_to_look_is_an_error)
{
	struct ps_list list;
	struct err e = { 0 };

	t_int(ps_find("/nonexistent", false, &list, &e), -ENOENT);
	t_has(e.text, "cannot read '/nonexistent'");
}

Test(ps_find, the_real_one_can_be_read)
{
	struct ps_list list;
	struct err e = { 0 };

	cr_assert(eq(int, ps_find("/proc", true, &list, &e), 0), "%s", e.text);
	ps_list_fini(&list);
}
