/*
 * Opens a tap as one who may, and runs a command as one who may not.
 *
 * usage: tapfd TAP UID COMMAND [ARGUMENT]...   the tap is descriptor 9 of the command
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { TAP_FD = 9, STATUS_OURS = 125 };

static int fault(const char *what)
{
	(void)fprintf(stderr, "tapfd: %s: %s\n", what, strerror(errno));
	return STATUS_OURS;
}

int main(int argc, char **argv)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	uid_t uid = argc > 3 ? (uid_t)strtoul(argv[2], NULL, 10) : 0;
	int fd = -1;

	if (argc < 4 || strlen(argv[1]) >= sizeof(request.ifr_name)) {
		(void)fprintf(stderr, "usage: tapfd TAP UID COMMAND [ARGUMENT]...\n");
		return STATUS_OURS;
	}
	memcpy(request.ifr_name, argv[1], strlen(argv[1]) + 1);
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0 || dup2(fd, TAP_FD) < 0)
		return fault(argv[1]);
	if (fd != TAP_FD)
		(void)close(fd);
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
		setresuid(uid, uid, uid) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fault("becoming another user");
	(void)execv(argv[3], argv + 3);
	return fault(argv[3]);
}
