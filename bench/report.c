/* Samples and how they are told (report.h). */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

void samples_add(struct samples *s, double value)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 128;
		s->value = realloc(s->value, s->room * sizeof(*s->value));
		if (!s->value)
			abort();
	}
	s->value[s->n++] = value;
}

void samples_free(struct samples *s)
{
	free(s->value);
	*s = (struct samples){ 0 };
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double samples_percentile(struct samples *s, double p)
{
	size_t rank;

	if (s->n == 0)
		return 0;
	qsort(s->value, s->n, sizeof(*s->value), compare);
	rank = (size_t)(p / 100 * (double)s->n + 0.999999);
	return s->value[rank == 0 ? 0 : rank > s->n ? s->n - 1 : rank - 1];
}

/* "Linux 6.1.0 x86_64, 2 CPUs, Intel(R) Xeon(R)": where a figure comes from.  No host name. */
static void describe_host(char *buf, size_t len)
{
	char line[256], model[128] = "unknown CPU";
	struct utsname u;
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "model name : %127[^\n\"\\]", model) == 1)
			break;
	}
	if (f)
		(void)fclose(f);
	(void)uname(&u);
	(void)snprintf(buf, len, "%s %s %s, %ld CPUs, %s", u.sysname, u.release, u.machine,
		sysconf(_SC_NPROCESSORS_ONLN), model);
}

static void print_json(const struct report *r, const char *metric, const char *unit,
	struct samples *s, struct samples *against, const char *peer)
{
	char host[384];

	describe_host(host, sizeof(host));
	(void)printf("{\"bench\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", \"n\": %zu, "
		     "\"p50\": %.3f, \"p99\": %.3f",
		r->bench, metric, unit, s->n, samples_percentile(s, 50), samples_percentile(s, 99));
	if (against)
		(void)printf(", \"floor_p50\": %.3f, \"ratio\": %.3f",
			samples_percentile(against, 50),
			samples_percentile(s, 50) / samples_percentile(against, 50));
	else
		(void)printf(", \"floor_p50\": null, \"ratio\": null");
	if (peer)
		(void)printf(", \"peer\": \"%s\"", peer);
	else
		(void)printf(", \"peer\": null");
	(void)printf(", \"host\": \"%s\"}\n", host);
}

void report_metric(struct report *r, const char *metric, const char *unit, struct samples *s,
	struct samples *against, const char *peer)
{
	if (r->json) {
		print_json(r, metric, unit, s, against, peer);
		return;
	}
	if (!r->has_head) {
		char host[384];

		describe_host(host, sizeof(host));
		(void)printf("%s on %s\n\n%-34s %5s %6s %12s %12s %12s %12s %7s\n", r->bench, host,
			"metric", "unit", "n", "p50", "p99", "against p50", "against p99", "ratio");
		r->has_head = true;
	}
	(void)printf("%-34s %5s %6zu %12.3f %12.3f", metric, unit, s->n, samples_percentile(s, 50),
		samples_percentile(s, 99));
	if (against)
		(void)printf(" %12.3f %12.3f %7.3f  (%s)", samples_percentile(against, 50),
			samples_percentile(against, 99),
			samples_percentile(s, 50) / samples_percentile(against, 50),
			peer ? peer : "floor");
	(void)printf("\n");
	(void)fflush(stdout);
}
