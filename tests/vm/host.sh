# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# A host that lacks something, or on which something fails: exit status 1, and a message that names it.

# on_host REGEX COMMAND...: mvm fails as the host's fault does.
on_host() {
	local regex=$1
	shift
	status=0
	timeout -k 5 30 "$@" >out 2>err </dev/null || status=$?
	expect_status 1
	expect_err "^mvm: error: .*($regex)"
	[ "$(wc -l <err)" = 1 ] || fail "more than one line"
	[ ! -s out ] || fail "something on stdout"
}


kvm_absent() {
	mkdir dev && mknod dev/null c 1 3
	on_host 'cannot open /dev/kvm.*No such file.*modprobe' \
		unshare -m bash -c 'mount --bind dev /dev && exec "$@"' sh "$MVM" run --kernel "$GUESTS/hello.elf"
}
test_case root 'host: no /dev/kvm' kvm_absent

kvm_forbidden() {
	chmod 755 .
	cp "$MVM" mvm && cp "$GUESTS/hello.elf" . && chmod 755 mvm hello.elf
	mknod kvm c 10 232 && chmod 600 kvm
	on_host 'cannot open /dev/kvm.*Permission denied.*group' \
		unshare -m bash -c '[ -e /dev/kvm ] || mknod /dev/kvm c 10 232
			mount --bind kvm /dev/kvm && exec setpriv --reuid 65534 --clear-groups ./mvm run --kernel hello.elf'
}
test_case 'any-kvm root' 'host: /dev/kvm not permitted' kvm_forbidden

kvm_not_kvm() {
	on_host '/dev/kvm is not a KVM device' unshare -m bash -c 'mount --bind /dev/null /dev/kvm && exec "$@"' \
		sh "$MVM" run --kernel "$GUESTS/hello.elf"
}
test_case 'any-kvm root' 'host: /dev/kvm is another device' kvm_not_kvm

deny() {
	local regex=$1 rule=$2
	shift 2
	on_host "$regex" "$GUESTS/test-deny" "$rule" -- "$MVM" run --kernel "$GUESTS/hello.elf" --cpus 4 "$@"
}
test_case any-kvm 'host: another KVM API version' deny 'KVM API version 11, mvm needs 12' ioctl:ae00=11
test_case any-kvm 'host: a KVM capability is missing' deny 'lacks KVM_CAP_IRQCHIP.*newer' ioctl:ae03=0
test_case any-kvm 'host: a vCPU page that is too small' deny 'vCPU page of 16 bytes' ioctl:ae04=16
# Each step of building a machine, failed in turn.
while read -r request name; do
	test_case any-kvm "host: $name fails" deny "KVM_$name failed|KVM_$name refused" "ioctl:$request=-12"
done <<'TABLE'
ae01 CREATE_VM
ae47 SET_TSS_ADDR
4020ae46 SET_USER_MEMORY_REGION
ae60 CREATE_IRQCHIP
4040ae77 CREATE_PIT2
ae41 CREATE_VCPU
ae41@3 CREATE_VCPU
c008ae05 GET_SUPPORTED_CPUID
4008ae90 SET_CPUID2
4008ae90@4 SET_CPUID2
4008ae89 SET_MSRS
4008ae89@2 SET_MSRS
8138ae83 GET_SREGS
4138ae84 SET_SREGS
4090ae82 SET_REGS
8400ae8e GET_LAPIC
4400ae8f SET_LAPIC
TABLE
test_case any-kvm 'host: no more threads' deny 'cannot start the thread of vCPU 2.*pids.max' call:435@3=-11
test_case any-kvm 'host: no signalfd' deny 'cannot watch for signals' call:289=-24
test_case any-kvm 'host: io_uring asked for and refused' deny 'io_uring' call:425=-1 --loop uring
test_case any-kvm 'host: no epoll' deny 'epoll' call:291=-24 --loop epoll
test_case any-kvm 'host: no eventfd' deny 'event' call:290=-24

run_fails() {
	status=0
	"$GUESTS/test-deny" "ioctl:ae80=$1" -- "$MVM" run --kernel "$GUESTS/hello.elf" >out 2>err </dev/null || status=$?
	expect_status 1
	expect_err "$2"
	expect_err 'rip [0-9a-f]{16}'
}
test_case any-kvm 'host: KVM_RUN cannot have a page' run_fails -14 'a page of guest memory cannot be had'
test_case any-kvm 'host: KVM_RUN fails' run_fails -5 'KVM_RUN failed: Input/output error'

run_interrupted() {
	status=0
	"$GUESTS/test-deny" "ioctl:ae80@1=$1" -- "$MVM" run --kernel "$GUESTS/hello.elf" >out 2>err </dev/null || status=$?
	expect_status 0
	expect_silence
	expect_out hello
}
test_case any-kvm 'host: KVM_RUN interrupted goes on' run_interrupted -4
test_case any-kvm 'host: KVM_RUN told to try again goes on' run_interrupted -11

fallback() {
	status=0
	"$GUESTS/test-deny" call:425=-1 -- "$MVM" run --kernel "$GUESTS/hello.elf" "$@" >out 2>err </dev/null || status=$?
	expect_status 0
	expect_out hello
}
test_case any-kvm 'host: io_uring refused, epoll takes over' fallback
test_case any-kvm 'host: io_uring refused, epoll asked for' fallback --loop epoll

fallback_says_so() {
	fallback --verbose
	[ "$(grep -c 'refuses io_uring' err)" = 1 ] || fail "not said once"
}
test_case any-kvm 'host: io_uring refused is said once' fallback_says_so

huge_pool_empty() {
	[ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages)" -lt 64 ] || return 0
	on_host 'cannot reserve 134217728 bytes.*nr_hugepages' "$MVM" run --kernel "$GUESTS/hello.elf" --pages 2m
}
test_case any-kvm 'host: no 2M pages in the pool' huge_pool_empty

huge_pool_filled() {
	echo 80 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
	guest memsize --pages 2m
	echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
	expect_status 0
	expect_out 'memory is good'
	expect_silence
}
test_case lab 'host: 2M pages from the pool' huge_pool_filled

timeline_unwritable() {
	guest hello --timeline-json /nonexistent/file
	expect_err "cannot write the timeline to '/nonexistent/file'"
}
test_case any-kvm 'host: a timeline that cannot be written is said' timeline_unwritable
