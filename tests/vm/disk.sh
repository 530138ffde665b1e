# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Disks of Linux guests.  Uses lib.sh and job.sh.

# --- data ---

# Random sizes from a sector to 256K, four at once, each byte read again; then what the host finds in the image.
fio_verify() {
	local file sum
	new_ext4 data 160M
	seconds=110 disk_job --cpus 2 --counters counters --disk "data,id=data$1" "${@:2}" <<'JOB'
mount "$(disk data)" /mnt
verify() {
	fio --directory=/mnt --thread --group_reporting --verify=crc32c --verify_fatal=1 --do_verify=1 --minimal "$@" \
		>/tmp/fio || fail "fio $*: $(cat /tmp/fio)"
}
verify --name=aio --numjobs=4 --size=4m --bsrange=512-256k --rw=randwrite --ioengine=libaio --iodepth=8 --direct=1
verify --name=uring --numjobs=4 --size=3m --bsrange=4k-256k --rw=randwrite --ioengine=io_uring --iodepth=16 --direct=1
verify --name=cached --numjobs=4 --size=4m --bsrange=512-256k --rw=randrw --ioengine=psync --end_fsync=1
sync
sha256sum /mnt/aio.0.0 /mnt/uring.1.0 /mnt/cached.2.0 | while read -r sum name; do
	result "sum${name#/mnt}" "$sum"
done
umount /mnt
JOB
	expect_job
	expect_clean data
	for file in aio.0.0 uring.1.0 cached.2.0; do
		sum=$(/sbin/debugfs -R "cat /$file" data 2>/dev/null | sha256sum | cut -d' ' -f1)
		[ "$(result_of "sum/$file")" = "$sum" ] || fail "$file is another on the host: $sum"
	done
	expect_silence
}
test_case 'linux-kvm userland' 'disk: ext4 survives fio with verification, and the host finds the same' fio_verify ''

# The same, shorter, for each way to the file.
short_verify() {
	local image=$1
	truncate -s 32M "$image"
	disk_job --disk "$image,id=data$2" "${@:3}" <<'JOB'
fio --name=raw --filename="$(disk data)" --numjobs=2 --size=8m --offset_increment=8m --bsrange=512-128k --rw=randwrite \
	--ioengine=libaio --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --end_fsync=1 --thread --minimal >/tmp/fio ||
	fail "fio: $(cat /tmp/fio)"
traffic fill "$(disk data)" 65536 8388608 7
JOB
	expect_job
	"$USERLAND/traffic" check "$image" 65536 8388608 7 || fail "not what the guest wrote"
	expect_silence
}
test_case 'linux-kvm userland' 'disk: verified by engine=sync' short_verify data ,engine=sync
test_case 'linux-kvm userland' 'disk: verified by cache=unsafe' short_verify data ,cache=unsafe
test_case 'linux-kvm userland' 'disk: verified by --loop epoll' short_verify data '' --loop epoll

# A file system that takes O_DIRECT, which memory does not.
on_ext4() {
	new_ext4 outer 256M
	mkdir fs
	mount -o loop outer fs || fail "no mount"
	trap 'umount -l "$PWD/fs"' EXIT
	"$@"
}
direct() {
	on_ext4 short_verify fs/data "$@"
}
test_case 'linux-kvm userland lab' 'disk: verified by direct' direct ,direct
test_case 'linux-kvm userland lab' 'disk: verified by direct with engine=sync' direct ,direct,engine=sync
test_case 'linux-kvm userland lab' 'disk: verified by direct and --loop epoll' direct ,direct --loop epoll

