# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# "mvm serve" and its API, from outside: by curl, and by clients that nobody wants (api-client).  Uses lib.sh and job.sh.

# --- a server of the test: pid, the socket s, the files out and err ---

backend=auto
serve() {
	env --default-signal "$MVM" serve --api-sock s --loop "$backend" "$@" >out 2>err </dev/null &
	pid=$!
	within 10 api_is_up || fail "no answer on the socket"
}

api_is_up() {
	[ -S s ] && [ "$(curl -s --max-time 5 --unix-socket s -o reply -w '%{http_code}' http://localhost/)" = 200 ]
}

# api METHOD PATH [BODY]: the status in code, the answer's body in the file reply.
api() {
	local body=()
	[ $# -lt 3 ] || body=(--data-binary "$3")
	: >reply
	code=$(curl -s --max-time 40 --unix-socket s -X "$1" -o reply -w '%{http_code}' ${body[@]+"${body[@]}"} "http://localhost$2")
}

done_by() {
	api "$@"
	[[ $code =~ ^20[04]$ ]] || fail "$*: $code $(head -c 500 reply)"
}

# fault_by REGEX METHOD PATH [BODY]
fault_by() {
	api "${@:2}"
	[ "$code" = 400 ] && grep -qE "\"fault_message\": *\"$1" reply || fail "${*:2}: $code $(head -c 500 reply), expected $1"
}

client() {
	"$TESTS/api-client" "$@" >client 2>&1 || fail "api-client $*: $(tail -n 5 client)"
}
TESTS=$(dirname "${BASH_SOURCE[0]}")
TESTS=$(cd "$TESTS" && pwd)

# It lives, has no more descriptors than before, and serves.
settle() {
	within 10 has_descriptors "$descriptors" || fail "$(count_descriptors) descriptors, before $descriptors"
	done_by GET /
	alive || fail "it ended"
}

count_descriptors() {
	local fd n=0
	for fd in /proc/"$pid"/fd/*; do n=$((n + 1)); done
	echo $n
}

has_descriptors() {
	[ "$(count_descriptors)" -le "$1" ]
}

state_is() {
	api GET / && grep -q "\"state\": *\"$1\"" reply
}

end_serve() {
	kill -TERM "$pid"
	within 5 gone || {
		kill -9 "$pid"
		fail "SIGTERM did not end it"
	}
	status=0
	wait "$pid" || status=$?
	[ "$status" = 143 ] || fail "exit status $status after SIGTERM"
}

# --- the socket ---

# serve_fails STATUS REGEX ARGUMENT...
serve_fails() {
	status=0
	timeout -k 5 20 "$MVM" serve "${@:3}" >out 2>err </dev/null || status=$?
	expect_status "$1"
	cat out err >said
	grep -qE "$2" said || fail "not said: $2"
}

socket_in_use() {
	serve
	serve_fails 1 'Failed to open the API socket at: s\. Check that it is not already used' --api-sock s
	done_by GET /
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	# A file that is left is somebody's to remove.
	serve_fails 1 'Failed to open the API socket at: s\.' --api-sock s
	[ -S s ] || fail "it removed what is not its own"
	rm s
	serve
	end_serve
}
test_case '' 'api: a socket that is in use or left over is refused' socket_in_use

socket_paths() {
	local long
	# Of a name that is too long the message has the beginning.
	long=$(printf '%0300d' 0)
	serve_fails 1 'Failed to open the API socket at: 0{100}' --api-sock "$long"
	serve_fails 1 'Failed to open the API socket at: 0/0/0' --api-sock "$(printf '0/%.0s' {1..2500})s"
	serve_fails 1 'Failed to open the API socket at: missing/s' --api-sock missing/s
	mkdir folder
	serve_fails 1 'Failed to open the API socket at: folder' --api-sock folder
	echo text >file
	serve_fails 1 'Failed to open the API socket at: file' --api-sock file
	[ "$(cat file)" = text ] || fail "the file is another"
	serve_fails 1 'Failed to open the API socket at: file/s' --api-sock file/s
	ln -s nowhere link
	serve_fails 1 'Failed to open the API socket at: link' --api-sock link
	[ ! -e nowhere ] || fail "it followed the link"
	# Longer than the address of a socket may be.
	long=$(printf '%0200d' 0)
	mkdir "$long"
	long=$long/s
	env --default-signal "$MVM" serve --api-sock "$long" >out 2>err </dev/null &
	pid=$!
	within 10 test -S "$long" || fail "200 bytes are too many for it"
	end_serve
}
test_case '' 'api: a socket whose path is too long, in a missing folder, a folder, a file, a link' socket_paths

socket_forbidden() {
	mkdir folder
	chmod 755 . folder
	cp "$MVM" mvm && chmod 755 mvm
	status=0
	setpriv --reuid 65534 --clear-groups ./mvm serve --api-sock folder/s >out 2>err </dev/null || status=$?
	expect_status 1
	cat out err >said
	grep -q 'Failed to open the API socket at: folder/s' said || fail "not said"
}
test_case root 'api: a socket where this user may not make one' socket_forbidden

socket_mode() {
	serve
	[ "$(stat -c %a s)" = 600 ] || fail "its mode is $(stat -c %a s)"
	end_serve
	[ ! -e s ] || fail "its socket is left"
	umask 0
	serve --api-mode 0660
	[ "$(stat -c %a s)" = 660 ] || fail "its mode is $(stat -c %a s)"
	end_serve
}
test_case '' 'api: the socket is for its owner, or for whom --api-mode says, and goes with the process' socket_mode

socket_activated() {
	client activated "$MVM" ./sa
}
test_case '' 'api: a socket that somebody else has made (LISTEN_FDS)' socket_activated

socket_taken_away() {
	serve
	rm s
	echo other >s
	end_serve
	[ "$(cat s)" = other ] || fail "it removed a file that is not its socket"
}
test_case '' 'api: what stands in the place of the socket at the end stays' socket_taken_away

# --- log, metrics and console where they cannot be written ---

log_full() {
	serve --level Debug
	done_by PUT /logger '{"log_path": "/dev/full", "level": "Trace"}'
	for _ in {1..20}; do done_by GET /version; done
	alive || fail "it ended"
	end_serve
	serve --log-path /dev/full
	done_by GET /version
	end_serve
}
test_case '' 'api: a log on a full disk' log_full

log_fifo() {
	local start
	mkfifo fifo
	serve
	start=$SECONDS
	# Whether it is taken without a reader or refused: nothing waits for one.
	api PUT /logger '{"log_path": "fifo", "level": "Trace"}'
	[[ $code =~ ^(204|400)$ ]] || fail "$code"
	client pipeline s 2000
	done_by GET /version
	[ $((SECONDS - start)) -lt 15 ] || fail "it waits for a reader"
	# A reader that comes late and goes early.
	timeout 0.5 head -c 100 <>fifo >/dev/null
	client pipeline s 200
	done_by GET /version
	end_serve
}
test_case '' 'api: a log into a FIFO that nobody reads' log_fifo

log_folder() {
	mkdir folder
	serve
	fault_by 'Logger error: .*Is a directory \(os error 21\)' PUT /logger '{"log_path": "folder"}'
	fault_by 'Logger error: .*No such file or directory \(os error 2\)' PUT /logger '{"log_path": "missing/log"}'
	fault_by 'Metrics error: .*Is a directory \(os error 21\)' PUT /metrics '{"metrics_path": "folder"}'
	fault_by 'Metrics error: .*No such file or directory \(os error 2\)' PUT /metrics '{"metrics_path": "missing/metrics"}'
	fault_by '.*folder.*Is a directory' PUT /serial '{"serial_out_path": "folder"}'
	# A fault leaves everything as it was.
	done_by PUT /logger '{"log_path": "log", "level": "Debug"}'
	done_by PUT /metrics '{"metrics_path": "metrics"}'
	done_by GET /version
	within 5 grep -q 'Get request on "/version"' log || fail "no such log"
	fault_by 'Logger error: .*Is a directory' PUT /logger '{"log_path": "folder"}'
	done_by GET /machine-config
	within 5 grep -q 'Get request on "/machine-config"' log || fail "the old log is no longer written"
	end_serve
}
test_case '' 'api: log, metrics and console that are a folder or in a missing one' log_folder

log_flags() {
	mkdir folder
	for flag in --log-path --metrics-path; do
		status=0
		timeout -k 5 20 "$MVM" serve --api-sock s $flag folder >out 2>err </dev/null || status=$?
		[[ $status =~ ^(1|152)$ ]] || fail "$flag: exit status $status"
		cat out err >said
		grep -q 'folder' said || fail "$flag: the folder is not named"
		[ ! -e s ] || fail "$flag: a socket is left"
	done
}
test_case '' 'api: --log-path and --metrics-path that are a folder' log_flags

start_idle() {
	done_by PUT /machine-config '{"vcpu_count": 1, "mem_size_mib": 32}'
	done_by PUT /boot-source "{\"kernel_image_path\": \"$GUESTS/$1.elf\"}"
	done_by PUT /actions '{"action_type": "InstanceStart"}'
}

metrics_full() {
	local start=$SECONDS
	mkfifo fifo
	serve
	done_by PUT /metrics '{"metrics_path": "/dev/full"}'
	start_idle idle
	api PUT /actions '{"action_type": "FlushMetrics"}'
	[ "$code" = 400 ] || fail "a line that is lost is $code"
	state_is Running || fail "$(cat reply)"
	end_serve
	serve
	api PUT /metrics '{"metrics_path": "fifo"}'
	[[ $code =~ ^(204|400)$ ]] || fail "$code"
	start_idle idle
	# More than a FIFO holds.
	for _ in {1..60}; do api PUT /actions '{"action_type": "FlushMetrics"}'; done
	[[ $code =~ ^(204|400)$ ]] || fail "$code"
	state_is Running || fail "$(cat reply)"
	[ $((SECONDS - start)) -lt 30 ] || fail "it waits for a reader"
	end_serve
}
test_case any-kvm 'api: metrics on a full disk and into a FIFO that nobody reads' metrics_full

# How many bytes of the console there are; GET /serial has the last 64 KiB.
console_full() {
	mkfifo fifo
	for path in /dev/full fifo; do
		serve
		done_by PUT /serial "{\"serial_out_path\": \"$path\"}"
		start_idle flood
		sleep 0.5
		state_is Running || fail "$path: $(cat reply)"
		done_by GET /serial
		[ "$(wc -c <reply)" -gt 1000 ] || fail "$path: the guest was stopped"
		end_serve
	done
}
test_case any-kvm 'api: a console on a full disk and into a FIFO that nobody reads' console_full

# --- clients ---

against_clients() {
	serve
	descriptors=$(count_descriptors)
	client "$1" s "${@:2}"
	settle
	echo "$(cat client)"
	end_serve
}
test_case '' 'api: a request cut at every byte' against_clients cut
test_case '' 'api: headers of 1 MB' against_clients headers 1048576
test_case '' 'api: pipelined requests are answered in their order' against_clients pipeline 500
test_case '' 'api: file descriptors that come with a request are closed' against_clients descriptors 300
test_case '' 'api: what is no HTTP' against_clients garbage
test_case '' 'api: unusual HTTP' against_clients odd

# by BACKEND TEST... : with this backend of the loop.
by() {
	backend=$1
	"${@:2}"
}
for client in cut deaf\ 2000 garbage pipeline\ 200; do
	# shellcheck disable=SC2086
	test_case '' "api: ${client% *} (--loop epoll)" by epoll against_clients $client
done

slow_client() {
	against_clients drip
	# A client that sends a byte a minute would have to send its whole request within the deadline.
	[ "$(sed 's/[. ].*//' client)" -le 8 ] || fail "it lasted $(cat client)"
}
test_case '' 'api: a client that sends a byte now and then is cut off, others are served' slow_client
test_case '' 'api: a client that does not read its answers is cut off, others are served' against_clients deaf 2000

connect_storm() {
	against_clients storm 4
	[ "$(cat client)" -ge 1000 ] || [ -n "${MVM_IN_LAB-}" ] || fail "only $(cat client) a second"
}
test_case '' 'api: 1000 connects and disconnects a second' connect_storm

crowd_of_clients() {
	local served
	against_clients crowd 100
	read -r served _ <client
	[ "$served" -ge 10 ] && [ "$served" -lt 100 ] || fail "$(cat client)"
}
test_case '' 'api: more connections than there is room for are answered 503' crowd_of_clients

body_limit() {
	local text='{"vcpu_count": 1, "mem_size_mib": 64}'
	serve
	done_by PUT /machine-config "$text$(printf "%*s" $((51200 - ${#text})) '')"
	api PUT /machine-config "$text$(printf "%*s" $((51201 - ${#text})) '')"
	[ "$code" = 400 ] && grep -q 'payload with size 51201 is larger than the limit of 51200 allowed by server' reply ||
		fail "$code $(cat reply)"
	end_serve
	serve --http-api-max-payload-size 40
	done_by PUT /machine-config "$text"
	api PUT /machine-config "$text     "
	[ "$code" = 400 ] && grep -q 'larger than the limit of 40' reply || fail "$code $(cat reply)"
	end_serve
}
test_case '' 'api: a body of one byte too many' body_limit

racing_start() {
	for _ in 1 2 3; do
		serve
		done_by PUT /boot-source "{\"kernel_image_path\": \"$GUESTS/idle.elf\"}"
		client race s 2
		state_is Running || fail "$(cat reply)"
		end_serve
	done
	serve
	done_by PUT /boot-source "{\"kernel_image_path\": \"$GUESTS/idle.elf\"}"
	client race s 8
	end_serve
}
test_case any-kvm 'api: of clients that race for the start one wins' racing_start

storm_while_running() {
	serve
	start_idle echo-irq
	descriptors=$(count_descriptors)
	client storm s 2
	settle
	state_is Running || fail "$(cat reply)"
	end_serve
}
test_case any-kvm 'api: connects and disconnects while a guest runs' storm_while_running

# --- life ---

failed_start() {
	serve
	fault_by 'Start microvm error: Cannot start microvm without kernel configuration\.' PUT /actions \
		'{"action_type": "InstanceStart"}'
	head -c 4096 /dev/urandom >kernel
	done_by PUT /boot-source '{"kernel_image_path": "kernel"}'
	fault_by 'Start microvm error: ' PUT /actions '{"action_type": "InstanceStart"}'
	state_is 'Not started' || fail "$(cat reply)"
	start_idle idle
	state_is Running || fail "$(cat reply)"
	fault_by 'The requested operation is not supported after starting the microVM\.' PUT /actions \
		'{"action_type": "InstanceStart"}'
	end_serve
}
test_case any-kvm 'api: a start that fails can be mended' failed_start

# The guest gives back what it gets and ends by a 'q'.
tiny_life() {
	serve --log-path log --level Debug --show-level --id tiny
	grep -q '"id": *"tiny"' reply || fail "$(cat reply)"
	curl -sN --unix-socket s http://localhost/events >events &
	start_idle echo-irq
	within 5 console_has ready || fail "the console says: $(cat reply)"
	mkfifo keys
	exec 5<>keys
	"$MVM" console --api-sock s <&5 >console 2>err.console &
	printf 'xyz' >&5
	within 5 grep -q xyz console || fail "the console: $(cat console err.console)"
	done_by PATCH /vm '{"state": "Paused"}'
	state_is Paused || fail "$(cat reply)"
	printf 'abc' >&5
	sleep 0.3
	! grep -q abc console || fail "a paused guest answers"
	done_by PATCH /vm '{"state": "Resumed"}'
	state_is Running || fail "$(cat reply)"
	within 5 grep -q abc console || fail "it does not go on: $(cat console)"
	done_by GET /metrics
	tail -n 1 reply | grep -qx '# EOF' || fail "no end of the metrics"
	printf 'q' >&5
	join
	expect_status 0
	wait
	grep -q 'exiting successfully. exit_code=0' log || fail "$(tail -n 3 log)"
	[ ! -e s ] || fail "its socket is left"
	for text in Running Paused Ended; do grep -q "$text" events || fail "no event $text: $(cat events)"; done
	grep -q '"exit"' events || fail "no end in the events: $(cat events)"
}
test_case any-kvm 'api: life of a tiny guest, by curl' tiny_life

console_has() {
	api GET /serial && grep -aqE "$1" reply
}

# has FILE BYTES
has() {
	[ "$(stat -c %s "$1")" -gt "$2" ]
}

many_consoles() {
	local reader live kept much=400000
	# So much fills the readers' sockets.  A guest of the lab, with 8 KiB a second, would take minutes for it.
	[ -z "${MVM_IN_LAB-}" ] || much=70000
	serve
	start_idle flood
	"$TESTS/api-client" consoles s 4 >/dev/null 2>&1 &
	reader=$!
	within 60 has out $much || fail "the guest was stopped at $(stat -c %s out) bytes"
	alive || fail "it ended"
	kill -0 $reader || fail "the readers were thrown out"
	curl -sN --unix-socket s 'http://localhost/serial?follow=true' >live &
	live=$!
	within 30 has live 66000 || fail "$(stat -c %s live) bytes came"
	kill $live
	done_by GET /serial
	kept=$(stat -c %s reply)
	[ "$kept" = 65536 ] || fail "$kept bytes are kept"
	state_is Running || fail "$(cat reply)"
	kill $reader
	wait $reader $live 2>/dev/null
	end_serve
}
test_case any-kvm 'api: consoles that are not read keep nobody waiting' many_consoles

# Everything that a machine goes through, with Linux; what the guest sees is what was asked for.
life_by_curl() {
	local took last
	truncate -s 16M scratch
	printf first | dd of=scratch conv=notrunc status=none
	truncate -s 64M other
	printf other | dd of=other conv=notrunc status=none
	make_job_disk <<'JOB'
name=$(disk scratch)
size=/sys/block/${name#/dev/}/size
wait_for() {
	n=0
	while [ "$(cat "$size")" != "$1" ]; do
		n=$((n + 1))
		[ $n -lt 500 ] || fail "the size is $(cat "$size"), not $1"
		sleep 0.02
	done
}
now() {
	read -r up _ </proc/uptime
	echo "${up%.*}${up#*.}"
}
result cmdline "$(cat /proc/cmdline)"
result cpus "$(grep -c ^processor /proc/cpuinfo)"
result first "$(dd if="$name" bs=512 count=1 iflag=direct 2>/dev/null | head -c 5)"
while [ ! -e /tmp/quiet ]; do
	echo tick
	sleep 0.1
done &
echo "pause it"
echo "give it another file"
wait_for 131072
result second "$(dd if="$name" bs=512 count=1 iflag=direct 2>/dev/null | head -c 5)"
>/tmp/quiet
echo "limit it"
read -r word
result word "$word"
start=$(now)
dd if="$name" of=/dev/null bs=64k count=48 iflag=direct 2>/dev/null
result limited $(($(now) - start))
echo "let it go"
read -r word
start=$(now)
dd if="$name" of=/dev/null bs=64k count=48 skip=100 iflag=direct 2>/dev/null
result free $(($(now) - start))
echo "press the keys"
head -c 24 /dev/input/event0 >/dev/null
result pressed yes
JOB
	serve --log-path log --level Debug --id life
	curl -sN --unix-socket s http://localhost/events >events &
	done_by PUT /metrics '{"metrics_path": "metrics", "emit_id": true}'
	done_by PUT /machine-config '{"vcpu_count": 2, "mem_size_mib": 192}'
	done_by PUT /boot-source "{\"kernel_image_path\": \"$KERNEL/vmlinux\", \"boot_args\": \"$WITH_JOB\"}"
	done_by PUT /drives/job '{"drive_id": "job", "path_on_host": "job", "is_root_device": false, "is_read_only": true}'
	done_by PUT /drives/scratch '{"drive_id": "scratch", "path_on_host": "scratch", "is_root_device": false}'
	done_by PUT /drives/root \
		"{\"drive_id\": \"root\", \"path_on_host\": \"$USERLAND/full.squashfs\", \"is_root_device\": true, \"is_read_only\": true}"
	done_by PUT /actions '{"action_type": "InstanceStart"}'
	mkfifo keys
	exec 5<>keys
	"$MVM" console --api-sock s <&5 >console 2>err.console &
	within 30 grep -aq '^pause it' console || fail "the console: $(tail console err.console)"

	done_by PATCH /vm '{"state": "Paused"}'
	state_is Paused || fail "$(cat reply)"
	api GET /serial && cp reply before
	sleep 1
	api GET /serial && cmp reply before || fail "a paused guest speaks"
	# In the machine that stands still; the guest finds it when it goes on.
	done_by PATCH /drives/scratch '{"drive_id": "scratch", "path_on_host": "other"}'
	done_by PATCH /vm '{"state": "Resumed"}'
	within 20 grep -aq '^limit it' console || fail "it does not go on: $(tail console)"
	done_by GET /vm/config
	grep -q '"path_on_host": *"other"' reply || fail "the configuration is old: $(cat reply)"

	done_by PATCH /drives/scratch \
		'{"drive_id": "scratch", "rate_limiter": {"bandwidth": {"size": 1048576, "refill_time": 1000}}}'
	printf 'go\n' >&5
	within 30 grep -aq '^let it go' console || fail "it does not go on: $(tail console)"
	done_by PATCH /drives/scratch '{"drive_id": "scratch", "rate_limiter": {"bandwidth": {"size": 0, "refill_time": 0}}}'
	printf 'go\n' >&5
	within 30 grep -aq '^press the keys' console || fail "it does not go on: $(tail console)"

	done_by PUT /actions '{"action_type": "FlushMetrics"}'
	last=$(tail -n 1 metrics)
	[[ $last =~ \"id\":\ *\"life\" && $last =~ \"block_scratch\" ]] || fail "the metrics: $last"
	[[ $last =~ \"rate_limiter_throttled_events\":\ *[1-9] ]] || fail "nothing was held back: $last"
	done_by GET /metrics
	tail -n 1 reply | grep -qx '# EOF' || fail "no end of the metrics"

	done_by PUT /actions '{"action_type": "SendCtrlAltDel"}'
	join 30
	expect_status 0
	exec 5>&-
	wait
	cp console out
	expect_job
	expect_result cpus 2
	expect_result first first
	expect_result second other
	expect_result word go
	expect_result pressed yes
	[[ $(result_of cmdline) == *'root=/dev/vda ro'* ]] || fail "the command line: $(result_of cmdline)"
	took=$(result_of limited)
	# 3 MiB by 1 MiB a second, of which the first is there at once; in hundredths of a second.
	[ "$took" -ge 170 ] && [ "$took" -le 400 ] || fail "the limit let 3 MiB go in $took0 ms"
	[ "$(result_of free)" -lt "$took" ] || fail "the limit stays"
	for text in Running Paused Ended limiter '"exit"'; do
		grep -q "$text" events || fail "no event $text: $(cat events)"
	done
	awk -F'"seq": *' '{ if ($2 + 0 != NR) exit 1 }' events || fail "the events have gaps: $(cat events)"
	grep -q 'exiting successfully. exit_code=0' log || fail "$(tail -n 3 log)"
	[ ! -e s ] || fail "its socket is left"
}
test_case 'linux-kvm userland' 'api: life by curl' life_by_curl
