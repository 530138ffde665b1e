# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Machines that are saved and go on in another process.  The scenarios are in "snapper".  Uses lib.sh, job.sh and net.sh.

snapper() {
	MVM=$MVM GUESTS=$GUESTS KERNEL=${KERNEL-} USERLAND=${USERLAND-} "$TESTS/snapper" "$@" 2>&1 || fail "snapper $*"
}

# --- tiny guests that check themselves (tests/guest/witness.c) ---

test_case any-kvm 'snapshot: 20 generations in a row, and not a byte of the console is another' snapper generations 1 20
test_case any-kvm 'snapshot: 20 generations in a row with 4 vCPUs' snapper generations 4 20
test_case any-kvm 'snapshot: saved live while memory is written, restored from the moment it was' snapper clones_of_live 1 5
test_case any-kvm 'snapshot: the same with 4 vCPUs' snapper clones_of_live 4 3
for live in 0 1; do
	how=$([ $live = 0 ] && echo paused || echo live)
	test_case any-kvm "snapshot: ten differences in a row, tracked, $how, and restored" \
		snapper differences_tracked 2 $live 10
	test_case any-kvm "snapshot: ten differences in a row, not tracked, $how, and restored" \
		snapper differences_untracked 1 $live 10
	test_case any-kvm "snapshot: killed amid a save ($how) there is the old one or the new one" \
		snapper killed_amid_save $live 4
done
test_case any-kvm 'snapshot: a hundred clones at once' snapper crowd_of_clones 100

# --- the verbs, and memory that another process brings ---

test_case any-kvm 'snapshot: mvm snapshot, restore, inspect, and a chain merged' snapper verbs 4
test_case any-kvm 'snapshot: a machine never goes on without its handler, nor waits for it for ever' snapper handlers 2

# --- what is refused ---

test_case any-kvm 'snapshot: disks that are not what they were are refused, and taken when accepted' snapper disks
test_case any-kvm 'snapshot: damaged files, and machines that are not new' snapper files

no_room() {
	# A mount that nobody else sees.
	unshare -m bash -c 'mkdir small && mount -t tmpfs -o size=24m small small && exec "$@"' - \
		env MVM="$MVM" GUESTS="$GUESTS" "$TESTS/snapper" full_disk small || fail "no room"
}
test_case 'any-kvm root' 'snapshot: a save for which there is no room changes nothing' no_room

busy_tap() {
	net_begin
	tap tap0 1
	tap tap1 2
	in_net env MVM="$MVM" GUESTS="$GUESTS" "$TESTS/snapper" taps || fail "taps"
}
test_case 'any-kvm root' 'snapshot: a tap that is in use is refused, and another is taken' busy_tap

# --- Linux, kept busy by tests/guest/toil.c ---

RESTORES=${MVM_TEST_RESTORES:-3}

# linux_snapper SCENARIO ARGUMENT... <SCRIPT: in the namespace, where tap0 and tap1 are ports of a bridge with 10.0.1.1.  The guest
# does what the script says, then what is typed, up to "end".
linux_snapper() {
	net_begin
	in_net ip link add br0 type bridge || fail "no bridge"
	in_net ip addr add 10.0.1.1/24 dev br0
	in_net ip link set br0 up
	for tap in tap0 tap1; do
		in_net ip tuntap add dev $tap mode tap
		in_net ip link set $tap master br0 up
	done
	{
		echo "set +e; dmesg -n 6"
		cat
		cat <<'JOB'
echo ready
while read -r line; do
	case $line in
	clocks | random) /toil "$line" ;;
	end) break ;;
	esac
done
[ -z "$toil" ] || {
	kill "$toil"
	wait "$toil" || fail "what was to go on until now"
}
umount /mnt 2>/dev/null
dmesg -r | sed 's/^<[0-9]*>/DMESG /'
JOB
	} >job
	cp "$GUESTS/test-toil" toil
	{
		cat "$USERLAND/small.cpio"
		printf 'job\ntoil\n' | cpio --quiet -o -H newc
	} >initrd
	in_net env MVM="$MVM" GUESTS="$GUESTS" KERNEL="$KERNEL" "$TESTS/snapper" "$@" 2>&1 || fail "snapper $*"
}

linux_at_work() {
	new_ext4 data 16M
	linux_snapper linux "$1" "$2" <<JOB
mount "\$(disk data)" /mnt || fail "no disk"
network eth0 1
/toil work $1 /mnt/file 10.0.1.1 7 &
toil=\$!
JOB
	expect_clean data
}
test_case 'linux-kvm userland root' "snapshot: Linux at work with 1 vCPU, restored $RESTORES times" linux_at_work 1 "$RESTORES"
test_case 'linux-kvm userland root' "snapshot: Linux at work with 4 vCPUs, restored $RESTORES times" linux_at_work 4 "$RESTORES"

linux_memory() {
	linux_snapper "$@" <<'JOB'
/toil tear 16 &
toil=$!
JOB
}
test_case 'linux-kvm userland root' 'snapshot: Linux saved live while a program writes memory in an order' \
	linux_memory linux_live 2 "$RESTORES"
test_case 'linux-kvm userland root' 'snapshot: Linux restored from a chain of ten live differences, and one more' \
	linux_memory linux_differences 1 10

linux_clocks() {
	linux_snapper linux_truth <<'JOB'
network eth0 1
toil=
JOB
}
test_case 'linux-kvm userland root' 'snapshot: clocks, random numbers and announcements of what was restored' linux_clocks
