# shellcheck shell=bash
# Shared by every script of the project: messages, the cache, Debian packages.
# To be sourced, after "set -eu".  Progress goes to stderr; stdout belongs to the caller.

MVM_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# source_files [PATTERN...] : the files of the checkout that git tracks or would track, one a line, by its patterns.
# Fails when there are none, so that a lint that looked at nothing cannot pass: git may refuse a checkout of another
# owner, and a tarball has no git.
source_files() {
	local list
	list=$(git -c safe.directory="$MVM_TOP" -C "$MVM_TOP" ls-files --cached --others --exclude-standard "$@") &&
		[ -n "$list" ] || die "git lists no files here${*:+ for $*}; the lint needs a git checkout"
	local file
	while IFS= read -r file; do
		[ ! -f "$MVM_TOP/$file" ] || printf '%s\n' "$file"
	done <<<"$list"
}

# The folder for things that are slow to make and do not belong in the checkout: guest kernel, lab.
cache_dir() {
	printf '%s\n' "${MVM_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/mvm}"
}

# cache_key FILE|=TEXT... : sixteen hex digits that change when any of the files or texts does.
cache_key() {
	local part
	for part in "$@"; do
		case $part in
		=*) printf '%s\n' "$part" ;;
		*) sha256sum <"$part" ;;
		esac
	done | sha256sum | cut -c1-16
}

# cache_entry NAME KEY COMMAND... : prints the folder NAME-KEY of the cache.  When it is not there yet, runs
# "COMMAND... FOLDER" on a temporary one and renames it into place, so that an interrupted build leaves nothing
# that looks complete; a lock lets a second caller wait instead of building the same thing again.  COMMAND is
# a program, never a function: bash switches "set -e" off inside functions whose result somebody tests.
cache_entry() {
	local name=$1 dir entry
	dir=$(cache_dir)
	entry=$dir/$name-$2
	shift 2
	mkdir -p "$dir"
	if [ ! -d "$entry" ]; then
		(
			flock 9
			[ ! -d "$entry" ] || exit 0
			tmp=$(mktemp -d "$dir/.tmp-$name-XXXXXX") || exit 1
			trap 'rm -rf "$tmp"' EXIT
			chmod 755 "$tmp" && "$@" "$tmp" >&2 9>&- && mv "$tmp" "$entry"
		) 9>"$dir/.lock-$name" || die "making $name failed; the cache in $dir was left as it was"
	fi
	printf '%s\n' "$entry"
}

# need_packages NAME... : installs the Debian packages that are missing, as root or through sudo.
need_packages() {
	local name missing=()
	for name in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "missing packages (${missing[*]}) and no apt-get: install their equivalents by hand"
	local root=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || die "missing packages: run as root, or: apt-get install ${missing[*]}"
		root=(sudo)
	fi
	say "installing: ${missing[*]}"
	# The lists may be absent or stale on a fresh machine; the lock lets two scripts install one after the other.
	local log
	log=$(mktemp)
	if ! "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 update >"$log" 2>&1 ||
		! "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
			install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die "apt-get could not install: ${missing[*]}"
	fi
	rm -f "$log"
}

# What building mvm needs, and what building its tests needs beside it.
# shellcheck disable=SC2034  # for the scripts that source this
MVM_BUILD_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config liburing-dev libjansson-dev node-llhttp)
# shellcheck disable=SC2034
MVM_TEST_PACKAGES=(libcriterion-dev cpio busybox-static fio iperf3 ethtool squashfs-tools e2fsprogs iproute2 iputils-ping util-linux kmod
	curl python3 python3-prometheus-client python3-yaml mandoc zsh fish)

# build_mvm DIR [MESON_OPTION...] : configures DIR (relative to the checkout) when that has not been done and builds all.
# Quiet unless it fails.
build_mvm() {
	local dir=$MVM_TOP/$1 log
	shift
	log=$(mktemp)
	if ! { [ -e "$dir/build.ninja" ] || meson setup "$dir" "$MVM_TOP" "$@"; } >"$log" 2>&1 ||
		! ninja -C "$dir" >>"$log" 2>&1; then
		{ grep -E 'error|ERROR|FAILED|undefined' -A3 "$log" || tail -n 40 "$log"; } >"$log.short"
		tail -n 40 "$log.short" >&2
		rm -f "$log.short"
		rm -f "$log"
		die "the build in ${dir#"$MVM_TOP"/} failed"
	fi
	rm -f "$log"
}
