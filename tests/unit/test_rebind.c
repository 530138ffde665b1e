/*
 * A restored machine gets its disks and network cards back, or others; what would harm its guest is
 * refused, with the way on.
 */
#include "t.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "instance_change.h"
#include "snapshot/rebind.h"
#include "t_kvm.h"
#include "t_saved.h"
#include "t_state.h"
#include "virtio/tap.h"

TestSuite(rebind, .timeout = 2 * T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

int __wrap_tap_open(struct tap *t, const char *name, struct err *e);

static char opened[256]; /* names of taps */

int __wrap_tap_open(struct tap *t, const char *name, struct err *e)
{
	*t = (struct tap){ .fd = -1, .tx_fd = -1 };
	if (strcmp(name, "none") == 0)
		return err_set(e, -EPERM, "no tap '%s'", name);
	(void)strncat(opened, name, sizeof(opened) - strlen(opened) - 2);
	(void)strcat(opened, " ");
	return 0;
}

/* --- disks --- */

enum { DISK_BYTES = 8192 };

static char path[2][256];

/* "a": a machine with the disks "d0" and "d1", captured where that is asked for. */
static void save_one(struct loop *l, bool captures)
{
	struct t_saved t;

	for (unsigned i = 0; i < 2; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "image%u", i);
		(void)unlink(t_saved_path(name));
		(void)snprintf(path[i], sizeof(path[i]), "%s", t_saved_file(name, DISK_BYTES, 'a'));
	}
	t_saved_make(&t, l);
	t_saved_put(&t, false);
	t_saved_put_disk(&t, "d0", path[0], false);
	t_saved_put_disk(&t, "d1", path[1], true);
	t_saved_start(&t);
	t_saved_pause(&t);
	t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, captures ? t_saved_path("") : NULL), 0);
	T_SAVED_UNTIL(&t, t.done == 1);
	cr_assert(eq(int, t.rc, 0), "%s", t.e.text);
	t_saved_end(&t);
}

static void expect(struct loop *l, const struct load_options *o, int rc, const char *text)
{
	unsigned fds = t_count_fds();
	struct t_saved t;
	int got;

	t_saved_make(&t, l);
	got = t_saved_load(&t, "a", o);
	cr_assert(eq(int, got, rc), "\"%s\" for \"%s\"", t.e.text, text);
	if (rc < 0) {
		t_has(t.e.text, text);
		t_uint(t.in->ndrives, 0);
	} else {
		t_uint(t.in->ndrives, 2);
	}
	t_saved_end(&t);
	t_uint(t_count_fds(), fds);
}

static void write_to(const char *file)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1000 } };

	/* Whatever the clock of the file system can tell apart. */
	t_int(pwrite(fd, "x", 1, 10), 1);
	t_int(futimens(fd, times), 0);
	(void)close(fd);
}

static void replace(const char *file, size_t bytes)
{
	t_int(rename(t_saved_file("fresh", bytes, 'a'), file), 0);
}

Test(rebind, disks_that_are_as_they_were_come_back)
{
	T_EACH_BACKEND(l)
	{
		save_one(l, false);
		expect(l, NULL, 0, "");
		/* Looking at them changes nothing. */
		expect(l, NULL, 0, "");
	}
	T_NO_LEAKS();
}

/* As that of a machine in the foreground, which otherwise opens its files beside other work. */
Test(rebind, an_instance_that_opens_late_has_its_disks_looked_at)
{
	T_EACH_BACKEND(l)
	{
		struct t_saved t;

		save_one(l, false);
		t_saved_make(&t, l);
		t.in->cfg.opens_late = true;
		cr_assert(eq(int, t_saved_load(&t, "a", NULL), 0), "%s", t.e.text);
		t_saved_end(&t);
		write_to(path[0]);
		t_saved_make(&t, l);
		t.in->cfg.opens_late = true;
		t_int(t_saved_load(&t, "a", NULL), -ESTALE);
		t_saved_end(&t);
	}
}

