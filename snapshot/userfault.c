/* Making a userfaultfd (userfault.h). */
#include "snapshot/userfault.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"

static const char *const PERMISSION_HINT =
	"give access to /dev/userfaultfd (Linux 6.1), or: sysctl vm.unprivileged_userfaultfd=1";

/* By the device, whose permissions are given to a user; without it (before 6.1, or in a jail) by
 * the call, for which CAP_SYS_PTRACE or the sysctl is needed. */
static int make(void)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;
	int device CLEANUP(fd_closep) = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, flags);

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, flags);
	return fd < 0 ? -errno : fd;
}

static int handshake(int fd, uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	return ioctl(fd, UFFDIO_API, &api) < 0 ? -errno : 0;
}

int userfault_open(uint64_t needed, uint64_t wished, struct err *e)
{
	/* Not both on one descriptor: some kernels let it shake hands once only. */
	for (unsigned i = 0; i < 2; i++) {
		int fd CLEANUP(fd_closep) = make();
		int rc;

		if (fd < 0)
			return err_sys(e, fd,
				fd == -ENOSYS ? "CONFIG_USERFAULTFD is needed" : PERMISSION_HINT,
				"cannot make a userfaultfd");
		rc = handshake(fd, i == 0 ? needed | wished : needed);
		if (rc == 0)
			return fd_take(&fd);
		if (rc != -EINVAL)
			return err_sys(e, rc, NULL, "cannot agree with the kernel on userfaultfd");
	}
	return err_set(e, -EOPNOTSUPP, "this kernel's userfaultfd lacks a feature (0x%llx)",
		(unsigned long long)needed);
}

int userfault_register(int fd, const struct guest_mem *m, uint64_t mode, unsigned op, struct err *e)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)m->map, .len = m->map_len },
		.mode = mode,
	};
	int rc = ioctl(fd, UFFDIO_REGISTER, &reg) < 0 ? -errno : 0;

	/* EINVAL: among it there is a file that is mapped private, for one. */
	if (rc == -EINVAL || (rc == 0 && !(reg.ioctls >> op & 1)))
		return err_set(e, -EOPNOTSUPP,
			"guest memory of this kind cannot be registered with userfaultfd");
	if (rc < 0)
		return err_sys(e, rc, NULL, "cannot register guest memory with userfaultfd");
	return 0;
}
