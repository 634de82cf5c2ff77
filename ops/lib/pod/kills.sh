# Part of ops/pod-test: under load pods are killed, replaced, rolled, taken away and brought back, each time by a
# new container on the same volume. What came of it is counted in end.sh.
# shellcheck shell=bash

. "$ROOT/ops/lib/compose/load.sh"
# shellcheck disable=SC2034 # the script tells them
kills=() stops=()

# under_load: returns once a part of the next load is in Kafka.
under_load() {
    local before
    before=$(in_kafka)
    # shellcheck disable=SC2154 # load.sh has them
    load $((${#loads[@]} + 1))
    more() { (($(in_kafka) > before + 2000)); }
    within 180 "load ${#loads[@]} is produced" more
}
# back NUMBER: started and ready again.
back() {
    start_pod "$1"
    started "$1"
    within 180 "pod $1 is ready again" probed "$1" readiness
}

step_at "SIGKILL, under load"
under_load
rm -f "$LOGS/live-0"
docker kill -s KILL edge-anonymizer-0 >/dev/null
kills+=("SIGKILL")
back 0
check "a copy is seen where there is none" "$(told_by 0 's["copy"]')" None

step_at "a pod removed by force, under load"
under_load
rm -f "$LOGS/live-1"
docker rm -f edge-anonymizer-1 >/dev/null
kills+=("removed by force")
back 1

step_at "a rollout, under load"
under_load
for n in 1 0; do
    stop_pod $n "rollout"
    back $n
done
kills+=("rollout of both")

step_at "Kafka down"
loads_end
compose stop broker >>"$LOGS/compose.log" 2>&1
within 120 "it is not ready without Kafka" not_probed 0 readiness
sleep 30
check "it runs without Kafka" "$(inspect 0 '{{.State.Status}}') $(inspect 1 '{{.State.Status}}')" "running running"
stop_pod 1 "without Kafka"
start_pod 1
started 1
docker start "$(id broker)" >/dev/null
within 180 "the broker is healthy again" is health broker healthy
for n in 0 1; do within 180 "pod $n is ready with Kafka" probed $n readiness; done
kills+=("Kafka down")

step_at "one pod less, under load, and back"
under_load
stop_pod 1 "scaled down"
check "its volume stays" "$(docker volume ls -q | grep -c '^queue-')" 2
sleep 10
back 1
kills+=("scaled down and up")
