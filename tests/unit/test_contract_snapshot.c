/*
 * The contract in its own words: saving and loading.
 */
#include "t.h"

#include <errno.h>
#include <stdio.h>

#include "t_contract.h"
#include "t_kvm.h"
#include "t_machine.h"
#include "t_snapshots.h"

static void setup(void);

TestSuite(contract_snapshot, .timeout = 2 * T_SECONDS, .init = setup);

static void setup(void)
{
	t_quiet();
	t_folder();
}

#define CREATE    "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"m\""
#define LOAD      "PUT /snapshot/load {\"snapshot_path\":\"s\""
#define LOAD_DISK "PUT /snapshot/load {\"snapshot_path\":\"disk\""
#define BACKEND(k, path)                                                                           \
	",\"mem_backend\":{\"backend_type\":\"" k "\",\"backend_path\":\"" path "\"}"
#define FILE_BACKEND BACKEND("File", "other")
#define LOAD_ERROR   "Load snapshot error: "
#define RESTORE      LOAD_ERROR "Failed to restore from snapshot: "
#define STATE        RESTORE "Failed to get snapshot state from file: "
#define MEMORY       RESTORE "Failed to load guest memory: Error creating guest memory from "
#define WHILE_RUNNING                                                                              \
	"Create snapshot error: Cannot save the microVM state: Operation not allowed: "            \
	"save/restore unavailable while running"

/* --- saving --- */

static const struct save_result result = {
	.pages_all = 100, .pages_written = 42, .pause_us = 1500, .total_us = 2500
};

/* Begins one that takes time. */
static struct t_call *begin(const char *body)
{
	struct t_call *c;

	t_snapshots.is_held = true;
	c = t_call_begin(&t, "PUT", "/snapshot/create", body, strlen(body));
	t_uint(c->answers, 0);
	return c;
}

Test(contract_snapshot, what_saving_is_refused_for)
{
	static const struct row running[] = {
		{ CREATE "}", 400, WHILE_RUNNING },
		{ CREATE ",\"snapshot_type\":\"Diff\",\"stop\":true}", 400, WHILE_RUNNING },
		{ CREATE ",\"live\":true,\"stop\":true}", 400,
			"Create snapshot error: `live` and `stop` exclude each other: a machine "
			"that is saved live goes on" },
		{ LOAD FILE_BACKEND "}", 400, AFTER },
	};
	static const struct row paused[] = {
		{ "PUT /snapshot/create {\"snapshot_path\":\"none/s\",\"mem_file_path\":\"m\"}",
			400,
			"Create snapshot error: Cannot perform open on the snapshot backing file: "
			"No such file or directory (os error 2)" },
		{ "PUT /snapshot/create {\"snapshot_path\":\"/\",\"mem_file_path\":\"m\"}", 400,
			"Create snapshot error: Cannot perform open on the snapshot backing file: "
			"Is a directory (os error 21)" },
		{ "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"\"}", 400,
			"Create snapshot error: Cannot perform open on the memory backing file: "
			"No such file or directory (os error 2)" },
		{ "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"disk/m\"}",
			400,
			"Create snapshot error: Cannot perform open on the memory backing file: "
			"Not a directory (os error 20)" },
		{ "PUT /snapshot/create {\"snapshot_path\":\"s\",\"mem_file_path\":\"s\"}", 400,
			"Create snapshot error: `snapshot_path` and `mem_file_path` are the same "
			"file" },
		{ CREATE ",\"snapshot_type\":\"Half\"}", 400,
			JSON "unknown variant `Half`, expected `Full` or `Diff` at line 1 column "
			     "63. Field: `snapshot_type`." },
		{ LOAD FILE_BACKEND "}", 400, AFTER },
	};

	t_api_init(&t);
	t_int(ask(CREATE "}"), 400);
	t_str(t_fault(), BEFORE);
	t_api_start(&t);
	RUN(running);
	t_int(ask("PATCH /vm {\"state\":\"Paused\"}"), 204);
	RUN(paused);
	t_uint(t_snapshots.begun, 0);
	/* And what the machine itself says. */
	t_snapshots.begin_rc = -EBUSY;
	t_snapshots.text = "the machine is being changed";
	t_int(ask(CREATE "}"), 400);
	t_str(t_fault(), "Create snapshot error: the machine is being changed");
	t_uint(t_snapshots.begun, 1);
	t_uint(t.api.counters.saves.failed, 1);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract_snapshot, saving_answers_when_it_is_done)
{
	struct t_call *c, *resume;

	t_api_init(&t);
	t_api_start(&t);
	t_int(ask("PATCH /vm {\"state\":\"Paused\"}"), 204);
	c = begin("{\"snapshot_path\":\"s\",\"mem_file_path\":\"m\"}");
	t_str(t_snapshots.save.state_path, "s");
	t_str(t_snapshots.save.memory_path, "m");
	t_true(!t_snapshots.save.disks_dir);
	t_int(t_snapshots.save.kind, SNAPSHOT_FULL);
	t_true(!t_snapshots.save.is_live);
	/* Meanwhile changes wait, and questions do not. */
	resume = t_call_begin(&t, "PATCH", "/vm", "{\"state\":\"Resumed\"}", 19);
	t_uint(resume->answers, 0);
	t_snapshots.done_pages = 7;
	t_snapshots.all_pages = 9;
	t_int(ask("GET /metrics"), 200);
	t_has(t_body(), "\nmvm_snapshot_progress_pages 7\n");
	t_has(t_body(), "\nmvm_snapshot_progress_all_pages 9\n");
	t_int(t.in->state, INSTANCE_PAUSED);
	t_snapshots.all_pages = 0;
	t_snapshots_done(0, &result);
	t_uint(c->answers, 1);
	t_int(c->answer.status, 204);
	t_call_wait(&t, resume);
	t_int(t.in->state, INSTANCE_RUNNING);
	t_call_free(c);
	t_call_free(resume);
	t_uint(t.api.counters.vmm_latency_us[API_SAVE_FULL], 2500);
	t_uint(t.api.counters.latency_us[API_SAVE_DIFF], 0);
	t_int(ask("GET /metrics"), 200);
	t_has(t_body(), "\nmvm_snapshots_total{kind=\"full\"} 1\n");
	t_has(t_body(), "\nmvm_snapshot_written_pages_total 42\n");
	t_has(t_body(), "\nmvm_snapshot_last_pause_seconds 0.001500\n");
	t_has(t_body(), "\nmvm_snapshot_progress_pages 0\n");
	t_api_fini(&t);
	t_folder_done();
}

