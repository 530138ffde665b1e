/*
 * Signals that nobody survives, as clients of the API know them: each has a line in the log and an
 * exit status of its own.
 */
#ifndef MVM_CMD_FAULTS_H
#define MVM_CMD_FAULTS_H

/* Exit statuses. */
enum {
	EXIT_SIGSYS = 148,
	EXIT_SIGBUS = 149,
	EXIT_SIGSEGV = 150,
	EXIT_SIGXCPU = 154,
	EXIT_SIGHUP = 156,
	EXIT_SIGILL = 157,
};

/* The status for a signal, -1 for one that ends the process in its own way. */
int faults_status(int signo);

/* The line that the log gets for a signal that ends the process: its length. */
enum { FAULTS_LINE_MAX = 96 };
unsigned faults_line(int signo, int code, char line[FAULTS_LINE_MAX]);

/*
 * From here on SIGSYS, SIGBUS, SIGSEGV and SIGILL write that line, restore the terminal and end the
 * process with their status.  One that somebody handles already (a sanitizer) is left alone.
 */
void faults_catch(void);

#endif
