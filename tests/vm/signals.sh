# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# What a signal from outside does to "mvm serve": its exit status, the word in the log, the last line of metrics.

# serve_killed SIGNAL STATUS [KEY]: with KEY that signal is counted, and without one the log has no word of it.
serve_killed() {
	local status=0
	env --default-signal "$MVM" serve --api-sock s --metrics-path metrics >out 2>err </dev/null &
	pid=$!
	within 10 test -S s || fail "no socket"
	kill -s "$1" $pid
	wait $pid 2>/dev/null || status=$?
	[ $status = "$2" ] || fail "exit status $status, expected $2"
	case $1 in
	TERM | INT | QUIT)
		! grep -q 'intercepting signal' out || fail "a word in the log"
		;;
	*)
		grep -q "Shutting down VM after intercepting signal $(kill -l "$1"), code 0\.$" out || fail "no word in the log"
		;;
	esac
	[ -z "${3-}" ] || tail -n 1 metrics | grep -q "\"$3\":1[,}]" || fail "not counted: $(tail -c 300 metrics)"
}

test_case nothing 'signals: SIGTERM ends a server as a shell expects it' serve_killed TERM 143
test_case nothing 'signals: so does SIGINT' serve_killed INT 130
test_case nothing 'signals: so does SIGQUIT' serve_killed QUIT 131
test_case nothing 'signals: SIGHUP has a status of its own, and is counted' serve_killed HUP 156 sighup
test_case nothing 'signals: so has SIGXCPU' serve_killed XCPU 154 sigxcpu
test_case nothing 'signals: SIGBUS has a status of its own' serve_killed BUS 149
test_case nothing 'signals: so has SIGSEGV' serve_killed SEGV 150
test_case nothing 'signals: so has SIGILL' serve_killed ILL 157
test_case nothing 'signals: so has SIGSYS' serve_killed SYS 148
