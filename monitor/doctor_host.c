/* The checks of everything but KVM (doctor.h). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/io.h"
#include "core/loop.h"
#include "doctor.h"

/* A number in a file of /proc or /sys; false when there is none. */
static bool read_number(const char *path, uint64_t *ret)
{
	char text[32];

	return io_read_text(path, text, sizeof(text)) > 0 && doctor_parse_number(text, ret) == 0;
}

void doctor_check_kernel(struct doctor *d, struct doctor_result *r)
{
	struct utsname u;

	if (uname(&u) < 0 || doctor_parse_kernel(u.release, &d->kernel) < 0) {
		doctor_found(r, DOCTOR_SLOW, "of an unknown version");
		doctor_advise(r, "Linux 5.10 or newer is needed");
		return;
	}
	if (d->kernel < KERNEL(5, 10)) {
		doctor_found(r, DOCTOR_MISSING, "Linux %.80s", u.release);
		doctor_advise(r, "use 5.10 or newer; 6.1 or newer has all that mvm makes use of");
	} else if (d->kernel < KERNEL(5, 14)) {
		doctor_found(r, DOCTOR_SLOW, "Linux %.80s", u.release);
		doctor_advise(r, "--prefault needs 5.14; io_uring is at its best from 6.1");
	} else if (d->kernel < KERNEL(6, 1)) {
		doctor_found(r, DOCTOR_SLOW, "Linux %.80s", u.release);
		doctor_advise(r, "io_uring is at its best from 6.1 (deferred task work)");
	} else {
		doctor_found(r, DOCTOR_OK, "Linux %.80s", u.release);
	}
}

/* --- io_uring --- */

static void advise_on_io_uring(struct doctor_result *r, int code)
{
	uint64_t disabled = 0;

	if (read_number("/proc/sys/kernel/io_uring_disabled", &disabled) && disabled > 0)
		doctor_advise(r,
			"'sysctl kernel.io_uring_disabled=0'%s; until then file I/O goes through "
			"threads",
			disabled == 1 ? ", or join the group of kernel.io_uring_group" : "");
	else if (code == -ENOMEM)
		doctor_advise(r,
			"raise the limit of locked memory (ulimit -l); until then file I/O goes "
			"through threads");
	else
		doctor_advise(r, "%s; until then file I/O goes through threads",
			code == -EPERM ? "let the container's seccomp profile pass io_uring_setup, "
					 "_enter and "
					 "_register"
				       : "use a kernel with CONFIG_IO_URING, or let the "
					 "container's seccomp "
					 "profile pass io_uring_setup");
}

void doctor_check_io_uring(struct doctor *d, struct doctor_result *r)
{
	struct loop *loop = NULL;
	struct err e = { 0 };
	int rc;

	(void)d;
	/* The very call of mvm run, sealing included, not one that resembles it. */
	rc = loop_new(LOOP_URING, &loop, NULL, &e);
	if (rc == 0) {
		loop_free(loop);
		doctor_found(r, DOCTOR_OK, "a sealed ring can be set up");
		return;
	}
	doctor_found(r, DOCTOR_SLOW, "refused (%s)", strerror(-rc));
	advise_on_io_uring(r, rc);
}

/* --- userfaultfd --- */

/* One that also sees the faults of KVM, which happen in kernel mode: a descriptor, or -errno. */
static int open_userfaultfd(const char **ret_how)
{
	int fd CLEANUP(fd_closep) = -1;
	int made, code;

	*ret_how = "by system call";
	made = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (made >= 0)
		return made;
	code = -errno;
	fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return code;
	*ret_how = "by /dev/userfaultfd";
	made = ioctl(fd, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	return made < 0 ? -errno : made;
}

void doctor_check_userfaultfd(struct doctor *d, struct doctor_result *r)
{
	struct uffdio_api api = { .api = UFFD_API };
	const char *how;
	int fd CLEANUP(fd_closep) = open_userfaultfd(&how);

	(void)d;
	if (fd < 0) {
		doctor_found(r, DOCTOR_MISSING, "refused (%s)", strerror(-fd));
		doctor_advise(r, "%s",
			fd == -ENOSYS
				? "use a kernel with CONFIG_USERFAULTFD"
				: "'setfacl -m u:USER:rw /dev/userfaultfd' (6.1), or 'sysctl "
				  "vm.unprivileged_userfaultfd=1'; only needed to serve guest "
				  "memory page by page");
		return;
	}
	if (ioctl(fd, UFFDIO_API, &api) < 0) {
		doctor_found(r, DOCTOR_MISSING, "of another version (%s)", strerror(errno));
		doctor_advise(r, "use a newer kernel");
		return;
	}
	/* The answer names all features that the kernel has, whichever were asked for. */
	if (api.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP) {
		doctor_found(r, DOCTOR_OK, "allowed %s, with write protection", how);
		return;
	}
	doctor_found(r, DOCTOR_SLOW, "allowed %s, without write protection", how);
	doctor_advise(r, "use a kernel of 5.7 or newer with CONFIG_HAVE_ARCH_USERFAULTFD_WP");
}

/* --- network --- */

void doctor_check_tun(struct doctor *d, struct doctor_result *r)
{
	int fd CLEANUP(fd_closep) = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	int code = errno;

	(void)d;
	if (fd >= 0) {
		doctor_found(r, DOCTOR_OK, "can be opened for reading and writing");
		return;
	}
	doctor_found(r, DOCTOR_MISSING, "cannot be opened (%s)", strerror(code));
	if (code == EACCES || code == EPERM)
		doctor_advise(r, "'chmod 666 /dev/net/tun' (a tap still needs its owner or "
				 "CAP_NET_ADMIN); only needed for guests with a network");
	else
		doctor_advise(r,
			"run 'modprobe tun'; in a container, pass the device in; only needed for "
			"guests with a network");
}

/* --- cgroups --- */

static void read_mounts(struct doctor_cgroups *c)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line CLEANUP(freep) = NULL;
	size_t size = 0;

	if (!f)
		return;
	while (getline(&line, &size, f) >= 0)
		doctor_parse_mount(line, c);
	(void)fclose(f);
}

