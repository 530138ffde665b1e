/* OpenMetrics 1.0 text (metrics.h): saves and loads. */
#include <inttypes.h>

#include "api/metrics_private.h"
#include "snapshot/load.h"
#include "snapshot/save.h"
#include "snapshot/snapshots.h"

static void put_progress(FILE *f, const struct saver *s)
{
	uint64_t done = 0, all = 0;

	if (!s || !saver_progress(s, &done, &all))
		done = all = 0;
	text_gauge(f, "mvm_snapshot_progress_pages", NULL,
		"Pages that the save under way is done with; 0: none is.", done);
	text_gauge(f, "mvm_snapshot_progress_all_pages", NULL, "Of so many.", all);
}

static void put_saves(FILE *f, const struct api_saves *saves)
{
	text_family(f, "mvm_snapshots", "counter", NULL, "Snapshots that were written.");
	(void)fprintf(f, "mvm_snapshots_total{kind=\"full\"} %" PRIu64 "\n", saves->full);
	(void)fprintf(f, "mvm_snapshots_total{kind=\"diff\"} %" PRIu64 "\n", saves->diff);
	text_counter(f, "mvm_snapshot_failures", NULL, "Snapshots that could not be written.",
		saves->failed);
	text_counter(f, "mvm_snapshot_written_pages", NULL,
		"Pages that were written to snapshots; those of zeros are not.",
		saves->pages_written);
	text_gauge(f, "mvm_snapshot_last_written_pages", NULL, "By the last snapshot.",
		saves->last_pages_written);
	text_gauge_seconds(f, "mvm_snapshot_last_pause_seconds",
		"How long the guest stood still for the last snapshot.", saves->last_pause_us);
	text_gauge_seconds(f, "mvm_snapshot_last_duration_seconds",
		"How long the last snapshot took.", saves->last_total_us);
}

static void put_load(FILE *f, const struct loader *l)
{
	struct loader_counters c = { 0 };

	loader_get_counters(l, &c);
	text_gauge(f, "mvm_working_set_prefetched_pages", NULL,
		"Pages that were brought in ahead of the guest.", c.prefetched_pages);
	text_gauge(f, "mvm_working_set_missed_pages", NULL,
		"Pages that the guest touched and that were not brought in.", c.missed_pages);
	text_gauge_seconds(f, "mvm_working_set_prefetch_seconds", "How long bringing them in took.",
		c.prefetch_us);
}

void text_snapshots(FILE *f, const struct snapshots *s, const struct api_saves *saves)
{
	put_saves(f, saves);
	put_progress(f, s->saver);
	if (s->loader)
		put_load(f, s->loader);
}
