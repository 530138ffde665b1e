/* Machines that are saved and loaded (t_saved.h). */
#include "t_saved.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "snapshot/chain.h"
#include "snapshot/state_file.h"
#include "t.h"
#include "t_image.h"
#include "t_machine.h"

static struct t_file kernel_file;
static char kernel[64];
static char folder[] = "/tmp/mvm-test-XXXXXX";
static uint64_t log_bits[T_SAVED_PAGES / 64]; /* what the guest has written to */

/* --- the folder --- */

static void take_log(unsigned slot, uint64_t *bits)
{
	t_uint(slot, 0);
	memcpy(bits, log_bits, sizeof(log_bits));
	memset(log_bits, 0, sizeof(log_bits));
}

void t_saved_setup(void)
{
	t_kvm_init();
	t_kvm.take_log = take_log;
	t_quiet();
	t_elf_kernel(&kernel_file);
	t_true(t_file_open(&kernel_file, kernel) >= 0);
	t_true(mkdtemp(folder) != NULL);
}

static unsigned sweep(const char *path, bool removes)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir)) != NULL) {
		char at[PATH_MAX];

		if (entry->d_name[0] == '.')
			continue;
		n++;
		(void)snprintf(at, sizeof(at), "%s/%s", path, entry->d_name);
		if (removes && entry->d_type == DT_DIR)
			(void)sweep(at, true);
		if (removes)
			(void)remove(at);
	}
	if (dir)
		(void)closedir(dir);
	return n;
}

void t_saved_teardown(void)
{
	(void)sweep(folder, true);
	(void)rmdir(folder);
}

unsigned t_saved_files(void)
{
	return sweep(folder, false);
}

const char *t_saved_path(const char *name)
{
	static char path[8][256];
	static unsigned next;
	char *p = path[next++ % ARRAY_SIZE(path)];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

const char *t_saved_file(const char *name, size_t len, int value)
{
	const char *path = t_saved_path(name);
	uint8_t *data = malloc(len + 1);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	t_true(fd >= 0 && data);
	memset(data, value, len);
	t_int(write(fd, data, len), len);
	(void)close(fd);
	free(data);
	return path;
}

/* --- the machine --- */

static void on_ended(void *ctx)
{
	struct t_saved *t = ctx;

	t->ended++;
}

static void on_timer(struct loop_op *op, int res)
{
	(void)res;
	container_of(op, struct t_saved, timer)->expired = true;
}

void t_saved_make(struct t_saved *t, struct loop *l)
{
	struct instance_config c = {
		.id = "test-1",
		.kvm_path = T_KVM_PATH,
		.console_in = -1,
		.console_out = -1,
		.host = { .ended = on_ended, .ctx = t },
	};

	*t = (struct t_saved){ .l = l, .timer.done = on_timer };
	t_int(instance_new(&c, &t->in, &t->e), 0);
	t_int(instance_use_loop(t->in, l, &t->e), 0);
	t_int(saver_new(t->in, &t->s, &t->e), 0);
	memset(log_bits, 0, sizeof(log_bits));
}

void t_saved_put(struct t_saved *t, bool tracked)
{
	struct machine_spec m = {
		.cpus = 1, .mem_mib = T_SAVED_MIB, .track_dirty_pages = tracked
	};
	struct boot_spec boot = { .kernel = kernel };

	cr_assert(eq(int, instance_put_machine(t->in, &m, &t->e), 0), "%s", t->e.text);
	t_int(instance_put_boot(t->in, &boot, &t->e), 0);
}

void t_saved_put_disk(struct t_saved *t, const char *id, const char *path, bool read_only)
{
	struct drive_spec spec = { .disk = { .id = id, .path = path, .read_only = read_only } };

	cr_assert(eq(int, instance_put_drive(t->in, &spec, &t->e), 0), "%s", t->e.text);
}

void t_saved_start(struct t_saved *t)
{
	cr_assert(eq(int, instance_start(t->in, NULL, &t->e), 0), "%s", t->e.text);
	t_int(t->in->state, INSTANCE_RUNNING);
}

void t_saved_end(struct t_saved *t)
{
	instance_quiet(t->in);
	saver_free(t->s);
	loader_free(t->loader);
	instance_close(t->in);
	t_saved_run(t, 1000);
	instance_free(t->in);
	/* The fake has room for so many in all; the last one that was made ends first. */
	t_kvm.nvcpus = t_kvm.nvcpus > 0 ? t_kvm.nvcpus - 1 : 0;
}

void t_saved_run(struct t_saved *t, unsigned us)
{
	t->expired = false;
	loop_timeout(t->l, &t->timer, us * UINT64_C(1000));
	while (!t->expired) {
		int rc = loop_turn(t->l);

		t_true(rc == 0 || rc == -EINTR);
	}
}

static void on_paused(void *ctx, int rc, const struct err *e)
{
	struct t_saved *t = ctx;

	(void)e;
	t_int(rc, 0);
	t->paused++;
}

void t_saved_pause(struct t_saved *t)
{
	unsigned before = t->paused;

	t_int(instance_pause(t->in, on_paused, t, &t->e), 0);
	T_SAVED_UNTIL(t, t->paused > before);
}

void t_saved_resume(struct t_saved *t)
{
	cr_assert(eq(int, instance_resume(t->in, &t->e), 0), "%s", t->e.text);
}

void t_saved_write(struct t_saved *t, uint64_t page, int value)
{
	memset((uint8_t *)t->in->vm->mem.map + page * MEM_PAGE_SIZE, value, MEM_PAGE_SIZE);
	log_bits[page / 64] |= UINT64_C(1) << (page % 64);
}

/* --- saving --- */

static void on_done(void *ctx, int rc, const struct save_result *r, const struct err *e)
{
	struct t_saved *t = ctx;

	t->done++;
	t->rc = rc;
	t->result = *r;
	t_int(e != NULL, rc < 0);
	if (e)
		t->e = *e;
}

static const char *memory_of(const char *name)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%s.memory", name);
	return t_saved_path(text);
}

