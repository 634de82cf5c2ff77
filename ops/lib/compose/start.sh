# Part of ops/compose-test: the README's command starts all in the order of health, on 127.0.0.1 only.
# shellcheck shell=bash

step_at "start"
began=$SECONDS
readme "docker compose up --build" -d >"$LOGS/compose.log" 2>&1 || { tail -n 30 "$LOGS/compose.log" >&2; die "docker compose up failed"; }
# shellcheck disable=SC2034 # told in the end
started=$((SECONDS - began))

for service in broker clickhouse ch-proxy anonymizer log-producer prometheus; do
    within 300 "$service is healthy" is health "$service" healthy
done
healthy='health_status: healthy'
check_true "kafka-init waited for a healthy broker" in_order "$healthy" broker start kafka-init
check_true "ch-proxy waited for a healthy clickhouse" in_order "$healthy" clickhouse start ch-proxy
check_true "anonymizer waited for a healthy ch-proxy" in_order "$healthy" ch-proxy start anonymizer
check_true "anonymizer waited for the end of kafka-init" in_order die kafka-init start anonymizer
check_true "log-producer waited for the end of kafka-init" in_order die kafka-init start log-producer
check "kafka-init's exit code" "$(facts kafka-init '{{.State.ExitCode}}')" 0

check "addresses that ports are published on" "$(docker ps -q | xargs docker inspect --format \
    '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}' | xargs -n 1 | sort -u | xargs)" 127.0.0.1
for port in 9092 8123 8124 9464 9090; do check_true "127.0.0.1:$port, as the README says" port_open "$port"; done
# A client on the host is sent on to an address that it can reach.
check "partitions that a client on the host sees" "$(java -cp "$KAFKA_JARS/*" org.apache.kafka.tools.GetOffsetShell \
    --bootstrap-server localhost:9092 --topic http_log 2>>"$LOGS/host-client.log" | wc -l)" 6

within 120 "the program is a member of the group" is_ready 200
prometheus_sees() {
    [[ $(curl -sf -m 10 -G http://127.0.0.1:9090/api/v1/query --data-urlencode 'query=up{job="anonymizer"}' |
        python3 -c 'import json, sys; print([r["value"][1] for r in json.load(sys.stdin)["data"]["result"]])') == "['1']" ]]
}
within 120 "Prometheus reads the program's metrics" prometheus_sees
check "restarts of the program while all started" "$(facts anonymizer '{{.RestartCount}}')" 0
readme "docker compose exec anonymizer anonymizer status" </dev/null >"$LOGS/status.txt" 2>&1 || true
check "the instance, as the status in the container tells" "$(awk '$1 == "instance" { print $2 }' "$LOGS/status.txt")" live,
