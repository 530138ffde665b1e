/* Drives and network interfaces (handlers.h). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/handlers.h"

#define NOT_PATCHED "Drive config error: Unable to patch the block device: "
#define NOT_CREATED "Drive config error: Unable to create the virtio block device: "
#define PERFORM     "Failed perform action on device: "
#define VERIFY      " Please verify the request arguments."

int check_id(const char *id, struct fault *f)
{
	size_t len = strlen(id);

	if (len == 0)
		return fault_set(f, "The ID cannot be empty.");
	if (strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != len)
		return fault_set(f, "API Resource IDs can only contain alphanumeric characters and "
				    "underscores.");
	if (len > REQUEST_ID_MAX)
		return fault_set(
			f, "API Resource IDs can have at most %d characters.", REQUEST_ID_MAX);
	return 0;
}

/* --- limits --- */

static void read_bucket(const struct bucket_body *b, struct bucket_config *ret)
{
	*ret = (struct bucket_config){
		.size = b->size,
		.refill_ms = b->refill_time,
		.burst = b->one_time_burst,
	};
}

static void read_limit(const struct limiter_body *b, bool given, struct limit_shape *ret_shape,
	struct limiter_config *ret)
{
	*ret = (struct limiter_config){ 0 };
	*ret_shape = (struct limit_shape){
		.is_given = given,
		.has_bytes = given && is_given(b, LIMITER_BANDWIDTH),
		.has_ops = given && is_given(b, LIMITER_OPS),
		.bytes_has_burst = is_given(&b->bandwidth, BUCKET_BURST),
		.ops_has_burst = is_given(&b->ops, BUCKET_BURST),
	};
	read_bucket(&b->bandwidth, &ret->bytes);
	read_bucket(&b->ops, &ret->ops);
}

/* --- drives --- */

static int check_drive_id(const struct request *r, const char *id, struct fault *f)
{
	if (strcmp(r->id, id) != 0)
		return fault_set(f, "The id from the path does not match the id from the body!");
	return 0;
}

int check_drive_ids(struct request *r, struct fault *f)
{
	return check_drive_id(r, ((const struct drive_body *)r->body)->drive_id, f);
}

int check_drive_patch_ids(struct request *r, struct fault *f)
{
	return check_drive_id(r, ((const struct drive_patch_body *)r->body)->drive_id, f);
}

static int not_opened(struct fault *f, const char *before, int rc, const struct err *e,
	const char *path, const char *behind)
{
	char words[128];

	/* Who has it, or what it is, is in our own words only. */
	if (rc == -EBUSY || rc == -EINVAL)
		return fault_set(f, "%sVirtio backend error: %s.%s", before, e->text, behind);
	fault_os_text(rc, words, sizeof(words));
	return fault_set(f, "%sVirtio backend error: Error manipulating the backing file: %s %s%s",
		before, words, path, behind);
}

static int check_backend(const struct drive_body *b, struct fault *f)
{
	bool has_file_fields = is_given(b, DRIVE_READ_ONLY) || is_given(b, DRIVE_LIMITER) ||
			       is_given(b, DRIVE_ENGINE) || b->path_on_host;

	if (b->socket && !has_file_fields)
		return fault_set(f, NOT_CREATED "This monitor has no vhost-user devices (field "
						"`socket`).");
	if (b->socket || !b->path_on_host)
		return fault_set(f, NOT_CREATED "Invalid block config. Field: `%s`.",
			b->socket ? "socket" : "path_on_host");
	return 0;
}

int apply_drive(struct api *a, const struct drive_body *b, struct fault *f)
{
	struct drive_spec spec = {
		.disk = { .id = b->drive_id,
			.path = b->path_on_host,
			.read_only = b->is_read_only,
			.sync_engine = b->io_engine == ENGINE_SYNC,
			.unsafe_cache = b->cache_type == CACHE_UNSAFE },
		.is_root = b->is_root_device,
		.partuuid = b->partuuid,
	};
	struct err e = { 0 };
	int rc = check_id(b->drive_id, f);

	if (rc == 0)
		rc = check_backend(b, f);
	if (rc < 0)
		return rc;
	read_limit(&b->rate_limiter, is_given(b, DRIVE_LIMITER), &spec.shape, &spec.disk.limit);
	rc = instance_put_drive(a->instance, &spec, &e);
	/* What is wrong with the description, not with the file. */
	if (rc == -EEXIST || rc == -ENOSPC)
		return fault_set(f, "Drive config error: %s", e.text);
	return rc < 0 ? not_opened(f, NOT_CREATED, rc, &e, b->path_on_host, "") : 0;
}

int put_drive(struct request *r, struct fault *f)
{
	return apply_drive(r->api, r->body, f);
}

static int not_patched(struct fault *f, int rc, const struct err *e, const char *path)
{
	if (rc == -ENODEV && !path)
		return fault_set(f, NOT_PATCHED PERFORM "Device not found" VERIFY);
	if (rc == -ECANCELED)
		return fault_set(f, NOT_PATCHED PERFORM "%s." VERIFY, e->text);
	return not_opened(f, NOT_PATCHED PERFORM, rc, e, path ? path : "", VERIFY);
}

