/* Signals that nobody survives (cmd_faults.h). */
#include "cmd_faults.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "terminal.h"

static const struct {
	int signo, status;
} statuses[] = {
	{ SIGSYS, EXIT_SIGSYS },
	{ SIGBUS, EXIT_SIGBUS },
	{ SIGSEGV, EXIT_SIGSEGV },
	{ SIGXCPU, EXIT_SIGXCPU },
	{ SIGHUP, EXIT_SIGHUP },
	{ SIGILL, EXIT_SIGILL },
};

int faults_status(int signo)
{
	for (unsigned i = 0; i < ARRAY_SIZE(statuses); i++) {
		if (statuses[i].signo == signo)
			return statuses[i].status;
	}
	return -1;
}

/* Nothing of stdio: this runs in signal handlers. */
static unsigned add_text(char *line, unsigned at, const char *text)
{
	while (*text != '\0')
		line[at++] = *text++;
	return at;
}

static unsigned add_number(char *line, unsigned at, int value)
{
	char digits[12];
	unsigned n = 0, rest = value < 0 ? 0U - (unsigned)value : (unsigned)value;

	do {
		digits[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		line[at++] = '-';
	while (n > 0)
		line[at++] = digits[--n];
	return at;
}

unsigned faults_line(int signo, int code, char line[FAULTS_LINE_MAX])
{
	unsigned at = add_text(line, 0, "Shutting down VM after intercepting signal ");

	at = add_number(line, at, signo);
	at = add_text(line, at, ", code ");
	at = add_number(line, at, code);
	return add_text(line, at, ".\n");
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	char line[FAULTS_LINE_MAX];

	(void)context;
	log_from_signal(line, faults_line(signo, info->si_code, line));
	terminal_restore();
	_exit(faults_status(signo));
}

void faults_catch(void)
{
	static const int signals[] = { SIGSYS, SIGBUS, SIGSEGV, SIGILL };
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction old;

		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			(void)sigaction(signals[i], &act, NULL);
	}
}
