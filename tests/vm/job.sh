# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# What tests of disks and network have in common: a Linux guest with a userland that runs a script of the test
# (tests/guest/job-init), and what it says.

WITH_JOB='console=ttyS0 panic=-1 quiet'

# disk_job ARGUMENT... <SCRIPT: a guest whose root is a read-only squashfs on its first disk, with everything in it.
# Further disks are found by "disk ID" in the script.
disk_job() {
	make_job_disk
	run --kernel "$KERNEL/vmlinux" --mem 192M --cmdline "$WITH_JOB" --disk "$USERLAND/full.squashfs,ro,id=root" \
		--disk job,ro,id=job "$@" </dev/null
}

# The script from standard input as a disk.
make_job_disk() {
	cat >job
	truncate -s %512 job
}

# small_job KERNEL ARGUMENT... <SCRIPT: a guest whose root is an initramfs, so that it needs no disk.
small_job() {
	local kernel=$1
	shift
	make_job_initrd
	run --kernel "$kernel" --mem 192M --cmdline "$WITH_JOB" --initrd initrd "$@" </dev/null
}

# The kernel takes archives one behind the other.
make_job_initrd() {
	cat >job
	{
		cat "$USERLAND/small.cpio"
		echo job | cpio --quiet -o -H newc
	} >initrd
}

expect_job() {
	grep -aq '^JOB OK' out || fail "the job failed: $(grep -av '^\[' out | tail -n 20)"
	expect_status 0
	# Whatever the job was about, the driver of a sane guest breaks no rule.
	! grep -q 'rule' err || fail "rules were broken"
}

# result_of NAME [FILE]: what the guest said last.
result_of() {
	tr -d '\r' <"${2:-out}" | sed -n "s|^RESULT $1 ||p" | tail -n 1
}

expect_result() {
	[ "$(result_of "$1")" = "$2" ] || fail "$1 is '$(result_of "$1")', expected '$2'"
}

blocks_of() {
	stat -c %b "$1"
}

new_ext4() {
	truncate -s "$2" "$1"
	/sbin/mkfs.ext4 -q -F "${@:3}" "$1"
}

expect_clean() {
	/sbin/fsck.ext4 -fn "$1" >log 2>&1 || fail "the file system on $1 is damaged"
}
