/* What an instance says of its machine becomes values of a snapshot. */
#include "t.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "snapshot/describe.h"
#include "t_kvm.h"
#include "t_saved.h"
#include "virtio/disk.h"

TestSuite(describe, .timeout = T_SECONDS, .init = t_saved_setup, .fini = t_saved_teardown);

static char image[2][256];

static void make(struct t_saved *t, struct loop *l, const char *cmdline)
{
	struct drive_spec other = { .disk = { .id = "data", .read_only = true } },
			  root = { .disk = { .id = "root",
					   .sync_engine = true,
					   .unsafe_cache = true,
					   .limit = { .bytes = { 4096, 100, 7 } } },
				  .is_root = true,
				  .partuuid = "0f-01",
				  .shape = { .is_given = true, .has_bytes = true } };
	struct boot_spec boot;

	(void)snprintf(image[0], sizeof(image[0]), "%s", t_saved_file("one", 4096, 1));
	(void)snprintf(image[1], sizeof(image[1]), "%s", t_saved_file("two", 8192 + 100, 2));
	other.disk.path = image[0];
	root.disk.path = image[1];
	t_saved_make(t, l);
	t_saved_put(t, false);
	boot = (struct boot_spec){ .kernel = strdup(t->in->boot.kernel), .cmdline = cmdline };
	t_int(instance_put_boot(t->in, &boot, &t->e), 0);
	free((void *)boot.kernel);
	/* The root comes first in the machine, whenever it was described. */
	t_int(instance_put_drive(t->in, &other, &t->e), 0);
	t_int(instance_put_drive(t->in, &root, &t->e), 0);
	t_saved_start(t);
	t_saved_pause(t);
}