block_device() {
	local loop
	truncate -s 32M backing
	loop=$(losetup -f --show backing) || fail "no loop device"
	# shellcheck disable=SC2064 # now, as it is no variable any more then
	trap "losetup -d $loop" EXIT
	disk_job --disk "$loop,id=data" <<'JOB'
result size "$(blockdev --getsize64 "$(disk data)")"
traffic fill "$(disk data)" 65536 33554432 3
dd if=/dev/zero of="$(disk data)" bs=1M count=1 conv=fsync 2>/dev/null
JOB
	expect_job
	expect_result size 33554432
	"$USERLAND/traffic" check "$loop" 65536 33554432 3 2>err && fail "the first MiB was not written"
	grep -q 'wrong data at byte 0' err || fail "other data"
	cmp -n 1048576 "$loop" /dev/zero || fail "the first MiB is not zeroes"
}
test_case 'linux-kvm userland lab' 'disk: a block device of the host' block_device

# What the guest is told of the blocks decides what it discards; less than a block is an error of the device.
block_device_4k() {
	local loop
	truncate -s 32M backing
	loop=$(losetup -b 4096 -f --show backing) || fail "no loop device"
	# shellcheck disable=SC2064 # now, as it is no variable any more then
	trap "losetup -d $loop" EXIT
	disk_job --disk "$loop,id=data" <<'JOB'
result block "$(blockdev --getss "$(disk data)")"
traffic fill "$(disk data)" 65536 33554432 3
blkdiscard -o 4096 -l 8192 "$(disk data)"
JOB
	expect_job
	expect_result block 4096
	cmp -n 8192 -i 4096:0 "$loop" /dev/zero || fail "nothing was discarded"
	expect_silence
}
test_case 'linux-kvm userland lab' 'disk: a block device with blocks of 4096 bytes' block_device_4k

block_device_lock() {
	local loop
	truncate -s 1M backing
	loop=$(losetup -f --show backing) || fail "no loop device"
	# shellcheck disable=SC2064 # now, as it is no variable any more then
	trap "losetup -d $loop" EXIT
	start --kernel "$GUESTS/idle.elf" --disk "$loop,id=mine" >out 2>err </dev/null
	within 10 has_lock || fail "it locks nothing"
	guest hello --disk "$loop,id=second" </dev/null
	expect_status 1
	expect_err "$loop.*in use by process $pid"
	end_by TERM 5
}
test_case 'any-kvm lab' 'disk: a second writer of a block device is told who has it' block_device_lock

# --- discard ---

discard() {
	local before_a before_b
	mkdir tree
	head -c 24M /dev/urandom >tree/file
	new_ext4 a 64M -d tree
	new_ext4 b 64M -d tree
	before_a=$(blocks_of a) before_b=$(blocks_of b)
	disk_job --counters counters --disk a,id=a --disk b,id=b <<'JOB'
mount -o discard "$(disk a)" /mnt
rm /mnt/file
sync
# The file system discards some time after the commit, and what it has not done by then, an unmount gives up.
sleep 1
umount /mnt
mount "$(disk b)" /mnt
rm /mnt/file
sync
fstrim -v /mnt
umount /mnt
JOB
	expect_job
	# In units of 512 bytes; 24 MiB are 49152.
	[ "$(blocks_of a)" -lt $((before_a - 40000)) ] || fail "a had $before_a blocks and has $(blocks_of a)"
	[ "$(blocks_of b)" -lt $((before_b - 40000)) ] || fail "b had $before_b blocks and has $(blocks_of b)"
	expect_clean a
	expect_clean b
	expect_silence
}
test_case 'linux-kvm userland' 'disk: deleting on a mount with discard, and fstrim, shrink the image' discard

# --- read-only ---

read_only() {
	local sum
	mkdir tree
	echo 'to be kept' >tree/file
	new_ext4 kept 16M -d tree
	new_ext4 other 16M
	sum=$(sha256sum <kept)
	disk_job --disk kept,ro,id=kept --disk other,id=other <<'JOB'
kept=$(disk kept)
result readonly "$(blockdev --getro "$kept")" "$(blockdev --getro "$(disk other)")"
! dd if=/dev/zero of="$kept" bs=4k count=1 conv=fsync 2>/dev/null || fail "written"
# Past the kernel's own guard.
blockdev --setrw "$kept" || true
! dd if=/dev/zero of="$kept" bs=4k count=1 oflag=direct conv=fsync 2>/dev/null || fail "written by force"
blkdiscard "$kept" 2>/dev/null && fail "discarded"
mount -o ro "$kept" /mnt
result text "$(cat /mnt/file)"
umount /mnt
mount "$(disk other)" /mnt
echo new >/mnt/file
umount /mnt
JOB
	expect_job
	expect_result readonly '1 0'
	expect_result text 'to be kept'
	[ "$(sha256sum <kept)" = "$sum" ] || fail "the read-only image has changed"
	[ "$(/sbin/debugfs -R 'cat /file' other 2>/dev/null)" = new ] || fail "the other was not written"
}
test_case 'linux-kvm userland' 'disk: of two disks the read-only one stays as it was' read_only

