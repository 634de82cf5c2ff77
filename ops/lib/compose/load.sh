# Records that a test of containers produces, and whether they are all there, once; to be sourced after
# compose/ask.sh.
# shellcheck shell=bash

# load SEED: 20,000 records in the background, dated on a day of their own, so that they can be counted apart.
loads=() awaited=0 DAY=86400000 FIRST_DAY=1735689600000 # 2025-01-01
load() {
    compose run --rm -T --no-deps log-producer produce --count 20000 --rate 700 --seed "$1" \
        --start-ms $((FIRST_DAY + $1 * DAY)) --json >"$LOGS/load-$1.json" 2>"$LOGS/load-$1.log" </dev/null &
    loads+=($!)
}

# loads_end: waits for all of them.
loads_end() {
    for ((; awaited < ${#loads[@]}; awaited++)); do
        wait "${loads[awaited]}" || check "load $((awaited + 1)) ended with exit code" $? 0
    done
}

# loads_are_stored: each of them as a whole, by its count and sums.
loads_are_stored() {
    local n day
    for ((n = 1; n <= ${#loads[@]}; n++)); do
        day=$(((FIRST_DAY + n * DAY) / 1000))
        check "count, sum(bytes_sent), sum(request_time_milli) of load $n" "$(sql "SELECT count(), sum(bytes_sent),
            sum(request_time_milli) FROM http_log WHERE timestamp >= $day AND timestamp < $day + 86400" | xargs)" \
            "$(python3 -c 'import json, sys; s = json.load(sys.stdin)
print(s["count"], s["bytes_sent_sum"], s["request_time_milli_sum"])' <"$LOGS/load-$n.json")"
    done
}
