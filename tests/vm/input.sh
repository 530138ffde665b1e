# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # variables shared with lib.sh and run
# Bad input: what the user gives, and the message that comes back.

# refused STATUS REGEX ARGUMENT...: one line that says it, nothing on stdout.
refused() {
	local want=$1 regex=$2
	shift 2
	mvm "$@" </dev/null
	expect_status "$want"
	expect_err "^mvm: error: .*($regex)"
	[ "$(wc -l <err)" = 1 ] || fail "more than one line"
	[ ! -s out ] || fail "something on stdout"
}

usage() {
	local regex=$1
	shift
	refused 2 "$regex" run "$@"
}

K=(--kernel /nonexistent)
test_case '' 'usage: no kernel' usage '--kernel FILE is missing'
test_case '' 'usage: unknown option' usage "unknown option '--frob'.*--help" "${K[@]}" --frob
test_case '' 'usage: option without a value' usage "'--mem' needs a value" "${K[@]}" --mem
test_case '' 'usage: stray word' usage "'stray' is not an option" "${K[@]}" stray
test_case '' 'usage: unknown verb' refused 2 "'fly' is not a verb.*--help" fly
for kind in boot loop pages; do
	test_case '' "usage: unknown word for --$kind" usage "--$kind 'x': must be one of " "${K[@]}" --$kind x
done
for n in 0 33 -1 1x '' 99999999999999999999; do
	test_case '' "usage: $n vCPUs" usage "--cpus '$n': must be a number from 1 to 32" "${K[@]}" --cpus "$n"
done
test_case '' 'usage: no memory' usage 'memory of 0 bytes is out of range.*16M' "${K[@]}" --mem 0
test_case '' 'usage: 15M of memory' usage 'memory of 15M is out of range.*16M' "${K[@]}" --mem 15M
test_case '' 'usage: 2T of memory' usage 'memory of 2T is out of range.*1T' "${K[@]}" --mem 2T
for n in 134217729 131073K; do
	test_case '' "usage: odd memory of $n" usage 'is not a multiple of 1M' "${K[@]}" --mem $n
done
for n in x 128MB -128M 1.5G '' 99999999999T; do
	test_case '' "usage: '$n' for memory" usage "--mem '$n': must be a size such as 128M" "${K[@]}" --mem "$n"
done
test_case '' 'usage: odd number of megabytes in 2M pages' usage 'not a multiple of 2M' "${K[@]}" --mem 129M --pages 2m
test_case '' 'usage: start time that is none' usage "start-time-us 'soon': must be a number" "${K[@]}" --start-time-us soon

memory_of_host() {
	local kib
	kib=$(awk '$1 == "MemTotal:" || $1 == "SwapTotal:" { sum += $2 } END { print sum }' /proc/meminfo)
	usage 'more than this host has.*ask for less' "${K[@]}" --mem "$((kib / 1024 + 2))M"
}
test_case '' 'usage: more memory than the host has' memory_of_host

no_words() {
	status=0
	"$MVM" >out 2>err || status=$?
	expect_status 2
	expect_err '^usage: mvm VERB'
}
test_case '' 'usage: nothing at all' no_words

help() {
	mvm "$@" --help
	expect_status 0
	expect_out '^usage: mvm'
	expect_silence
	[ "$(wc -l <out)" -le 40 ] || fail "more than a screen"
}
test_case '' 'help' help
test_case '' 'help of run' help run

# --- kernel files ---

# Refused by name, within a moment, whatever the file holds.
bad_file() {
	local regex=$1 file=$2
	shift 2
	refused 1 "'$file'.*($regex)" run --kernel "$file" "$@"
}

missing_kernel() {
	bad_file 'No such file' nothing-here
}
test_case any-kvm 'kernel: missing' missing_kernel

