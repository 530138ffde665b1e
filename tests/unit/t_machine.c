/* Machines for tests (t_machine.h). */
#include "t_machine.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void no_tx(void *ctx, uint8_t byte)
{
	(void)ctx;
	(void)byte;
}

static void no_room(void *ctx)
{
	(void)ctx;
}

const struct serial_host t_no_console = { no_tx, no_room, NULL };

void t_machine_run(struct t_outcome *o, const struct vm_config *c, enum loop_backend backend,
	void (*look)(const struct vm *vm))
{
	struct loop *l = NULL;
	struct vm *vm = NULL;

	memset(o, 0, sizeof(*o));
	t_kvm_count(true);
	o->rc = vm_new(c, &o->t, &vm, &o->e);
	if (o->rc == 0)
		o->rc = loop_new(backend, &l, NULL, &o->e);
	if (o->rc == 0)
		o->rc = vm_start(vm, l, NULL, &t_no_console, &o->e);
	t_kvm_count(false);
	if (o->rc == 0) {
		o->rc = loop_run(l);
		o->end = vm_end(vm, o->why);
		if (look)
			look(vm);
	}
	vm_free(vm);
	loop_free(l);
}

int t_machine_out(struct t_vcpu *v, uint16_t port, uint8_t value)
{
	v->run->exit_reason = KVM_EXIT_IO;
	v->run->io.direction = KVM_EXIT_IO_OUT;
	v->run->io.port = port;
	v->run->io.size = 1;
	v->run->io.count = 1;
	v->run->io.data_offset = 4096;
	((uint8_t *)v->run)[4096] = value;
	return 0;
}

int t_machine_wait(struct t_vcpu *v)
{
	while (!READ_ONCE(v->run->immediate_exit))
		(void)usleep(100);
	return -EINTR;
}
