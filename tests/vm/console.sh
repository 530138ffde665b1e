# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Standard input and output in every state, signals, and the terminal.

# --- signals without a terminal ---

signal() {
	start --kernel "$GUESTS/$1.elf" "${@:4}" >out 2>err </dev/null
	wait_out "$3"
	end_by "$2" 3
	expect_silence
}
for sig in TERM INT HUP QUIT; do
	test_case any-kvm "signal: SIG$sig ends a guest that halts" signal halt-off $sig halting
done
for loop in uring epoll; do
	test_case any-kvm "signal: SIGTERM ends a guest that spins (--loop $loop)" signal spin TERM spinning --loop $loop
	test_case any-kvm "signal: SIGINT ends a guest that waits (--loop $loop)" signal echo-irq INT ready --loop $loop
done

early_signal() {
	# At any time of the start: ended by the signal, never stuck and never half dead.
	for ms in 0 1 2 3 4 5 7 9 12 15 20 30; do
		start --kernel "$GUESTS/halt-off.elf" --cpus 4 >out 2>err </dev/null
		sleep "$(printf '0.%03d' $ms)"
		end_by TERM 5
	done
}
test_case any-kvm 'signal: SIGTERM during the start' early_signal

twice() {
	start --kernel "$GUESTS/spin.elf" >out 2>err </dev/null
	wait_out spinning
	kill -TERM "$pid"
	kill -INT "$pid" 2>/dev/null
	kill -TERM "$pid" 2>/dev/null
	join
	[ "$status" = 143 ] || [ "$status" = 130 ] || fail "exit status $status"
}
test_case any-kvm 'signal: several at once' twice

harmless() {
	start --kernel "$GUESTS/echo-irq.elf" >out 2>err < <(sleep 0.5; printf q)
	wait_out ready
	for sig in WINCH CHLD CONT URG PIPE; do
		kill -$sig "$pid"
	done
	join
	expect_status 0
	expect_silence
}
test_case any-kvm 'signal: WINCH, CHLD, CONT, URG and PIPE are harmless' harmless

stopped_state() {
	grep -q '^State:.*T' "/proc/$pid/status"
}

stop_continue() {
	mkfifo in
	exec 5<>in
	start --kernel "$GUESTS/echo-irq.elf" <&5 >out 2>err
	wait_out ready
	kill -TSTP "$pid"
	within 5 stopped_state || fail "SIGTSTP does not stop it"
	printf 'zq' >&5
	sleep 0.2
	! grep -q z out || fail "the guest runs while stopped"
	kill -CONT "$pid"
	join
	expect_status 0
	expect_out '^zq$'
}
test_case any-kvm 'signal: SIGTSTP stops, SIGCONT continues' stop_continue

ignored_before() {
	env --ignore-signal=HUP --ignore-signal=INT "$MVM" run --kernel "$GUESTS/echo-irq.elf" >out 2>err < <(sleep 1; printf q) &
	pid=$!
	wait_out ready
	kill -HUP "$pid"
	kill -INT "$pid"
	join
	expect_status 0
	expect_silence
}
test_case any-kvm 'signal: what was ignored before the start stays ignored' ignored_before

orphaned() {
	# A process group whose parent is gone has nobody who could continue it: SIGTSTP must not stop it.
	(setsid "$MVM" run --kernel "$GUESTS/echo-irq.elf" >out 2>err < <(sleep 2; printf q) & echo $! >pid)
	wait_out ready
	pid=$(cat pid)
	kill -TSTP "$pid"
	sleep 0.3
	! stopped_state || fail "an orphan was stopped"
	within 5 gone || fail "still there"
	expect_silence
}
test_case any-kvm 'signal: SIGTSTP does not stop an orphaned process group' orphaned

# --- descriptors ---

