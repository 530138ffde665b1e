/* A machine as metrics see it (t_metrics.h). */
#include "t_metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "t.h"

static const struct serial_host no_console;
static const struct power_host no_power;
static const struct irq_line no_irq;

void t_metrics_init(struct t_metrics *t)
{
	static const char *const ids[] = { "root", "data", "eth0" };
	struct metrics_sources from = { .instance = &t->in, .api = &t->api };

	memset(t, 0, sizeof(*t));
	t_int(loop_new(LOOP_EPOLL, &t->loop, NULL, NULL), 0);
	t->in.cfg.id = "vm-1";
	t->in.state = INSTANCE_RUNNING;
	t->in.loop = t->loop;
	t->vm = calloc(1, sizeof(*t->vm));
	t->in.vm = t->vm;
	t->vm->cfg.cpus = 2;
	t->vm->cfg.mem_size = 128 << 20;
	serial_init(&t->vm->machine.serial, no_irq, &no_console);
	i8042_init(&t->vm->machine.i8042, no_irq, &no_power);
	tick_clock_init(&t->vm->clock);
	t->vm->devices.n = T_METRICS_DEVICES;
	for (unsigned i = 0; i < T_METRICS_DEVICES; i++) {
		t->vm->devices.slot[i].dev = &t->dev[i];
		t->vm->devices.slot[i].id = ids[i];
		t->vm->devices.slot[i].is_disk = i != T_NET;
	}
	(void)snprintf(t->dir, sizeof(t->dir), "/tmp/mvm-test-metrics-XXXXXX");
	t_true(mkdtemp(t->dir));
	(void)snprintf(t->path, sizeof(t->path), "%s/metrics", t->dir);
	t_int(metrics_new(t->loop, &from, &t->m, NULL), 0);
}

void t_metrics_fini(struct t_metrics *t)
{
	metrics_free(t->m);
	loop_free(t->loop);
	serial_fini(&t->vm->machine.serial);
	i8042_fini(&t->vm->machine.i8042);
	free(t->vm);
	(void)unlink(t->path);
	(void)rmdir(t->dir);
}

json_t *t_metrics_line(struct t_metrics *t)
{
	size_t len = 0;
	char *text = metrics_json(t->m, &len);
	json_error_t error;
	json_t *line;

	cr_assert(ne(ptr, text, NULL));
	t_uint(len, strlen(text));
	t_false(strchr(text, '\n'));
	line = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	cr_assert(ne(ptr, line, NULL), "%s", error.text);
	free(text);
	return line;
}

int64_t t_metrics_number(json_t *line, const char *where)
{
	char key[128], *at = key;
	const char *part;
	json_t *here = line;

	(void)snprintf(key, sizeof(key), "%s", where);
	while ((part = strsep(&at, ".")))
		here = json_object_get(here, part);
	cr_assert(eq(int, json_is_integer(here), 1), "there is no number %s", where);
	return json_integer_value(here);
}
