# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# The verbs that talk to a machine: api, console, ps; and the names that the program is called by.  Uses api.sh.

# --- names ---

version() {
	mvm --version
	expect_status 0
	expect_silence
	# What clients parse.
	head -n 1 out | grep -qE '^Firecracker v[0-9]+\.[0-9]+\.[0-9]+$' || fail "the first line"
	[ -z "$(sed -n 2p out)" ] || fail "the second line"
	expect_out '^mvm v[0-9]+\.[0-9]+\.[0-9]+$'
}
test_case '' 'version' version

by_another_name() {
	ln -s "$MVM" firecracker
	[ "$(./firecracker --version | head -n 1)" = "$("$MVM" --version | head -n 1)" ] || fail "another version"
	status=0
	./firecracker run --kernel x >out 2>err || status=$?
	expect_status 153
	expect_err "'run' is not a flag"
	./firecracker --api-sock s --id other >out 2>err </dev/null &
	pid=$!
	within 10 api_is_up || fail "no answer on the socket"
	grep -q '"id": *"other"' reply || fail "$(cat reply)"
	end_serve
}
test_case '' 'called firecracker it is mvm serve' by_another_name

without_a_verb() {
	"$MVM" --api-sock s --id flags >out 2>err </dev/null &
	pid=$!
	within 10 api_is_up || fail "no answer on the socket"
	end_serve
	refused 153 "'--frob' is not a flag" --frob
	refused 152 "--level 'loud'" --level loud
	refused 153 "--id 'a/b'" --id a/b
	refused 153 '--config-file' --no-api
	refused 1 'nowhere' --describe-snapshot nowhere
	"$MVM" --snapshot-version >out 2>err || fail "no version of snapshots"
	expect_out '^v1\.0\.0$'
	"$MVM" --describe-snapshot "$top/tests/snapshots/1.0/state" >out 2>err || fail "a snapshot that it cannot describe"
	expect_out '^v1\.0\.0$'
}
test_case '' 'flags without a verb are those of mvm serve' without_a_verb

for verb in serve api console snapshot restore inspect ps doctor; do
	test_case '' "help of $verb" help $verb
done

# --- a machine beside the verbs: pid, its socket s ---

# Its own files, because out and err are those of the verbs.
machine() {
	env --default-signal "$MVM" serve --api-sock s "$@" >machine.out 2>machine.err </dev/null &
	pid=$!
	within 10 api_is_up || fail "no answer on the socket: $(tail machine.out machine.err)"
}

# --- mvm api ---

usage_of() {
	local verb=$1 regex=$2
	shift 2
	refused 2 "$regex" "$verb" "$@"
}
test_case '' 'api verb: too few words' usage_of api 'METHOD and PATH are needed' GET
test_case '' 'api verb: too many words' usage_of api 'METHOD and PATH are needed' GET / a b
test_case '' 'api verb: unknown option' usage_of api "unknown option '--frob'" --frob GET /
test_case '' 'api verb: option without a value' usage_of api "'--api-sock' needs a value" GET / --api-sock
test_case '' 'api verb: no method' usage_of api "'get' is not a method" get /
test_case '' 'api verb: no path' usage_of api "'vm' is not a path" GET vm
test_case '' 'api verb: a path with a second request in it' usage_of api 'the path holds a blank' GET $'/ HTTP/1.1\r\n\r\nPUT /'
test_case '' 'api verb: a file that is not there' usage_of api "cannot open 'nothing'" PUT / @nothing
test_case '' 'console verb: stray word' usage_of console "'x' is not an option" x
test_case '' 'ps verb: stray word' usage_of ps "'x' is not an option" x
for n in x '' -1 61 nan inf 0.5s; do
	test_case '' "ps verb: interval '$n'" usage_of ps "--interval '$n': must be a number" --interval "$n"
done

no_machine() {
	local verb
	for verb in 'api GET /' console 'console --read-only'; do
		set -- $verb
		refused 1 "cannot connect to 'nothing': No such file.*is the machine running" "$1" --api-sock nothing "${@:2}"
		echo text >file
		refused 1 "cannot connect to 'file': it is not a socket" "$1" --api-sock file "${@:2}"
	done
	machine
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	# The kernel lets go of a ring, and of the socket that it waits for, a moment after its process.
	within 10 is_refused
	refused 1 "cannot connect to 's'.*nobody listens" api --api-sock s GET /
}

is_refused() {
	mvm api --api-sock s GET /
	grep -q 'nobody listens' err
}
test_case '' 'api and console: no machine behind the socket' no_machine