unreadable_kernel() {
	install -m 600 "$GUESTS/hello.elf" secret
	chmod 755 .
	cp "$MVM" mvm && chmod 755 mvm
	mkdir dev && mknod dev/kvm c 10 232 && chmod 666 dev/kvm
	status=0
	unshare -m bash -c 'mount --bind dev/kvm /dev/kvm && exec setpriv --reuid 65534 --clear-groups ./mvm run --kernel secret' \
		>out 2>err || status=$?
	expect_status 1
	expect_err "'secret'.*Permission denied"
}
test_case 'any-kvm root' 'kernel: not readable' unreadable_kernel

odd_kernel() {
	case $1 in
	empty) : >file ;;
	folder) mkdir file ;;
	fifo) mkfifo file ;;
	short) printf 'MZ' >file ;;
	text) yes 'not a kernel' | head -c 100000 >file ;;
	zeroes) head -c 100000 /dev/zero >file ;;
	large) truncate -s 5G file ;;
	script) printf '#!/bin/sh\nexit 0\n' >file ;;
	esac
	bad_file "$2" file
}
test_case any-kvm 'kernel: empty' odd_kernel empty 'is empty'
test_case any-kvm 'kernel: a folder' odd_kernel folder 'not a regular file'
test_case any-kvm 'kernel: a fifo that nobody writes' odd_kernel fifo 'not a regular file'
test_case any-kvm 'kernel: two bytes' odd_kernel short 'too short.*vmlinux or an x86 bzImage'
test_case any-kvm 'kernel: text' odd_kernel text 'not a kernel.*vmlinux or an x86 bzImage'
test_case any-kvm 'kernel: zeroes' odd_kernel zeroes 'not a kernel'
test_case any-kvm 'kernel: larger than 4G' odd_kernel large 'larger than 4G'
test_case any-kvm 'kernel: a script' odd_kernel script 'too short|not a kernel'

crafted() {
	"$GUESTS/test-badkernel" "$1" "$1" || fail "cannot make it"
	bad_file "$2" "$1"
}
while IFS='|' read -r kind what regex; do
	test_case any-kvm "kernel: $what" crafted "$kind" "$regex"
done <<'TABLE'
elf32|32-bit ELF|32-bit.*vmlinux
elf-arm|ELF of another machine|another machine.*183
elf-object|ELF that is an object file|cannot be started
elf-no-segments|ELF without program headers|no program headers
elf-only-note|ELF with nothing to load|nothing to load
elf-headers-behind|ELF whose program headers lie behind its end|truncated
elf-headers-wrap|ELF whose program headers wrap|truncated
elf-cut-header|ELF cut off in its header|too short
elf-cut-segment|ELF cut off in a segment|truncated.*copied completely
elf-outside|ELF segment outside RAM|0x80000000.*0x80000010.*--mem
elf-in-hole|ELF segment in the hole|0xd0000000.*below 3G
elf-high|ELF segment at 1T|0x10000000000.*below 3G
elf-low|ELF segment below 1M|0x6000.*below 1M
elf-big|ELF segment larger than RAM|0x40100000.*--mem
elf-wraps|ELF segment that wraps|wraps around
elf-offset-wraps|ELF segment whose place in the file wraps|truncated.*byte [0-9]{10,}
elf-overlaps|ELF segments that overlap|0x100000 and 0x100800 overlap
elf-file-larger|ELF segment with more bytes in the file than in memory|more bytes in the file
elf-many|ELF with too many segments|more than 32 segments
elf-entry-outside|ELF entry in no segment|entry 0x300000
elf-pvh-outside|PVH entry in no segment|PVH entry 0x300000
bz-old|bzImage of an old protocol|64-bit entry.*2.10
bz-32bit|bzImage of 32 bits|64-bit entry
bz-low|zImage|zImage
bz-cut|bzImage that was cut off|truncated: 4096 bytes.*3996
bz-no-code|bzImage without code|truncated
bz-big|bzImage that needs more than RAM|0x41000000.*--mem
bz-far|bzImage that wants to be at 1T|0x10000000000.*below 3G
TABLE

