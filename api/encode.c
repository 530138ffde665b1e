/* What the API answers, as JSON (encode.h). */
#include "api/encode.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "api/text.h"
#include "instance.h"

/* Takes object over. */
static char *dump(json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	return text;
}

/* Strings of ours and of the host: paths may be any bytes. */
static json_t *string(const char *text)
{
	enum { TEXT_MAX = 3 * 4096 };
	UNINITIALIZED char clean[TEXT_MAX];
	size_t len;

	if (!text)
		return json_null();
	len = text_clean(text, strlen(text), clean, sizeof(clean));
	return json_stringn_nocheck(clean, len);
}

/* 64 bits, of which jansson's integers have 63.  What is larger is printed as a number all the
 * same. */
static json_t *number(uint64_t value)
{
	return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

/* Asked for by everybody all the time.  An id has nothing in it that JSON would escape. */
char *encode_instance(const struct instance *in)
{
	char *text = NULL;
	int n = asprintf(&text,
		"{\"id\":\"%s\",\"state\":\"%s\",\"vmm_version\":\"" API_VERSION
		"\",\"app_name\":\"" API_APP_NAME "\"}",
		in->cfg.id, instance_state_name(in->state));

	return n < 0 ? NULL : text;
}

char *encode_version(void)
{
	return dump(json_pack("{s:s}", "firecracker_version", API_VERSION));
}

/* --- configuration --- */

static json_t *machine(const struct machine_spec *m)
{
	static const char *const pages[] = {
		[MEM_PAGES_HOST] = "None",
		[MEM_PAGES_4K] = "None",
		[MEM_PAGES_THP] = "Transparent",
		[MEM_PAGES_2M] = "2M",
	};

	return json_pack("{s:I, s:I, s:b, s:b, s:s}", "vcpu_count", (json_int_t)m->cpus,
		"mem_size_mib", (json_int_t)m->mem_mib, "smt", m->smt, "track_dirty_pages",
		m->track_dirty_pages, "huge_pages", pages[m->pages]);
}

char *encode_machine(const struct instance *in)
{
	return dump(machine(&in->machine));
}

static json_t *bucket(const struct bucket_config *b, bool is_given, bool has_burst)
{
	if (!is_given)
		return json_null();
	return json_pack("{s:o, s:o, s:o}", "size", number(b->size), "one_time_burst",
		has_burst ? number(b->burst) : json_null(), "refill_time", number(b->refill_ms));
}

static json_t *limiter(const struct limit_shape *shape, const struct limiter_config *l)
{
	if (!shape->is_given)
		return json_null();
	return json_pack("{s:o, s:o}", "bandwidth",
		bucket(&l->bytes, shape->has_bytes, shape->bytes_has_burst), "ops",
		bucket(&l->ops, shape->has_ops, shape->ops_has_burst));
}

static json_t *drive(const struct drive_spec *d)
{
	const struct disk_config *disk = &d->disk;

	return json_pack("{s:o, s:o, s:b, s:s, s:b, s:o, s:o, s:s, s:n}", "drive_id",
		string(disk->id), "partuuid", string(d->partuuid), "is_root_device", d->is_root,
		"cache_type", disk->unsafe_cache ? "Unsafe" : "Writeback", "is_read_only",
		disk->read_only, "path_on_host", string(disk->path), "rate_limiter",
		limiter(&d->shape, &disk->limit), "io_engine", disk->sync_engine ? "Sync" : "Async",
		"socket");
}

static json_t *mac(const struct net_config *n)
{
	char text[3 * NET_MAC_LEN];

	if (!n->has_mac)
		return json_null();
	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1],
		n->mac[2], n->mac[3], n->mac[4], n->mac[5]);
	return json_string(text);
}

static json_t *net(const struct net_spec *s)
{
	const struct net_config *n = &s->net;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "iface_id", string(n->id),
		"host_dev_name", string(n->tap), "guest_mac", mac(n), "mtu",
		n->mtu > 0 ? json_integer(n->mtu) : json_null(), "rx_rate_limiter",
		limiter(&s->rx_shape, &n->rx), "tx_rate_limiter", limiter(&s->tx_shape, &n->tx));
}

static json_t *boot(const struct boot_spec *b)
{
	if (!b->kernel)
		return json_null();
	return json_pack("{s:o, s:o, s:o}", "kernel_image_path", string(b->kernel), "initrd_path",
		string(b->initrd), "boot_args", string(b->cmdline));
}

/* A list with a NULL in it, for want of memory, is no list. */
static json_t *add(json_t *list, json_t *item)
{
	if (list && json_array_append_new(list, item) == 0)
		return list;
	json_decref(list);
	return NULL;
}

char *encode_config(const struct instance *in)
{
	json_t *drives = json_array(), *nets = json_array();

	for (unsigned i = 0; i < in->ndrives; i++)
		drives = add(drives, drive(&in->drive[i].spec));
	for (unsigned i = 0; i < in->nnics; i++)
		nets = add(nets, net(&in->nic[i].spec));
	return dump(json_pack("{s:n, s:o, s:n, s:o, s:n, s:n, s:o, s:n, s:n, s:n, s:o, s:[], s:n}",
		"balloon", "boot-source", boot(&in->boot), "cpu-config", "drives", drives,
		"entropy", "logger", "machine-config", machine(&in->machine), "memory-hotplug",
		"metrics", "mmds-config", "network-interfaces", nets, "pmem", "vsock"));
}

/* --- events --- */

char *encode_event(const struct event *ev)
{
	static const char *const names[EVENT_KINDS] = {
		[EVENT_STATE] = "state",
		[EVENT_BOOT_DONE] = "boot-done",
		[EVENT_PANIC] = "panic",
		[EVENT_NEEDS_RESET] = "needs-reset",
		[EVENT_LIMITER] = "limiter",
		[EVENT_DISK] = "disk",
		[EVENT_EXIT] = "exit",
	};
	bool has_number = ev->kind == EVENT_BOOT_DONE || ev->kind == EVENT_LIMITER ||
			  ev->kind == EVENT_DISK || ev->kind == EVENT_EXIT;
	json_t *line = json_pack("{s:I, s:I, s:s}", "seq", (json_int_t)ev->seq, "time_us",
		(json_int_t)ev->time_us, "event", names[ev->kind]);
	int rc = line ? 0 : -1;

	if (rc == 0 && ev->subject[0])
		rc = json_object_set_new(line, "subject", string(ev->subject));
	if (rc == 0 && has_number)
		rc = json_object_set_new(line, "number", number(ev->number));
	if (rc == 0 && ev->text[0])
		rc = json_object_set_new(line, "text", string(ev->text));
	if (rc < 0) {
		json_decref(line);
		return NULL;
	}
	return dump(line);
}