answers() {
	machine --id answers
	mvm api --api-sock s GET /
	expect_status 0
	expect_out '"id": *"answers"'
	expect_silence
	mvm api --api-sock=s PUT /machine-config '{"vcpu_count": 2, "mem_size_mib": 64}'
	expect_status 0
	[ ! -s out ] || fail "something on stdout"
	echo '{"vcpu_count": 3}' >file
	mvm api PATCH /machine-config @file --api-sock s
	expect_status 0
	mvm api --api-sock s PATCH /machine-config - < <(echo '{"mem_size_mib": 96}')
	expect_status 0
	mvm api --api-sock s GET /machine-config
	expect_out '"vcpu_count": *3'
	expect_out '"mem_size_mib": *96'
	refused 1 'PATCH /vm: 400: The requested operation is not supported before starting the microVM\.' \
		api --api-sock s PATCH /vm '{"state": "Paused"}'
	refused 1 'GET /frob: 400: Invalid request method and/or path' api --api-sock s GET /frob
	# More than the server takes: it says so before it has read it all.
	head -c 8M /dev/zero | tr '\0' ' ' >file
	refused 1 '400: .*larger than the limit of 51200' api --api-sock s PUT /machine-config @file
	"$MVM" api --api-sock s GET /openapi.yaml >/dev/full 2>err && fail "a full disk is no error"
	expect_err 'cannot write the answer: No space left'
	end_serve
}
test_case '' 'api verb: bodies, answers and faults' answers

streams() {
	machine
	start_idle echo-irq
	"$MVM" api --api-sock s GET /events >events 2>err.events &
	within 5 grep -q '"Running"' events || fail "no event as it comes: $(cat events)"
	printf q | "$MVM" console --api-sock s >console 2>err.console
	wait %2
	grep -q '"exit"' events || fail "no end of the events: $(cat events err.events)"
	join
	expect_status 0
}
test_case any-kvm 'api verb: a stream is printed as it comes' streams

# --- mvm console ---

on_console() {
	local steps=()
	while [ "$1" != -- ]; do
		steps+=("$1")
		shift
	done
	shift
	"$GUESTS/test-pty" pty "${steps[@]}" -- "$MVM" console --api-sock s "$@" >log 2>err.console || fail "a step failed"
}

console_keys() {
	machine
	start_idle echo-irq
	# What was written before somebody looked comes first.
	on_console expect=ready raw 'send=abc' expect=abc $'send=\x03\x1a\x04\x1c' $'expect=\x03\x1a\x04\x1c' \
		$'send=\x01a' $'expect=\x01' $'send=\x01?' pause=100 send=z expect=z $'send=\x01x' --
	expect_end 'exit 0'
	expect_terminal_same
	grep -q 'Ctrl-A x detaches' err.console || fail "it does not say how to leave"
	grep -q 'mvm: detached' err.console || fail "it does not say that it has left"
	# The machine goes on, and the next one sees what the first did.
	state_is Running || fail "$(cat reply)"
	on_console expect=abc raw send=q --
	expect_end 'exit 0'
	expect_terminal_same
	join
	expect_status 0
}
test_case any-kvm 'console verb: keys, Ctrl-A x, and the end of the machine' console_keys

console_signal() {
	machine
	start_idle echo-irq
	on_console expect=ready raw "signal=$(kill -l "$1")" --
	expect_end "signal $(kill -l "$1")"
	expect_terminal_same
	state_is Running || fail "$(cat reply)"
	end_serve
}
for sig in TERM HUP INT QUIT; do
	test_case any-kvm "console verb: the terminal is as before after SIG$sig" console_signal $sig
done

console_stop() {
	machine
	start_idle echo-irq
	on_console expect=ready raw "signal=$(kill -l TSTP)" stopped same "signal=$(kill -l CONT)" pause=200 raw \
		send=abc expect=abc $'send=\x01x' --
	expect_end 'exit 0'
	expect_terminal_same
	end_serve
}
test_case any-kvm 'console verb: stopped and continued' console_stop

console_of_killed() {
	machine
	start_idle echo-irq
	(
		sleep 1
		kill -9 "$pid"
	) &
	on_console expect=ready raw pause=1500 --
	expect_end 'exit 0'
	expect_terminal_same
	grep -q 'the console has ended' err.console || fail "it does not say what happened"
	wait
}
test_case any-kvm 'console verb: the machine is killed' console_of_killed

console_crowd() {
	local i pids=()
	machine
	start_idle echo-irq
	# Nobody types.
	mkfifo keys
	exec 5<>keys
	for i in 1 2 3 4; do
		"$MVM" console --api-sock s >"console$i" 2>"err$i" <&5 &
		pids+=($!)
	done
	"$MVM" console --api-sock s --read-only >look 2>err.look </dev/null &
	pids+=($!)
	for i in 1 2 3 4; do
		within 5 grep -q ready "console$i" || fail "console $i: $(cat "err$i")"
	done
	# No terminal: Ctrl-A is a byte like others.
	printf 'to all\001x' | timeout 5 "$MVM" console --api-sock s >console5 2>err5 &
	for i in 1 2 3 4; do
		within 5 grep -aq $'to all\001x' "console$i" || fail "console $i: $(cat "console$i" "err$i")"
	done
	within 5 grep -aq 'to all' look || fail "who looks on: $(cat look err.look)"
	printf q | "$MVM" console --api-sock s >console6 2>err6
	join
	expect_status 0
	wait "${pids[@]}" || fail "a console ended with status $?"
}
test_case any-kvm 'console verb: many at once, with and without a terminal, looking on' console_crowd