Test(rebind, a_disk_that_was_written_to_is_refused_unless_that_is_accepted)
{
	T_EACH_BACKEND(l)
	{
		struct load_options accepts = { .naccepted = 1, .accepted = { "d0" } };

		save_one(l, false);
		write_to(path[0]);
		expect(l, NULL, -ESTALE, "was written to since the machine was saved");
		expect(l, NULL, -ESTALE, "--disk d0=FILE names another, --accept-changed-disk d0");
		expect(l, NULL, -ESTALE, path[0]);
		expect(l, &accepts, 0, "");
		/* Only that one. */
		write_to(path[1]);
		expect(l, &accepts, -ESTALE, "drive 'd1'");
		save_one(l, true);
		write_to(path[0]);
		expect(l, NULL, -ESTALE, "what it held then is in 'disk-d0'");
	}
}

Test(rebind, a_disk_that_was_replaced_swapped_or_removed_is_refused)
{
	T_EACH_BACKEND(l)
	{
		struct load_options accepts = { .naccepted = 2, .accepted = { "d0", "d1" } };

		save_one(l, false);
		replace(path[0], DISK_BYTES);
		expect(l, NULL, -ESTALE, "was replaced by another file");
		save_one(l, false);
		t_int(rename(path[0], t_saved_path("x")), 0);
		t_int(rename(path[1], path[0]), 0);
		t_int(rename(t_saved_path("x"), path[1]), 0);
		expect(l, NULL, -ESTALE, "was replaced by another file");
		expect(l, &accepts, 0, "");
		t_int(unlink(path[1]), 0);
		expect(l, NULL, -ESTALE, "drive 'd0'");
		expect(l, &accepts, -ENOENT, path[1]);
		t_int(mkdir(path[1], 0700), 0);
		expect(l, &accepts, -EINVAL, path[1]);
		t_int(rmdir(path[1]), 0);
	}
}

Test(rebind, another_disk_needs_the_same_size)
{
	T_EACH_BACKEND(l)
	{
		char other[256];
		struct load_options o = { .ndrives = 1, .drive = { { "d0", other } } };

		save_one(l, false);
		(void)unlink(t_saved_path("other"));
		(void)snprintf(other, sizeof(other), "%s", t_saved_file("other", DISK_BYTES, 'z'));
		t_int(unlink(path[0]), 0);
		expect(l, &o, 0, "");
		t_int(truncate(other, DISK_BYTES + 512), 0);
		expect(l, &o, -ESTALE, "has 8704 bytes, and the guest knows a disk of 8192");
		t_int(truncate(other, 0), 0);
		expect(l, &o, -ESTALE, "--accept-changed-disk d0 takes it");
		o.naccepted = 1;
		o.accepted[0] = "d0";
		expect(l, &o, 0, "");
		/* One file cannot be both. */
		(void)snprintf(other, sizeof(other), "%s", path[1]);
		expect(l, &o, -EBUSY, "is in use by another disk of this process");
	}
}

/* Root may write to any file, with this capability; the test's process goes on without it. */
static void obey_modes(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	t_int(syscall(SYS_capget, &head, data), 0);
	data[0].effective &= ~(UINT32_C(1) << CAP_DAC_OVERRIDE);
	t_int(syscall(SYS_capset, &head, data), 0);
}

Test(rebind, a_file_that_may_not_be_written_is_no_disk_to_write_to)
{
	obey_modes();
	T_EACH_BACKEND(l)
	{
		save_one(l, false);
		t_int(chmod(path[0], 0400), 0);
		expect(l, NULL, -EACCES, "must be made read-only");
	}
}

/* --- what the options name --- */

static const struct t_state_shape shape = { .cpus = 1, .is_small = true, .nics = 3, .seed = 5 };

