# Part of ops/compose-test: under load the program is killed, crashes, is replaced on its volume and is
# killed with an insert under way. What came of it is counted in end.sh.
# shellcheck shell=bash

. "$ROOT/ops/lib/compose/load.sh"
kills=() stops=()

# under_load: returns once the next load is being read.
under_load() {
    local before
    before=$(metric rows_appended_total)
    # shellcheck disable=SC2154 # load.sh has them
    load $((${#loads[@]} + 1))
    within 180 "load ${#loads[@]} is read" metric_over rows_appended_total $((before + 2000))
}

# timed_stop COMMAND...: of the program, and how it ended.
timed_stop() {
    local from to
    from=$(date +%s%N)
    "$@" >>"$LOGS/compose.log" 2>&1
    to=$(date +%s%N)
    stops+=("$(((to - from) / 1000000)) ms ($stop_case)")
    check "exit code of a stop, $stop_case" "$(facts anonymizer '{{.State.ExitCode}}')" 0
}

up() { compose up -d --no-build "$@" >>"$LOGS/compose.log" 2>&1 || { tail -n 20 "$LOGS/compose.log" >&2; die "docker compose up $*"; }; }

step_at "docker kill -s KILL, under load"
under_load
docker kill -s KILL "$(id anonymizer)" >/dev/null
kills+=("docker kill")
within 60 "the killed container has ended" is state anonymizer exited
check "exit code after docker kill" "$(facts anonymizer '{{.State.ExitCode}}')" 137
up anonymizer
within 180 "it is back after docker kill" is_ready 200

step_at "a crash, under load"
under_load
kill -KILL "$(facts anonymizer '{{.State.Pid}}')"
kills+=("crash")
restarted() { (($(facts anonymizer '{{.RestartCount}}') > 0)); }
within 120 "the restart policy starts it again" restarted
within 180 "it is back after a crash" is_ready 200

step_at "a new container on the volume of one that was removed by force, under load"
under_load
former=$(id anonymizer) volume=$(facts anonymizer '{{range .Mounts}}{{.Name}}{{end}}')
docker rm -f "$former" >/dev/null
kills+=("rm -f")
up anonymizer
check_true "another container" test "$(id anonymizer)" != "$former"
check "its volume" "$(facts anonymizer '{{range .Mounts}}{{.Name}}{{end}}')" "$volume"
within 180 "it is back after it was replaced" is_ready 200
check "a copy is seen where there is none" "$(told 's["copy"]')" None

step_at "a replacement as for an upgrade, under load"
under_load
former=$(id anonymizer)
readme "docker compose up --build -d anonymizer" "--force-recreate --no-deps" >>"$LOGS/compose.log" 2>&1
kills+=("recreate")
check_true "another container" test "$(id anonymizer)" != "$former"
within 180 "it is back after an upgrade" is_ready 200
check "exit code of the former one" "$(python3 - "$former" "$LOGS/events.json" <<'PYTHON'
import json, sys
events = map(json.loads, open(sys.argv[2]))
print(*[e["Actor"]["Attributes"]["exitCode"] for e in events if e["Action"] == "die" and e["Actor"]["ID"] == sys.argv[1]])
PYTHON
)" 0

step_at "docker kill -s KILL with an insert under way"
docker pause "$(id clickhouse)" >/dev/null
load $((${#loads[@]} + 1))
within 300 "a request is under way" metric_over requests_in_flight 0
docker kill -s KILL "$(id anonymizer)" >/dev/null
kills+=("docker kill under an insert")
docker unpause "$(id clickhouse)" >/dev/null
docker start "$(id anonymizer)" >/dev/null
within 180 "it is back after a kill under an insert" is_ready 200
