/* What a machine is to be made of, before its start (instance.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "instance.h"
#include "instance_private.h"
#include "virtio/disk.h"
#include "virtio/tap.h"
#include "vm_state.h"

static int check_not_started(const struct instance *in, struct err *e)
{
	if (in->state != INSTANCE_NOT_STARTED)
		return err_set(e, -EPERM, "the machine has been started");
	return 0;
}

/* A copy of text; NULL stays NULL.  false: no memory. */
static bool copy_text(const char *text, const char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return !text || *ret;
}

static int no_memory(struct err *e)
{
	(void)err_sys(e, -ENOMEM, NULL, "cannot keep the description");
	return -ENOMEM;
}

/* --- machine, kernel, CPU --- */

int instance_put_machine(struct instance *in, const struct machine_spec *spec, struct err *e)
{
	UNINITIALIZED struct vm_config c;
	int rc = check_not_started(in, e);

	if (rc < 0)
		return rc;
	config_init(&c);
	c.kernel = "";
	c.cpus = spec->cpus;
	c.smt = spec->smt;
	c.pages = spec->pages;
	if (spec->mem_mib > CONFIG_MEM_MAX / CONFIG_MEM_STEP)
		return err_set(e, -EINVAL, "memory of %llu MiB is out of range",
			(unsigned long long)spec->mem_mib);
	c.mem_size = spec->mem_mib * CONFIG_MEM_STEP;
	/* Whether the host has that much is asked at the start: until then it may change. */
	rc = config_check(&c, 0, e);
	if (rc < 0)
		return rc;
	in->machine = *spec;
	in->is_boot_path = true;
	return 0;
}

static void free_boot(struct boot_spec *b)
{
	free((void *)b->kernel);
	free((void *)b->initrd);
	free((void *)b->cmdline);
	*b = (struct boot_spec){ 0 };
}

int instance_put_boot(struct instance *in, const struct boot_spec *spec, struct err *e)
{
	struct boot_spec own = { 0 };
	int rc = check_not_started(in, e);

	if (rc < 0)
		return rc;
	if (!copy_text(spec->kernel, &own.kernel) || !copy_text(spec->initrd, &own.initrd) ||
		!copy_text(spec->cmdline, &own.cmdline)) {
		free_boot(&own);
		return no_memory(e);
	}
	free_boot(&in->boot);
	in->boot = own;
	in->is_boot_path = true;
	return 0;
}

int instance_put_cpu(struct instance *in, const struct cpu_template *spec, struct err *e)
{
	int rc = check_not_started(in, e);

	if (rc < 0)
		return rc;
	in->cpu = *spec;
	in->has_cpu_config = true;
	return 0;
}

/* --- disks --- */

static void free_drive_texts(struct drive_spec *s)
{
	free((void *)s->disk.id);
	free((void *)s->disk.path);
	free((void *)s->partuuid);
}

static void free_drive(struct drive *d)
{
	disk_close(d->opened);
	free_drive_texts(&d->spec);
	*d = (struct drive){ 0 };
}

static int copy_drive(const struct drive_spec *spec, struct drive_spec *ret, struct err *e)
{
	*ret = *spec;
	ret->disk.id = ret->disk.path = ret->partuuid = NULL;
	ret->disk.opened = NULL;
	if (copy_text(spec->disk.id, &ret->disk.id) &&
		copy_text(spec->disk.path, &ret->disk.path) &&
		copy_text(spec->partuuid, &ret->partuuid))
		return 0;
	free_drive_texts(ret);
	return no_memory(e);
}

static int find_drive(const struct instance *in, const char *id)
{
	for (unsigned i = 0; i < in->ndrives; i++) {
		if (strcmp(in->drive[i].spec.disk.id, id) == 0)
			return (int)i;
	}
	return -ENOENT;
}

static int find_nic(const struct instance *in, const char *id)
{
	for (unsigned i = 0; i < in->nnics; i++) {
		if (strcmp(in->nic[i].spec.net.id, id) == 0)
			return (int)i;
	}
	return -ENOENT;
}

static int check_room(const struct instance *in, int found, struct err *e)
{
	if (found < 0 && in->ndrives + in->nnics >= CONFIG_DEVICES_MAX)
		return err_set(e, -ENOSPC, "a machine has room for %d devices", CONFIG_DEVICES_MAX);
	return 0;
}

static int check_drive(
	const struct instance *in, const struct drive_spec *spec, int found, struct err *e)
{
	if (find_nic(in, spec->disk.id) >= 0)
		return err_set(e, -EEXIST, "a network interface has the id '%s'", spec->disk.id);
	for (unsigned i = 0; i < in->ndrives && spec->is_root; i++) {
		if (in->drive[i].spec.is_root && (int)i != found)
			return err_set(e, -EEXIST, "A root block device already exists!");
	}
	return check_room(in, found, e);
}

