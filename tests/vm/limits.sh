# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Rate limits, as a Linux guest and its host feel them: the burst, every second within 5 %, the longest gap.  Uses lib.sh,
# job.sh and net.sh.

# expect_rate WINDOWS RATE BUCKET BURST: WINDOWS has the bytes of each tenth of a second.  It begins with BUCKET and BURST
# beside RATE, which does not refill the bucket while the burst lasts; then every second is within 5 % of RATE.
expect_rate() {
	awk -v rate="$2" -v bucket="$3" -v burst="$4" '{
		for (i = 1; i <= NF; i++) {
			sum += $i
			if (sum <= burst)
				unfilled = i / 10
			credit = sum - rate * i / 10
			promised = bucket + burst - rate * unfilled
			if (credit > most)
				most = credit
			if (!begin && credit > 0.95 * promised)
				begin = i + 2
		}
		low = -1
		for (i = begin; begin && i + 9 < NF; i++) {
			second = 0
			for (j = i; j < i + 10; j++)
				second += $j
			if (low < 0 || second < low)
				low = second
			if (second > high)
				high = second
			n++
		}
		printf "%d windows of 1 s: %.3f to %.3f of the rate; at the start %d beside the rate, promised %d\n",
			n, low / rate, high / rate, most, promised
		exit !(n >= 10 && low >= 0.95 * rate && high <= 1.05 * rate && most <= 1.05 * promised + rate / 20)
	}' <<<"$1"
}

# measured COMMAND...: a lab that stands still for a moment spoils a measurement; of three, one is to be right.
measured() {
	local try
	for try in 1 2 3; do
		if "$@" >figures; then
			cat figures
			return
		fi
		cat figures
	done
	fail "not the rate"
}

disk_limit() {
	local verb=$1 block=$2 option=$3
	truncate -s 64M data
	disk_job --disk "data,id=data,$option" --counters counters <<JOB
traffic $verb "\$(disk data)" $block 5000
JOB
	expect_job
	expect_silence
	expect_rate "$(result_of windows)" "${@:4}"
}
test_case 'linux-kvm userland' 'limits: a disk reads at bw=1M' measured disk_limit read 16384 bw=1M 1048576 1048576 0
test_case 'linux-kvm userland' 'limits: a disk writes at bw=512K/500+2M' \
	measured disk_limit write 16384 bw=512K/500+2M 1048576 524288 2097152
# Operations, counted as their 4096 bytes.
test_case 'linux-kvm userland' 'limits: a disk reads at ops=60+100' measured disk_limit read 4096 ops=60+100 245760 245760 409600

# Datagrams of 1400 bytes, twice as many as may pass; a frame has 42 bytes more and 12 that are for the tap.
net_limit() {
	local direction=$1 option=$2 rate=$(($3 * 1400 / 1454)) bucket=$(($4 * 1400 / 1454)) burst=$(($5 * 1400 / 1454))
	local helpers=() from=out
	local pace=$(($3 * 2 / 1454))
	local count=$((pace * 3)) # sending takes twice as long as it would
	net_begin
	tap tap0 1
	if [ "$direction" = tx ]; then
		beside in.txt "$USERLAND/traffic" udp-recv 5001 1400 $count 1000
		from=in.txt
		net_job "$KERNEL/vmlinux" --net "tap0,$option" --counters counters <<JOB
network eth0 1
ping -c 1 10.0.1.1 >/dev/null
traffic udp-send 10.0.1.1 5001 1400 $count $pace
sleep 2
JOB
		wait "${helpers[0]}"
	else
		count=$((pace * 6))
		# What is left in the tap's queue comes after the end, and is not to blur it.
		in_net ip link set tap0 txqueuelen 20
		beside out.txt sh -c "until ping -c 1 -W 1 10.0.1.2; do :; done
			exec $USERLAND/traffic udp-send 10.0.1.2 5002 1400 $count $pace"
		net_job "$KERNEL/vmlinux" --net "tap0,$option" --counters counters <<JOB
network eth0 1
traffic udp-recv 5002 1400 $count 1000 || true
JOB
		expect_helpers
	fi
	expect_job
	kill "$holder"
	expect_silence
	echo "longest gap $(result_of gap_us $from) us"
	expect_rate "$(result_of windows $from)" "$rate" "$bucket" "$burst"
}
test_case 'linux-kvm userland root' 'limits: a guest sends at tx-bw=512K' measured net_limit tx tx-bw=512K 524288 524288 0
test_case 'linux-kvm userland root' 'limits: a guest receives at rx-bw=512K+1M' measured net_limit rx rx-bw=512K+1M 524288 524288 1048576