void doctor_check_cgroup(struct doctor *d, struct doctor_result *r)
{
	struct doctor_cgroups *c = &d->cgroups;
	const char *favor;

	read_mounts(c);
	favor = c->favordynmods ? "with favordynmods" : "without favordynmods";
	if (c->has_v2 && !c->has_v1) {
		doctor_found(r, DOCTOR_OK, "version 2 at %s, %s", c->v2_path, favor);
	} else if (c->has_v1) {
		doctor_found(r, DOCTOR_SLOW, "version 1%s, %s", c->has_v2 ? " and 2 together" : "",
			favor);
		doctor_advise(r, "boot with systemd.unified_cgroup_hierarchy=1 or "
				 "cgroup_no_v1=all, so that all limits are in version 2");
	} else {
		doctor_found(r, DOCTOR_MISSING, "not mounted");
		doctor_advise(r, "'mount -t cgroup2 cgroup2 /sys/fs/cgroup'; only needed to limit "
				 "guests");
	}
}

/* --- memory --- */

void doctor_check_thp(struct doctor *d, struct doctor_result *r)
{
	static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
	char text[64], policy[16];

	(void)d;
	if (io_read_text(path, text, sizeof(text)) <= 0 ||
		doctor_parse_choice(text, policy, sizeof(policy)) < 0) {
		doctor_found(r, DOCTOR_SLOW, "not in this kernel");
		doctor_advise(r, "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
		return;
	}
	if (strcmp(policy, "never") != 0) {
		doctor_found(r, DOCTOR_OK, "%s", policy);
		return;
	}
	doctor_found(r, DOCTOR_SLOW, "never; 'mvm run --pages thp' gets small pages");
	doctor_advise(r, "'echo madvise > %s'", path);
}

void doctor_check_hugetlb(struct doctor *d, struct doctor_result *r)
{
	uint64_t total, unused;

	(void)d;
	if (!read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", &total) ||
		!read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", &unused))
		doctor_found(
			r, DOCTOR_OK, "none in this kernel; only 'mvm run --pages 2m' wants them");
	else if (total == 0)
		doctor_found(r, DOCTOR_OK, "none reserved; only 'mvm run --pages 2m' wants them");
	else
		doctor_found(r, DOCTOR_OK, "%" PRIu64 " of %" PRIu64 " pages of 2 MiB are free",
			unused, total);
}

void doctor_check_memory(struct doctor *d, struct doctor_result *r)
{
	uint64_t total = 0, available = 0, swap = 0, overcommit = 0;
	char text[8192];

	(void)d;
	if (io_read_text("/proc/meminfo", text, sizeof(text)) <= 0 ||
		doctor_parse_meminfo(text, "MemTotal", &total) < 0 ||
		doctor_parse_meminfo(text, "MemAvailable", &available) < 0)
		return;
	(void)doctor_parse_meminfo(text, "SwapTotal", &swap);
	(void)read_number("/proc/sys/vm/overcommit_memory", &overcommit);
	doctor_found(r, overcommit == 2 ? DOCTOR_SLOW : DOCTOR_OK,
		"%.1f of %.1f GiB available, %s, vm.overcommit_memory is %" PRIu64,
		(double)available / (1 << 30), (double)total / (1 << 30),
		swap > 0 ? "guests may be swapped out" : "no swap", overcommit);
	if (overcommit == 2)
		doctor_advise(r, "'sysctl vm.overcommit_memory=0', or every guest is charged all "
				 "of its memory at the start");
}
