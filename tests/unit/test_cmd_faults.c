/* Signals that nobody survives: what is said of them. */
#include "t.h"

#include <limits.h>

#include "cmd_faults.h"

TestSuite(cmd_faults, .timeout = T_SECONDS);

Test(cmd_faults, each_has_its_status_and_others_have_none)
{
	t_int(faults_status(SIGSYS), 148);
	t_int(faults_status(SIGBUS), 149);
	t_int(faults_status(SIGSEGV), 150);
	t_int(faults_status(SIGXCPU), 154);
	t_int(faults_status(SIGHUP), 156);
	t_int(faults_status(SIGILL), 157);
	t_int(faults_status(SIGTERM), -1);
	t_int(faults_status(0), -1);
}

Test(cmd_faults, line_has_any_numbers)
{
	static const struct {
		int signo, code;
		const char *line;
	} rows[] = {
		{ 7, 0, "Shutting down VM after intercepting signal 7, code 0.\n" },
		{ 31, 10, "Shutting down VM after intercepting signal 31, code 10.\n" },
		{ 11, -6, "Shutting down VM after intercepting signal 11, code -6.\n" },
		{ INT_MAX, INT_MIN,
			"Shutting down VM after intercepting signal 2147483647, code "
			"-2147483648.\n" },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		char line[FAULTS_LINE_MAX + 1] = "";
		unsigned len = faults_line(rows[i].signo, rows[i].code, line);

		t_true(len < FAULTS_LINE_MAX);
		line[len] = '\0';
		t_str(line, rows[i].line);
	}
}
