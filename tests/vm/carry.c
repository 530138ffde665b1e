/*
 * Carries a machine from one process to another, without snapshot files: what vm_save() gives is
 * written as it is, and read by the same program.
 *
 * usage: carry save KERNEL INITRD STATE MEMORY CPUS TEXT CMDLINE   boots it, saves it when it has
 *                                                                  put TEXT out, and ends; INITRD
 *                                                                  "-" is none
 *        carry load STATE MEMORY           goes on to the guest's end
 *        carry time STATE MEMORY TIMES     only to its first exit, and says what that took
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/io.h"
#include "base/log.h"
#include "vm.h"
#include "vm_state.h"

enum { STATUS_OURS = 125 };

struct carry {
	struct loop *l;
	struct vm *vm;
	struct timeline t;
	struct loop_post enough;
	/* What is waited for, and how much of it has been seen; the vCPU that puts it out has it.
	 */
	const char *text;
	size_t seen;
	const char *state, *memory;
	bool is_saved;
};

static void fault(const char *what, const struct err *e)
{
	(void)fprintf(stderr, "carry: %s: %s\n", what, e ? e->text : strerror(errno));
	exit(STATUS_OURS);
}

/* On a vCPU's thread. */
static void on_tx(void *ctx, uint8_t byte)
{
	struct carry *c = ctx;

	(void)putchar_unlocked(byte);
	if (!c->text || !c->text[c->seen])
		return;
	/* No text of the tests begins twice. */
	c->seen = (char)byte == c->text[c->seen] ? c->seen + 1 : (char)byte == c->text[0];
	if (!c->text[c->seen])
		loop_post(c->l, &c->enough);
}

static void on_room(void *ctx)
{
	(void)ctx;
}

static void write_file(const char *path, const struct iovec *part, unsigned n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		fault(path, NULL);
	for (unsigned i = 0; i < n; i++) {
		if (write(fd, part[i].iov_base, part[i].iov_len) != (ssize_t)part[i].iov_len)
			fault(path, NULL);
	}
	(void)close(fd);
}

static void on_paused(void *ctx)
{
	struct carry *c = ctx;
	struct vm_state *s = vm_state_new(c->vm->cfg.cpus);
	struct err e = { 0 };

	if (!s || vm_save(c->vm, s, &e) < 0)
		fault("vm_save", &e);
	write_file(c->state,
		(const struct iovec[]){ { s, sizeof(*s) }, { s->cpu, s->cpus * sizeof(*s->cpu) } },
		2);
	write_file(c->memory, &(const struct iovec){ c->vm->mem.map, c->vm->mem.map_len }, 1);
	vm_state_free(s);
	c->is_saved = true;
	loop_stop(c->l);
}

static void on_enough(struct loop_post *post)
{
	struct carry *c = container_of(post, struct carry, enough);

	vm_pause(c->vm, on_paused, c);
}

static struct vm_state *read_state(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct vm_state *s = vm_state_new(CONFIG_CPUS_MAX);
	struct cpu_state *cpu = s->cpu;

	if (fd < 0 || read(fd, s, sizeof(*s)) != sizeof(*s))
		fault(path, NULL);
	s->cpu = cpu;
	if (s->cpus > CONFIG_CPUS_MAX ||
		read(fd, cpu, s->cpus * sizeof(*cpu)) != (ssize_t)(s->cpus * sizeof(*cpu)))
		fault(path, NULL);
	(void)close(fd);
	return s;
}

static int map_memory(void *ctx, struct guest_mem *m, struct err *e)
{
	const char *path = ctx;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || mmap(m->map, m->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			      0) == MAP_FAILED)
		return err_sys(e, -errno, NULL, "%s", path);
	(void)close(fd);
	return 0;
}

static void start(struct carry *c, const struct vm_config *config)
{
	const struct serial_host serial = { on_tx, on_room, c };
	struct err e = { 0 };

	if (vm_new(config, &c->t, &c->vm, &e) < 0)
		fault("vm_new", &e);
	if (loop_new(LOOP_AUTO, &c->l, NULL, &e) < 0)
		fault("loop_new", &e);
	if (vm_start(c->vm, c->l, NULL, &serial, &e) < 0)
		fault("vm_start", &e);
}

static int end(struct carry *c)
{
	char why[VM_WHY_MAX] = "";
	enum vm_end how = vm_end(c->vm, why);

	vm_free(c->vm);
	loop_free(c->l);
	(void)fflush(stdout);
	if (how == VM_SHUTDOWN || c->is_saved)
		return 0;
	(void)fprintf(stderr, "carry: %s\n", why);
	return 1;
}

static int save(struct carry *c, char **argv)
{
	struct vm_config config;

	config_init(&config);
	config.kernel = argv[0];
	config.initrd = strcmp(argv[1], "-") == 0 ? NULL : argv[1];
	config.mem_size = 64ULL << 20;
	config.cpus = (unsigned)strtoul(argv[4], NULL, 10);
	config.cmdline = argv[6];
	c->state = argv[2];
	c->memory = argv[3];
	c->text = argv[5];
	c->enough.run = on_enough;
	start(c, &config);
	(void)loop_run(c->l);
	if (!c->is_saved)
		return 2;
	return end(c);
}

static struct vm_config go_on_from(const struct vm_state *s, char *memory)
{
	struct vm_config config;

	config_init(&config);
	config.mem_size = s->mem_size;
	config.cpus = s->cpus;
	config.state = s;
	config.fill_memory = map_memory;
	config.fill_ctx = memory;
	return config;
}

static int load(struct carry *c, char **argv)
{
	struct vm_state *s = read_state(argv[0]);
	struct vm_config config = go_on_from(s, argv[1]);

	start(c, &config);
	vm_state_free(s);
	vm_resume(c->vm);
	(void)loop_run(c->l);
	return end(c);
}

static int repeat(char **argv)
{
	struct vm_state *s = read_state(argv[0]);
	struct vm_config config = go_on_from(s, argv[1]);
	unsigned times = (unsigned)strtoul(argv[2], NULL, 10);

	for (unsigned i = 0; i < times; i++) {
		struct carry c = { .t.us[TIMELINE_MAIN] = timeline_now_us() };

		start(&c, &config);
		vm_resume(c.vm);
		while (atomic_load(&c.t.us[TIMELINE_EXITED]) == 0)
			(void)usleep(100);
		(void)fprintf(stderr, "built %llu us, first exit %llu us\n",
			(unsigned long long)(c.t.us[TIMELINE_BUILT] - c.t.us[TIMELINE_MAIN]),
			(unsigned long long)(c.t.us[TIMELINE_EXITED] - c.t.us[TIMELINE_MAIN]));
		vm_free(c.vm);
		loop_free(c.l);
	}
	vm_state_free(s);
	return 0;
}

int main(int argc, char **argv)
{
	struct carry c = { 0 };

	/* Whoever ends it sees what the guest said. */
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 9 && strcmp(argv[1], "save") == 0)
		return save(&c, argv + 2);
	if (argc == 4 && strcmp(argv[1], "load") == 0)
		return load(&c, argv + 2);
	if (argc == 5 && strcmp(argv[1], "time") == 0)
		return repeat(argv + 2);
	(void)fprintf(stderr, "usage: carry save KERNEL INITRD STATE MEMORY CPUS TEXT CMDLINE\n"
			      "       carry load STATE MEMORY\n"
			      "       carry time STATE MEMORY TIMES\n");
	return STATUS_OURS;
}