Test(rebind, options_name_what_there_is_and_once)
{
	static const struct row {
		const char *name;
		struct load_options o;
		int rc;
		const char *text;
	} rows[] = {
		{ "nothing", { 0 }, 0, "" },
		{ "a drive", { .ndrives = 1, .drive = { { "vda", "x" } } }, -ENODEV,
			"the machine has no drive 'vda'" },
		{ "a NIC that is a drive's name", { .ndrives = 1, .drive = { { "net-0", "x" } } },
			-ENODEV, "the machine has no drive 'net-0'" },
		{ "accepted", { .naccepted = 1, .accepted = { "vda" } }, -ENODEV,
			"the machine has no drive 'vda'" },
		{ "a NIC", { .nnics = 1, .nic = { { .id = "net-7" } } }, -ENODEV,
			"Unknown Network Device. The machine has no network interface 'net-7'" },
		{ "two", { .nnics = 2, .nic = { { .id = "net-0" }, { .id = "net-1" } } }, 0, "" },
		{ "twice", { .nnics = 2, .nic = { { .id = "net-0" }, { .id = "net-0" } } }, -EINVAL,
			"network interface 'net-0' is given twice" },
	};
	struct snapshot *s = t_state_new(&shape);
	struct load_options twice = { .ndrives = 2,
		.drive = { { "disk_0", "a" }, { "disk_0", "b" } } };
	struct err e = { 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		e.text[0] = '\0';
		t_row_int(rows[i].name, rebind_check(s, &rows[i].o, &e), rows[i].rc);
		t_row_has(rows[i].name, e.text, rows[i].text);
	}
	snapshot_free(s);
	s = t_state_new(&(struct t_state_shape){ .cpus = 1, .is_small = true, .drives = 1 });
	t_int(rebind_check(s, &twice, &e), -EINVAL);
	t_has(e.text, "drive 'disk_0' is given twice");
	snapshot_free(s);
	T_NO_LEAKS();
}

/* --- network cards --- */

static int bind_nics(struct t_saved *t, const struct load_options *o)
{
	struct snapshot *s = t_state_new(&shape);
	int rc;

	for (unsigned i = 0; i < s->nnics; i++)
		s->nic[i].mac[0] &= 0xfe;
	s->nic[2].has_mac = true;
	opened[0] = '\0';
	rc = rebind(t->in, s, o, "state", &t->e);
	snapshot_free(s);
	return rc;
}

Test(rebind, network_cards_get_their_taps_or_others)
{
	T_EACH_BACKEND(l)
	{
		struct load_options o = { .nnics = 1,
			.nic = { { .id = "net-1", .tap = "other" } } };
		struct t_saved t;

		t_saved_make(&t, l);
		/* The second one's was handed over as a descriptor. */
		t_int(bind_nics(&t, &(struct load_options){ 0 }), -EINVAL);
		t_has(t.e.text, "name one (--net net-1=TAP)");
		instance_forget(t.in);
		t_int(bind_nics(&t, &o), 0);
		t_str(opened, "tap0 other tap2 ");
		t_uint(t.in->nnics, 3);
		t_str(t.in->nic[0].spec.net.id, "net-0");
		t_int(t.in->nic[0].spec.net.tap_fd, -1);
		t_uint(t.in->machine.mem_mib, 128);
		instance_forget(t.in);
		/* A descriptor; another MAC; and a tap that cannot be had. */
		o.nic[0] = (struct load_nic){ .id = "net-1", .has_tap_fd = true, .tap_fd = 77 };
		o.nic[1] = (struct load_nic){
			.id = "net-2", .has_mac = true, .mac = { 2, 3, 4, 5, 6, 7 }
		};
		o.nnics = 2;
		t_int(bind_nics(&t, &o), 0);
		t_str(opened, "tap0 tap2 ");
		t_int(t.in->nic[1].spec.net.tap_fd, 77);
		t_true(t.in->nic[1].spec.net.tap == NULL);
		t_true(t.in->nic[2].spec.net.has_mac);
		t_int(memcmp(t.in->nic[2].spec.net.mac, "\2\3\4\5\6\7", 6), 0);
		instance_forget(t.in);
		o.nic[1] = (struct load_nic){ .id = "net-2", .tap = "none" };
		t_int(bind_nics(&t, &o), -EPERM);
		t_has(t.e.text, "no tap 'none'");
		instance_forget(t.in);
		t_uint(t.in->nnics, 0);
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}
