#!/usr/bin/env bash
# Part of ops/release: runs the static programs in DIR, that of arm64 by qemu, on the stored queue of the last
# release: what they read must be what is said to be in it. The one of amd64 must trust the system's authorities,
# and do on a machine with systemd what the README says, with real Kafka and ClickHouse's engine.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$ROOT/ops/lib/tools.sh"
. "$ROOT/ops/lib/machine.sh"
cd "$ROOT"

DIR=$1
WORK=$(mktemp -d)
export STACK_DIR=$WORK/stack KAFKA_PORT=19492 KAFKA_CONTROLLER_PORT=19493 CLICKHOUSE_PORT=18324 KAFKA_PARTITIONS=3
finish() {
    local status=$?
    if ((status)) && [[ -n ${MACHINE_INIT:-} ]]; then
        machine journalctl --no-pager -n 40 -u anonymizer -u typed >&2 || true
    fi
    machine_down || true
    [[ ! -e $WORK/server.pid ]] || stop_process "$WORK/server.pid" openssl 10 || true
    if [[ -d $STACK_DIR ]]; then ops/stack down --wipe kafka clickhouse >/dev/null 2>&1 || true; fi
    rm -rf "$WORK"
}
trap finish EXIT
trap 'exit 130' INT TERM
say() { printf 'test %s ... ok\n' "$*"; }

have qemu-aarch64-static || with_tools_lock install_deb qemu-user-static
have zstd || with_tools_lock install_deb zstd
have openssl || with_tools_lock install_deb openssl
(cd "$DIR" && sha256sum --quiet -c SHA256SUMS) || die "SHA256SUMS is not of these files"
say "the checksums are of these files"

stored_queue=$(find tests/corpus/queues -name '*.tar.zst' | sort -V | tail -n 1)
for arch in amd64 arm64; do
    mkdir -p "$WORK/$arch/data"
    tar -xzf "$DIR"/anonymizer-*-linux-"$arch".tar.gz -C "$WORK/$arch" --strip-components=1
    program=$WORK/$arch/anonymizer run=("$WORK/$arch/anonymizer")
    if [[ $arch == arm64 ]]; then run=(qemu-aarch64-static "${run[@]}"); fi
    case $arch in amd64) machine_word=X86-64 ;; *) machine_word=AArch64 ;; esac
    readelf -h "$program" | grep "Machine:.*$machine_word" >/dev/null || die "$arch: $(readelf -h "$program")"
    # Neither a loader nor a library.
    ! readelf -lW "$program" | grep INTERP || die "$arch: it wants a loader"
    ! readelf -d "$program" | grep NEEDED || die "$arch: it wants a library"
    "${run[@]}" --version
    zstd -dcq "$stored_queue" | tar -x --no-same-owner -C "$WORK/$arch/data"
    "${run[@]}" verify --data-dir "$WORK/$arch/data" --json >"$WORK/$arch/verified.json" 2>/dev/null
    grep -q '"damage": *\[\]' "$WORK/$arch/verified.json" || die "$arch: $(cat "$WORK/$arch/verified.json")"
    "${run[@]}" export --data-dir "$WORK/$arch/data" --format tsv 2>"$WORK/$arch/said" | LC_ALL=C sort >"$WORK/$arch/rows.tsv"
    # What the allocator does not take is said at the start.
    ! grep -i jemalloc "$WORK/$arch/said" || die "$arch: the allocator complains"
    LC_ALL=C sort "${stored_queue%.tar.zst}.tsv" | cmp - "$WORK/$arch/rows.tsv" || die "$arch: other rows than ${stored_queue%.tar.zst}.tsv"
    say "the static program for $arch reads the $(wc -l <"$WORK/$arch/rows.tsv") rows of ${stored_queue##*/}"
done
program=$WORK/amd64/anonymizer

# A server with a certificate of an authority that only the system's file names; it speaks TLS and is no broker.
tls=$WORK/tls
mkdir "$tls"
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -keyout "$tls/ca.key" -out "$tls/ca.pem" -subj "/CN=an authority" -days 2 2>/dev/null
openssl req "${key[@]}" -keyout "$tls/key" -out "$tls/csr" -subj /CN=localhost 2>/dev/null
openssl x509 -req -in "$tls/csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 2 -out "$tls/pem" \
    -extfile <(echo subjectAltName=DNS:localhost) 2>/dev/null
