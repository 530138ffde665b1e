# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Guests that misbehave: the monitor lives, says what happened, and can be ended.  Uses tests/vm/lib.sh.

crashes() {
	local name=$1 regex=$2
	shift 2
	guest "$name" "$@" </dev/null
	expect_status 3
	expect_err "^mvm: error: the guest crashed: vCPU 0: .*($regex)"
	expect_err '^mvm: error: vCPU 0: rip [0-9a-f]{16} rsp [0-9a-f]{16}'
	expect_err 'cr0 [0-9a-f]{8} .*cr3 '
}
for boot in pvh linux64; do
	test_case any-kvm "hostile: triple fault by $boot" crashes triple-fault 'triple fault' --boot $boot
	test_case any-kvm "hostile: jump into the hole by $boot" crashes nowhere 'INTERNAL_ERROR|jump to nowhere' --boot $boot
done
test_case any-kvm 'hostile: jump behind RAM' crashes nowhere 'INTERNAL_ERROR|jump to nowhere' --cmdline at=134217728
test_case any-kvm 'hostile: jump to an address that is not mapped' crashes nowhere 'triple fault' --cmdline at=70368744177664
test_case any-kvm 'hostile: jump into the monitor-made tables' crashes nowhere '.' --cmdline at=24576

last_words() {
	# What was written before the crash is not lost.
	guest triple-fault
	expect_out '^falling$'
}
test_case any-kvm 'hostile: last words before a crash arrive' last_words

unclaimed() {
	guest unclaimed --mem "$1" --cmdline "mem_mib=$2" "${@:3}" </dev/null
	expect_status 0
	expect_out '^nobody is there$'
	expect_silence
}
test_case any-kvm 'hostile: unclaimed ports and addresses' unclaimed 128M 128
test_case any-kvm 'hostile: unclaimed ports and addresses, 16M' unclaimed 16M 16
test_case any-kvm 'hostile: unclaimed ports and addresses, by linux64' unclaimed 128M 128 --boot linux64

unclaimed_verbose() {
	# Told, but not once for each access.
	guest unclaimed --verbose </dev/null
	expect_status 0
	expect_err "port 0x1f0, which is nobody's"
	[ "$(wc -l <err)" -lt 100 ] || fail "$(wc -l <err) lines"
}
test_case any-kvm 'hostile: unclaimed accesses do not fill the log' unclaimed_verbose

storm() {
	guest storm --cpus "$1" --cmdline "cpus=$1 seed=$2 n=$3" </dev/null
	expect_status 0
	expect_out '^the storm is over'
	! grep -a -v 'console output were lost' err || fail "unexpected messages"
}
for seed in 1 2 3 4; do
	test_case any-kvm "hostile: random device accesses, seed $seed" storm 1 $seed 20000
done
test_case any-kvm 'hostile: random device accesses from four CPUs' storm 4 5 5000

storm_input() {
	# With input coming all the time.
	head -c 1000000 /dev/urandom >in
	guest storm --cmdline "seed=$1 n=20000" <in
	expect_status 0
	expect_out '^the storm is over'
}
test_case any-kvm 'hostile: random device accesses while input arrives' storm_input 6

crowd() {
	guest crowd --cpus "$1" --cmdline "cpus=$1" </dev/null
	expect_status 0
	expect_silence
	[ "$(wc -c <out)" -ge $(($1 * 200)) ] || fail "only $(wc -c <out) bytes arrived"
}
for n in 1 2 8; do
	test_case any-kvm "hostile: $n CPUs end the machine at once" crowd $n
done

afterlife() {
	guest afterlife </dev/null
	expect_status 0
	expect_out '^last words$'
	expect_silence
	! grep -q 'after the end' out || fail "the guest ran on after it had powered off"
}
test_case any-kvm 'hostile: a guest that has powered off does not run on' afterlife

# --- flood ---

threads() {
	awk '$1 == "Threads:" { print $2 }' "/proc/$pid/status"
}

bounded() {
	local kib
	kib=$(resident_kib)
	[ "$kib" -lt "$1" ] || fail "$kib KiB resident"
}

