# Completion of mvm's command line.

function __mvm_verb
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test "$words[2]" = $argv[1]
    or begin
        # Flags without a verb are those of serve.
        test $argv[1] = serve; and test (count $words) -ge 2; and string match -q -- '--*' $words[2]
    end
end

function __mvm_no_verb
    test (count (commandline -opc)) -eq 1
end

# Positional words of "mvm api" so far, flags and their values left out.
function __mvm_api_word
    set -l words (commandline -opc)[3..]
    set -l n 0
    set -l is_value no
    for word in $words
        if test $is_value = yes
            set is_value no
        else if test "$word" = --api-sock
            set is_value yes
        else if not string match -q -- '--*' $word
            set n (math $n + 1)
        end
    end
    test $n -eq $argv[1]
end

complete -c mvm -f
complete -c mvm -n __mvm_no_verb -a run -d 'Boot a guest in the foreground'
complete -c mvm -n __mvm_no_verb -a serve -d 'A machine that is driven by a REST API'
complete -c mvm -n __mvm_no_verb -a api -d 'Send one request to the API of a machine'
complete -c mvm -n __mvm_no_verb -a console -d 'Attach to the console of a machine'
complete -c mvm -n __mvm_no_verb -a snapshot -d 'Save a machine, or merge snapshots'
complete -c mvm -n __mvm_no_verb -a restore -d 'Go on with a machine that was saved'
complete -c mvm -n __mvm_no_verb -a ps -d 'List the machines of this user'
complete -c mvm -n __mvm_no_verb -a inspect -d 'Print what is in a snapshot'
complete -c mvm -n __mvm_no_verb -a doctor -d 'Tell whether this host can run guests'
complete -c mvm -n __mvm_no_verb -l help -d 'Print the verbs'
complete -c mvm -n __mvm_no_verb -l version -d 'Print the version'

complete -c mvm -n '__mvm_verb run' -l kernel -r -F -d 'vmlinux or bzImage'
complete -c mvm -n '__mvm_verb run' -l initrd -r -F -d 'Initial ramdisk'
complete -c mvm -n '__mvm_verb run' -l disk -r -F -d 'Disk image or block device'
complete -c mvm -n '__mvm_verb run' -l net -x -a '(__fish_print_interfaces)' -d 'Tap device'
complete -c mvm -n '__mvm_verb run' -l cmdline -x -d 'Kernel command line'
complete -c mvm -n '__mvm_verb run' -l cpus -x -d 'Number of vCPUs'
complete -c mvm -n '__mvm_verb run' -l mem -x -d 'Memory, such as 128M'
complete -c mvm -n '__mvm_verb run' -l pages -x -a 'host 4k thp 2m' -d 'What backs the memory'
complete -c mvm -n '__mvm_verb run' -l prefault -d 'Touch all memory before the start'
complete -c mvm -n '__mvm_verb run' -l track-dirty -d 'Note which pages are written'
complete -c mvm -n '__mvm_verb run' -l boot -x -a 'auto pvh linux64' -d 'Boot protocol'
complete -c mvm -n '__mvm_verb run' -l describe -x -a 'auto acpi cmdline both' -d 'How the guest learns of devices'
complete -c mvm -n '__mvm_verb run' -l loop -x -a 'auto uring epoll' -d 'How to wait for I/O'
complete -c mvm -n '__mvm_verb run' -l timeline -d 'Print a timeline of the cold start'
complete -c mvm -n '__mvm_verb run' -l timeline-json -r -F -d 'Write it as JSON'
complete -c mvm -n '__mvm_verb run' -l counters -r -F -d 'Write what the devices counted'
complete -c mvm -n '__mvm_verb run' -l start-time-us -x -d 'When the caller began'
complete -c mvm -n '__mvm_verb run' -l api-sock -r -F -d 'Socket of the API'
complete -c mvm -n '__mvm_verb run' -l id -x -d 'Name of the machine'
complete -c mvm -n '__mvm_verb run' -l verbose -d 'Say more'
complete -c mvm -n '__mvm_verb run' -l help -d 'Print the options'

complete -c mvm -n '__mvm_verb serve' -l api-sock -r -F -d 'Socket of the API'
complete -c mvm -n '__mvm_verb serve' -l api-mode -x -d 'Its permission bits'
complete -c mvm -n '__mvm_verb serve' -l id -x -d 'Name of the machine'
complete -c mvm -n '__mvm_verb serve' -l config-file -r -F -d 'JSON that describes the machine'
complete -c mvm -n '__mvm_verb serve' -l no-api -d 'No socket'
complete -c mvm -n '__mvm_verb serve' -l http-api-max-payload-size -x -d 'Limit of a request body in bytes'
complete -c mvm -n '__mvm_verb serve' -l log-path -r -F -d 'File or FIFO of the log'
complete -c mvm -n '__mvm_verb serve' -l level -x -a 'Off Error Warn Info Debug Trace' -d 'Level of the log'
complete -c mvm -n '__mvm_verb serve' -l module -x -d 'Log only files that begin so'
complete -c mvm -n '__mvm_verb serve' -l show-level -d 'Level in each log line'
complete -c mvm -n '__mvm_verb serve' -l show-log-origin -d 'File and line in each log line'
complete -c mvm -n '__mvm_verb serve' -l metrics-path -r -F -d 'File or FIFO of the metrics'
complete -c mvm -n '__mvm_verb serve' -l boot-timer -d 'Log when the guest has booted'
complete -c mvm -n '__mvm_verb serve' -l no-seccomp -d 'Accepted; there is no filter yet'
complete -c mvm -n '__mvm_verb serve' -l start-time-us -x -d 'When the starter began'
complete -c mvm -n '__mvm_verb serve' -l start-time-cpu-us -x -d 'CPU time until then'
complete -c mvm -n '__mvm_verb serve' -l parent-cpu-time-us -x -d 'CPU time of the starter'
complete -c mvm -n '__mvm_verb serve' -l loop -x -a 'auto uring epoll' -d 'How to wait for I/O'
complete -c mvm -n '__mvm_verb serve' -l kvm -r -F -d 'Instead of /dev/kvm'
complete -c mvm -n '__mvm_verb serve' -l help -d 'Print the flags'
complete -c mvm -n '__mvm_verb serve' -l version -d 'Print the version'
complete -c mvm -n '__mvm_verb serve' -l snapshot-version -d 'Print the version of snapshots'
complete -c mvm -n '__mvm_verb serve' -l describe-snapshot -r -F -d 'Print the version of a snapshot'

