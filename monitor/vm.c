/* A machine (vm.h). */
#include "vm.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/sparse.h"
#include "bootline.h"
#include "vcpu_ahead.h"
#include "vm_state.h"
#include "x86/cpu_template.h"
#include "x86/layout.h"
#include "x86/vmgenid.h"

/* --- the end --- */

static void on_ended(struct loop_post *post)
{
	struct vm *vm = container_of(post, struct vm, ended_post);

	if (vm->is_quiet)
		return;
	if (vm->host.ended)
		vm->host.ended(vm->host.ctx);
	else
		loop_stop(vm->loop);
}

void vm_stop(struct vm *vm, enum vm_end end, const char *why)
{
	struct loop *l;
	bool first;

	(void)pthread_mutex_lock(&vm->end_lock);
	first = vm->end == VM_RUNNING;
	if (first) {
		vm->end = end;
		(void)snprintf(vm->why, sizeof(vm->why), "%s", why);
	}
	l = vm->loop;
	(void)pthread_mutex_unlock(&vm->end_lock);
	if (!first)
		return;
	atomic_store(&vm->group.over, true);
	timeline_set(vm->timeline, TIMELINE_ENDED);
	/* Without a loop it has not started; vm_start() will find that it has ended. */
	if (l)
		loop_post(l, &vm->ended_post);
}

enum vm_end vm_end(struct vm *vm, char why[VM_WHY_MAX])
{
	enum vm_end end;

	(void)pthread_mutex_lock(&vm->end_lock);
	end = vm->end;
	if (why)
		memcpy(why, vm->why, sizeof(vm->why));
	(void)pthread_mutex_unlock(&vm->end_lock);
	return end;
}

/* --- what the board and the vCPUs report --- */

static void on_vcpu_ended(void *ctx, enum vm_end end, const char *why)
{
	vm_stop(ctx, end, why);
}

static void on_power(void *ctx, enum power_event event, const char *why)
{
	vm_stop(ctx, event == POWER_OFF ? VM_SHUTDOWN : VM_RESET, why);
}

static void on_mark(void *ctx, uint32_t guest_us)
{
	struct vm *vm = ctx;

	timeline_mark(vm->timeline, guest_us);
	if (!atomic_exchange(&vm->is_marked, true))
		loop_post(vm->loop, &vm->marked_post);
}

static void on_marked(struct loop_post *post)
{
	struct vm *vm = container_of(post, struct vm, marked_post);

	if (vm->host.marked && !vm->is_quiet)
		vm->host.marked(vm->host.ctx);
}

static void on_news(
	void *ctx, const char *id, enum virtio_news news, uint64_t number, const char *text)
{
	struct vm *vm = ctx;

	if (!vm->is_quiet)
		vm->host.news(vm->host.ctx, id, news, number, text);
}

/* --- pause --- */

static void on_devices_rest(void *ctx)
{
	struct vm *vm = ctx;

	/* A machine that ended meanwhile is not paused, and nobody is told. */
	if (vm->is_quiet || vm_end(vm, NULL) != VM_RUNNING)
		return;
	vm->phase = VM_PAUSED;
	vm->paused(vm->paused_ctx);
}

static void on_vcpus_stand(struct loop_post *post)
{
	struct vm *vm = container_of(post, struct vm, group.standing_post);

	if (vm->is_quiet || vm_end(vm, NULL) != VM_RUNNING)
		return;
	/* Only now: what a vCPU is in the middle of may need a device that goes on. */
	vm->phase = VM_DEVICES_REST;
	devices_pause(&vm->devices, on_devices_rest, vm);
}

static void on_paused_already(struct loop_post *post)
{
	struct vm *vm = container_of(post, struct vm, paused_post);

	/* The phase is not ours: it may have been resumed meanwhile. */
	if (!vm->is_quiet && vm_end(vm, NULL) == VM_RUNNING)
		vm->paused(vm->paused_ctx);
}

void vm_pause(struct vm *vm, void (*done)(void *ctx), void *ctx)
{
	INVARIANT(vm->loop);
	if (vm->is_quiet || vm_end(vm, NULL) != VM_RUNNING)
		return;
	INVARIANT(vm->phase == VM_GOING || vm->phase == VM_PAUSED);
	vm->paused = done;
	vm->paused_ctx = ctx;
	if (vm->phase == VM_PAUSED) {
		loop_post(vm->loop, &vm->paused_post);
		return;
	}
	vm->phase = VM_VCPUS_LEAVE;
	vcpu_group_pause(&vm->group, vm->vcpu);
}

