/*
 * The verbs of mvm.  Each takes its own arguments (argv[0] is the verb) and returns the exit
 * status.
 */
#ifndef MVM_COMMANDS_H
#define MVM_COMMANDS_H

/* Exit status of the verbs that run a machine. */
enum { EXIT_GUEST_DONE = 0, EXIT_HOST_FAILED = 1, EXIT_USAGE = 2, EXIT_GUEST_CRASHED = 3 };

int cmd_run(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_api(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