flood_unread() {
	# A reader that does not read: memory stops growing, the machine goes on, and a signal ends it.
	local before=0 same=0 n=0
	mkfifo fifo
	exec 5<>fifo
	dd if=/dev/zero of=fifo bs=4096 oflag=nonblock 2>err
	start --kernel "$GUESTS/flood.elf" "$@" >&5 2>err </dev/null
	while [ $same -lt 3 ]; do
		[ $((n += 1)) -le 60 ] || fail "it still grows after a minute: $before KiB"
		sleep 1
		alive || fail "ended"
		same=$(($(resident_kib) == before ? same + 1 : 0))
		before=$(resident_kib)
	done
	bounded 32768
	end_by TERM 5
	expect_err '[0-9]+ bytes of console output were lost'
}
test_case any-kvm 'hostile: flood with a reader that does not read (--loop uring)' flood_unread --loop uring
test_case any-kvm 'hostile: flood with a reader that does not read (--loop epoll)' flood_unread --loop epoll

flood_slow() {
	mkfifo fifo
	exec 5<>fifo
	start --kernel "$GUESTS/flood.elf" >&5 2>err </dev/null
	for _ in 1 2 3 4 5; do
		head -c 1000 <&5 >>out
		sleep 0.1
	done
	[ "$(wc -c <out)" = 5000 ] || fail "too few bytes"
	alive || fail "ended"
	end_by TERM 5
}
test_case any-kvm 'hostile: flood with a slow reader' flood_slow

flood_gone() {
	# A reader that goes away is not the guest's end.
	mkfifo fifo
	exec 5<>fifo
	start --kernel "$GUESTS/flood.elf" "$@" >fifo 2>err </dev/null 5>&-
	exec 6<fifo 5>&-
	head -c 1000 <&6 >out
	exec 6<&-
	sleep 0.5
	alive || fail "ended with its reader"
	end_by TERM 3
	expect_err 'console output were lost'
}
test_case any-kvm 'hostile: flood with a reader that goes away (--loop uring)' flood_gone --loop uring
test_case any-kvm 'hostile: flood with a reader that goes away (--loop epoll)' flood_gone --loop epoll

flood_closed() {
	start --kernel "$GUESTS/flood.elf" 2>err </dev/null >&-
	sleep 0.5
	alive || fail "ended"
	bounded 65536
	end_by INT 3
}
test_case any-kvm 'hostile: flood with closed stdout' flood_closed

flood_file() {
	start --kernel "$GUESTS/flood.elf" >out 2>err </dev/null
	sleep 0.5
	alive || fail "ended"
	end_by TERM 3
	# Whole lines in order, whatever the speed: at most what a full ring dropped is missing.
	head -n 100 out | awk 'length != 63 { exit 1 }' || fail "torn lines"
}
test_case any-kvm 'hostile: flood into a file' flood_file

no_leftovers() {
	start --kernel "$GUESTS/$1.elf" --cpus 8 >out 2>err </dev/null
	wait_out "$2"
	[ "$(threads)" -ge 9 ] || fail "only $(threads) threads"
	end_by TERM 3
	[ ! -e "/proc/$pid" ] || fail "still there"
}
test_case any-kvm 'hostile: no thread and no process is left of a spinning machine' no_leftovers spin spinning

killed() {
	# Even SIGKILL leaves nothing behind, and the next machine starts.
	start --kernel "$GUESTS/spin.elf" --cpus 4 >out 2>err </dev/null
	wait_out spinning
	end_by KILL 5
	guest hello
	expect_status 0
}
test_case any-kvm 'hostile: SIGKILL, and the next one starts' killed

rogue() {
	head -c 1M /dev/zero >victim
	head -c 1M /dev/zero | tr '\0' '\1' >bystander
	sha256sum victim bystander >before
	guest rogue --disk victim --disk bystander --counters counters "$@" </dev/null
	expect_status 0
	expect_out '^the rogue is done$'
	sha256sum --quiet -c before || fail "the disks have changed"
	expect_err "disk 'disk0': the driver .* \(virtio 1\.2, 2\.7\.[0-9.]+\); the device needs a reset"
	! grep -a "disk 'disk1'" err || fail "the bystander broke a rule"
	# A budget for lines that a guest causes.
	[ "$(wc -l <err)" -lt 40 ] || fail "$(wc -l <err) lines in the log"
	grep -q '"disk1":.*"errors":0.*"rule_breaks":0' counters || fail "the bystander's counters: $(cat counters)"
}
test_case any-kvm 'hostile: a driver that breaks every rule, one after the other' rogue
test_case any-kvm 'hostile: a driver that breaks every rule, without io_uring' rogue --loop epoll
