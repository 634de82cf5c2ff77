# What ops/compose-test asks of the containers; to be sourced after engine.sh and checks.sh.
# shellcheck shell=bash

compose() { docker compose "$@"; }

# id SERVICE: of its container. facts SERVICE TEMPLATE: what the engine says of it.
id() { compose ps -aq "$1"; }
facts() { docker inspect --format "$2" "$(id "$1")"; }
state() { facts "$1" '{{.State.Status}}'; }
health() { facts "$1" '{{if .State.Health}}{{.State.Health.Status}}{{end}}'; }
is() { [[ $("$1" "$2") == "$3" ]]; }

# told EXPRESSION: of the status `s` that the program tells on its page.
told() {
    curl -sf -m 10 http://127.0.0.1:9464/api/v1/status |
        python3 -c 'import json, sys; s = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1" 2>/dev/null
}
# metric NAME: its sum, 0 if nobody answers.
metric() {
    curl -sf -m 10 http://127.0.0.1:9464/metrics | awk -v name="anonymizer_$1" '
        { split($1, part, "{") } part[1] == name { sum += $2 } END { printf "%d\n", sum }'
}
ready() { curl -s -m 10 -o /dev/null -w '%{http_code}' http://127.0.0.1:9464/readyz || true; }
is_ready() { [[ $(ready) == "$1" ]]; }
metric_over() { (($(metric "$1") > $2)); }

# sql TEXT: asked past the proxy.
sql() { curl -sf -m 60 --data-binary "$1" http://127.0.0.1:8123/; }
rows() { sql "SELECT count() FROM http_log"; }

# in_kafka: records of the topic, by its end offsets; nothing was ever deleted from it.
in_kafka() {
    compose exec -T broker /opt/kafka/bin/kafka-get-offsets.sh --bootstrap-server broker:29092 \
        --topic http_log --time latest 2>/dev/null | awk -F: '{ sum += $3 } END { print sum + 0 }'
}

# at EVENT SERVICE: when the engine first said so, in nanoseconds.
at() {
    python3 - "$1" "$2" "$LOGS/events.json" <<'PYTHON'
import json, sys
event, service, file = sys.argv[1:]
for line in open(file):
    e = json.loads(line)
    if e.get("Type") == "container" and e["Action"] == event \
            and e["Actor"]["Attributes"].get("com.docker.compose.service") == service:
        print(e["timeNano"])
        break
else:
    print(0)
PYTHON
}

# in_order FIRST-EVENT FIRST SECOND-EVENT SECOND: the first was, and before the second.
in_order() {
    local first second
    first=$(at "$1" "$2") second=$(at "$3" "$4")
    ((first > 0 && second > first))
}

# of_process FIELD: of the program's process, as the kernel of this machine has it.
of_process() {
    local pid
    pid=$(facts anonymizer '{{.State.Pid}}')
    awk -v field="$1:" '$1 == field { $1 = ""; sub(/^ /, ""); print }' "/proc/$pid/status"
}
