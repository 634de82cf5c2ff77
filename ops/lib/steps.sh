# Runs the steps of ops/check and ops/test: a line each, the output in a file; to be sourced after
# common.sh. A step that fails does not end the script: all are tried.
# shellcheck shell=bash

STEP_LOGS=$ROOT/target/test-logs
STEPS_PASSED=0 STEPS_FAILED=0
# What of a step's output is worth showing, whether it passes or not: by its name, a pattern of `sed`.
declare -A SHOWN=()
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

# beside NAME COMMAND...: the same, beside the steps that follow: returns once it has begun, for which one of
# SLOTS has to be free. Each is a process group, so that it can be stopped with all that it started.
SLOTS=5
declare -A BESIDE=() BESIDE_SINCE=()
beside() {
    local name=$1 log; shift
    while ((${#BESIDE[@]} >= SLOTS)); do next_result; done
    log=$(step_log "$name")
    set -m
    (trap 'times >"$log.times"' EXIT; set -e; "$@") >"$log" 2>&1 </dev/null &
    set +m
    BESIDE[$!]=$name BESIDE_SINCE[$!]=$SECONDS
}

# next_result: waits for one of them, and tells its result.
next_result() {
    local pid name status=0
    wait -n -p pid "${!BESIDE[@]}" || status=$?
    name=${BESIDE[$pid]}
    unset "BESIDE[$pid]"
    step_result "$name" "$status" "$((SECONDS - BESIDE_SINCE[$pid]))"
}

# end_beside: waits for all of them, and tells the results.
end_beside() {
    while ((${#BESIDE[@]})); do next_result; done
}

# stop_beside: stops those that still run.
stop_beside() {
    local pid
    for pid in "${!BESIDE[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
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
    [[ -z ${SHOWN[$name]:-} ]] || sed -n "s/${SHOWN[$name]}/          &/p" "$file"
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
