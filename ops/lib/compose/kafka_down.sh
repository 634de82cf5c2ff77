# Part of ops/compose-test: without Kafka the container stays as it is and healthy, since its rows are safe
# and a restart would mend nothing; it is not ready, stops in time and starts.
# shellcheck shell=bash

step_at "Kafka down"
loads_end
restarts=$(facts anonymizer '{{.RestartCount}}') container=$(id anonymizer)
compose stop broker >>"$LOGS/compose.log" 2>&1
down_since=$(date +%s)
within 120 "it is not ready without Kafka" is_ready 503

# looked_at: its health was asked for since Kafka went.
looked_at() {
    local last
    last=$(facts anonymizer '{{range .State.Health.Log}}{{.Start.Unix}} {{end}}' | xargs -n 1 | tail -n 1)
    ((last > down_since + 5))
}
within 120 "its health is looked at" looked_at
check "health without Kafka" "$(health anonymizer)" healthy
check "state without Kafka" "$(state anonymizer)" running
check "finding without Kafka" "$(told '[f["what"] for f in s["verdict"]["findings"] if f["what"] == "kafka-down"]')" "['kafka-down']"
check "restarts without Kafka" "$(facts anonymizer '{{.RestartCount}}')" "$restarts"

# shellcheck disable=SC2034 # told by timed_stop
stop_case="without Kafka"
timed_stop docker stop "$container"
docker start "$container" >/dev/null
check "health right after a start" "$(health anonymizer)" starting
within 180 "it becomes healthy without Kafka" is health anonymizer healthy
check "ready without Kafka" "$(ready)" 503
check "state after a start without Kafka" "$(state anonymizer)" running

docker start "$(id broker)" >/dev/null
within 180 "the broker is healthy again" is health broker healthy
within 180 "it is ready again with Kafka" is_ready 200
within 180 "the producer is healthy again" is health log-producer healthy
