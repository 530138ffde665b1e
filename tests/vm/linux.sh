# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Linux guests: the stripped kernel in its three formats, and the distribution's own, to init and to the end.

QUIET='console=ttyS0 panic=-1 quiet'

# linux KERNEL ERRAND ARGUMENT...: boots with the tests' init, which runs the errand.
linux() {
	local kernel=$1 errand=$2
	shift 2
	run --kernel "$kernel" --initrd "$GUESTS/initramfs.cpio" --cmdline "$QUIET mvm.test=$errand" "$@"
}

# All CPUs, and all memory but what the kernel keeps: its image and some per cent for its tables.
expect_machine() {
	local cpus=$1 mib=$2 kib
	expect_out '^hello from the guest'
	expect_out "^cpus=$cpus mem_kib="
	kib=$(sed -n 's/^cpus=.* mem_kib=\([0-9]*\).*/\1/p' out)
	[ "$kib" -le $((mib * 1024)) ] || fail "$kib KiB are more than it has"
	[ "$kib" -ge $((mib * 1024 * 96 / 100 - $3 * 1024)) ] || fail "only $kib KiB of $mib MiB"
}

boots() {
	local format=$1 cpus=$2 mib=$3
	case $format in
	pvh) linux "$KERNEL/vmlinux" poweroff --boot pvh --cpus "$cpus" --mem "${mib}M" ;;
	linux64) linux "$KERNEL/vmlinux" poweroff --boot linux64 --cpus "$cpus" --mem "${mib}M" ;;
	bzImage) linux "$KERNEL/bzImage" poweroff --cpus "$cpus" --mem "${mib}M" ;;
	cloud) linux "$CLOUD/vmlinuz" poweroff --cpus "$cpus" --mem "${mib}M" ;;
	esac </dev/null
	expect_status 0
	expect_machine "$cpus" "$mib" "$([ "$format" = cloud ] && echo 48 || echo 16)"
	expect_silence
}
while read -r format cpus mib; do
	test_case linux-kvm "linux: $format, $cpus vCPUs, $mib MiB" boots "$format" "$cpus" "$mib"
done <<'TABLE'
pvh 1 64
pvh 2 128
pvh 8 4096
pvh 1 6144
linux64 2 64
linux64 8 128
linux64 1 4096
linux64 8 6144
bzImage 8 64
bzImage 1 128
bzImage 2 4096
bzImage 1 6144
pvh 32 512
cloud 1 256
cloud 2 256
TABLE

ends() {
	linux "$KERNEL/vmlinux" "$1" --verbose </dev/null
	expect_status 0
	expect_out '^hello from the guest'
	expect_err "$2"
}
test_case linux-kvm 'linux: power-off is an ACPI power-off' ends poweroff 'the guest shut down \(ACPI power-off\)'
test_case linux-kvm 'linux: reboot ends with 0' ends reboot 'the guest rebooted \('
test_case linux-kvm 'linux: panic with panic=-1 reboots' ends panic 'the guest rebooted \('

cloud_reboots() {
	linux "$CLOUD/vmlinuz" reboot --verbose --mem 256M </dev/null
	expect_status 0
	expect_err 'the guest rebooted \('
}
test_case linux-kvm 'linux: the distribution kernel reboots' cloud_reboots

stays() {
	start --kernel "$KERNEL/vmlinux" --initrd "$GUESTS/initramfs.cpio" --cmdline "$QUIET mvm.test=$1" --cpus 2 \
		>out 2>err </dev/null
	wait_out '^cpus=2'
	sleep 0.5
	alive || fail "ended"
	end_by TERM 5
}
test_case linux-kvm 'linux: halted, ended by SIGTERM' stays halt
test_case linux-kvm 'linux: spinning, ended by SIGTERM' stays spin
test_case linux-kvm 'linux: all CPUs busy, ended by SIGTERM' stays cpuburn
test_case linux-kvm 'linux: flooding, ended by SIGTERM' stays flood