Test(contract_snapshot, saving_that_fails_leaves_the_machine)
{
	struct t_call *c;

	t_api_init(&t);
	t_api_start(&t);
	c = begin("{\"snapshot_path\":\"s\",\"mem_file_path\":\"m\",\"snapshot_type\":\"Diff\","
		  "\"live\":true,\"disks_dir\":\"d\"}");
	t_true(t_snapshots.save.is_live);
	t_int(t_snapshots.save.kind, SNAPSHOT_DIFF);
	t_str(t_snapshots.save.disks_dir, "d");
	t_snapshots.text = "cannot write 'm': No space left on device";
	t_snapshots_done(-ENOSPC, NULL);
	t_int(c->answer.status, 400);
	t_has(c->answer.body,
		"\"Create snapshot error: cannot write 'm': No space left on device\"");
	t_call_free(c);
	t_int(t.in->state, INSTANCE_RUNNING);
	t_int(t.fatal, -1);
	t_uint(t.api.counters.saves.failed, 1);
	t_uint(t.api.counters.saves.diff, 0);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract_snapshot, stop_ends_the_machine_after_a_save_that_succeeds)
{
	static const char body[] =
		"{\"snapshot_path\":\"s\",\"mem_file_path\":\"m\",\"stop\":true}";
	char why[VM_WHY_MAX];
	struct t_call *c;

	t_api_init(&t);
	t_api_start(&t);
	t_int(ask("PATCH /vm {\"state\":\"Paused\"}"), 204);
	c = begin(body);
	t_snapshots_done(-EIO, NULL);
	t_int(c->answer.status, 400);
	t_call_free(c);
	t_int(ask("GET /"), 200);
	t_int(t.in->state, INSTANCE_PAUSED);
	c = begin(body);
	t_snapshots_done(0, &result);
	t_int(c->answer.status, 204);
	t_call_free(c);
	while (t.in->state != INSTANCE_ENDED)
		t_int(loop_turn(t.l), 0);
	t_int(vm_end(t.in->vm, why), VM_STOPPED);
	t_str(why, "stopped after a snapshot");
	t_api_fini(&t);
	t_folder_done();
}

Test(contract_snapshot, the_process_ends_during_a_save)
{
	struct t_call *c;

	t_api_init(&t);
	t_api_start(&t);
	c = begin("{\"snapshot_path\":\"s\",\"mem_file_path\":\"m\",\"live\":true}");
	t_api_fini(&t);
	t_uint(c->answers, 1);
	t_int(c->answer.status, 400);
	t_true(!t_snapshots.done);
	t_call_free(c);
	t_folder_done();
}

/* --- loading --- */

