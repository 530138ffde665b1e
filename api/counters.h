/*
 * What the API counts, by request.  The loop's thread writes and reads.
 */
#ifndef MVM_API_COUNTERS_H
#define MVM_API_COUNTERS_H

#include <stdint.h>

/* In the order of the contract's groups get_api_requests, put_api_requests, patch_api_requests. */
enum api_count {
	API_GET_INSTANCE_INFO,
	API_GET_MACHINE_CFG,
	API_GET_VERSION,
	API_PUT_ACTIONS,
	API_PUT_BOOT_SOURCE,
	API_PUT_DRIVE,
	API_PUT_LOGGER,
	API_PUT_MACHINE_CFG,
	API_PUT_CPU_CFG,
	API_PUT_METRICS,
	API_PUT_NETWORK,
	API_PUT_SERIAL,
	API_PATCH_DRIVE,
	API_PATCH_NETWORK,
	API_PATCH_MACHINE_CFG,
	API_COUNTS,
	API_UNCOUNTED = API_COUNTS,
};

enum api_latency { API_PAUSE, API_RESUME, API_SAVE_FULL, API_SAVE_DIFF, API_LOAD, API_LATENCIES };

/* What saving has come to. */
struct api_saves {
	uint64_t full, diff, failed;
	uint64_t pages_written;      /* by all of them */
	uint64_t last_pages_written; /* the last one that succeeded */
	uint64_t last_pause_us, last_total_us;
};

struct api_counters {
	uint64_t count[API_COUNTS], fails[API_COUNTS];
	uint64_t deprecated;
	uint64_t latency_us[API_LATENCIES];     /* of the last one, from request to answer */
	uint64_t vmm_latency_us[API_LATENCIES]; /* of its part in the machine */
	struct api_saves saves;
};

#endif
