/*
 * What requests do: each handler reads one body structure, and calls one function of the instance,
 * the log or the metrics.
 *
 * The apply functions are what handlers and the config file share: 0, or -errno with f filled.
 */
#ifndef MVM_API_HANDLERS_H
#define MVM_API_HANDLERS_H

#include "api/bodies.h"
#include "api/routes.h"

/* handlers_config.c, handlers_devices.c */
int apply_machine(struct api *a, const struct machine_body *b, bool is_patch, struct fault *f);
int apply_boot(struct api *a, const struct boot_body *b, struct fault *f);
int apply_cpu(struct api *a, const struct cpu_body *b, struct fault *f);
int apply_logger(struct api *a, const struct logger_body *b, struct fault *f);
int apply_metrics(struct api *a, const struct metrics_body *b, struct fault *f);
int apply_drive(struct api *a, const struct drive_body *b, struct fault *f);
int apply_net(struct api *a, const struct net_body *b, struct fault *f);

/* cpu_config.c: the words of b as numbers; e names the element. */
int cpu_config_read(const struct cpu_body *b, struct cpu_template *ret, struct err *e);

/* Six bytes in hexadecimal with colons between them. */
bool read_mac(const char *text, uint8_t mac[NET_MAC_LEN]);

/* Checks that come before the phase. */
handler_fn check_machine_patch, check_drive_ids, check_drive_patch_ids, check_net_ids,
	check_net_patch_ids, check_load;

handler_fn put_machine, patch_machine, put_boot, put_cpu, put_serial, put_logger, put_metrics;
handler_fn put_drive, patch_drive, put_net, patch_net, delete_device;
/* handlers_life.c */
handler_fn put_action, patch_vm;
/* handlers_snapshot.c */
handler_fn create_snapshot, load_snapshot;
/* handlers_read.c */
handler_fn get_instance, get_version, get_machine, get_config, get_metrics, get_document;
/* handlers_stream.c */
handler_fn get_events, get_serial;

#endif
