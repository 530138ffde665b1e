# shellcheck shell=bash
# Completion of mvm's command line.

_mvm_flags() {
	case $1 in
	run)
		echo --kernel --initrd --disk --net --cmdline --cpus --mem --pages --prefault --track-dirty --boot --describe --loop \
			--timeline --timeline-json --counters --start-time-us --api-sock --id --verbose --help
		;;
	serve)
		echo --api-sock --api-mode --id --config-file --no-api --http-api-max-payload-size --log-path --level \
			--module --show-level --show-log-origin --metrics-path --boot-timer --no-seccomp --start-time-us \
			--start-time-cpu-us --parent-cpu-time-us --loop --kvm --help --version --snapshot-version \
			--describe-snapshot
		;;
	api) echo --api-sock --help ;;
	console) echo --api-sock --read-only --help ;;
	snapshot) echo --api-sock --diff --live --stop --with-disks --merge --into --help ;;
	restore)
		echo --disk --net --accept-changed-disk --accept-any-cpu --clock --pages --uffd --track-dirty \
			--record-working-set --no-working-set --api-sock --id --paused --loop --kvm --timeline --timeline-json \
			--counters --start-time-us --verbose --help
		;;
	ps) echo --all --interval --json --help ;;
	inspect) echo --json --help ;;
	doctor) echo --json --help ;;
	esac
}

# What a flag takes: words, "file", "tap" or "nothing"; "any" when nothing can be offered.
_mvm_values() {
	case $1$2 in
	restore--disk | restore--net | restore--accept-changed-disk) echo any && return ;;
	restore--pages) echo snapshot host thp 2M && return ;;
	esac
	case $2 in
	--kernel | --initrd | --disk | --timeline-json | --counters | --api-sock | --config-file | --log-path | \
		--metrics-path | --kvm | --describe-snapshot | --uffd | --into) echo file ;;
	--net) echo tap ;;
	--pages) echo host 4k thp 2m ;;
	--boot) echo auto pvh linux64 ;;
	--describe) echo auto acpi cmdline both ;;
	--loop) echo auto uring epoll ;;
	--clock) echo realtime frozen ;;
	--level) echo Off Error Warn Info Debug Trace ;;
	--cmdline | --cpus | --mem | --start-time-us | --api-mode | --id | --http-api-max-payload-size | --module | \
		--start-time-cpu-us | --parent-cpu-time-us | --interval | --record-working-set) echo any ;;
	*) echo nothing ;;
	esac
}

_mvm_taps() {
	local tap
	for tap in /sys/class/net/*/tun_flags; do
		[ ! -e "$tap" ] || echo "$tap" | cut -d/ -f5
	done
}

_mvm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} words
	local methods='GET PUT PATCH DELETE'
	local paths='/ /version /vm /vm/config /machine-config /boot-source /cpu-config /drives/ /network-interfaces/
		/serial /logger /metrics /events /actions /snapshot/create /snapshot/load /openapi.yaml'
	COMPREPLY=()
	if [ "$COMP_CWORD" = 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'run serve api console snapshot restore ps inspect doctor --help --version' -- "$cur")
		return
	fi
	[[ $verb != --* ]] || verb=serve
	# "--flag=value" comes as three words.
	[ "$cur" != = ] || cur=
	[ "$prev" != = ] || prev=${COMP_WORDS[COMP_CWORD - 2]}
	words=$(_mvm_values "$verb" "$prev")
	[ "$verb" != inspect ] || [[ $cur == -* ]] || words='file'
	case $words in
	any) return ;;
	file)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	tap) words=$(_mvm_taps) ;;
	nothing)
		words=$(_mvm_flags "$verb")
		if [[ $verb == @(snapshot|restore|inspect) && $cur != -* ]]; then
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -d -- "$cur")
			return
		fi
		if [ "$verb" = api ] && [[ $cur != -* ]]; then
			words=$methods
			[[ " $methods " != *" $prev "* ]] || words=$paths
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _mvm mvm
