# shellcheck shell=bash
# shellcheck disable=SC2034 # status and pid are for the tests
# What the tests of tests/vm and tests/hostile are written with.  Each runs in a folder of its own, as a subshell:
# a failed check prints what was seen and ends it.  Set for them: MVM (the program), GUESTS (the tiny guests and
# helpers), KERNEL and CLOUD (folders with Linux kernels, for tests that need linux-kvm), USERLAND (root file systems, for
# tests that need userland).

case_needs=()
case_names=()
case_calls=()

# test_case NEEDS NAME FUNCTION [ARGUMENT]... : NEEDS is a list, in quotes, of
#   any-kvm     a /dev/kvm, be it one that emulates the guest's instructions
#   linux-kvm   a /dev/kvm that runs Linux
#   userland    the file systems of tests/guest/userland
#   root        to be root
#   lab         the lab itself, for changes that a test must not make to a host
test_case() {
	case_needs+=("$1")
	case_names+=("$2")
	shift 2
	case_calls+=("$(printf '%q ' "$@")")
}

fail() {
	echo "$*"
	for f in out err log pty; do
		[ ! -s $f ] || {
			echo "--- $f, its last lines"
			tail -c 2000 $f | tail -n 20 | cat -v
			echo
		}
	done
	exit 1
}

# --- running mvm to its end, within $seconds: status, and the files out and err ---

mvm() {
	status=0
	timeout -k 5 "${seconds:-60}" "$MVM" "$@" >out 2>err || status=$?
}

run() {
	mvm run "$@"
}

guest() {
	local name=$1
	shift
	mvm run --kernel "$GUESTS/$name.elf" "$@"
}

expect_status() {
	[ "$status" = "$1" ] || fail "exit status $status, expected $1"
}

# expect_out REGEX, expect_err REGEX: a line like this is there.
expect_out() {
	grep -aqE -e "$1" out || fail "not in the output: $1"
}

expect_err() {
	grep -aqE -e "$1" err || fail "not in the messages: $1"
}

expect_silence() {
	[ ! -s err ] || fail "unexpected messages"
}

# --- running mvm beside the test: pid, and the files out and err unless redirected by the caller ---

# env: a shell without job control starts its background children with SIGINT ignored.
start() {
	env --default-signal "$MVM" run "$@" &
	pid=$!
}

# within SECONDS COMMAND...: waits until COMMAND succeeds.
within() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

wait_out() {
	within 20 grep -aqE -e "$1" out || fail "not in the output after a while: $1"
}

alive() {
	kill -0 "$pid" 2>/dev/null
}

gone() {
	# A zombie that we have not waited for is gone, too.
	[ ! -e "/proc/$pid" ] || grep -qs '^State:.*Z' "/proc/$pid/status"
}

# end_by SIGNAL SECONDS: sends it, and mvm dies by this very signal in time.
end_by() {
	local want
	want=$((128 + $(kill -l "$1")))
	kill -"$1" "$pid"
	within "$2" gone || {
		kill -9 "$pid"
		fail "$1 did not end it within $2 s"
	}
	status=0
	wait "$pid" || status=$?
	expect_status "$want"
}

# Waits for a regular end.
join() {
	within "${1:-20}" gone || {
		kill -9 "$pid"
		fail "did not end"
	}
	status=0
	wait "$pid" || status=$?
}

# Memory of the monitor apart from the guest's, which is a mapping of its own: an upper bound, in KiB.
resident_kib() {
	awk '$1 == "VmRSS:" { print $2 }' "/proc/$pid/status"
}

# --- a terminal ---

# on_pty STEP... -- ARGUMENT...: mvm run on a terminal of its own (pty.c); what it wrote is in the file pty,
# how it ended in the file log.
on_pty() {
	local steps=()
	while [ "$1" != -- ]; do
		steps+=("$1")
		shift
	done
	shift
	"$GUESTS/test-pty" pty "${steps[@]}" -- "$MVM" run "$@" >log 2>err || fail "a step failed"
}

expect_end() {
	grep -qx -e "$1" log || fail "it ended otherwise, expected: $1"
}

expect_terminal_same() {
	grep -qx 'terminal same' log || fail "the terminal is not as it was"
}
