/*
 * How the legacy devices tell the machine that the guest wants to end it.
 */
#ifndef MVM_LEGACY_POWER_H
#define MVM_LEGACY_POWER_H

enum power_event { POWER_OFF, POWER_RESET };

/* Called on the vCPU's thread that asked, with no device lock held.  why names the register, for
 * the log. */
struct power_host {
	void (*event)(void *ctx, enum power_event event, const char *why);
	void *ctx;
};

#endif