# --- backends that fail ---

backend_full() {
	mkdir small
	mount -t tmpfs -o size=8m small small || fail "no tmpfs"
	trap 'umount -l "$PWD/small"' EXIT
	truncate -s 64M small/data
	truncate -s 16M other
	disk_job --counters counters --disk small/data,id=data --disk other,id=other "$@" <<'JOB'
data=$(disk data)
dd if=/dev/zero of="$data" bs=64k count=512 oflag=direct 2>/tmp/dd && fail "32 MiB fit into 8"
grep -q 'Input/output error' /tmp/dd || fail "$(cat /tmp/dd)"
dd if="$data" of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null || fail "no reads any more"
traffic fill "$(disk other)" 65536 16777216 1 || fail "the other disk does not work"
traffic check "$(disk other)" 65536 16777216 1
# What was freed can be written again.
blkdiscard "$data"
dd if=/dev/zero of="$data" bs=64k count=16 oflag=direct 2>/dev/null || fail "no writes after a discard"
JOB
	expect_job
	[ "$(grep -c 'No space left' err)" = 1 ] || fail "not said once"
	grep -q data err || fail "not said of which disk"
}
test_case 'linux-kvm userland lab' 'disk: a backend without space gives I/O errors and a living machine' backend_full
test_case 'linux-kvm userland lab' 'disk: the same with engine=sync' backend_full_sync
backend_full_sync() {
	mkdir small
	mount -t tmpfs -o size=8m small small || fail "no tmpfs"
	trap 'umount -l "$PWD/small"' EXIT
	truncate -s 64M small/data
	disk_job --disk small/data,id=data,engine=sync <<'JOB'
dd if=/dev/zero of="$(disk data)" bs=64k count=512 oflag=direct 2>/tmp/dd && fail "32 MiB fit into 8"
grep -q 'Input/output error' /tmp/dd || fail "$(cat /tmp/dd)"
JOB
	expect_job
	[ "$(grep -c 'No space left' err)" = 1 ] || fail "not said once"
}

# The kernel sends SIGXFSZ for what is beyond the limit, which is not the end of the machine.
file_limit() {
	truncate -s 16M data
	ulimit -f 8192
	disk_job --disk data,id=data,engine=sync <<'JOB'
data=$(disk data)
dd if=/dev/zero of="$data" bs=64k count=1 seek=192 oflag=direct 2>/tmp/dd && fail "written beyond the limit"
grep -q 'Input/output error' /tmp/dd || fail "$(cat /tmp/dd)"
dd if=/dev/zero of="$data" bs=64k count=1 oflag=direct 2>/dev/null || fail "no writes below it"
JOB
	expect_job
	[ "$(grep -c 'File too large' err)" = 1 ] || fail "not said once"
}
test_case 'linux-kvm userland' 'disk: a limit of file sizes gives I/O errors and a living machine' file_limit