void vm_resume(struct vm *vm)
{
	if (vm->is_quiet || vm->phase == VM_GOING || vm_end(vm, NULL) != VM_RUNNING)
		return;
	INVARIANT(vm->phase == VM_PAUSED);
	vm->phase = VM_GOING;
	devices_resume(&vm->devices);
	vcpu_group_resume(&vm->group);
}

void vm_vcpu_counters(const struct vm *vm, struct vcpu_totals *ret)
{
	*ret = (struct vcpu_totals){ 0 };
	for (unsigned i = 0; i < vm->cfg.cpus; i++)
		vcpu_add_counters(&vm->vcpu[i], &vm->clock, ret);
}

/* --- life --- */

/*
 * The order that is fast: memory slots before the interrupt controllers, because a slot that comes
 * after the interrupt routing waits for an SRCU grace period (DESIGN.md, "KVM set-up").
 * On the boot vCPU's thread.
 */
static int make_objects(void *ctx, struct err *e)
{
	struct vm *vm = ctx;
	struct kvm *k = &vm->group.kvm;
	/* It may have been made ahead. */
	int rc = k->vm_fd < 0 ? kvm_create_vm(k, LAYOUT_KVM_TSS, e) : 0;

	if (rc == 0)
		rc = kvm_set_memory(k, &vm->mem, vm->cfg.track_dirty, e);
	if (rc == 0)
		rc = kvm_create_irqchip(k, e);
	/* Here, because it is one call, and each vCPU's state wants it done. */
	if (rc == 0 && vm->cfg.state)
		rc = clock_state_load(k, &vm->cfg.state->clock, vm->group.advance_ns, e);
	return rc;
}

/* What may interrupt: only now that all vCPUs have their LAPICs' state, which would be written over
 * it. */
static int load_board(struct vm *vm, struct err *e)
{
	const struct vm_state *s = vm->cfg.state;

	if (serial_load(&vm->machine.serial, &s->serial) < 0)
		return err_set(e, -EBADMSG, "no serial port has the state that was saved");
	if (i8042_load(&vm->machine.i8042, &s->i8042) < 0)
		return err_set(e, -EBADMSG, "no keyboard controller has the state that was saved");
	machine_announce_generation(&vm->machine);
	return 0;
}

/* On the thread of the vCPU that was set up last, while the loop's waits in vm_start(). */
static int finish(void *ctx, struct err *e)
{
	struct vm *vm = ctx;
	int rc = vm->cfg.state ? load_board(vm, e) : 0;

	if (rc == 0)
		timeline_set(vm->timeline, TIMELINE_BUILT);
	return rc;
}

static int load(struct vm *vm, struct err *e)
{
	const struct vm_config *c = &vm->cfg;
	char cmdline[BOOTLINE_MAX];
	struct boot_config boot = {
		.kernel = c->kernel,
		.initrd = c->initrd,
		.cmdline = cmdline,
		.protocol = c->protocol,
		.machine = { .cpus = c->cpus },
	};
	int rc = devices_init(&vm->devices, &vm->cfg, &vm->mem, e);

	if (rc == 0)
		rc = bootline_compose(c, &vm->devices, cmdline, e);
	if (rc < 0)
		return rc;
	if (bootline_wants_acpi(c))
		devices_describe(&vm->devices, &boot.machine);
	rc = boot_load(&vm->mem, &boot, &vm->group.entry, e);
	return rc == 0 ? vmgenid_renew(&vm->mem, e) : rc;
}

/* What boots: beside the boot vCPU's thread, which is busy with the VM. */
static int prepare_boot(struct vm *vm, struct err *e)
{
	struct vcpu_group *g = &vm->group;
	int rc = kvm_get_supported_cpuid(&g->kvm, &g->cpuid, e);

	if (rc == 0) {
		vcpu_group_has_cpuid(g);
		rc = load(vm, e);
	}
	if (rc == 0)
		vcpu_group_has_entry(g);
	return rc;
}

