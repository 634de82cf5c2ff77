# Part of ops/pod-test: a pod starts before there is a Kafka, lives and is not ready; ready means joined.
# What it may do, and what became of its volume.
# shellcheck shell=bash

step_at "a pod without Kafka"
compose up -d --no-build clickhouse ch-proxy >"$LOGS/compose.log" 2>&1 || { tail "$LOGS/compose.log" >&2; die "docker compose up"; }
within 300 "ch-proxy is healthy" is health ch-proxy healthy
new_volume 0 755
new_volume 1 777
start_pod 0
started 0
watch_life 0 &
watchers+=($!)
sleep 20
check "ready without Kafka" "$(probed 0 readiness && echo yes || echo no)" no
check "it runs without Kafka" "$(inspect 0 '{{.State.Status}}')" running

step_at "Kafka"
compose up -d --no-build broker kafka-init >>"$LOGS/compose.log" 2>&1 || die "docker compose up broker"
within 300 "the topic is made" is state kafka-init exited
within 180 "the pod is ready" probed 0 readiness
check "members of the group when it is ready" "$(members)" edge-anonymizer-0
# As README.md has it, with kubectl's words left out.
command=$(sed -n 's/^    kubectl exec --namespace logs edge-anonymizer-0 -- //p' README.md)
# shellcheck disable=SC2086 # its words are words
inside 0 ${command:?README.md has no such line} >"$LOGS/status.txt" 2>&1 || true
check "the instance, as '$command' tells in the pod" "$(awk '$1 == "instance" { print $2 }' "$LOGS/status.txt")" live,

step_at "a second pod"
start_pod 1
started 1
watch_life 1 &
watchers+=($!)
within 180 "the second pod is ready" probed 1 readiness
check "members of the group with two" "$(members)" "edge-anonymizer-0 edge-anonymizer-1"

step_at "privileges"
group=$(pod group)
for n in 0 1; do
    check "pod $n: user" "$(of_process $n Uid)" "10001 10001 10001 10001"
    check "pod $n: group" "$(of_process $n Gid)" "10001 10001 10001 10001"
    check "pod $n: other groups" "$(of_process $n Groups | xargs)" "$group"
    for set in CapInh CapPrm CapEff CapBnd CapAmb; do check "pod $n: $set" "$(of_process $n "$set")" 0000000000000000; done
    check "pod $n: no new privileges" "$(of_process $n NoNewPrivs)" 1
    check "pod $n: system calls are filtered" "$(of_process $n Seccomp)" 2
    check "pod $n: the root file system's mount" \
        "$(awk '$5 == "/" { print substr($6, 1, 2) }' "/proc/$(process $n)/mountinfo")" ro
    check "pod $n: what it wrote outside its volume" "$(docker diff "edge-anonymizer-$n" | grep -vE '^[AC] (/etc|/var|/var/lib)(/anonymizer(/config)?)?$')" ""
    check "pod $n: settings of the mounted file" "$(inside $n anonymizer config print | grep -c '(file /etc/anonymizer/config/anonymizer.json)')" \
        "$("$VENV/bin/python" -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$LOGS/edge-anonymizer-$n/config/anonymizer.json")"
done
check "the volume that was closed" "$(inside 0 stat -c '%u:%g %a' /var/lib/anonymizer)" "0:$group 2775"
check "the volume that was everybody's" "$(inside 1 stat -c '%u:%g %a' /var/lib/anonymizer)" "0:$group 2777"
# closed_to_others NUMBER: the queue in it, whatever the volume's mode is.
closed_to_others() {
    check "pod $1: owner of its data dir" "$(inside "$1" stat -c '%u:%g' /var/lib/anonymizer/queue)" 10001:10001
    check "pod $1: files in it that others may reach" "$(inside "$1" find /var/lib/anonymizer/queue -perm /077 | head -n 3)" ""
}
for n in 0 1; do closed_to_others $n; done
