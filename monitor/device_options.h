/*
 * The values of --disk and --net: a path or a name, then options behind commas.
 *
 *     PATH[,ro][,id=ID][,cache=writeback|unsafe][,engine=async|sync][,direct][,bw=RATE][,ops=RATE]
 *     TAP|fd=N[,id=ID][,mac=M][,mtu=N][,no-csum][,no-tso][,no-ufo][,no-uso][,no-mrg]
 *         [,rx-bw=RATE][,rx-ops=RATE][,tx-bw=RATE][,tx-ops=RATE]
 *
 * A comma in a path is written twice.  RATE is SIZE[/MS][+BURST]: so much in each MS milliseconds
 * (1000), and BURST once on top of it.
 */
#ifndef MVM_DEVICE_OPTIONS_H
#define MVM_DEVICE_OPTIONS_H

#include "base/check.h"
#include "virtio/blk.h"
#include "virtio/net.h"

struct err;

/*
 * text is taken apart in place and the strings of *ret point into it.  id, where none is given,
 * stays NULL.  0, or -EINVAL with e naming the option, its value and what it may be.
 *
 * fd=N must be an open character device.  To be called before anything else is opened: a number
 * that the caller did not open would later be one of ours.
 */
MUST_CHECK int device_options_disk(char *text, struct disk_config *ret, struct err *e);
MUST_CHECK int device_options_net(char *text, struct net_config *ret, struct err *e);

/* The N of fd=N, likewise. */
MUST_CHECK int device_options_fd(const char *text, int *ret, struct err *e);

/* Six bytes of two hexadecimal digits with colons between them; 0 or -EINVAL. */
MUST_CHECK int device_options_mac(const char *text, uint8_t ret[6]);

#endif