Test(describe, drives_are_in_the_order_of_the_machine)
{
	T_EACH_BACKEND(l)
	{
		struct snapshot *s = snapshot_new(1);
		struct t_saved t;
		struct stat st;

		make(&t, l, "quiet");
		t_int(describe_instance(t.in, s, &t.e), 0);
		t_true(s->has_kernel && s->has_cmdline && !s->has_initrd);
		t_str(s->cmdline, "quiet");
		t_str(s->kernel, t.in->boot.kernel);
		t_uint(s->ndrives, 2);
		t_uint(s->nnics, 0);
		t_str(s->drive[0].id, "root");
		t_str(s->drive[0].path, image[1]);
		t_true(s->drive[0].is_root && s->drive[0].has_partuuid && !s->drive[0].read_only);
		t_str(s->drive[0].partuuid, "0f-01");
		t_true(s->drive[0].sync_engine && s->drive[0].unsafe_cache && !s->drive[0].direct);
		t_true(s->drive[0].shape.is_given && s->drive[0].shape.has_bytes);
		t_uint(s->drive[0].limit.bytes.size, 4096);
		t_int(stat(image[1], &st), 0);
		t_false(s->drive[0].identity.is_device);
		/* All of it, and not the whole sectors that the guest sees. */
		t_uint(s->drive[0].identity.size, 8192 + 100);
		t_uint(s->drive[0].identity.ino, st.st_ino);
		t_uint(s->drive[0].identity.mtime_s, st.st_mtim.tv_sec);
		t_uint(s->drive[0].identity.mtime_ns, st.st_mtim.tv_nsec);
		t_str(s->drive[1].id, "data");
		t_true(s->drive[1].read_only && !s->drive[1].is_root && !s->drive[1].has_partuuid);
		t_uint(s->drive[1].identity.size, 4096);
		snapshot_free(s);
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

Test(describe, the_file_that_is_open_counts_and_not_the_one_of_that_name)
{
	T_EACH_BACKEND(l)
	{
		struct snapshot *s = snapshot_new(1);
		struct t_saved t;
		struct stat was, now;

		make(&t, l, NULL);
		t_int(stat(image[0], &was), 0);
		t_int(rename(t_saved_file("three", 100, 3), image[0]), 0);
		t_int(stat(image[0], &now), 0);
		t_int(describe_instance(t.in, s, &t.e), 0);
		t_uint(s->drive[1].identity.ino, was.st_ino);
		t_uint(s->drive[1].identity.size, 4096);
		t_true(was.st_ino != now.st_ino);
		t_false(s->has_cmdline);
		snapshot_free(s);
		t_saved_end(&t);
	}
}

Test(describe, what_does_not_fit_is_refused)
{
	T_EACH_BACKEND(l)
	{
		char *text = malloc(SNAPSHOT_TEXT_MAX + 1);
		struct snapshot *s = snapshot_new(1);
		struct t_saved t;

		memset(text, 'x', SNAPSHOT_TEXT_MAX);
		text[SNAPSHOT_TEXT_MAX] = '\0';
		make(&t, l, "quiet");
		free((void *)t.in->boot.cmdline);
		t.in->boot.cmdline = text;
		t_int(describe_instance(t.in, s, &t.e), -ENAMETOOLONG);
		t_has(t.e.text, "a text of the boot source is too long");
		text[SNAPSHOT_TEXT_MAX - 1] = '\0';
		t_int(describe_instance(t.in, s, &t.e), 0);
		t_uint(strlen(s->cmdline), SNAPSHOT_TEXT_MAX - 1);
		/* A save says so, too, and changes nothing. */
		text[SNAPSHOT_TEXT_MAX - 1] = 'x';
		t_int(t_saved_begin(&t, "a", SNAPSHOT_FULL, false, NULL), -ENAMETOOLONG);
		t_false(t.in->is_changing);
		snapshot_free(s);
		t_saved_end(&t);
	}
	T_NO_LEAKS();
}

/* As after its start: without a device, because a tap takes rights that a test need not have. */
static void pretend_nic(struct t_saved *t, const char *tap)
{
	struct nic *n = &t->in->nic[0];

	*n = (struct nic){ .spec = { .net = { .id = strdup("eth0"),
					     .tap = tap ? strdup(tap) : NULL,
					     .tap_fd = -1,
					     .has_mac = true,
					     .mac = { 2, 1, 1, 1, 1, 1 },
					     .mtu = 1400,
					     .no_tso = true,
					     .tx = { .ops = { 5, 6, 7 } } },
				   .tx_shape = { .is_given = true, .has_ops = true } } };
	t->in->nnics = 1;
	t->in->vm->cfg.nnets = 1;
	t->in->vm->cfg.net[0].id = "eth0";
}

Test(describe, network_cards)
{
	static const char *const taps[] = { "tap7", NULL };

	T_EACH_BACKEND(l)
	{
		for (unsigned i = 0; i < 2; i++) {
			struct snapshot *s = snapshot_new(1);
			struct t_saved t;

			make(&t, l, NULL);
			pretend_nic(&t, taps[i]);
			t_int(describe_instance(t.in, s, &t.e), 0);
			t_uint(s->nnics, 1);
			t_str(s->nic[0].id, "eth0");
			t_str(s->nic[0].tap, taps[i] ? taps[i] : "");
			t_true(s->nic[0].has_mac && s->nic[0].no_tso && !s->nic[0].no_csum);
			t_int(s->nic[0].mac[0], 2);
			t_uint(s->nic[0].mtu, 1400);
			t_true(s->nic[0].tx_shape.has_ops && !s->nic[0].rx_shape.is_given);
			t_uint(s->nic[0].tx.ops.burst, 7);
			t.in->vm->cfg.nnets = 0;
			snapshot_free(s);
			t_saved_end(&t);
		}
	}
	T_NO_LEAKS();
}

Test(describe, what_cannot_be_looked_at_is_an_error)
{
	struct disk d = { .fd = -1, .cached_fd = -1 };
	struct disk_identity id;

	t_int(disk_identify(&d, &id), -EBADF);
}