log_is_clean() {
	run --kernel "$1" --initrd "$GUESTS/initramfs.cpio" --cmdline "console=ttyS0 panic=-1 loglevel=1 mvm.test=dmesg" \
		--cpus 2 --mem 256M "${@:2}" </dev/null
	expect_status 0
	expect_out '^dmesg: Linux version'
	expect_out '--- end of dmesg'
	tr -d '\r' <out | sed -n 's/^dmesg: //p' >dmesg
	# Two things are the lab's: its CPU does not intercept XSETBV, so KVM and the guest disagree about the size
	# of XSAVE's area, and its CPUs' time stamps are not of one clock.  QEMU's guests say the same in it.
	if [ -n "${MVM_IN_LAB-}" ]; then
		sed -i -e '/TSCs unsynchronized/d' -e '/XSAVE consistency problem/,/---\[ end trace/d' dmesg
		grep -q 'CPUID\[0d, 00\]' dmesg || ! grep -q 'XSAVE consistency' out || fail "the trace has no end"
	fi
	if grep -E '\<BUG\>|WARNING: |Call Trace|Oops|[Ff]irmware [Bb]ug|ACPI (BIOS )?(Error|Warning)|MP-BIOS|stalled|TSC unstable|nobody cared|not compliant' dmesg >bad; then
		fail "in the kernel's log: $(cat bad)"
	fi
}
log_stripped() {
	log_is_clean "$KERNEL/vmlinux" "$@"
	grep -q kvm-clock dmesg || fail "no kvm-clock"
	grep -q 'ttyS0 at I/O 0x3f8' dmesg || fail "no ttyS0"
}
test_case linux-kvm "linux: nothing bad in the kernel's log by PVH" log_stripped --boot pvh
test_case linux-kvm "linux: nothing bad in the kernel's log by linux64" log_stripped --boot linux64
log_cloud() {
	log_is_clean "$CLOUD/vmlinuz"
}
test_case linux-kvm "linux: nothing bad in the distribution kernel's log" log_cloud

long_cmdline() {
	local tail=' mvm.test=reboot' fill
	fill=$(printf '%*s' $((2047 - ${#QUIET} - ${#tail})) '' | tr ' ' '#')
	# Not with the stripped kernel: one that has a command line built in puts it before, and loses the end.
	run --kernel "$CLOUD/vmlinuz" --mem 256M --initrd "$GUESTS/initramfs.cpio" --verbose \
		--cmdline "$QUIET${fill/#\#/ }$tail" </dev/null
	expect_status 0
	expect_err 'the guest rebooted'
}
test_case linux-kvm 'linux: the end of a command line of 2047 bytes arrives' long_cmdline

button() {
	on_pty 'expect=waiting for the button' $'send=\x01c' 'expect=button' -- --kernel "$KERNEL/vmlinux" \
		--initrd "$GUESTS/initramfs.cpio" --cmdline "$QUIET mvm.test=wait-button" "$@"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case linux-kvm 'linux: Ctrl-A c presses the power button' button
test_case linux-kvm 'linux: Ctrl-A c presses the power button (linux64, 2 vCPUs)' button --boot linux64 --cpus 2

quit() {
	on_pty 'expect=cpus=' $'send=\x01x' -- --kernel "$KERNEL/vmlinux" --initrd "$GUESTS/initramfs.cpio" \
		--cmdline "$QUIET mvm.test=halt"
	expect_end 'exit 0'
	expect_terminal_same
}
test_case linux-kvm 'linux: Ctrl-A x ends a halted one' quit

input() {
	mkfifo in
	exec 5<>in
	head -c 4000 /dev/urandom | base64 -w 63 | head -c 4095 >text
	printf '~' >>text
	start --kernel "$KERNEL/vmlinux" --initrd "$GUESTS/initramfs.cpio" --cmdline "$QUIET mvm.test=cat" "$@" \
		<&5 >out 2>err
	wait_out '^cat is ready'
	cat text >&5
	join 60
	expect_status 0
	sed '1,/^cat is ready/d' out | head -c 4096 | cmp - text || fail "4 KiB of input came back otherwise"
}
test_case linux-kvm 'linux: 4 KiB of serial input arrive whole and in order (--loop uring)' input --loop uring
test_case linux-kvm 'linux: 4 KiB of serial input arrive whole and in order (--loop epoll)' input --loop epoll

time_mark() {
	linux "$KERNEL/vmlinux" poweroff --timeline-json json </dev/null
	expect_status 0
	grep -q '"kernel_us": [0-9]*, "mark_us": [0-9]*' json || fail "no time mark: $(cat json)"
}
test_case linux-kvm 'linux: init marks the time' time_mark
