# Part of ops/compose-test: what the program may do, as the kernel tells of its process, and what it is
# kept from, by trying.
# shellcheck shell=bash

step_at "privileges"
check "user" "$(of_process Uid)" "10001 10001 10001 10001"
check "group" "$(of_process Gid)" "10001 10001 10001 10001"
for set in CapInh CapPrm CapEff CapBnd CapAmb; do check "$set" "$(of_process "$set")" 0000000000000000; done
check "no new privileges" "$(of_process NoNewPrivs)" 1
check "system calls are filtered" "$(of_process Seccomp)" 2
check "the root file system's mount" \
    "$(awk '$5 == "/" { print substr($6, 1, 2) }' "/proc/$(facts anonymizer '{{.State.Pid}}')/mountinfo")" ro

inside() { compose exec -T anonymizer "$@" 2>&1; }
for path in /etc/x /tmp/x /usr/local/bin/anonymizer; do
    check "writing $path" "$(inside sh -c "echo >$path" | grep -o 'Read-only file system')" "Read-only file system"
done
data=/var/lib/anonymizer
check "owner and mode of the volume" "$(inside stat -c '%u:%g %a' "$data")" "10001:10001 700"
check "files in it of another owner" "$(inside find "$data" ! -uid 10001 -o ! -gid 10001)" ""
check "files in it that others may read" "$(inside find "$data" -mindepth 1 -perm /077)" ""
check "what the container wrote outside its volume" "$(docker diff "$(id anonymizer)")" ""
check "time it has to stop" "$(facts anonymizer '{{.Config.StopTimeout}}')" 15

check "read-only root of the producer" "$(facts log-producer '{{.HostConfig.ReadonlyRootfs}}')" true
check "capabilities of the producer" "$(facts log-producer '{{.HostConfig.CapDrop}}')" "[ALL]"
check "log of the program names an error" "$(compose logs --no-log-prefix anonymizer 2>&1 | grep -m 1 -E ' ERROR |panicked')" ""
