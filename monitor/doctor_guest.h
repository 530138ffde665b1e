/*
 * The guest that "mvm doctor" times: a counting loop in one page of memory, in flat 32-bit
 * protected mode, which every KVM runs without firmware, page tables or devices.
 */
#ifndef MVM_DOCTOR_GUEST_H
#define MVM_DOCTOR_GUEST_H

#include "base/check.h"
#include "doctor.h"

struct err;

/*
 * Builds the guest on an open /dev/kvm, times it and takes it down.  0, or -errno with e filled:
 * -ETIMEDOUT when the guest did not come back, -EIO when it ended in an unexpected way, or what a
 * call of KVM said.  Figures that were reached before a failure are in *ret, the others are zero.
 *
 * Bounded: about 30 ms of guest time at any speed on a quiet host, and a timer of two seconds for
 * each round (SIGALRM, which is the caller's again afterwards) ends a KVM_RUN that does not return.
 * The process must have one thread.
 */
MUST_CHECK int doctor_guest_measure(int kvm_fd, struct doctor_figures *ret, struct err *e);

#endif