/*
 * Opens what spec says.  Our own lock on the file would stand against a second look at it, so the
 * old one is let go first, and taken back when the new one cannot be had.
 */
static int open_drive(struct drive *old, struct drive_spec *spec, struct disk **ret, struct err *e)
{
	bool is_same = old && old->opened && disk_is_at(old->opened, spec->disk.path);
	struct err again = { 0 };
	int rc;

	if (is_same)
		disk_close(ptr_take(old->opened));
	rc = disk_open(&spec->disk, ret, e);
	/* What fails here fails again at the start, and is said then. */
	if (rc < 0 && is_same && disk_open(&old->spec.disk, &old->opened, &again) < 0)
		old->opened = NULL;
	return rc;
}

int instance_put_drive(struct instance *in, const struct drive_spec *spec, struct err *e)
{
	int found = find_drive(in, spec->disk.id);
	struct drive *old = found >= 0 ? &in->drive[found] : NULL;
	struct drive fresh = { 0 };
	int rc = check_not_started(in, e);

	if (rc == 0)
		rc = check_drive(in, spec, found, e);
	if (rc == 0)
		rc = copy_drive(spec, &fresh.spec, e);
	if (rc < 0)
		return rc;
	if (!in->cfg.opens_late)
		rc = open_drive(old, &fresh.spec, &fresh.opened, e);
	if (rc < 0) {
		free_drive(&fresh);
		return rc;
	}
	if (old)
		free_drive(old);
	else
		old = &in->drive[in->ndrives++];
	*old = fresh;
	in->is_boot_path = true;
	return 0;
}

const struct drive *instance_drive(const struct instance *in, const char *id)
{
	int found = find_drive(in, id);

	return found >= 0 ? &in->drive[found] : NULL;
}

/* --- network interfaces --- */

static void free_nic_texts(struct net_spec *s)
{
	free((void *)s->net.id);
	free((void *)s->net.tap);
}

static void free_tap(struct tap *t)
{
	if (!t)
		return;
	tap_close(t);
	free(t);
}

static void free_nic(struct nic *n)
{
	free_tap(n->opened);
	free_nic_texts(&n->spec);
	*n = (struct nic){ 0 };
}

static int copy_nic(const struct net_spec *spec, struct net_spec *ret, struct err *e)
{
	*ret = *spec;
	ret->net.id = ret->net.tap = NULL;
	ret->net.opened = NULL;
	if (copy_text(spec->net.id, &ret->net.id) && copy_text(spec->net.tap, &ret->net.tap))
		return 0;
	free_nic_texts(ret);
	return no_memory(e);
}