complete -c mvm -n '__mvm_verb api' -l api-sock -r -F -d 'Socket of the machine'
complete -c mvm -n '__mvm_verb api' -l help -d 'Print the options'
complete -c mvm -n '__mvm_verb api; and __mvm_api_word 0' -a 'GET PUT PATCH DELETE'
complete -c mvm -n '__mvm_verb api; and __mvm_api_word 1' \
    -a '/ /version /vm /vm/config /machine-config /boot-source /cpu-config /drives/ /network-interfaces/ /serial /logger /metrics /events /actions /snapshot/create /snapshot/load /openapi.yaml'
complete -c mvm -n '__mvm_verb api; and __mvm_api_word 2' -F

complete -c mvm -n '__mvm_verb console' -l api-sock -r -F -d 'Socket of the machine'
complete -c mvm -n '__mvm_verb console' -l read-only -d 'Look on only'
complete -c mvm -n '__mvm_verb console' -l help -d 'Print the options'

complete -c mvm -n '__mvm_verb snapshot' -l api-sock -r -F -d 'Socket of the machine'
complete -c mvm -n '__mvm_verb snapshot' -l diff -d 'Only the pages written since the last one'
complete -c mvm -n '__mvm_verb snapshot' -l live -d 'The machine goes on meanwhile'
complete -c mvm -n '__mvm_verb snapshot' -l stop -d 'The machine ends when it is saved'
complete -c mvm -n '__mvm_verb snapshot' -l with-disks -d 'What its disks hold as well'
complete -c mvm -n '__mvm_verb snapshot' -l merge -d 'Merge snapshots'
complete -c mvm -n '__mvm_verb snapshot' -l into -r -F -d 'Where to'
complete -c mvm -n '__mvm_verb snapshot' -l help -d 'Print the options'
complete -c mvm -n '__mvm_verb snapshot' -a '(__fish_complete_directories)'

complete -c mvm -n '__mvm_verb restore' -l disk -x -d 'Another file for a disk, ID=PATH'
complete -c mvm -n '__mvm_verb restore' -l net -x -d 'Another tap for an interface, ID=TAP'
complete -c mvm -n '__mvm_verb restore' -l accept-changed-disk -x -d 'Although it was written to'
complete -c mvm -n '__mvm_verb restore' -l accept-any-cpu -d 'Although the CPU lacks something'
complete -c mvm -n '__mvm_verb restore' -l clock -x -a 'realtime frozen' -d 'How the clock goes on'
complete -c mvm -n '__mvm_verb restore' -l pages -x -a 'snapshot host thp 2M' -d 'What backs the memory'
complete -c mvm -n '__mvm_verb restore' -l uffd -r -F -d 'Socket of who brings the pages'
complete -c mvm -n '__mvm_verb restore' -l track-dirty -d 'Note which pages are written'
complete -c mvm -n '__mvm_verb restore' -l record-working-set -x -d 'Note the pages that were needed, after milliseconds'
complete -c mvm -n '__mvm_verb restore' -l no-working-set -d 'Do not bring pages in ahead'
complete -c mvm -n '__mvm_verb restore' -l api-sock -r -F -d 'Socket of the API'
complete -c mvm -n '__mvm_verb restore' -l id -x -d 'Name of the machine'
complete -c mvm -n '__mvm_verb restore' -l paused -d 'A client of the API lets it go'
complete -c mvm -n '__mvm_verb restore' -l loop -x -a 'auto uring epoll' -d 'How to wait for I/O'
complete -c mvm -n '__mvm_verb restore' -l kvm -r -F -d 'Instead of /dev/kvm'
complete -c mvm -n '__mvm_verb restore' -l timeline -d 'Print a timeline of the restore'
complete -c mvm -n '__mvm_verb restore' -l timeline-json -r -F -d 'Write it as JSON'
complete -c mvm -n '__mvm_verb restore' -l counters -r -F -d 'Write what the devices counted'
complete -c mvm -n '__mvm_verb restore' -l start-time-us -x -d 'When the caller began'
complete -c mvm -n '__mvm_verb restore' -l verbose -d 'Say more'
complete -c mvm -n '__mvm_verb restore' -l help -d 'Print the options'
complete -c mvm -n '__mvm_verb restore' -a '(__fish_complete_directories)'

complete -c mvm -n '__mvm_verb ps' -l all -d 'Machines of all users'
complete -c mvm -n '__mvm_verb ps' -l interval -x -d 'Seconds between the two looks'
complete -c mvm -n '__mvm_verb ps' -l json -d 'For programs'
complete -c mvm -n '__mvm_verb ps' -l help -d 'Print the options'

complete -c mvm -n '__mvm_verb inspect' -F
complete -c mvm -n '__mvm_verb inspect' -l json -d 'For programs'
complete -c mvm -n '__mvm_verb inspect' -l help -d 'Print the options'

complete -c mvm -n '__mvm_verb doctor' -l json -d 'For programs'
complete -c mvm -n '__mvm_verb doctor' -l help -d 'Print the options'