file_cut() {
	truncate -s 16M data other
	make_job_disk <<'JOB'
data=$(disk data)
echo "cut it"
n=0
while dd if="$data" of=/dev/null bs=4k skip=4000 count=8 iflag=direct 2>/tmp/dd; do
	n=$((n + 1))
	[ $n -lt 1000 ] || fail "reads behind the end go well"
	sleep 0.02
done
grep -q 'Input/output error' /tmp/dd || fail "$(cat /tmp/dd)"
dd if="$data" of=/dev/null bs=4k count=8 iflag=direct 2>/dev/null || fail "nor reads before it"
traffic fill "$(disk other)" 65536 4194304 1 || fail "the other disk does not work"
JOB
	start --kernel "$KERNEL/vmlinux" --mem 192M --cmdline "$WITH_JOB" --disk "$USERLAND/full.squashfs,ro,id=root" \
		--disk job,ro,id=job --disk data,id=data --disk other,id=other "$@" >out 2>err </dev/null
	wait_out '^cut it'
	sleep 0.3
	truncate -s 1M data
	join 30
	expect_job
	[ "$(wc -l <err)" = 1 ] || fail "not said once"
}
test_case 'linux-kvm userland' 'disk: a file cut short under the guest gives I/O errors and a living machine' file_cut

# --- roots ---

squashfs_root() {
	disk_job <<'JOB'
grep -q ' / squashfs ro' /proc/mounts || fail "$(cat /proc/mounts)"
mkdir /tmp/upper /tmp/work
mount -t overlay overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work /mnt
echo changed >/mnt/init
mkdir /mnt/new
mv /mnt/usr/bin/ethtool /mnt/new/
result text "$(chroot /mnt /bin/cat /init)"
chroot /mnt /new/ethtool --version >/dev/null
grep -q 'JOB OK' /init
result upper "$(cd /tmp/upper && echo *)"
JOB
	expect_job
	expect_result text changed
	expect_result upper 'init new usr'
	expect_silence
}
test_case 'linux-kvm userland' 'disk: a squashfs root with an overlay in memory' squashfs_root

ext4_root() {
	cp --sparse=always "$USERLAND/small.ext4" root.ext4
	make_job_disk <<'JOB'
grep -q ' / ext4 rw' /proc/mounts || fail "$(cat /proc/mounts)"
result cmdline "$(cat /proc/cmdline)"
echo 'written by the guest' >/kept
sync
mount -o remount,ro /
JOB
	run --kernel "$KERNEL/vmlinux" --cmdline "$WITH_JOB" --disk root.ext4 --disk job,ro,id=job </dev/null
	expect_job
	[[ $(result_of cmdline) == *'root=/dev/vda rw'* ]] || fail "the command line: $(result_of cmdline)"
	expect_clean root.ext4
	[ "$(/sbin/debugfs -R 'cat /kept' root.ext4 2>/dev/null)" = 'written by the guest' ] || fail "not in the image"
	expect_silence
}
test_case 'linux-kvm userland' 'disk: root on ext4 without an initrd' ext4_root

# --- size, locks, sudden ends ---

