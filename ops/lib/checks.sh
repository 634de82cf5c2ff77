# How the tests of containers ask and tell; to be sourced after common.sh. A check that fails is told and
# counted, and the test goes on; it dies where nothing further would mean anything.
# shellcheck shell=bash

CHECKS=0 FAILED=()

# check WHAT FOUND WANTED: the same, or it is told.
check() {
    CHECKS=$((CHECKS + 1))
    if [[ $2 == "$3" ]]; then
        echo "ok        $1: $2"
    else
        FAILED+=("$1")
        echo "FAILED    $1: found '$2', wanted '$3'"
    fi
}

# check_true WHAT COMMAND...: it succeeds.
check_true() {
    local what=$1; shift
    if "$@"; then check "$what" yes yes; else check "$what" no yes; fi
}

# within SECONDS WHAT COMMAND...: it succeeds in this time, looked at each second; dies if not.
within() {
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@"; do
        ((SECONDS < end)) || die "not within its time: $what"
        sleep 1
    done
}

# step_at TEXT: the next part of the test, with the time.
step_at() { log "$(date +%T) $*"; }

# end_of_checks: how many there were; exit code 1 if one failed.
end_of_checks() {
    echo "$CHECKS checks, ${#FAILED[@]} failed"
    if ((${#FAILED[@]})); then
        printf 'FAILED    %s\n' "${FAILED[@]}"
        exit 1
    fi
}
