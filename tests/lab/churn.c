/*
 * churn COUNT: creates and destroys so many VMs, one after the other, on CPU 0 while two processes
 * wake each other on CPU 1.  Each VM that is the first or the last of a kernel makes it rewrite its
 * scheduler, see hold_vms() in guest.c: without that the lab stops within seconds.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

static void stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Passes on what comes, for as long as its parent lives. */
static void start_passing(int from, int to)
{
	char byte;

	if (fork() != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stay_on(1);
	while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
		;
	_exit(0);
}

int main(int argc, char **argv)
{
	long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
	int there[2], back[2];
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0 || pipe(there) < 0 || pipe(back) < 0 || write(there[1], "", 1) != 1) {
		perror("churn");
		return 1;
	}
	start_passing(there[0], back[1]);
	start_passing(back[0], there[1]);
	stay_on(0);
	for (long i = 0; i < count; i++) {
		int vm = ioctl(kvm, KVM_CREATE_VM, 0);

		if (vm < 0) {
			perror("KVM_CREATE_VM");
			return 1;
		}
		close(vm);
	}
	printf("%ld VMs came and went\n", count);
	return 0;
}
