# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Network cards of Linux guests, in a network namespace of the test.  Uses lib.sh and job.sh.

# How much goes by TCP each way; a whole GiB takes minutes in the lab.
TCP_MIB=${MVM_TEST_TCP_MIB:-128}
UDP_SECONDS=${MVM_TEST_UDP_SECONDS:-5}

# net_begin: a namespace that ends with the test.
net_begin() {
	unshare -n sleep 1000 &
	holder=$!
	trap 'kill $holder 2>/dev/null' EXIT
	within 5 other_namespace || fail "no namespace"
	in_net ip link set lo up
}

other_namespace() {
	[ "$(readlink "/proc/$holder/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}

in_net() {
	nsenter -t "$holder" -n "$@"
}

# tap NAME NUMBER [MTU]: the host's end of what "network CARD NUMBER" is in the guest.
tap() {
	in_net ip tuntap add dev "$1" mode tap
	in_net ip link set "$1" mtu "${3:-1500}" txqueuelen 1000
	in_net ip addr add "10.0.$2.1/24" dev "$1"
	in_net ip addr add "fd00:$2::1/64" dev "$1" nodad
	in_net ip link set "$1" up
}

# counter TAP NAME: the host's own count.
counter() {
	in_net cat /proc/net/dev | awk -v dev="$1:" -v name="$2" '
		BEGIN { split("rx_bytes rx_packets rx_errs rx_drop 5 6 7 8 tx_bytes tx_packets tx_errs tx_drop", names) }
		$1 == dev { for (i in names) if (names[i] == name) print $(i + 1) }'
}

# net_job KERNEL ARGUMENT... <SCRIPT: the small guest, in the namespace.
net_job() {
	local kernel=$1
	shift
	make_job_initrd
	status=0
	timeout -k 5 "${seconds:-60}" nsenter -t "$holder" -n "$MVM" run --kernel "$kernel" --mem 192M --cmdline "$WITH_JOB" \
		--initrd initrd "$@" >out 2>err </dev/null || status=$?
}

# beside FILE COMMAND...: a program on the host's side, whose output goes into FILE.
beside() {
	nsenter -t "$holder" -n "${@:2}" >"$1" 2>&1 &
	helpers+=("$!")
}

expect_helpers() {
	local helper
	for helper in "${helpers[@]}"; do
		wait "$helper" || {
			tail -n 20 ./*.txt
			fail "a program on the host's side failed"
		}
	done
}

# --- reachable ---

ping_both() {
	net_begin
	tap tap0 1
	net_job "$KERNEL/vmlinux" --net tap0,mac=02:00:00:00:00:17 --counters counters <<'JOB'
result mac "$(cat /sys/class/net/eth0/address)"
result mtu "$(cat /sys/class/net/eth0/mtu)"
network eth0 1
result carrier "$(cat /sys/class/net/eth0/carrier)"
ping -c 5 -i 0.2 -W 2 10.0.1.1 >/tmp/ping || fail "$(cat /tmp/ping)"
ping -6 -c 5 -i 0.2 -W 2 fd00:1::1 >/tmp/ping || fail "$(cat /tmp/ping)"
ping -c 3 -i 0.2 -s 1472 -W 2 10.0.1.1 >/tmp/ping || fail "$(cat /tmp/ping)"
ping -c 3 -i 0.2 -s 20000 -W 2 10.0.1.1 >/tmp/ping || fail "in fragments: $(cat /tmp/ping)"
ping -6 -c 3 -i 0.2 -s 20000 -W 2 fd00:1::1 >/tmp/ping || fail "in fragments: $(cat /tmp/ping)"
JOB
	expect_job
	expect_result mac 02:00:00:00:00:17
	expect_result mtu 1500
	expect_result carrier 1
	expect_silence
}
test_case 'linux-kvm userland root' 'net: ping by IPv4 and IPv6, whole and in fragments' ping_both

# --- streams: traffic checks every byte ---

tcp_both() {
	local bytes=$((TCP_MIB * 1048576)) helpers=() options=$1 script=
	net_begin
	tap tap0 1
	[ -z "${2-}" ] || bytes=$(($2 * 1048576))
	beside in.txt "$USERLAND/traffic" tcp-recv 5001 $bytes
	beside out.txt "$USERLAND/traffic" tcp-send 10.0.1.2 5002 $bytes
	script="
network eth0 1
result features \"\$(cat /sys/bus/virtio/devices/virtio0/features)\"
ethtool -k eth0 | grep -E '^(tx-checksumming|tcp-segmentation-offload|rx-checksumming):' | while read -r l; do echo \"\$l\"; done
traffic tcp-send 10.0.1.1 5001 $bytes || fail 'to the host'
traffic tcp-recv 5002 $bytes | grep -v windows || fail 'from the host'
"
	seconds=${MVM_TEST_LIMIT:-115} net_job "$KERNEL/vmlinux" --net "tap0$options" --counters counters <<<"$script"
	expect_job
	expect_helpers
	expect_result sent $bytes
	expect_result bytes $bytes
	echo "to the host $(result_of ms in.txt) ms, from the host $(result_of ms) ms"
	expect_silence
}
test_case 'linux-kvm userland root' 'net: TCP both ways, every byte checked' tcp_both ''
for option in no-csum no-tso no-mrg; do
	test_case 'linux-kvm userland root' "net: TCP both ways with $option" tcp_both ",$option" 12
done

tcp_v6() {
	local helpers=() bytes=16777216
	net_begin
	tap tap0 1
	beside in.txt "$USERLAND/traffic" tcp-recv 5001 $bytes
	beside out.txt "$USERLAND/traffic" tcp-send fd00:1::2 5002 $bytes
	net_job "$KERNEL/vmlinux" --cpus 2 --net tap0 <<JOB
network eth0 1
traffic tcp-recv 5002 $bytes >/tmp/recv &
traffic tcp-send fd00:1::1 5001 $bytes || fail 'to the host'
wait \$! || fail 'from the host'
JOB
	expect_job
	expect_helpers
	expect_silence
}
test_case 'linux-kvm userland root' 'net: TCP by IPv6, both ways at once' tcp_v6

udp() {
	local helpers=() mtu=$1 size=$2 count=2000 rate=400
	net_begin
	tap tap0 1 "$mtu"
	# The lab may stand still for a while, and its host's queue is not what is tested.
	in_net ip link set tap0 txqueuelen 10000
	beside in.txt "$USERLAND/traffic" udp-recv 5001 "$size" $count 2000
	beside out.txt sh -c "until ping -c 1 -W 1 10.0.1.2; do :; done; sleep 1
		exec $USERLAND/traffic udp-send 10.0.1.2 5002 $size $count $rate"
	net_job "$KERNEL/vmlinux" --cpus 2 --net "tap0,mtu=$mtu" --counters counters <<JOB
network eth0 1 $mtu
result mtu "\$(cat /sys/class/net/eth0/mtu)"
traffic udp-recv 5002 $size $count 2000 >/tmp/recv &
traffic udp-send 10.0.1.1 5001 $size $count $rate
wait \$! || fail "from the host: \$(cat /tmp/recv)"
JOB
	expect_job
	expect_result mtu "$mtu"
	expect_helpers
	expect_silence
}
test_case 'linux-kvm userland root' 'net: UDP at MTU 1500, both ways, nothing lost' udp 1500 1472
test_case 'linux-kvm userland root' 'net: UDP at MTU 9000, both ways, nothing lost' udp 9000 8972
test_case 'linux-kvm userland root' 'net: UDP in fragments, both ways, nothing lost' udp 1500 6000

# What iperf3 misses is what the host's and the guest's own queues have dropped, and no more.
iperf_udp() {
	local helpers=() lost_up lost_down drops errs_host errs_guest
	net_begin
	tap tap0 1
	beside iperf.txt iperf3 -s -1
	seconds=$((UDP_SECONDS + 50)) net_job "$KERNEL/vmlinux" --cpus 2 --net tap0 --counters counters <<JOB
network eth0 1
echo 4194304 >/proc/sys/net/core/rmem_default
sleep 0.5
iperf3 -c 10.0.1.1 -u --bidir -b 30M -l 1400 -t $UDP_SECONDS >/tmp/iperf || fail "\$(cat /tmp/iperf)"
grep -E 'receiver|sender' /tmp/iperf
result errors "\$(awk '/^Udp: [0-9]/ { print \$4 }' /proc/net/snmp)"
JOB
	expect_job
	expect_helpers
	drops=$(counter tap0 tx_drop)
	errs_host=$(in_net awk '/^Udp: [0-9]/ { print $4 }' /proc/net/snmp)
	errs_guest=$(result_of errors)
	# [TX-C] is what the guest sends, [RX-C] what it gets: LOST/TOTAL.
	lost_up=$(tr -d '\r' <out | sed -n 's/.*\[TX-C\].* \([0-9]*\)\/[0-9]* .*receiver.*/\1/p')
	lost_down=$(tr -d '\r' <out | sed -n 's/.*\[RX-C\].* \([0-9]*\)\/[0-9]* .*receiver.*/\1/p')
	grep -a 'receiver' out
	echo "lost: up $lost_up, down $lost_down; dropped by the tap $drops, for lack of room in sockets: host $errs_host, guest $errs_guest"
	[ -n "$lost_up" ] && [ -n "$lost_down" ] || fail "no figures"
	[ "$lost_up" -le "$errs_host" ] || fail "lost between the guest and the tap"
	[ "$lost_down" -le $((drops + errs_guest)) ] || fail "lost between the tap and the guest"
	expect_silence
}
test_case 'linux-kvm userland root' 'net: iperf3 with UDP both ways at once loses what the tap drops and no more' iperf_udp

iperf_tcp() {
	local helpers=()
	net_begin
	tap tap0 1
	beside iperf.txt iperf3 -s -1
	seconds=$((UDP_SECONDS + 50)) net_job "$KERNEL/vmlinux" --cpus 2 --net tap0 --counters counters <<JOB
network eth0 1
sleep 0.5
iperf3 -c 10.0.1.1 --bidir -t $UDP_SECONDS >/tmp/iperf || fail "\$(cat /tmp/iperf)"
grep -E 'receiver|sender' /tmp/iperf
JOB
	expect_job
	expect_helpers
	grep -a 'receiver\|sender' out
	echo "dropped by the tap: $(counter tap0 tx_drop)"
	[ "$(grep -ac 'receiver' out)" = 2 ] || fail "no figures"
	expect_silence
}
test_case 'linux-kvm userland root' 'net: iperf3 with TCP both ways at once' iperf_tcp

# --- how the tap comes ---

unprivileged() {
	net_begin
	tap tap0 1
	chmod 755 .
	chmod 666 /dev/kvm
	cat >job <<'JOB'
network eth0 1
ping -c 3 -i 0.2 -W 2 10.0.1.1 >/tmp/ping || fail "$(cat /tmp/ping)"
JOB
	make_job_initrd <job
	chmod 644 initrd
	status=0
	timeout -k 5 60 nsenter -t "$holder" -n "$GUESTS/test-tapfd" tap0 65534 "$MVM" run --kernel "$KERNEL/vmlinux" \
		--cmdline "$WITH_JOB" --initrd initrd --net fd=9 >out 2>err </dev/null || status=$?
	expect_job
	expect_silence
}
test_case 'linux-kvm userland lab' 'net: a tap handed over as a descriptor to an mvm without privileges' unprivileged

# --- the driver goes and comes ---

rebind_net() {
	net_begin
	tap tap0 1
	net_job "$KERNEL/vmlinux" --cpus 2 --net tap0 <<'JOB'
network eth0 1
ping -A -q 10.0.1.1 >/dev/null 2>&1 &
for round in 1 2 3; do
	traffic udp-send 10.0.1.1 9 1400 300 3000 2>/dev/null &
	sleep 0.1
	echo "round $round: off"
	echo virtio0 >/sys/bus/virtio/drivers/virtio_net/unbind
	wait $! || true # it may find no network
	echo "round $round: on"
	echo virtio0 >/sys/bus/virtio/drivers/virtio_net/bind
	network eth0 1
	ping -c 2 -i 0.2 -W 2 10.0.1.1 >/tmp/ping || fail "round $round: $(cat /tmp/ping)"
done
JOB
	expect_job
	expect_silence
}
test_case 'linux-kvm userland root' 'net: the driver is taken off and put back amid traffic, three times' rebind_net

# --- disks and cards ---

cloud() {
	net_begin
	tap tap0 1
	new_ext4 data 32M
	net_job "$CLOUD/vmlinuz" --mem 512M --cpus 2 --net tap0 --disk data,id=data --disk "$USERLAND/full.squashfs,ro,id=tools" \
		"$@" <<'JOB'
network eth0 1
ping -c 3 -i 0.2 -W 2 10.0.1.1 >/tmp/ping || fail "$(cat /tmp/ping)"
ping -6 -c 3 -i 0.2 -W 2 fd00:1::1 >/tmp/ping || fail "$(cat /tmp/ping)"
mount "$(disk data)" /mnt
traffic fill /mnt/file 65536 8388608 4
umount /mnt
mount "$(disk data)" /mnt
traffic check /mnt/file 65536 8388608 4
rm /mnt/file
fstrim /mnt
umount /mnt
mount -t squashfs -o ro "$(disk tools)" /mnt
result fio "$(chroot /mnt fio --version)"
JOB
	expect_job
	expect_clean data
	[[ $(result_of fio) == fio-* ]] || fail "fio says $(result_of fio)"
	expect_silence
}
test_case 'linux-kvm userland root' "net: the distribution's cloud kernel with a card and disks" cloud

# Twelve disks and four cards; each disk has data of its own, each card a network.
sixteen() {
	local i arguments=() script
	net_begin
	for i in 0 1 2 3; do
		tap "tap$i" $((i + 1))
		arguments+=(--net "tap$i,mac=02:00:00:00:00:0$i")
	done
	for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
		truncate -s 256K "disk$i"
		"$USERLAND/traffic" fill "disk$i" 65536 262144 "$i" || fail "not filled"
		arguments+=(--disk "disk$i,id=d$i")
	done
	net_job "$KERNEL/vmlinux" --verbose --cmdline "$WITH_JOB ${1#auto}" --describe "$2" "${arguments[@]}" <<'JOB'
result found "$(ls /sys/bus/virtio/devices | wc -l)"
for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
	traffic check "$(disk "d$i")" 65536 262144 "$i"
	traffic fill "$(disk "d$i")" 65536 262144 "10$i"
done
for card in /sys/class/net/eth*; do
	mac=$(cat "$card/address")
	number=$((${mac#02:00:00:00:00:} + 1))
	network "${card##*/}" "$number"
	ping -c 2 -i 0.2 -W 2 "10.0.$number.1" >/tmp/ping || fail "$(cat /tmp/ping)"
	result "card$number" ok
done
JOB
	expect_job
	expect_result found 16
	for i in 1 2 3 4; do
		expect_result "card$i" ok
	done
	for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
		"$USERLAND/traffic" check "disk$i" 65536 262144 "10$i" || fail "disk $i"
	done
}
test_case 'linux-kvm userland root' 'net: sixteen devices found by ACPI' sixteen auto acpi
test_case 'linux-kvm userland root' 'net: sixteen devices found by the command line' sixteen acpi=off auto
test_case 'linux-kvm userland root' 'net: sixteen devices with both descriptions' sixteen auto both
