/* What the verbs that have a machine share (cmd_machine.h). */
#include "cmd_machine.h"

#include <sys/sysinfo.h>

#include "base/log.h"
#include "console.h"
#include "terminal.h"

enum { DRAIN_MS = 2000 };

uint64_t cmd_host_memory(void)
{
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return 0;
	return ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

int cmd_make_loop(enum loop_backend want, struct loop **ret, struct err *e)
{
	enum loop_backend backend = LOOP_AUTO;
	int rc = loop_new(want, ret, &backend, e);

	if (rc == 0 && backend == LOOP_EPOLL && want == LOOP_AUTO)
		log_info("this host refuses io_uring; file I/O goes through threads");
	return rc;
}

void cmd_finish_console(struct console *c, int stop_fd)
{
	uint64_t dropped;

	if (!c)
		return;
	console_drain(c, DRAIN_MS, stop_fd);
	terminal_restore();
	dropped = console_dropped(c);
	if (dropped > 0)
		log_warning(
			"%llu bytes of console output were lost: the reader was too slow, or gone",
			(unsigned long long)dropped);
	dropped = console_keys_dropped(c);
	if (dropped > 0)
		log_warning("%llu typed bytes were lost: the guest does not read them",
			(unsigned long long)dropped);
}