/* What goes on: memory first, because the vCPUs' threads wait for it. */
static int prepare_state(struct vm *vm, struct err *e)
{
	const struct vm_state *s = vm->cfg.state;
	int rc = vm->cfg.fill_memory(vm->cfg.fill_ctx, &vm->mem, e);

	if (rc == 0)
		rc = vmgenid_renew(&vm->mem, e);
	if (rc < 0)
		return rc;
	vcpu_group_has_entry(&vm->group);
	rc = devices_init(&vm->devices, &vm->cfg, &vm->mem, e);
	return rc == 0 ? devices_load(&vm->devices, s->device, s->ndevices, e) : rc;
}

/* The boot vCPU's first: it has most to do. */
static int start_threads(struct vm *vm, struct err *e)
{
	struct vcpu_ahead *ahead = vm->cfg.ahead;
	int rc = 0;

	for (unsigned i = 0; i < vm->cfg.cpus && rc == 0; i++) {
		struct vcpu *v = &vm->vcpu[i];

		vcpu_init(v, &vm->group, i);
		if (i == 0 && ahead && ahead->has_thread)
			vcpu_ahead_adopt(ahead, v);
		else
			rc = vcpu_start(v, e);
	}
	return rc;
}

static int build(struct vm *vm, struct err *e)
{
	const struct vm_config *c = &vm->cfg;
	struct vcpu_group *g = &vm->group;
	int rc = 0;

	/* Whoever is ahead has it open already. */
	if (!c->ahead || !c->ahead->has_thread)
		rc = kvm_open(&g->kvm, c->kvm_path, e);
	if (rc == 0 && c->cpu)
		rc = cpu_template_check_caps(c->cpu, &g->kvm, e);
	if (rc == 0)
		rc = guest_mem_init(&vm->mem, c->mem_size, LAYOUT_HOLE_START, LAYOUT_HOLE_END,
			c->pages, c->prefault, e);
	if (rc == 0 && c->track_dirty && mem_track_dirty(&vm->mem) < 0)
		rc = err_sys(e, -ENOMEM, NULL, "cannot note which pages are written to");
	if (rc == 0)
		rc = start_threads(vm, e);
	if (rc == 0)
		rc = c->state ? prepare_state(vm, e) : prepare_boot(vm, e);
	return rc;
}

/* By how much the guest's clocks go on, whose machine was saved a while ago: one figure for all of
 * them. */
static uint64_t time_since(const struct clock_state *saved)
{
	struct timespec now;
	uint64_t ns;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	/* A clock that was set back, or another host's that is behind. */
	return ns > saved->realtime_ns ? ns - saved->realtime_ns : 0;
}

static void take_state(struct vm *vm, const struct vm_state *s)
{
	struct vcpu_group *g = &vm->group;

	INVARIANT(s->cpus == vm->cfg.cpus && s->mem_size == vm->cfg.mem_size &&
		  s->cpuid.head.nent <= KVM_CPUID_MAX);
	g->state = s->cpu;
	g->advance_ns = vm->cfg.holds_clock ? 0 : time_since(&s->clock);
	/* Only what there is of it: the table has room for a lot more. */
	memcpy(&g->cpuid, &s->cpuid,
		sizeof(g->cpuid.head) + s->cpuid.head.nent * sizeof(g->cpuid.entry[0]));
	vm->phase = VM_PAUSED;
}

int vm_new(const struct vm_config *c, struct timeline *t, struct vm **ret, struct err *e)
{
	struct vm *vm = sparse_new(sizeof(*vm));
	int rc;

	if (!vm) {
		struct vm_config taken = *c;

		config_close(&taken);
		return err_sys(e, -ENOMEM, NULL, "cannot make the machine");
	}
	vm->cfg = *c;
	vm->timeline = t;
	vm->ended_post.run = on_ended;
	vm->marked_post.run = on_marked;
	vm->paused_post.run = on_paused_already;
	tick_clock_init(&vm->clock);
	(void)pthread_mutex_init(&vm->end_lock, NULL);
	vcpu_group_init(&vm->group);
	vm->group.standing_post.run = on_vcpus_stand;
	vm->group.cpus = c->cpus;
	vm->group.smt = c->smt;
	vm->group.cpu = c->cpu;
	vm->group.pio = &vm->machine.pio;
	vm->group.mmio = &vm->machine.mmio;
	vm->group.timeline = t;
	vm->group.make_objects = make_objects;
	vm->group.finish = finish;
	vm->group.ended = on_vcpu_ended;
	vm->group.ctx = vm;
	if (c->state)
		take_state(vm, c->state);
	rc = build(vm, e);
	if (rc < 0) {
		vm_free(vm);
		return rc;
	}
	*ret = vm;
	return 0;
}