resize() {
	truncate -s 32M data
	make_job_disk <<'JOB'
name=$(disk data)
size=/sys/block/${name#/dev/}/size
wait_for() {
	n=0
	while [ "$(cat "$size")" != "$1" ]; do
		n=$((n + 1))
		[ $n -lt 500 ] || fail "the size is $(cat "$size"), not $1"
		sleep 0.02
	done
}
wait_for 65536
echo "make it 64M"
wait_for 131072
dd if=/dev/zero of="$name" bs=64k seek=1000 count=24 oflag=direct 2>/dev/null || fail "no writes to what is new"
echo "make it 16M"
wait_for 32768
dd if="$name" of=/dev/null bs=64k skip=240 count=16 iflag=direct 2>/dev/null || fail "no reads of what is left"
JOB
	start --kernel "$KERNEL/vmlinux" --mem 192M --cmdline "$WITH_JOB" --disk "$USERLAND/full.squashfs,ro,id=root" \
		--disk job,ro,id=job --disk data,id=data >out 2>err </dev/null
	wait_out '^make it 64M'
	truncate -s 64M data
	kill -USR1 "$pid"
	wait_out '^make it 16M'
	truncate -s 16M data
	kill -USR1 "$pid"
	join 30
	expect_job
}
test_case 'linux-kvm userland' 'disk: the guest sees a new size while it runs' resize

has_lock() {
	grep -qs '^lock:' "/proc/$pid/fdinfo/"*
}

lock() {
	truncate -s 1M data
	start --kernel "$GUESTS/idle.elf" --disk data,id=mine >out 2>err </dev/null
	within 10 has_lock || fail "it locks nothing"
	guest hello --disk data,id=second </dev/null
	expect_status 1
	expect_err "data.*(in use|locked|used).*process $pid"
	guest hello --disk data,ro </dev/null
	expect_status 1
	alive || fail "the first has ended"
	kill -9 "$pid"
	wait "$pid"
	guest hello --disk data </dev/null
	expect_status 0
	# Readers do not exclude each other.
	start --kernel "$GUESTS/idle.elf" --disk data,ro >out 2>err </dev/null
	within 10 has_lock || fail "it locks nothing"
	guest hello --disk data,ro </dev/null
	expect_status 0
	guest hello --disk data </dev/null
	expect_status 1
	end_by TERM 5
}
test_case any-kvm 'disk: a second writer is refused and told who has the image' lock

killed_amid_writes() {
	local n i
	new_ext4 data 96M -O has_journal
	make_job_disk <<'JOB'
mount "$(disk data)" /mnt
# Others write and delete all the time.
while :; do
	dd if=/dev/urandom of=/mnt/busy bs=16k count=256 2>/dev/null
	mv /mnt/busy /mnt/done
done &
n=0
while :; do
	mkdir -p "/mnt/d$((n % 7))"
	seq "$n" "$((n + 3000))" >"/mnt/d$((n % 7))/$n"
	sync
	result kept "$n"
	n=$((n + 1))
done
JOB
	start --kernel "$KERNEL/vmlinux" --mem 192M --cmdline "$WITH_JOB" --disk "$USERLAND/full.squashfs,ro,id=root" \
		--disk job,ro,id=job --disk data,id=data --cpus 2 >out 2>err </dev/null
	wait_out '^RESULT kept 1[0-9]'
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	n=$(result_of kept)
	# Free again at once.
	guest hello --disk data </dev/null
	expect_status 0
	/sbin/dumpe2fs -h data 2>/dev/null | grep -q needs_recovery || fail "the journal is empty, so nothing was tried"
	/sbin/e2fsck -fp data >log 2>&1 || [ $? = 1 ] || fail "e2fsck could not mend it"
	! grep -vE '^data: (recovering journal|Clearing orphaned inode .*|.* files .* blocks)$' log ||
		fail "more than a journal to replay"
	expect_clean data
	echo "$((n + 1)) files were synced"
	for ((i = 0; i <= n; i++)); do
		/sbin/debugfs -R "cat /d$((i % 7))/$i" data 2>/dev/null | cmp - <(seq "$i" $((i + 3000))) ||
			fail "file $i of $n, which the guest had synced"
	done
}
test_case 'linux-kvm userland' 'disk: mvm killed amid writes leaves what was synced, and a journal to replay' killed_amid_writes

rebind() {
	truncate -s 32M data
	disk_job --cpus 2 --counters counters --disk data,id=data <<'JOB'
data=$(disk data)
traffic fill "$data" 65536 33554432 5
device=$(readlink -f "/sys/block/${data#/dev/}/device")
device=${device##*/}
for round in 1 2 3; do
	data=$(disk data)
	for reader in 1 2 3; do
		(while dd if="$data" of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done) &
	done
	dd if=/dev/zero of=/dev/null bs=1k count=$((round * 100)) 2>/dev/null
	echo "$device" >/sys/bus/virtio/drivers/virtio_blk/unbind
	wait
	echo "$device" >/sys/bus/virtio/drivers/virtio_blk/bind
done
traffic check "$(disk data)" 65536 33554432 5
traffic fill "$(disk data)" 65536 33554432 6
JOB
	expect_job
	"$USERLAND/traffic" check data 65536 33554432 6 || fail "not what the guest wrote"
	expect_silence
}
test_case 'linux-kvm userland' 'disk: the driver is taken off and put back amid reads, three times' rebind
