# Part of ops/compose-test: a ClickHouse that is replaced, then everything produced is stored, once; the
# last stop, and the end of the data.
# shellcheck shell=bash

step_at "a replaced ClickHouse"
before=$(rows)
proxy_since=$(facts ch-proxy '{{.State.StartedAt}}')
# As by another version of its image: what differs in docker-compose.yml is replaced, and what depends on it.
printf 'services: { clickhouse: { labels: { replaced: "yes" } } }\n' >"$LOGS/replaced.yml"
clickhouse=$(id clickhouse)
COMPOSE_FILE=$COMPOSE_FILE:$LOGS/replaced.yml
up
check_true "another ClickHouse" test "$(id clickhouse)" != "$clickhouse"
within 180 "clickhouse is healthy again" is health clickhouse healthy
check_true "its rows are still there" test "$(rows)" -ge "$before"
within 180 "ch-proxy is healthy again" is health ch-proxy healthy
check_true "ch-proxy was started anew" test "$(facts ch-proxy '{{.State.StartedAt}}')" != "$proxy_since"

step_at "everything is stored, once"
compose stop log-producer >>"$LOGS/compose.log" 2>&1
check "exit code of the producer" "$(facts log-producer '{{.State.ExitCode}}')" 0
produced=$(in_kafka)
drained() { [[ $(told 's["queue"]["rows"], s["kafka"]["unread"], s["flush"]["in_flight"]') == "(0, 0, None)" ]]; }
within 900 "nothing is left in Kafka and in the queue" drained
stored=$(rows)
check "rows in ClickHouse, of $produced records produced" "$stored" "$produced"
check "rows that the totals counted" "$(sql 'SELECT sum(requests) FROM http_log_totals')" "$produced"
check "lost, in quarantine, verdict" "$(told 'len(s["lost"]), s["queue"]["quarantined"], s["verdict"]["code"]')" "(0, 0, 'ok')"
check "batches left" "$(told 'len(s["queue"]["batches"])')" 0
loads_are_stored
check "addresses that are not masked" "$(sql "SELECT count() FROM http_log WHERE NOT endsWith(remote_addr, 'X')")" 0

reconciled=0
compose exec -T anonymizer anonymizer reconcile >"$LOGS/reconcile.txt" 2>&1 || reconciled=$?
check "exit code of reconcile, in the container" "$reconciled" 0

step_at "stop and remove"
# shellcheck disable=SC2034 # told by timed_stop
stop_case="idle"
timed_stop compose stop anonymizer
compose logs --no-color --timestamps >"$LOGS/containers.log" 2>&1 || true
readme "docker compose down" >>"$LOGS/compose.log" 2>&1
check "the queue's volume after docker compose down" "$(docker volume ls -q | grep anonymizer-data)" anonymizer_anonymizer-data
readme "docker compose down -v" >>"$LOGS/compose.log" 2>&1
# Unnamed ones, of folders that an image declares and nobody uses, may be left by the `down` before it.
check "volumes after the README's command to remove all" "$(docker volume ls -q | grep anonymizer_)" ""
