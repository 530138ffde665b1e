# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with lib.sh and run
# What snapshots have beside state and memory: captured disks, and the working set.  Uses lib.sh.

# save_echo [OPTION]... -- [RUN OPTION]...: an echo guest becomes the folder snap, and ends.
save_echo() {
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	start --kernel "$GUESTS/echo.elf" --mem 32M --api-sock s "$@" >out 2>err </dev/null
	wait_out ready
	"$MVM" snapshot --api-sock s snap --stop ${options[@]+"${options[@]}"} >log 2>&1 || fail "not saved"
	join
	expect_status 0
}

captured_disk() {
	head -c 1048576 /dev/urandom >disk.img
	cp disk.img before
	save_echo --with-disks -- --disk disk.img,id=data
	cmp snap/disk-data before || fail "the captured disk is not what the disk was"
	printf 'other' | dd of=disk.img conv=notrunc status=none
	printf 'q' >in
	mvm restore snap <in
	expect_status 1
	expect_err "drive 'data'.*was written to.*disk-data"
	cp snap/disk-data copy
	mvm restore snap --disk data=copy <in
	expect_status 0
	cmp snap/disk-data before || fail "a restore wrote to what was captured"
}
test_case any-kvm 'snapshot: a disk is captured with the machine, and a copy of that is taken' captured_disk

# restore_for SECONDS [OPTION]...: the guest runs for so long, its console's input open, and ends.
restore_for() {
	local seconds_open=$1
	shift
	rm -f in
	mkfifo in
	{ sleep "$seconds_open"; printf 'q'; } >in &
	mvm restore snap "$@" <in
	wait $!
}

prefetched() {
	"$MVM" api --api-sock s GET /metrics 2>/dev/null | grep -E '^mvm_working_set_prefetched_pages(_total)? [1-9]' >/dev/null
}

working_set() {
	save_echo --
	restore_for 1 --record-working-set 200
	expect_status 0
	[ -s snap/working-set ] || fail "no working set was written"
	rm -f in
	mkfifo in
	"$MVM" restore snap --api-sock s <in >out 2>err &
	pid=$!
	exec 9>in
	within 20 prefetched || fail "its pages were not brought in, or not counted"
	printf 'q' >&9
	exec 9>&-
	join
	expect_status 0
	# One of another snapshot is left alone.
	mv snap/working-set ws
	rm -rf snap
	save_echo --
	cp ws snap/working-set
	restore_for 0.3
	expect_status 0
	expect_err 'working set.*another snapshot'
}
test_case any-kvm 'snapshot: a working set is recorded, brought in, and belongs to one snapshot' working_set