start_process "$WORK/server.pid" "$WORK/server.log" sh -c \
    "exec openssl s_server -accept 127.0.0.1:19494 -cert '$tls/pem' -key '$tls/key' -quiet </dev/zero >/dev/null"
wait_for 60 port_open 19494 || die "no server: $(cat "$WORK/server.log")"
asked() {
    "$@" "$program" check --data-dir "$WORK/none" --kafka-brokers localhost:19494 \
        --kafka-properties security.protocol=ssl 2>&1 | grep 'kafka:' || true
}
# shellcheck disable=SC2016 # the inner shell expands
with_it() {
    unshare --mount bash -c 'mount --bind "$1" /etc/ssl/certs/ca-certificates.crt; shift; exec "$@"' with "$tls/ca.pem" "$@"
}
[[ -e /etc/ssl/certs/ca-certificates.crt ]] || with_tools_lock install_deb ca-certificates
said=$(asked)
[[ $said == *"authority that is not trusted"* ]] || die "a stranger's authority: $said"
said=$(asked with_it)
[[ $said == *"does not answer"* ]] || die "an authority of the system: $said"
say "the static program trusts the system's authorities, and no other"

# The chapter of the README, as it is typed, on a machine; `editor` adds what this test needs.
(with_tools_lock ensure_machine_base)
archive=$(basename "$DIR"/anonymizer-*-linux-amd64.tar.gz)
mapfile -t chapter < <(sed -n '/^### As a static program/,/^### /s/^    //p' README.md | sed -z 's/\\\n */ /g')
[[ ${#chapter[@]} == 11 && ${chapter[0]} == "tar -xzf $archive" && ${chapter[3]} == *"anonymizer run "* ]] ||
    die "the chapter is another: $(printf '%s\n' "${chapter[@]}")"
ops/stack up kafka clickhouse
machine_boot "$WORK/machine"
install -m 644 "$DIR/$archive" "$WORK/machine/root/root/"
settings=(ANONYMIZER_FLUSH_INTERVAL=2s ANONYMIZER_MIN_FREE_DISK=0 ANONYMIZER_HTTP_LISTEN=127.0.0.1:0)
cat >"$WORK/machine/root/usr/bin/editor" <<END
#!/bin/sh
printf '%s\n' ANONYMIZER_KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT \
    ANONYMIZER_CLICKHOUSE_URL=http://127.0.0.1:$CLICKHOUSE_PORT ${settings[*]} >>"\$1"
END
chmod 755 "$WORK/machine/root/usr/bin/editor"

produced=0
produce() {
    "$program" produce --kafka-brokers "127.0.0.1:$KAFKA_PORT" --count "$1" --seed "$2" >/dev/null 2>&1 ||
        die "the records could not be produced"
    produced=$((produced + $1))
}
stored() { curl -sS "http://127.0.0.1:$CLICKHOUSE_PORT/?query=SELECT+count()+FROM+http_log" 2>/dev/null; }
all_stored() { [[ $(stored) == "$produced" ]]; }

produce 10000 1
folder=/root
for line in "${chapter[@]}"; do
    line=${line//kafka-1:9092/127.0.0.1:$KAFKA_PORT}
    line=${line//http:\/\/ch-proxy:8124/http://127.0.0.1:$CLICKHOUSE_PORT}
    case $line in
    "cd "*) folder+=/${line#cd } ;;
    *"anonymizer run "*)
        machine systemd-run --quiet --unit=typed "${settings[@]/#/--setenv=}" sh -c "cd $folder && exec $line"
        wait_for 180 all_stored || die "stored $(stored) rows of $produced"
        machine systemctl stop typed
        say "the unpacked program stores what was produced"
        ;;
    *) machine sh -c "cd $folder && $line" >"$WORK/typed.log" 2>&1 </dev/null || { cat "$WORK/typed.log" >&2; die "$line"; } ;;
    esac
done
produce 10000 2
wait_for 180 all_stored || die "stored $(stored) rows of $produced"
[[ $(machine systemctl is-active anonymizer) == active && $(machine systemctl is-enabled anonymizer) == enabled ]] || die "the service does not run"
[[ $(machine stat -c '%U %a' /var/lib/anonymizer) == "anonymizer 700" ]] || die "the data dir is not the service's"
say "the program as a service goes on with the same data dir, once each"
echo "$produced rows produced, $(stored) stored"
