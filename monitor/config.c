/* Defaults and limits of a machine (config.h). */
#include "config.h"

#include <errno.h>
#include <stddef.h>

#include "base/err.h"
#include "base/parse.h"
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

static int check_memory(const struct vm_config *c, uint64_t host_mem, struct err *e)
{
	char size[32], limit[32];

	format_size(c->mem_size, size, sizeof(size));
	if (c->mem_size < CONFIG_MEM_MIN || c->mem_size > CONFIG_MEM_MAX)
		return err_set(
			e, -EINVAL, "memory of %s is out of range: a machine has 16M to 1T", size);
	if (c->mem_size % CONFIG_MEM_STEP != 0)
		return err_set(e, -EINVAL, "memory of %s is not a multiple of 1M", size);
	if (c->pages == MEM_PAGES_2M && c->mem_size % MEM_HUGE_PAGE_SIZE != 0)
		return err_set(
			e, -EINVAL, "memory of %s is not a multiple of 2M, as 2M pages need", size);
	if (host_mem > 0 && c->mem_size > host_mem) {
		format_size(align_down(host_mem, CONFIG_MEM_STEP), limit, sizeof(limit));
		return err_set(e, -ENOMEM,
			"memory of %s is more than this host has (%s of RAM and swap): ask for "
			"less",
			size, limit);
	}
	return 0;
}

int config_check(const struct vm_config *c, uint64_t host_mem, struct err *e)
{
	if (!c->kernel)
		return err_set(e, -EINVAL, "no kernel given");
	if (c->cpus < 1 || c->cpus > CONFIG_CPUS_MAX)
		return err_set(e, -EINVAL, "%u vCPUs are out of range: a machine has 1 to %d",
			c->cpus, CONFIG_CPUS_MAX);
	return check_memory(c, host_mem, e);
}