closed_stdin() {
	start --kernel "$GUESTS/$1.elf" >out 2>err <&-
	wait_out "$2"
	sleep 0.2
	alive || fail "ended"
	end_by TERM 3
	expect_silence
}
test_case any-kvm 'stdin: closed, guest waits for input' closed_stdin echo ready
test_case any-kvm 'stdin: closed, guest halts' closed_stdin halt-off halting

ended_stdin() {
	# End of input is not the end of the guest, and costs no processor time.
	start --kernel "$GUESTS/echo-irq.elf" "$@" >out 2>err </dev/null
	wait_out ready
	sleep 0.5
	local before after
	before=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
	sleep 1
	after=$(awk '{ print $14 + $15 }' "/proc/$pid/stat")
	[ $((after - before)) -le 10 ] || fail "busy: $((after - before)) ticks in a second"
	end_by TERM 3
}
test_case any-kvm 'stdin: /dev/null (--loop uring)' ended_stdin --loop uring
test_case any-kvm 'stdin: /dev/null (--loop epoll)' ended_stdin --loop epoll

all_closed() {
	status=0
	"$MVM" run --kernel "$GUESTS/hello.elf" <&- >&- 2>&- || status=$?
	expect_status 0
}
test_case any-kvm 'stdin, stdout and stderr: all closed' all_closed

closed_stdout() {
	status=0
	"$MVM" run --kernel "$GUESTS/hello.elf" 2>err </dev/null >&- || status=$?
	expect_status 0
	expect_silence
}
test_case any-kvm 'stdout: closed' closed_stdout

closed_stdout_error() {
	status=0
	"$MVM" run --kernel "$GUESTS/triple-fault.elf" 2>err </dev/null >&- || status=$?
	expect_status 3
	expect_err 'triple fault'
}
test_case any-kvm 'stdout: closed, messages still come' closed_stdout_error

full_stdout() {
	status=0
	"$MVM" run --kernel "$GUESTS/hello.elf" 2>err </dev/null >/dev/full || status=$?
	expect_status 0
	expect_err 'console output were lost'
}
test_case any-kvm 'stdout: /dev/full loses words, and says so' full_stdout

file_stdout() {
	"$MVM" run --kernel "$GUESTS/strio.elf" "$@" >out 2>err </dev/null || fail "failed"
	"$MVM" run --kernel "$GUESTS/strio.elf" "$@" </dev/null 2>err | cat >piped
	"$MVM" run --kernel "$GUESTS/strio.elf" "$@" </dev/null 2>err | (sleep 0.5; cat) >slow
	cmp out piped || fail "a pipe gives something else than a file"
	cmp out slow || fail "a slow pipe gives something else than a file"
	expect_out 'string I/O is good'
}
test_case any-kvm 'stdout: file, pipe and slow pipe give the same (--loop uring)' file_stdout --loop uring
test_case any-kvm 'stdout: file, pipe and slow pipe give the same (--loop epoll)' file_stdout --loop epoll

appended_stdout() {
	echo before >out
	"$MVM" run --kernel "$GUESTS/hello.elf" >>out 2>err </dev/null
	echo after >>out
	[ "$(cat out)" = $'before\nhello by PVH\nafter' ] || fail "the file is not what it should be"
}
test_case any-kvm 'stdout: a file is appended to, not overwritten' appended_stdout

shared_flags() {
	# The description behind our descriptors is the shell's, too: its flags must be as they were.
	mkfifo fifo
	exec 5<>fifo
	"$MVM" run --kernel "$GUESTS/hello.elf" >&5 <&5 2>err
	[ $(($(awk '$1 == "flags:" { print $2 }' "/proc/$BASHPID/fdinfo/5") & 04000)) = 0 ] || fail "O_NONBLOCK was left set"
}
test_case any-kvm 'stdin and stdout: flags are left alone' shared_flags

# --- the terminal ---

pty_end() {
	on_pty 'expect=ready' raw 'send=abc' 'expect=abc' 'send=q' -- --kernel "$GUESTS/echo-irq.elf" "$@"
	expect_end 'exit 0'
	expect_terminal_same
	expect_silence
}
for loop in uring epoll; do
	test_case any-kvm "terminal: raw while it runs, as before after the guest's end (--loop $loop)" pty_end --loop $loop