Test(contract_snapshot, what_loading_is_refused_for)
{
	static const struct row rows[] = {
		{ LOAD "}", 400,
			"missing field: either `mem_backend` or `mem_file_path` is required" },
		{ LOAD FILE_BACKEND ",\"mem_file_path\":\"m\"}", 400,
			"too many fields: either `mem_backend` or `mem_file_path` exclusively is "
			"required",
			true },
		{ LOAD FILE_BACKEND ",\"vsock_override\":{\"uds_path\":\"v\"}}", 400,
			LOAD_ERROR "This monitor has no vsock device (field `vsock_override`)." },
		{ LOAD FILE_BACKEND ",\"clock_realtime\":true,\"clock\":\"Frozen\"}", 400,
			LOAD_ERROR "`clock_realtime` is true, and `clock` is `Frozen`." },
		{ LOAD FILE_BACKEND
			",\"network_overrides\":[{\"iface_id\":\"e\","
			"\"host_dev_name\":\"t\",\"guest_mac\":\"01:00:00:00:00:01\"}]}",
			400,
			LOAD_ERROR "`guest_mac` \"01:00:00:00:00:01\" is not the MAC address of "
				   "an interface: six bytes in hexadecimal with colons between "
				   "them, the first one even" },
		{ "PUT /snapshot/load {}", 400,
			JSON "missing field `snapshot_path` at line 1 column 2." },
		/* Even a request that fails describes something. */
		{ "PUT /boot-source {\"kernel_image_path\":\"missing\"}", 400 },
		{ LOAD FILE_BACKEND "}", 400,
			LOAD_ERROR "Loading a microVM snapshot not allowed after configuring "
				   "boot-specific resources." },
	};

	t_api_init(&t);
	RUN(rows);
	t_uint(t_snapshots.loads, 0);
	/* None of these ends the process. */
	t_int(t.fatal, -1);
	t_uint(t.api.counters.deprecated, 1);
	t_api_fini(&t);
	t_folder_done();
}

/* Each in a process of its own, so to say. */
static void fails(const char *request, int code, const char *text, const char *fault)
{
	struct snapshot *state = snapshot_new(1);

	(void)snprintf(state->drive[0].id, sizeof(state->drive[0].id), "d");
	(void)snprintf(state->nic[0].id, sizeof(state->nic[0].id), "e");
	state->ndrives = state->nnics = 1;
	t_api_init(&t);
	t_snapshots.load_rc = code;
	t_snapshots.text = text;
	t_snapshots.state = state;
	t_row_int(request, ask(request), 400);
	cr_expect(eq(int, strcmp(t_fault(), fault), 0), "'%s':\n got \"%s\"\nwant \"%s\"", request,
		t_fault(), fault);
	t_row_int(request, t.fatal, 1);
	t_row_int(request, t.in->state, INSTANCE_NOT_STARTED);
	t_api_fini(&t);
	snapshot_free(state);
}

Test(contract_snapshot, a_load_that_fails_ends_the_process)
{
	fails(LOAD FILE_BACKEND "}", -ENOENT, "x",
		STATE "Failed to open snapshot file: No such file or directory (os error 2)");
	fails("PUT /snapshot/load {\"snapshot_path\":\"kernel\"" FILE_BACKEND "}", -EBADMSG, "x",
		STATE
		"Failed to load snapshot state from file: IO Error: File too short to contain "
		"CRC");
	fails(LOAD_DISK BACKEND("File", "none") "}", -ENOENT, "x",
		MEMORY "file: Failed to load guest memory: No such file or directory (os error 2)");
	fails(LOAD_DISK BACKEND("Uffd", "none") "}", -ENOENT, "x",
		MEMORY "uffd: Failed to connect to UDS Unix stream: No such file or directory (os "
		       "error 2)");
	fails(LOAD_DISK BACKEND("Uffd", "fifo") "}", -ECONNREFUSED, "x",
		MEMORY "uffd: Failed to connect to UDS Unix stream: Connection refused (os error "
		       "111)");
	fails(LOAD_DISK FILE_BACKEND
		",\"network_overrides\":[{\"iface_id\":\"x\",\"host_dev_name\":\"t\"}]}",
		-EINVAL, "x", RESTORE "Unknown Network Device.");
	fails(LOAD_DISK FILE_BACKEND
		",\"drive_overrides\":[{\"drive_id\":\"x\",\"path_on_host\":\"other\"}]}",
		-EINVAL, "x", RESTORE "Unknown Block Device.");
	fails(LOAD_DISK FILE_BACKEND
		",\"network_overrides\":[{\"iface_id\":\"e\",\"host_dev_name\":\"t\"}],"
		"\"drive_overrides\":[{\"drive_id\":\"d\",\"path_on_host\":\"other\"}]}",
		-ESTALE, "disk 'd' has changed", RESTORE "disk 'd' has changed");
	t_folder_done();
}

