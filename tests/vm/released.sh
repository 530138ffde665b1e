# shellcheck shell=bash
# shellcheck disable=SC2154 # variables shared with lib.sh and run
# Snapshots of released formats go on (tests/snapshots).  Uses lib.sh.

released() {
	local folder
	truncate -s 1M disk.img
	ip tuntap add dev tap0 mode tap vnet_hdr || fail "no tap"
	trap 'ip link del tap0' EXIT
	for folder in "$top"/tests/snapshots/*/; do
		rm -rf snap
		mkdir snap
		cp "$folder/state" snap/
		gzip -dc "$folder/memory.gz" >snap/memory
		printf 'still herq' >in
		mvm restore snap --disk data=disk.img <in
		expect_status 0
		[ "$(tr -d '\n' <out)" = 'still herq' ] || fail "$folder: it did not go on"
	done
}
test_case 'any-kvm root lab' 'snapshot: those of released versions go on' released