/* Chips, timer and eventfds.  Not on the boot vCPU's thread: it has the longer way to go. */
static int connect(struct vm *vm, struct err *e)
{
	const struct kvm *k = &vm->group.kvm;
	int rc = vcpu_group_wait_vcpu(&vm->group, e);

	if (rc == 0)
		rc = kvm_create_pit(k, e);
	if (rc == 0 && vm->cfg.state)
		rc = chip_state_load(k, &vm->cfg.state->chips, e);
	return rc == 0 ? devices_connect(&vm->devices, k, e) : rc;
}

/* From here on vm_stop() tells the loop.  True: it was stopped before. */
static bool set_loop(struct vm *vm, struct loop *l)
{
	bool has_ended;

	vm->group.loop = l;
	(void)pthread_mutex_lock(&vm->end_lock);
	vm->loop = l;
	has_ended = vm->end != VM_RUNNING;
	(void)pthread_mutex_unlock(&vm->end_lock);
	return has_ended;
}

int vm_start(struct vm *vm, struct loop *l, const struct vm_host *host,
	const struct serial_host *serial, struct err *e)
{
	struct machine_host board = {
		.power = { .event = on_power, .ctx = vm },
		.serial = *serial,
		.post = { .mark = on_mark, .ctx = vm },
		.has_boot_timer = vm->cfg.has_boot_timer,
	};
	const struct devices_host news = { .news = on_news, .ctx = vm };
	bool is_loaded = vm->cfg.state, goes = !is_loaded || vm->cfg.goes_on;
	int rc = connect(vm, e);

	if (rc < 0)
		return rc;
	if (host)
		vm->host = *host;
	/* All that needs no vCPU while these are still being set up. */
	machine_init(&vm->machine, vm->group.kvm.vm_fd, &board);
	vm->has_machine = true;
	devices_add_to_bus(&vm->devices, &vm->machine.mmio);
	devices_start(&vm->devices, l, vm->host.news ? &news : NULL);
	vm->group.goes = goes;
	if (set_loop(vm, l))
		loop_post(l, &vm->ended_post);
	rc = vcpu_group_finish(&vm->group, e);
	if (rc < 0)
		return rc;
	/* Borrowed until here. */
	vm->cfg.state = NULL;
	vm->group.state = NULL;
	if (is_loaded && goes) {
		vm->phase = VM_GOING;
		/* Later than vm_resume() does it: what the guest began meanwhile waits for the
		 * loop, which is still busy here. */
		devices_resume(&vm->devices);
	}
	return 0;
}

/* --- the end of all --- */

struct marker {
	struct loop_post post;
	bool has_passed;
};

static void on_marker(struct loop_post *post)
{
	container_of(post, struct marker, post)->has_passed = true;
}

/* Posts run in order: behind this one, none of ours is left that would find the machine gone. */
static void flush_posts(struct loop *l)
{
	struct marker m = { .post.run = on_marker };
	int rc = 0;

	loop_post(l, &m.post);
	while (!m.has_passed && (rc == 0 || rc == -EINTR))
		rc = loop_turn(l);
}

void vm_quiet(struct vm *vm)
{
	if (vm->is_quiet)
		return;
	vm->is_quiet = true;
	for (unsigned i = 0; i < vm->cfg.cpus; i++)
		vcpu_stop(&vm->vcpu[i]);
	if (vm->cfg.leaving)
		vm->cfg.leaving(vm->cfg.leaving_ctx);
	devices_close(&vm->devices);
	for (unsigned i = 0; i < vm->cfg.cpus; i++)
		vcpu_join(&vm->vcpu[i]);
	devices_drain(&vm->devices);
	if (vm->loop)
		flush_posts(vm->loop);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm_quiet(vm);
	devices_fini(&vm->devices);
	if (vm->has_machine)
		machine_fini(&vm->machine);
	vcpu_group_fini(&vm->group);
	guest_mem_fini(&vm->mem);
	config_close(&vm->cfg);
	(void)pthread_mutex_destroy(&vm->end_lock);
	sparse_free(vm);
}