Test(contract_snapshot, fields_of_a_load)
{
	static const char all[] = LOAD_DISK BACKEND("Uffd",
		"fifo") ",\"track_dirty_pages\":true,"
			"\"huge_pages\":\"2M\",\"clock\":\"Frozen\",\"record_working_set_ms\":250,"
			"\"accept_any_cpu\":true,"
			"\"vsock_override\":null,\"network_overrides\":[{\"iface_id\":\"e\","
			"\"host_dev_name\":\"t\",\"guest_mac\":\"02:00:00:00:00:0a\"},{\"iface_"
			"id\":\"f\","
			"\"host_dev_name\":\"u\",\"guest_mac\":null}],\"drive_overrides\":[{"
			"\"drive_id\":"
			"\"d\",\"path_on_host\":\"p\"}],\"accept_changed_disks\":[\"d\",\"g\"]}";
	const struct load_options *o = &t_snapshots.load;

	t_api_init(&t);
	t_int(ask(all), 400);
	t_str(o->state_path, "disk");
	t_true(!o->memory_path);
	t_int(o->backend, LOAD_BACKEND_UFFD);
	t_str(o->uffd_path, "fifo");
	t_int(o->pages, LOAD_PAGES_2M);
	t_true(o->track_dirty && o->holds_clock && !o->skips_working_set && o->accepts_any_cpu);
	t_uint(o->record_ms, 250);
	t_uint(o->nnics, 2);
	t_str(o->nic[0].id, "e");
	t_str(o->nic[0].tap, "t");
	t_true(o->nic[0].has_mac && o->nic[0].mac[5] == 10 && !o->nic[0].has_tap_fd);
	t_true(!o->nic[1].has_mac);
	t_uint(o->ndrives, 1);
	t_str(o->drive[0].id, "d");
	t_str(o->drive[0].path, "p");
	t_uint(o->naccepted, 2);
	t_str(o->accepted[1], "g");
	t_api_fini(&t);

	t_api_init(&t);
	t_int(ask(LOAD_DISK ",\"mem_file_path\":\"m\",\"enable_diff_snapshots\":true}"), 400);
	t_true(t_is_deprecated());
	t_str(o->memory_path, "m");
	t_int(o->backend, LOAD_BACKEND_FILE);
	t_int(o->pages, LOAD_PAGES_SNAPSHOT);
	t_true(o->track_dirty && !o->holds_clock && !o->uffd_path);
	t_api_fini(&t);
	t_folder_done();
}

Test(contract_snapshot, a_loaded_machine_is_let_go_once)
{
	t_api_init(&t);
	t_kvm.on_run = t_machine_wait;
	t_snapshots.load_rc = 0;
	t_int(ask(LOAD_DISK FILE_BACKEND "}"), 204);
	t_int(t.in->state, INSTANCE_PAUSED);
	t_uint(t_snapshots.resumed, 0);
	t_true(t.api.counters.latency_us[API_LOAD] > 0);
	t_snapshots.counters = (struct loader_counters){ 11, 22, 33 };
	t_int(ask("GET /metrics"), 200);
	t_has(t_body(), "\nmvm_working_set_prefetched_pages 11\n");
	t_has(t_body(), "\nmvm_working_set_missed_pages 22\n");
	t_has(t_body(), "\nmvm_working_set_prefetch_seconds 0.000033\n");
	t_int(ask(LOAD_DISK FILE_BACKEND "}"), 400);
	t_str(t_fault(), AFTER);
	t_int(ask("PATCH /vm {\"state\":\"Resumed\"}"), 204);
	t_uint(t_snapshots.resumed, 1);
	t_int(ask("PATCH /vm {\"state\":\"Paused\"}"), 204);
	t_int(ask("PATCH /vm {\"state\":\"Resumed\"}"), 204);
	t_uint(t_snapshots.resumed, 1);
	t_int(t.fatal, -1);
	t_api_fini(&t);
	t_uint(t_snapshots.freed, 1);

	t_api_init(&t);
	t_kvm.on_run = t_machine_wait;
	t_snapshots.load_rc = 0;
	t_int(ask(LOAD_DISK FILE_BACKEND ",\"resume_vm\":true}"), 204);
	t_int(t.in->state, INSTANCE_RUNNING);
	t_uint(t_snapshots.resumed, 1);
	t_api_fini(&t);
	t_folder_done();
}