good_kernel() {
	"$GUESTS/test-badkernel" "$1" good || fail "cannot make it"
	run --kernel good "${@:2}"
	expect_status 0
	expect_silence
}
test_case any-kvm 'kernel: the good ELF that the bad ones come from' good_kernel elf
test_case any-kvm 'kernel: the good bzImage that the bad ones come from' good_kernel bz
test_case any-kvm 'kernel: a good ELF without a note starts at its 64-bit entry' good_kernel elf-no-note
test_case any-kvm 'kernel: a note that overruns its segment counts for nothing' good_kernel elf-note-overruns

no_entry64() {
	"$GUESTS/test-badkernel" elf-only-pvh file
	bad_file '64-bit entry 0x300000.*PVH' file --boot linux64
}
test_case any-kvm 'kernel: 64-bit entry in no segment, and it is asked for' no_entry64
test_case any-kvm 'kernel: 64-bit entry in no segment, and PVH does without' good_kernel elf-only-pvh

no_pvh() {
	"$GUESTS/test-badkernel" "$1" file
	bad_file 'no PVH entry' file --boot pvh
}
test_case any-kvm 'kernel: PVH asked of an ELF without it' no_pvh elf-no-note
test_case any-kvm 'kernel: PVH asked of a bzImage' no_pvh bz

# --- initrd ---

bad_initrd() {
	case $1 in
	missing) ;;
	empty) : >initrd ;;
	folder) mkdir initrd ;;
	large) truncate -s 200M initrd ;;
	exact) truncate -s 127M initrd ;;
	esac
	refused 1 "initrd 'initrd'.*($2)" run --kernel "$GUESTS/hello.elf" --initrd initrd
}
test_case any-kvm 'initrd: missing' bad_initrd missing 'No such file'
test_case any-kvm 'initrd: empty' bad_initrd empty 'is empty'
test_case any-kvm 'initrd: a folder' bad_initrd folder 'not a regular file'
test_case any-kvm 'initrd: larger than RAM' bad_initrd large 'does not fit.*--mem'
test_case any-kvm 'initrd: would cover the kernel' bad_initrd exact 'does not fit.*--mem'

large_initrd() {
	truncate -s 126M initrd
	guest hello --initrd initrd
	expect_status 0
	expect_out hello
}
test_case any-kvm 'initrd: as large as fits' large_initrd

# --- command line ---

text_of() {
	printf '%*s' "$1" x | tr ' ' y
}

cmdline_fits() {
	local text
	text=$(text_of 2047)
	guest cmdline --boot "$1" --cmdline "$text"
	expect_status 0
	[ "$(cat out)" = "[$text]" ] || fail "another command line arrived"
}
for boot in pvh linux64; do
	test_case any-kvm "command line: 2047 bytes arrive ($boot)" cmdline_fits $boot
done

cmdline_empty() {
	guest cmdline --cmdline ''
	expect_status 0
	[ "$(cat out)" = '[]' ] || fail "another command line arrived"
}
test_case any-kvm 'command line: empty' cmdline_empty

cmdline_long() {
	"$GUESTS/test-badkernel" "$1" kernel
	refused 1 "has $2 bytes, this kernel takes $3" run --kernel kernel --cmdline "$(text_of "$2")"
}
test_case any-kvm 'command line: 2048 bytes are too many' cmdline_long elf 2048 2047
test_case any-kvm 'command line: a megabyte is too much' cmdline_long elf 100000 2047
test_case any-kvm 'command line: a bzImage may take less' cmdline_long bz-short-cmdline 256 255

cmdline_short() {
	"$GUESTS/test-badkernel" bz-short-cmdline kernel
	run --kernel kernel --cmdline "$(text_of 255)"
	expect_status 0
}
test_case any-kvm 'command line: exactly what a bzImage takes' cmdline_short