console_no_reader() {
	machine
	start_idle flood
	status=0
	"$MVM" console --api-sock s </dev/null 2>err.console | head -c 100000 >/dev/null || true
	grep -q 'cannot write what the machine says: Broken pipe' err.console || fail "$(cat err.console)"
	state_is Running || fail "$(cat reply)"
	end_serve
}
test_case any-kvm 'console verb: whoever reads it goes' console_no_reader

# --- mvm ps ---

# row SOCKET: the words of its line in out.
row() {
	grep -F -- "$1" out
}

ps_words() {
	machine --id first
	mvm ps
	expect_status 0
	expect_silence
	head -n 1 out | grep -qE '^ID +STATE +UPTIME +VCPUS +MEM +RSS +NET-RX/s +NET-TX/s +DISK-R/s +DISK-W/s +PID +SOCKET$' ||
		fail "the first line"
	# The socket was given by a path from here.
	row " $pid s" | grep -qE "^first +not-started +[0-9.]+s +1 +128M +[0-9.]+[MK] +0 +0 +0 +0 +$pid s$" || fail "the line"
	mvm ps --json
	python3 - "$pid" <<'PY' || fail "the JSON"
import json, sys
m = [m for m in json.load(open('out')) if m['pid'] == int(sys.argv[1])][0]
assert m['id'] == 'first' and m['state'] == 'not-started' and m['socket'] == 's', m
assert m['vcpus'] == 1 and m['mem_bytes'] == 128 << 20 and m['rss_bytes'] > 100000, m
assert 0 < m['uptime_s'] < 60 and m['disk_read_bytes_per_s'] == 0, m
PY
	mvm ps --interval 0 --json
	grep -q '"net_rx_bytes_per_s": null' out || fail "a rate of one look"
	end_serve
	mvm ps
	expect_status 0
	! row " $pid " || fail "it is still there"
}
test_case '' 'ps verb: a machine from its start to its end' ps_words

ps_states() {
	machine --id states
	start_idle flood
	mvm ps
	row " $pid " | grep -qE '^states +running .* 1 +32M ' || fail "the line"
	done_by PATCH /vm '{"state": "Paused"}'
	mvm ps
	row " $pid " | grep -qE '^states +paused ' || fail "the line"
	end_serve
}
test_case any-kvm 'ps verb: running and paused' ps_states

# One that hangs costs half a second, and nobody else his line.
ps_hung() {
	local first start took
	machine --id hung
	first=$pid
	mkdir second
	env --default-signal "$MVM" serve --api-sock "$PWD/second/s" --id second >machine.out 2>machine.err </dev/null &
	pid=$!
	within 5 test -S second/s || fail "no second one"
	kill -STOP "$first"
	start=${EPOCHREALTIME/[.,]/}
	mvm ps
	took=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
	kill -CONT "$first"
	row " $first s" | grep -qE "^\? +\? +[0-9.]+s +- +- .* - +- +- +- +$first s$" || fail "the line of the one that hangs"
	row " $pid " | grep -qE "^second +not-started .* $PWD/second/s$" || fail "the line of the other"
	[ $took -ge 500 ] && [ $took -lt 3000 ] || fail "it took $took ms"
	end_serve
	pid=$first
	end_serve
}
test_case '' 'ps verb: a machine that does not answer' ps_hung

# Longer than the address of a socket may be.
ps_long() {
	local folder
	folder=$PWD/$(printf '%080d/%080d' 0 0)
	mkdir -p "$folder"
	env --default-signal "$MVM" serve --api-sock "$folder/s" --id long >machine.out 2>machine.err </dev/null &
	pid=$!
	within 5 test -S "$folder/s" || fail "no socket: $(tail machine.out machine.err)"
	mvm api --api-sock "$folder/s" GET /version
	expect_status 0
	mvm ps
	row " $pid " | grep -qE "^long +not-started .* $folder/s$" || fail "the line"
	end_serve
}
test_case '' 'ps verb: a socket with a long path' ps_long

