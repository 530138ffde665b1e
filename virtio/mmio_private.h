/* Between the halves of the transport: mmio.c (registers, life) and mmio_state.c (save and load).
 */
#ifndef MVM_VIRTIO_MMIO_PRIVATE_H
#define MVM_VIRTIO_MMIO_PRIVATE_H

#include <linux/virtio_config.h>

#include "virtio/mmio.h"

/* Bits of the status that only the driver sets. */
enum {
	MMIO_STATUS_SET_UP = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
	MMIO_STATUS_OF_DRIVER = MMIO_STATUS_SET_UP | VIRTIO_CONFIG_S_FEATURES_OK |
				VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED,
};

/* A subset of what is offered (2.2.1), version 1 among it (6.2), and whole (5.x.3.1). */
static inline bool mmio_features_are_good(const struct virtio_device *dev, uint64_t features)
{
	return (features & ~dev->offered) == 0 && (features & VIRTIO_BIT(VIRTIO_F_VERSION_1)) &&
	       (!dev->ops->accepts || dev->ops->accepts(dev, features));
}

#endif