static void drive_patched(void *ctx, int rc, const struct err *e)
{
	struct request *r = ctx;
	const struct drive_patch_body *b = r->body;
	struct fault f = { 0 };

	if (rc < 0)
		rc = not_patched(&f, rc, e, b->path_on_host);
	request_done(r, rc, &f);
}

int patch_drive(struct request *r, struct fault *f)
{
	const struct drive_patch_body *b = r->body;
	struct drive_patch patch = { .id = b->drive_id, .path = b->path_on_host };
	struct err e = { 0 };
	int rc;

	if (!instance_drive(r->api->instance, b->drive_id))
		return not_patched(f, -ENODEV, &e, NULL);
	if (!b->path_on_host && !is_given(b, DRIVE_PATCH_LIMITER))
		return fault_set(
			f, NOT_PATCHED PERFORM "Running method expected different backend." VERIFY);
	read_limit(&b->rate_limiter, is_given(b, DRIVE_PATCH_LIMITER), &patch.shape, &patch.limit);
	rc = instance_patch_drive(r->api->instance, &patch, drive_patched, r, &e);
	return rc < 0 ? not_patched(f, rc, &e, b->path_on_host) : HANDLER_LATER;
}

/* --- network interfaces --- */

static int check_net_id(const struct request *r, const char *id, struct fault *f)
{
	if (strcmp(r->id, id) != 0)
		return fault_set(f,
			"The id from the path [%s] does not match the id from the body [%.128s]!",
			r->id, id);
	return 0;
}

int check_net_ids(struct request *r, struct fault *f)
{
	return check_net_id(r, ((const struct net_body *)r->body)->iface_id, f);
}

int check_net_patch_ids(struct request *r, struct fault *f)
{
	return check_net_id(r, ((const struct net_patch_body *)r->body)->iface_id, f);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool read_mac(const char *text, uint8_t mac[NET_MAC_LEN])
{
	if (strlen(text) != 3 * NET_MAC_LEN - 1)
		return false;
	for (unsigned i = 0; i < NET_MAC_LEN; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || (i + 1 < NET_MAC_LEN && text[2] != ':'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int read_net(const struct net_body *b, struct net_spec *ret, struct fault *f)
{
	if (b->guest_mac) {
		ret->net.has_mac = true;
		if (!read_mac(b->guest_mac, ret->net.mac))
			return fault_set(f,
				"Network config error: `guest_mac` \"%.64s\" is not a MAC address: "
				"six bytes in hexadecimal with colons between them",
				b->guest_mac);
		if (ret->net.mac[0] & 1)
			return fault_set(f,
				"Network config error: `guest_mac` \"%s\" is a multicast address: "
				"its first byte must be even",
				b->guest_mac);
	}
	if (is_given(b, NET_MTU) && (b->mtu < NET_MTU_MIN || b->mtu > NET_MTU_MAX))
		return fault_set(f, "Network config error: MTU %llu is out of range [%d, %d]",
			(unsigned long long)b->mtu, NET_MTU_MIN, NET_MTU_MAX);
	ret->net.mtu = (uint16_t)b->mtu;
	read_limit(&b->rx_rate_limiter, is_given(b, NET_RX), &ret->rx_shape, &ret->net.rx);
	read_limit(&b->tx_rate_limiter, is_given(b, NET_TX), &ret->tx_shape, &ret->net.tx);
	return 0;
}

int apply_net(struct api *a, const struct net_body *b, struct fault *f)
{
	struct net_spec spec = { .net = { .id = b->iface_id, .tap = b->host_dev_name } };
	char words[128];
	struct err e = { 0 };
	int rc = check_id(b->iface_id, f);

	if (rc == 0)
		rc = read_net(b, &spec, f);
	if (rc < 0)
		return rc;
	rc = instance_put_net(a->instance, &spec, &e);
	if (rc == -EEXIST || rc == -ENOSPC || rc == -EADDRINUSE)
		return fault_set(f, "Network config error: %s", e.text);
	if (rc == 0)
		return 0;
	fault_os_text(rc, words, sizeof(words));
	return fault_set(f,
		"Network config error: Could not create the network device: Open tap device "
		"failed: Error while creating ifreq structure: %s. Invalid TUN/TAP Backend "
		"provided by %.64s. Check our documentation on setting up the network devices.",
		words, b->host_dev_name);
}

int put_net(struct request *r, struct fault *f)
{
	return apply_net(r->api, r->body, f);
}

int patch_net(struct request *r, struct fault *f)
{
	const struct net_patch_body *b = r->body;
	struct net_patch patch = { .id = b->iface_id };
	struct err e = { 0 };
	int rc;

	read_limit(&b->rx_rate_limiter, is_given(b, NET_PATCH_RX), &patch.rx_shape, &patch.rx);
	read_limit(&b->tx_rate_limiter, is_given(b, NET_PATCH_TX), &patch.tx_shape, &patch.tx);
	rc = instance_patch_net(r->api->instance, &patch, &e);
	if (rc == -ENODEV)
		return fault_set(f, "Network config error: " PERFORM "Device not found");
	return rc < 0 ? fault_set(f, "Network config error: %s", e.text) : 0;
}

int delete_device(struct request *r, struct fault *f)
{
	(void)r;
	return fault_set(f, FAULT_NO_HOTPLUG);
}