# A name that would paint the terminal.
ps_hostile() {
	local name=$'\e[2J\e[31mpwned\tX'
	mkdir "$name"
	cd "$name" || exit 1
	env --default-signal "$MVM" serve --api-sock "$PWD/s" >../machine.out 2>../machine.err </dev/null &
	pid=$!
	cd ..
	within 5 test -S "$name/s" || fail "no socket"
	mvm ps
	! grep -q $'\e' out || fail "an escape character"
	row " $pid " | grep -qF '\x1b[2J\x1b[31mpwned\x09X/s' || fail "the line"
	mvm ps --json
	! grep -q $'\e' out || fail "an escape character in the JSON"
	python3 -c 'import json; json.load(open("out"))' || fail "the JSON"
	end_serve
}
test_case '' 'ps verb: a path that would paint the terminal' ps_hostile

# In a root and a network namespace of its own.
ps_jailed() {
	mkdir -p jail/run
	cp "$MVM" jail/mvm
	# A build for sanitizers needs its libraries.
	ldd "$MVM" 2>/dev/null | grep -o '/[^ ]*' | xargs -r cp -L --parents -t jail
	unshare -n chroot jail /mvm serve --api-sock /run/s --id jailed >machine.out 2>machine.err </dev/null &
	pid=$!
	within 5 test -S jail/run/s || fail "no socket: $(tail machine.out machine.err)"
	mvm ps
	row " $pid " | grep -qE "^jailed +not-started .* /run/s$" || fail "the line"
	mvm api --api-sock jail/run/s GET /version
	expect_status 0
	end_serve
}
test_case root 'ps verb: a machine in a jail' ps_jailed

ps_users() {
	chmod 755 .
	cp "$MVM" mvm && chmod 755 mvm
	mkdir -m 777 theirs
	setpriv --reuid 65534 --clear-groups ./mvm serve --api-sock theirs/s --id theirs >machine.out 2>machine.err </dev/null &
	pid=$!
	within 5 test -S theirs/s || fail "no socket: $(tail machine.out machine.err)"
	mvm ps
	! row theirs/s || fail "it is not ours"
	mvm ps --all
	row " $pid theirs/s" | grep -qE '^theirs +not-started ' || fail "the line"
	status=0
	setpriv --reuid 65534 --clear-groups ./mvm ps >out 2>err || status=$?
	expect_status 0
	row " $pid theirs/s" | grep -qE '^theirs ' || fail "the line for its user"
	end_serve
}
test_case root 'ps verb: machines of other users' ps_users

# --- the example of the README, as it stands there ---

# The first block of its section, with files that are there.
readme_block() {
	mkdir -p build/monitor
	ln -s "$MVM" build/monitor/mvm
	truncate -s 16M data.img
	truncate -s 32M larger.img
	# The blocks are indented; within one there are empty lines.
	sed -n "/^## Driven through its API/,/^## Measuring/p" "$TESTS/../../README.md" |
		awk '/^    / { seen = 1; print substr($0, 5) } seen && /^[^ ]/ { exit }' >block
	grep -q SendCtrlAltDel block || fail "the block: $(cat block)"
}

readme_ran() {
	expect_status 0
	grep -q '"id": *"web".*"state": *"Paused"' out || fail "it was not paused"
	for text in Running Paused larger.img '"exit"'; do
		grep -qF "$text" web.events || fail "no event $text: $(cat web.events)"
	done
	tail -n 1 web.metrics | grep -qx '# EOF' || fail "the metrics: $(tail web.metrics)"
	grep -aq "$1" web.console || fail "the console: $(cat web.console)"
	expect_silence
}

readme_tiny() {
	readme_block
	cp "$GUESTS/echo-irq.elf" vmlinux
	truncate -s 16M root.ext4
	# It knows no keys: somebody types what it ends by.
	(
		within 20 grep -q SendCtrlAltDel web.log
		printf q | "$MVM" console --api-sock web.sock
	) >typed 2>&1 &
	status=0
	timeout 60 bash -eu block >out 2>err || status=$?
	wait
	readme_ran ready
}
test_case any-kvm 'the example of the README, with a tiny guest' readme_tiny

readme_linux() {
	readme_block
	cp "$KERNEL/vmlinux" vmlinux
	cp --sparse=always "$USERLAND/small.ext4" root.ext4
	# Until somebody presses the keys, or the power button.
	echo 'head -c 24 /dev/input/event0 >/dev/null' >job
	/sbin/debugfs -w -R 'write job job' root.ext4 2>/dev/null
	# The example asks once; a guest that is still booting then does not hear it.
	(
		within 60 grep -q SendCtrlAltDel web.log
		while "$MVM" api --api-sock web.sock PUT /actions '{"action_type": "SendCtrlAltDel"}'; do sleep 1; done
	) >pressed 2>&1 &
	status=0
	timeout 100 bash -eu block >out 2>err || status=$?
	wait
	readme_ran 'the guest is up'
}
test_case 'linux-kvm userland' 'the example of the README, with Linux' readme_linux
