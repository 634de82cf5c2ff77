# Part of ops/pod-test: everything produced is stored, once.
# shellcheck shell=bash

step_at "everything is stored, once"
loads_end
produced=$(in_kafka)
# shellcheck disable=SC2154 # load.sh has them
check "records in Kafka" "$produced" $((${#loads[@]} * 20000))
empty() { [[ $(told_by "$1" 's["queue"]["rows"], s["kafka"]["unread"], s["flush"]["in_flight"]') == "(0, 0, None)" ]]; }
drained() { empty 0 && empty 1; }
within 900 "nothing is left in Kafka and in the queues" drained
stored=$(rows)
check "rows in ClickHouse, of $produced records produced" "$stored" "$produced"
check "rows that the totals counted" "$(sql 'SELECT sum(requests) FROM http_log_totals')" "$produced"
loads_are_stored
read -r _ _ _ _ too_many < <(pod probe liveness)
for n in 0 1; do
    check "pod $n: lost, in quarantine" "$(told_by $n 'len(s["lost"]), s["queue"]["quarantined"]')" "(0, 0)"
    closed_to_others $n
    # A kubelet would have restarted it, which mends nothing.
    check_true "pod $n: its life was asked for" test "$(grep -c ok "$LOGS/life-$n")" -ge 5
    check_true "pod $n: failures of it in a row, below $too_many" test "$(most_failures $n)" -lt "$too_many"
done
for n in 0 1; do
    stop_pod $n "in the end"
    docker logs "edge-anonymizer-$n" >"$LOGS/pod-$n.log" 2>&1
done
# shellcheck disable=SC2154 # kills.sh has them
check "stops beyond the grace period of $(inspect 0 '{{.Config.StopTimeout}}') s" \
    "$(printf '%s\n' "${stops[@]}" | awk -v grace="$(inspect 0 '{{.Config.StopTimeout}}')" '$1 >= grace * 1000')" ""