int t_saved_begin(struct t_saved *t, const char *name, enum snapshot_kind kind, bool is_live,
	const char *disks_dir)
{
	const struct save_options o = { .state_path = t_saved_path(name),
		.memory_path = memory_of(name),
		.disks_dir = disks_dir,
		.kind = kind,
		.is_live = is_live };

	return saver_begin(t->s, &o, on_done, t, &t->e);
}

int t_saved_save(struct t_saved *t, const char *name, enum snapshot_kind kind)
{
	unsigned before = t->done;
	int rc = t_saved_begin(t, name, kind, t->in->state == INSTANCE_RUNNING, NULL);

	if (rc < 0)
		return rc;
	t_uint(t->done, before); /* never from inside */
	T_SAVED_UNTIL(t, t->done > before);
	return t->rc;
}

struct snapshot *t_saved_state(const char *name)
{
	struct snapshot *s = NULL;
	struct err e = { 0 };

	cr_assert(eq(int, state_read(t_saved_path(name), &s, &e), 0), "%s", e.text);
	return s;
}

void t_saved_expect(const struct t_saved *t, const char *name)
{
	struct ram_layer layer[RAM_LAYERS_MAX];
	struct chain *c = NULL;
	struct guest_mem m;
	struct err e = { 0 };
	unsigned n;

	cr_assert(eq(int, chain_open(&c, t_saved_path(name), memory_of(name), true, &e), 0), "%s",
		e.text);
	t_mem_init(&m, T_SAVED_MIB << 20);
	n = chain_layers(c, layer);
	cr_assert(eq(int, ram_load(&m, layer, n, &e), 0), "%s", e.text);
	for (uint64_t page = 0; page < T_SAVED_PAGES; page++) {
		const uint8_t *is = (const uint8_t *)t->in->vm->mem.map + page * MEM_PAGE_SIZE;

		cr_assert(eq(int,
				  memcmp((const uint8_t *)m.map + page * MEM_PAGE_SIZE, is,
					  MEM_PAGE_SIZE),
				  0),
			"%s: page %u differs", name, (unsigned)page);
	}
	guest_mem_fini(&m);
	chain_free(c);
}

int t_saved_load(struct t_saved *t, const char *name, const struct load_options *o)
{
	static const struct load_options none;
	struct load_options own = o ? *o : none;

	own.state_path = t_saved_path(name);
	own.memory_path = memory_of(name);
	return loader_load(t->in, &own, t->s, &t->loader, &t->e);
}
