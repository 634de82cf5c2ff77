# What ops/pod-test does with pods and asks of them: each is a container as the chart's pod says, on a
# volume of its own; to be sourced after compose/ask.sh.
# shellcheck shell=bash

MADE=$LOGS/made.yaml
pod() { "$VENV/bin/python" ops/lib/pod/pod.py "$MADE" "$@"; }

# new_volume NUMBER MODE: root's, as a provisioner makes it, and what a kubelet makes of it for fsGroup.
new_volume() {
    docker volume create "queue-$1" >/dev/null
    # shellcheck disable=SC2154 # the script has the image
    docker run --rm --network none --user 0 --entrypoint sh --volume "queue-$1:/v:nocopy" "$image" -c \
        "chown 0:0 /v && chmod $2 /v && chgrp $(pod group) /v && chmod g+rwxs /v"
}

# start_pod NUMBER: a new container, as a kubelet makes one at each start; the volume is that of the number.
start_pod() {
    local name=edge-anonymizer-$1 words
    # What asks it must not take the former one's address.
    rm -rf "${LOGS:?}/$name"
    mkdir -p "$LOGS/$name"
    mapfile -t words < <(pod arguments "$name" "queue-$1" "$LOGS/$name")
    ((${#words[@]})) || die "the pod has no translation"
    docker rm -f "$name" >/dev/null 2>&1 || true
    docker run --detach --name "$name" --network anonymizer_default "${words[@]}" >/dev/null
}

inspect() { docker inspect --format "$2" "edge-anonymizer-$1"; }
ip_of() { inspect "$1" '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'; }
process() { inspect "$1" '{{.State.Pid}}'; }
of_process() { awk -v field="$2:" '$1 == field { $1 = ""; sub(/^ /, ""); print }' "/proc/$(process "$1")/status"; }
inside() { docker exec "edge-anonymizer-$1" "${@:2}"; }

# probed NUMBER PROBE: does it succeed now?
probed() {
    local path port timeout
    read -r path port _ timeout _ < <(pod probe "$2")
    curl -sf -m "$timeout" -o /dev/null "http://$(ip_of "$1"):$port$path"
}
not_probed() { ! probed "$@"; }
# started NUMBER: within the time that the startup probe gives; from then on it is looked at whether it lives.
started() {
    local period failures
    read -r _ _ period _ failures < <(pod probe startup)
    within $((period * failures)) "pod $1 has started" probed "$1" startup
    ip_of "$1" >"$LOGS/live-$1"
}

# watch_life NUMBER: in the background, asks as a kubelet would while $LOGS/live-NUMBER names an address.
watch_life() {
    local path port period timeout ip word
    read -r path port period timeout _ < <(pod probe liveness)
    while sleep "$period"; do
        ip=$(cat "$LOGS/live-$1" 2>/dev/null) || { echo new; continue; }
        word=ok
        curl -sf -m "$timeout" -o /dev/null "http://$ip:$port$path" || word=failed
        # Was it taken away meanwhile?
        if [[ $(cat "$LOGS/live-$1" 2>/dev/null) != "$ip" ]]; then word=new; fi
        echo "$word"
    done >"$LOGS/life-$1"
}
# most_failures NUMBER: in a row.
most_failures() { awk '$1 == "failed" { if (++n > most) most = n; next } { n = 0 } END { print most + 0 }' "$LOGS/life-$1"; }

# stop_pod NUMBER CASE: as a kubelet does, by SIGTERM and the grace period.
stop_pod() {
    local from to
    rm -f "$LOGS/live-$1"
    from=$(date +%s%N)
    docker stop "edge-anonymizer-$1" >/dev/null
    to=$(date +%s%N)
    stops+=("$(((to - from) / 1000000)) ms ($2)")
    check "exit code of a stop, $2" "$(inspect "$1" '{{.State.ExitCode}}')" 0
}

told_by() {
    curl -sf -m 10 "http://$(ip_of "$1"):9464/api/v1/status" |
        python3 -c 'import json, sys; s = json.load(sys.stdin); print(eval(sys.argv[1]))' "$2" 2>/dev/null
}
# members: of the group, by the names they give.
members() {
    compose exec -T broker /opt/kafka/bin/kafka-consumer-groups.sh --bootstrap-server broker:29092 --describe \
        --members --all-groups 2>/dev/null | grep -oE 'edge-anonymizer-[0-9]+' | sort -u | xargs
}
