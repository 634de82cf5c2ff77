#!/bin/bash
# As the image's own: takes over the data folder as root and goes on as the user clickhouse; runs the
# .sql files of /docker-entrypoint-initdb.d on a new data folder, or always if it is told to, on a server
# that listens on 127.0.0.1 only; then listens on all addresses. CLICKHOUSE_SKIP_USER_SETUP leaves the user
# `default` without a password; without it, the image's `default` is reachable from inside only.
set -eo pipefail
data=/var/lib/clickhouse
chown -R clickhouse:clickhouse "$data"
as_user=(setpriv --reuid clickhouse --regid clickhouse --clear-groups)
gateway=("${as_user[@]}" python3 /opt/gateway/clickhouse_gateway.py --path "$data")

if [[ ! -d $data/engine || -n ${CLICKHOUSE_ALWAYS_RUN_INITDB_SCRIPTS:-} ]]; then
    "${gateway[@]}" --listen 127.0.0.1 &
    pid=$!
    until clickhouse-client --host 127.0.0.1 --query "SELECT 1" >/dev/null 2>&1; do
        kill -0 "$pid"
        sleep 0.5
    done
    for file in /docker-entrypoint-initdb.d/*.sql; do
        echo "$0: running $file"
        clickhouse-client --host 127.0.0.1 --multiquery <"$file"
    done
    kill -TERM "$pid"
    wait "$pid"
fi
listen=127.0.0.1
if [[ ${CLICKHOUSE_SKIP_USER_SETUP:-0} == 1 ]]; then listen=0.0.0.0; fi
exec "${gateway[@]}" --listen "$listen"
