/* Defaults and limits of a machine (config.h). */
#include "config.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"
#include "base/parse.h"
#include "virtio/tap.h"
#include "x86/layout.h"

_Static_assert((int)CONFIG_CPUS_MAX == (int)LAYOUT_CPUS_MAX, "the tables have room for every CPU");

void config_init(struct vm_config *c)
{
	*c = (struct vm_config){
		.kvm_path = "/dev/kvm",
		.cmdline = "",
		.cpus = 1,
		.mem_size = CONFIG_MEM_DEFAULT,
	};
}

void config_close(struct vm_config *c)
{
	for (unsigned i = 0; i < c->ndisks; i++) {
		disk_close(c->disk[i].opened);
		c->disk[i].opened = NULL;
	}
	for (unsigned i = 0; i < c->nnets; i++) {
		tap_free(c->net[i].opened);
		c->net[i].opened = NULL;
	}
}

static int bad_memory(const struct vm_config *c, const char *why, struct err *e)
{
	char size[32];

	format_size(c->mem_size, size, sizeof(size));
	return err_set(e, -EINVAL, "memory of %s is %s", size, why);
}

static int check_memory(const struct vm_config *c, uint64_t host_mem, struct err *e)
{
	char size[32], limit[32];

	if (c->mem_size < CONFIG_MEM_MIN || c->mem_size > CONFIG_MEM_MAX)
		return bad_memory(c, "out of range: a machine has 16M to 1T", e);
	if (c->mem_size % CONFIG_MEM_STEP != 0)
		return bad_memory(c, "not a multiple of 1M", e);
	if (c->pages == MEM_PAGES_2M && c->mem_size % MEM_HUGE_PAGE_SIZE != 0)
		return bad_memory(c, "not a multiple of 2M, as 2M pages need", e);
	if (host_mem == 0 || c->mem_size <= host_mem)
		return 0;
	format_size(c->mem_size, size, sizeof(size));
	format_size(align_down(host_mem, CONFIG_MEM_STEP), limit, sizeof(limit));
	return err_set(e, -ENOMEM,
		"memory of %s is more than this host has (%s of RAM and swap): ask for less", size,
		limit);
}

static bool is_id(const char *id)
{
	size_t len = strlen(id);

	return len >= 1 && len <= CONFIG_ID_MAX &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
		       len;
}

static int check_ids(const struct vm_config *c, struct err *e)
{
	const char *id[CONFIG_DEVICES_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < c->ndisks; i++)
		id[n++] = c->disk[i].id;
	for (unsigned i = 0; i < c->nnets; i++)
		id[n++] = c->net[i].id;
	for (unsigned i = 0; i < n; i++) {
		if (!is_id(id[i]))
			return err_set(e, -EINVAL,
				"'%s' cannot be the id of a device: 1 to %d letters, digits, '_' "
				"or '-'",
				id[i], CONFIG_ID_MAX);
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(id[i], id[j]) == 0)
				return err_set(e, -EINVAL, "two devices have the id '%s'", id[i]);
		}
	}
	return 0;
}

/* What two network interfaces of a machine cannot share. */
static int check_pair(const struct net_config *a, const struct net_config *b, struct err *e)
{
	if (a->has_mac && b->has_mac && memcmp(a->mac, b->mac, sizeof(a->mac)) == 0)
		return err_set(e, -EINVAL, "network interfaces '%s' and '%s' have the same MAC",
			a->id, b->id);
	if (!a->opened && !b->opened && !a->tap && !b->tap && a->tap_fd == b->tap_fd)
		return err_set(e, -EINVAL,
			"network interfaces '%s' and '%s' have the same tap, descriptor %d", a->id,
			b->id, a->tap_fd);
	return 0;
}

static int check_devices(const struct vm_config *c, struct err *e)
{
	int rc = 0;

	if (c->ndisks > CONFIG_DEVICES_MAX || c->nnets > CONFIG_DEVICES_MAX ||
		c->ndisks + c->nnets > CONFIG_DEVICES_MAX)
		return err_set(e, -EINVAL,
			"%u disks and %u network interfaces are too many: a machine has room for "
			"%d devices",
			c->ndisks, c->nnets, CONFIG_DEVICES_MAX);
	for (unsigned i = 0; i < c->nnets; i++) {
		const struct net_config *n = &c->net[i];

		if (n->has_mac && (n->mac[0] & 1))
			return err_set(e, -EINVAL,
				"the MAC of network interface '%s' is a multicast address: its "
				"first "
				"byte must be even",
				n->id);
		for (unsigned j = 0; j < i && rc == 0; j++)
			rc = check_pair(&c->net[j], n, e);
		if (rc < 0)
			return rc;
	}
	return check_ids(c, e);
}

static int check_cpus(const struct vm_config *c, struct err *e)
{
	if (c->cpus < 1 || c->cpus > CONFIG_CPUS_MAX)
		return err_set(e, -EINVAL, "%u vCPUs are out of range: a machine has 1 to %d",
			c->cpus, CONFIG_CPUS_MAX);
	if (c->smt && c->cpus > 1 && c->cpus % 2 != 0)
		return err_set(e, -EINVAL,
			"%u vCPUs cannot be threads of a core, two by two: give an even number",
			c->cpus);
	return 0;
}

/* It becomes a word of the kernel's command line. */
static int check_root(const struct vm_config *c, struct err *e)
{
	size_t len = c->partuuid ? strlen(c->partuuid) : 0;

	if (!c->partuuid)
		return 0;
	for (size_t i = 0; i < len; i++) {
		if (c->partuuid[i] <= ' ' || c->partuuid[i] > '~')
			len = 0;
	}
	if (len < 1 || len > CONFIG_ID_MAX)
		return err_set(e, -EINVAL,
			"'%s' cannot be the UUID of a partition: 1 to %d characters, no space",
			c->partuuid, CONFIG_ID_MAX);
	return 0;
}

int config_check(const struct vm_config *c, uint64_t host_mem, struct err *e)
{
	int rc;

	if (!c->kernel && !c->state)
		return err_set(e, -EINVAL, "no kernel given");
	rc = check_cpus(c, e);
	if (rc == 0)
		rc = check_memory(c, host_mem, e);
	if (rc == 0)
		rc = check_devices(c, e);
	return rc == 0 ? check_root(c, e) : rc;
}
