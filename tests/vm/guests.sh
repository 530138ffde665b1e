# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Tiny guests that behave: what they see, and how their end becomes an exit status.

says() {
	local want=$1
	shift
	guest "$@" </dev/null
	expect_status 0
	expect_out "$want"
	expect_silence
}
for boot in pvh linux64; do
	test_case any-kvm "guest: hello by $boot" says "^hello by ${boot/pvh/PVH}\$" hello --boot $boot
done
for loop in uring epoll; do
	test_case any-kvm "guest: hello with --loop $loop" says hello hello --loop $loop
done
for pages in host 4k thp; do
	test_case any-kvm "guest: memory of $pages pages" says 'memory is good' memsize --pages $pages
done
test_case any-kvm 'guest: string I/O' says '^string I/O is good$' strio
test_case any-kvm 'guest: string I/O arrives whole' says '^x{12288}$' strio
test_case any-kvm 'guest: reset by ACPI' says '^resetting$' reset-acpi
test_case any-kvm 'guest: reset by a jump to the BIOS that is not there' says '^resetting$' reset-bios --cpus 2
test_case any-kvm 'guest: reset by the i8042' says '^resetting$' reset-i8042

verbose() {
	guest "$1" --verbose
	expect_status 0
	expect_err "$2"
}
test_case any-kvm 'guest: power-off is named' verbose hello 'the guest shut down \(ACPI power-off\)'
test_case any-kvm 'guest: ACPI reset is named' verbose reset-acpi 'the guest rebooted \(ACPI reset\)'
test_case any-kvm 'guest: i8042 reset is named' verbose reset-i8042 'the guest rebooted \(i8042 reset\)'

prefault() {
	guest memsize --prefault --mem 64M
	expect_status 0
	expect_out 'memory is good'
	# The same guest without the option, to see that it makes the difference.
	start --kernel "$GUESTS/halt-off.elf" --mem 64M --prefault >out 2>err
	wait_out halting
	[ "$(resident_kib)" -gt 65536 ] || fail "only $(resident_kib) KiB resident with --prefault"
	end_by TERM 5
	start --kernel "$GUESTS/halt-off.elf" --mem 64M >out 2>err
	wait_out halting
	[ "$(resident_kib)" -lt 32768 ] || fail "$(resident_kib) KiB resident without --prefault"
	end_by TERM 5
}
test_case any-kvm 'guest: memory is touched before the start only if asked' prefault

memory() {
	local size=$1 kib=$2
	shift 2
	guest memsize --mem "$size" "$@"
	expect_status 0
	expect_out 'memory is good'
	expect_out "^size_kib=$kib\$"
}
while read -r size kib; do
	for boot in pvh linux64; do
		test_case any-kvm "guest: $size of memory by $boot" memory "$size" "$kib" --boot $boot
	done
done <<'TABLE'
16M 16384
17M 17408
128M 131072
1G 1048576
3071M 3144704
3G 3145728
3073M 3146752
4G 4194304
6G 6291456
TABLE

huge_memory() {
	local gib
	gib=$(awk '$1 == "MemTotal:" { print int($2 / 1048576) }' /proc/meminfo)
	[ "$gib" -ge 4 ] || fail "this host has less than 4G"
	memory "${gib}G" $((gib * 1048576))
}
test_case any-kvm 'guest: as much memory as the host has' huge_memory

cpus() {
	guest smp --cpus "$1" --cmdline "cpus=$1" --boot "$2" </dev/null
	expect_status 0
	expect_out "^cpus=$1\$"
	expect_out '^ids are good$'
	expect_silence
}
for n in 1 2 3 8 31 32; do
	test_case any-kvm "guest: $n vCPUs" cpus $n pvh
done
test_case any-kvm "guest: 4 vCPUs by linux64" cpus 4 linux64

echo_pipe() {
	local text='The quick brown fox jumps over the lazy dog. 0123456789 '
	text=${text//q/Q}
	printf '%s%s%sq' "$text" "$text" "$text" >in
	guest "$1" "${@:2}" <in
	expect_status 0
	[ "$(sed -n 2p out)" = "$text$text${text}q" ] || fail "something else came back"
}
for loop in uring epoll; do
	test_case any-kvm "guest: input by polling (--loop $loop)" echo_pipe echo --loop $loop
	test_case any-kvm "guest: input by interrupts (--loop $loop)" echo_pipe echo-irq --loop $loop
done

echo_woken() {
	printf 'abcq' >in
	guest echo-irq <in
	expect_out '^woken by interrupts$'
}
test_case any-kvm 'guest: input wakes a halted CPU' echo_woken

echo_long() {
	head -c 6000 /dev/urandom | base64 -w 0 | tr -d q >in
	printf q >>in
	guest "$1" <in
	expect_status 0
	sed -n 2p out | tr -d '\n' | cmp - in || fail "something else came back"
}
test_case any-kvm 'guest: kilobytes of input, polling' echo_long echo
test_case any-kvm 'guest: kilobytes of input, interrupts' echo_long echo-irq

echo_slowly() {
	mkfifo in
	exec 5<>in
	start --kernel "$GUESTS/echo-irq.elf" <&5 >out 2>err
	wait_out ready
	for c in a b c; do
		printf '%s' $c >&5
		wait_out "$c\$"
	done
	alive || fail "ended too early"
	printf q >&5
	join
	expect_status 0
}
test_case any-kvm 'guest: input one key after the other' echo_slowly

timeline() {
	guest first --timeline --timeline-json json
	expect_status 0
	for words in 'process start' 'VM built' 'first guest instruction' 'init' 'machine ended'; do
		expect_err "^$words +[0-9]+\.[0-9]{3} +[0-9]+\.[0-9]{3}\$"
	done
	grep -qE '^\{"process_us": [0-9]+, .*"entered_us": [0-9]+, .*"mark_us": [0-9]+, "ended_us": [0-9]+\}$' json ||
		fail "another JSON: $(cat json)"
}
test_case any-kvm 'guest: timeline' timeline

# Many at a time do not know of each other.
crowd_of_machines() {
	local pids=() p
	for i in 1 2 3 4 5 6 7 8; do
		"$MVM" run --kernel "$GUESTS/memsize.elf" >out.$i 2>&1 &
		pids+=($!)
	done
	for p in "${pids[@]}"; do
		wait "$p" || fail "one of them failed: $(cat out.*)"
	done
	[ "$(cat out.* | grep -c 'memory is good')" = 8 ] || fail "not all of them ran"
}
test_case any-kvm 'guest: eight machines at once' crowd_of_machines

carry() {
	local until=1000
	timeout 60 "$GUESTS/test-carry" save "$GUESTS/count.elf" - state memory "$1" "
$2
" until=$until >out 2>err || fail "cannot be saved"
	[ "$(tail -n 1 out)" -lt $((until - 1)) ] || fail "it was saved at its end"
	timeout 60 "$GUESTS/test-carry" load state memory >>out 2>>err || fail "does not go on"
	expect_silence
	seq 0 $((until - 1)) | cmp - out || fail "there is a seam"
}
for cpus in 1 4; do
	for at in 1 77 600; do
		test_case any-kvm "guest: $cpus vCPUs are carried from process to process at $at" carry $cpus $at
	done
done
