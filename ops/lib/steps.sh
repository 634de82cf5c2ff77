# Runs the steps of ops/check and ops/test: a line each, the output in a file; to be sourced after
# common.sh. A step that fails does not end the script: all are tried.
# shellcheck shell=bash

STEP_LOGS=$ROOT/target/test-logs
STEPS_PASSED=0 STEPS_FAILED=0
mkdir -p "$STEP_LOGS"

# step_log NAME: where its output goes.
step_log() { echo "$STEP_LOGS/$(tr -c 'a-zA-Z0-9\n' '-' <<<"$1").log"; }

# left_out TEXT: said by a step that could not be run here; it counts as neither passed nor failed.
left_out() { echo "left out: $*"; }

# step NAME COMMAND...: runs it and tells the result. In a subshell with `set -e` in force, which a
# command in an `if` would not have.
step() {
    local name=$1 start=$SECONDS status=0 log; shift
    log=$(step_log "$name")
    set +e
    (trap 'times >"$log.times"' EXIT; set -e; "$@") >"$log" 2>&1 </dev/null
    status=$?
    set -e
    step_result "$name" "$status" "$((SECONDS - start))"
}

# cpu LOG: the seconds of CPU of a step and of what it waited for, as `times` wrote them.
cpu() { tr 'ms' '  ' <"$1.times" | awk '{ s += 60 * $1 + $2 + 60 * $3 + $4 } END { printf "%d", s }'; }

# beside NAME COMMAND...: starts a step, which runs beside those that follow; in a session of its own, so
# that it can be stopped with all that it started. Not a function of a script: a command.
BESIDE=() BESIDE_PIDS=()
beside() {
    local name=$1 log; shift
    log=$(step_log "$name")
    # shellcheck disable=SC2016 # it is for that shell
    setsid bash -c 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null; status=$?
        echo "$SECONDS" >"$log.seconds"; times >"$log.times"; exit "$status"' \
        beside "$log" "$@" &
    BESIDE+=("$name") BESIDE_PIDS+=($!)
}

# end_beside: waits for them, and tells the results.
end_beside() {
    local i status
    for i in "${!BESIDE[@]}"; do
        status=0
        wait "${BESIDE_PIDS[i]}" || status=$?
        step_result "${BESIDE[i]}" "$status" "$(cat "$(step_log "${BESIDE[i]}").seconds")"
    done
    BESIDE=() BESIDE_PIDS=()
}

# stop_beside: stops those that still run.
stop_beside() {
    local pid
    for pid in "${BESIDE_PIDS[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
}

# step_result NAME STATUS SECONDS
step_result() {
    local name=$1 status=$2 seconds=$3 file reason cpu
    file=$(step_log "$name")
    cpu=$(cpu "$file" 2>/dev/null || echo "?")
    if ((status)); then
        STEPS_FAILED=$((STEPS_FAILED + 1))
        printf 'FAILED    %-28s %4s s %5s CPU-s   exit code %s; the end of %s:\n' "$name" "$seconds" "$cpu" "$status" "${file#"$ROOT"/}"
        # First, for who reads no further: the tests that failed, and their words.
        reasons "$file" | sed 's/^/    > /'
        tail -n 40 "$file" | sed 's/^/    | /'
    elif reason=$(grep -m 1 '^left out: ' "$file"); then
        printf 'left out  %-28s %4s s %5s CPU-s   %s\n' "$name" "$seconds" "$cpu" "${reason#left out: }"
    else
        STEPS_PASSED=$((STEPS_PASSED + 1))
        printf 'ok        %-28s %4s s %5s CPU-s\n' "$name" "$seconds" "$cpu"
        # What a part of it left out must not stay unseen.
        sed -n 's/^left out  */          but left out: /p' "$file"
    fi
}

# reasons FILE: what Rust's tests say of what failed, without their logs.
reasons() { grep -A 4 -E "^thread '.*panicked at " "$1" | cut -c 1-300 | head -n 40 || true; }

# end_of_steps WHO: exit code 1 if a step failed.
end_of_steps() {
    if ((STEPS_FAILED)); then
        echo "$1: $STEPS_FAILED failed, see FAILED above"
        exit 1
    fi
}