static int check_nic(
	const struct instance *in, const struct net_spec *spec, int found, struct err *e)
{
	const uint8_t *mac = spec->net.mac;

	if (find_drive(in, spec->net.id) >= 0)
		return err_set(e, -EEXIST, "a disk has the id '%s'", spec->net.id);
	for (unsigned i = 0; i < in->nnics && spec->net.has_mac; i++) {
		const struct net_config *other = &in->nic[i].spec.net;

		if ((int)i != found && other->has_mac && memcmp(other->mac, mac, NET_MAC_LEN) == 0)
			return err_set(e, -EADDRINUSE,
				"The MAC address is already in use: "
				"%02x:%02x:%02x:%02x:%02x:%02x",
				mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	}
	return check_room(in, found, e);
}

static int open_tap(const char *name, struct tap **ret, struct err *e)
{
	struct tap *t = malloc(sizeof(*t));
	int rc = t ? tap_open(t, name, e) : no_memory(e);

	if (rc < 0) {
		free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

/* The old interface's tap serves on where it is the same: a tap has one user. */
static int open_nic(struct nic *old, const struct net_spec *spec, struct tap **ret, struct err *e)
{
	if (!spec->net.tap)
		return 0;
	if (old && old->opened && strcmp(old->spec.net.tap, spec->net.tap) == 0) {
		*ret = ptr_take(old->opened);
		return 0;
	}
	return open_tap(spec->net.tap, ret, e);
}

int instance_put_net(struct instance *in, const struct net_spec *spec, struct err *e)
{
	int found = find_nic(in, spec->net.id);
	struct nic *old = found >= 0 ? &in->nic[found] : NULL;
	struct nic fresh = { 0 };
	int rc = check_not_started(in, e);

	if (rc == 0)
		rc = check_nic(in, spec, found, e);
	if (rc == 0)
		rc = copy_nic(spec, &fresh.spec, e);
	if (rc < 0)
		return rc;
	if (!in->cfg.opens_late)
		rc = open_nic(old, &fresh.spec, &fresh.opened, e);
	if (rc < 0) {
		free_nic(&fresh);
		return rc;
	}
	if (old)
		free_nic(old);
	else
		old = &in->nic[in->nnics++];
	*old = fresh;
	in->is_boot_path = true;
	return 0;
}

const struct nic *instance_nic(const struct instance *in, const char *id)
{
	int found = find_nic(in, id);

	return found >= 0 ? &in->nic[found] : NULL;
}

/* --- serial port --- */

int instance_put_serial(struct instance *in, const struct serial_spec *spec, struct err *e)
{
	struct serial_spec own = *spec;
	int rc = check_not_started(in, e);

	if (rc < 0)
		return rc;
	if (!copy_text(spec->path, &own.path))
		return no_memory(e);
	rc = console_set_output(in->console, own.path, own.has_limit ? &own.limit : NULL, e);
	if (rc < 0) {
		free((void *)own.path);
		return rc;
	}
	free((void *)in->serial.path);
	in->serial = own;
	return 0;
}

/* --- the whole --- */

/* What the contract says a guest gets whose owner says nothing. */
static const char default_cmdline[] =
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd "
	"swiotlb=noforce pci=off";

static void add_disks(struct instance *in, bool takes, bool roots, struct vm_config *c)
{
	for (unsigned i = 0; i < in->ndrives; i++) {
		struct drive *d = &in->drive[i];
		struct disk_config *disk = &c->disk[c->ndisks];

		if (d->spec.is_root != roots)
			continue;
		c->ndisks++;
		*disk = d->spec.disk;
		if (takes)
			disk->opened = ptr_take(d->opened);
		if (roots) {
			c->root = VM_ROOT_FIRST;
			c->partuuid = d->spec.partuuid;
		}
	}
}

static void add_restore(
	const struct instance *in, const struct restore_source *from, struct vm_config *c)
{
	c->kernel = c->initrd = NULL;
	c->cpu = NULL; /* it is in the CPUID that the state has */
	c->state = from->state;
	c->fill_memory = from->fill_memory;
	c->fill_ctx = from->fill_ctx;
	c->leaving = from->leaving;
	c->leaving_ctx = from->leaving_ctx;
	c->ahead = from->ahead;
	c->holds_clock = from->holds_clock;
	c->goes_on = from->goes_on;
	c->has_boot_timer = from->state->has_boot_timer;
	/* Roots come first, as they did when it was saved, so the order is the same. */
	INVARIANT(from->state->ndevices == in->ndrives + in->nnics);
}

static void add_nics(struct instance *in, bool takes, struct vm_config *c)
{
	for (unsigned i = 0; i < in->nnics; i++) {
		struct net_config *net = &c->net[c->nnets++];

		*net = in->nic[i].spec.net;
		if (takes)
			net->opened = ptr_take(in->nic[i].opened);
	}
}

void instance_compose(
	struct instance *in, const struct start_options *options, bool takes, struct vm_config *ret)
{
	config_init(ret);
	ret->kvm_path = in->cfg.kvm_path;
	ret->kernel = in->boot.kernel;
	ret->initrd = in->boot.initrd;
	ret->cmdline = in->boot.cmdline ? in->boot.cmdline : default_cmdline;
	ret->protocol = options->protocol;
	ret->describe = options->describe;
	ret->prefault = options->prefault;
	ret->has_boot_timer = in->cfg.has_boot_timer;
	ret->cpus = in->machine.cpus;
	ret->smt = in->machine.smt;
	ret->mem_size = in->machine.mem_mib * CONFIG_MEM_STEP;
	ret->pages = in->machine.pages;
	ret->cpu = in->has_cpu_config ? &in->cpu : NULL;
	ret->root = options->roots_first_disk ? VM_ROOT_AUTO : VM_ROOT_NONE;
	/* The root is /dev/vda, the others follow in the order in which they came. */
	add_disks(in, takes, true, ret);
	add_disks(in, takes, false, ret);
	add_nics(in, takes, ret);
	ret->track_dirty = in->machine.track_dirty_pages;
	if (options->restore)
		add_restore(in, options->restore, ret);
}

void instance_forget(struct instance *in)
{
	for (unsigned i = 0; i < in->ndrives; i++)
		free_drive(&in->drive[i]);
	for (unsigned i = 0; i < in->nnics; i++)
		free_nic(&in->nic[i]);
	in->ndrives = in->nnics = 0;
	free_boot(&in->boot);
	in->machine =
		(struct machine_spec){ .cpus = 1, .mem_mib = CONFIG_MEM_DEFAULT / CONFIG_MEM_STEP };
	in->is_boot_path = false;
}