done

pty_signal() {
	# A sanitizer has handlers of its own for faults.
	export ASAN_OPTIONS=handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0
	on_pty 'expect=spinning' raw "signal=$1" -- --kernel "$GUESTS/spin.elf"
	expect_end "signal $1"
	expect_terminal_same
}
for sig in HUP INT QUIT ABRT BUS SEGV TERM; do
	test_case any-kvm "terminal: as before after SIG$sig" pty_signal "$(kill -l $sig)"
done

pty_keys() {
	# Every key is the guest's, Ctrl-C, Ctrl-Z, Ctrl-D and Ctrl-\ too.
	on_pty 'expect=ready' $'send=\x03\x1a\x04\x1c' $'expect=\x03\x1a\x04\x1c' 'send=q' -- --kernel "$GUESTS/echo.elf"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case any-kvm "terminal: control keys reach the guest" pty_keys

pty_quit() {
	on_pty "expect=$2" $'send=\x01x' -- --kernel "$GUESTS/$1.elf"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case any-kvm 'terminal: Ctrl-A x ends a guest that waits' pty_quit echo-irq ready

pty_quit_deaf() {
	# These never look at the serial port.
	on_pty "expect=$2" $'send=\x01x' -- --kernel "$GUESTS/$1.elf"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case any-kvm 'terminal: Ctrl-A x ends a guest that spins' pty_quit_deaf spin spinning
test_case any-kvm 'terminal: Ctrl-A x ends a guest that halts' pty_quit_deaf halt-off halting
test_case any-kvm 'terminal: Ctrl-A x ends a guest that floods' pty_quit_deaf flood abc

pty_escapes() {
	on_pty 'expect=ready' $'send=\x01a' $'expect=\x01' $'send=\x01\x01' $'expect=\x01' $'send=\x01?' 'pause=100' \
		'send=q' 'expect=q' -- --kernel "$GUESTS/echo.elf"
	expect_end 'exit 0'
	expect_err 'Ctrl-A x ends the machine'
}
test_case any-kvm 'terminal: Ctrl-A twice, Ctrl-A a, and a hint for the rest' pty_escapes

pty_pipe_no_keys() {
	printf '\001xq' >in
	guest echo <in
	expect_status 0
	expect_out $'^\x01xq$'
}
test_case any-kvm 'terminal: without one, Ctrl-A is a byte like others' pty_pipe_no_keys

pty_stop() {
	on_pty 'expect=ready' raw "signal=$(kill -l TSTP)" stopped same "signal=$(kill -l CONT)" 'pause=300' raw \
		'send=aq' 'expect=aq' -- --kernel "$GUESTS/echo-irq.elf"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case any-kvm 'terminal: given back while stopped, raw again after' pty_stop

pty_resize() {
	on_pty 'expect=ready' 'resize=50' 'resize=10' 'send=aq' 'expect=aq' -- --kernel "$GUESTS/echo-irq.elf"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case any-kvm 'terminal: a window that changes' pty_resize

pty_hangup() {
	on_pty 'expect=ready' hangup 'pause=300' "signal=$(kill -l HUP)" -- --kernel "$GUESTS/echo-irq.elf" "$@"
	expect_end "signal $(kill -l HUP)"
}
test_case any-kvm 'terminal: taken away' pty_hangup

pty_crash() {
	on_pty 'expect=falling' -- --kernel "$GUESTS/triple-fault.elf"
	expect_end 'exit 3'
	expect_terminal_same
}
test_case any-kvm "terminal: as before after the guest's crash" pty_crash

pty_bad_start() {
	on_pty -- --kernel "$GUESTS/hello.elf" --initrd /nonexistent
	expect_end 'exit 1'
	expect_terminal_same
}
test_case any-kvm 'terminal: as before after a start that failed' pty_bad_start
