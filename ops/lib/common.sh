# Shell helpers for the scripts of ops/; to be sourced: `. "$ROOT/ops/lib/common.sh"`.
# The script that sources this sets `set -euo pipefail`. Sets ROOT, the top of the repository.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# log TEXT...: one line for the reader, on stderr; stdout is kept for results.
log() { printf '%s\n' "${LOG_PREFIX:-}$*" >&2; }

# die TEXT...: say why and exit 1.
die() { log "error: $*"; exit 1; }

# have PROGRAM: true if it is on the PATH.
have() { command -v "$1" >/dev/null 2>&1; }

# port_open PORT: true if something on this machine accepts connections there. Sends no byte, so it
# costs nothing behind the limiter.
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_for SECONDS COMMAND...: run the command until it succeeds; false when the time is over.
wait_for() {
    local end=$((SECONDS + $1)); shift
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# render TEMPLATE FILE NAME...: envsubst of these variables only, so that nginx's own $names stay.
render() {
    local template=$1 file=$2 names=() name; shift 2
    for name in "$@"; do names+=("\${$name}"); done
    envsubst "${names[*]}" <"$template" >"$file.new"
    mv "$file.new" "$file"
}

# start_process PIDFILE LOGFILE COMMAND...: start in the background, in a session of its own, so that
# Ctrl-C in the starting terminal does not reach it. No descriptor but the log is inherited, else a
# daemon would hold the caller's locks.
start_process() {
    local pidfile=$1 logfile=$2; shift 2
    (
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            if ((fd > 2)); then eval "exec $fd>&-" 2>/dev/null || true; fi
        done
        exec setsid "$@"
    ) >>"$logfile" 2>&1 </dev/null &
    echo $! >"$pidfile"
}

# process_gone PIDFILE: true if no process has that pid, or only a dead one that nobody has collected.
# Its state says so: a command line is empty, too, while a program is starting another in its place.
process_gone() {
    local pid stat
    pid=$(cat "$1" 2>/dev/null) && [[ -n $pid ]] || return 0
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 0
    [[ ${stat##*) } == [ZX]* ]]
}

# process_alive PIDFILE MARK: true if the process runs and its command line holds MARK; a pid that the
# system has given to another process is not ours.
process_alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [[ -n $pid ]] || return 1
    [[ $(tr '\0' ' ' < <(cat "/proc/$pid/cmdline" 2>/dev/null)) == *"$2"* ]]
}

# stop_process PIDFILE MARK SECONDS: SIGTERM, wait, and SIGKILL if it does not end.
stop_process() {
    local pid
    if process_alive "$1" "$2"; then
        pid=$(cat "$1")
        kill -TERM "$pid" 2>/dev/null || true
        if ! wait_for "$3" eval "! process_alive '$1' '$2'"; then
            log "pid $pid did not stop within $3 s: killed"
            kill -KILL "$pid" 2>/dev/null || true
            wait_for 10 eval "! process_alive '$1' '$2'" || die "pid $pid does not end"
        fi
    fi
    rm -f "$1"
}

# apply_ddl URL FILE...: send every statement of the files to ClickHouse, in the order given. A `;` at
# the end of a line ends a statement; lines that start with `--` are comments. The account is in
# CLICKHOUSE_USER and CLICKHOUSE_PASSWORD, and kept off curl's command line, which others can see.
apply_ddl() {
    local url=$1 file statement answer; shift
    for file in "$@"; do
        while IFS= read -r -d '' statement; do
            answer=$(curl -sS --fail-with-body --data-binary @- "$url" <<<"$statement" -H @<(
                echo "X-ClickHouse-User: ${CLICKHOUSE_USER:-default}"
                echo "X-ClickHouse-Key: ${CLICKHOUSE_PASSWORD:-}"
            ) 2>&1) || die "${file#"$ROOT"/}: $answer"
        done < <(awk '
            { text = text $0 "\n" }
            !/^[ \t]*--/ && /[^ \t;]/ { full = 1 }
            !/^[ \t]*--/ && /;[ \t]*$/ { if (full) printf "%s%c", text, 0; text = ""; full = 0 }
            END { if (full) printf "%s%c", text, 0 }' "$file")
    done
}
