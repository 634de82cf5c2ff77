# A Docker Engine of our own, and Compose v2, without a registry; to be sourced after common.sh and tools.sh.
#   engine_up      installs, builds Compose once, starts containerd and dockerd, sets DOCKER_HOST
#   engine_down    stops what runs in it, then both, by their pids
# Images and the build cache stay in ENGINE_DIR for the next time; nothing else does. One script at a
# time has the engine: another one waits. `docker` and `docker compose` are the function below.
# shellcheck shell=bash

ENGINE_DIR=${ENGINE_DIR:-$ROOT/.stack/engine}
COMPOSE_VERSION=v2.39.4
COMPOSE=$TOOLS_DIR/bin/docker-compose-$COMPOSE_VERSION

# docker ARGUMENT...: Debian's client and this engine, whatever else is called so on this machine.
# The settings of another client are not looked at; Compose is found as its plugin. Never another engine:
# what is cleared here is all that an engine has.
docker() { DOCKER_HOST=unix://$ENGINE_DIR/run/d.sock DOCKER_BUILDKIT=1 DOCKER_CONFIG=$ENGINE_DIR/client /usr/bin/docker "$@"; }

# engine_possible: false, with the reason in `why`, where no engine can be started.
engine_possible() {
    # shellcheck disable=SC2034 # callers show it
    if ((EUID != 0)); then
        why="a Docker Engine of our own needs root"
    elif ! have apt-get; then
        why="this is no Debian: docker.io, containerd and debootstrap come from there"
    elif ! have go; then
        why="Compose is built with Go, which is not there"
    else
        return 0
    fi
    return 1
}

engine_install() {
    local missing=()
    [[ -x /usr/bin/docker && -x /usr/sbin/dockerd ]] || missing+=(docker.io)
    have containerd || missing+=(containerd)
    have debootstrap || missing+=(debootstrap)
    have iptables || missing+=(iptables) # dockerd looks for it, also where it may not use it
    install_deb "${missing[@]}"
    [[ -x $COMPOSE ]] || build_compose
}

# build_compose: `go install` refuses a module with replacements, so it is built as a dependency of an
# own one. Once; it takes minutes.
build_compose() {
    local work
    log "building Compose $COMPOSE_VERSION"
    work=$(mktemp -d -p "$TOOLS_DIR")
    mkdir -p "$TOOLS_DIR/bin"
    if (
        cd "$work"
        printf '//go:build tools\n\npackage tools\n\nimport _ "github.com/docker/compose/v2/cmd"\n' >tools.go
        go mod init compose && go get "github.com/docker/compose/v2/cmd@$COMPOSE_VERSION"
        go build -ldflags "-X github.com/docker/compose/v2/internal.Version=$COMPOSE_VERSION" \
            -o "$COMPOSE.new" github.com/docker/compose/v2/cmd
        mv "$COMPOSE.new" "$COMPOSE"
    ) >"$TOOLS_DIR/compose.log" 2>&1; then
        rm -rf "$work"
    else
        rm -rf "$work"
        tail -n 20 "$TOOLS_DIR/compose.log" >&2
        die "Compose could not be built"
    fi
}

# engine_weight: all containers and builds together weigh as much as one process outside them, so that beside
# other work a broker takes ten minutes to start; they get the share of ten.
engine_weight() {
    local file=/sys/fs/cgroup/docker/cpu.weight weight=1000
    if [[ -d /sys/fs/cgroup/cpu ]]; then file=/sys/fs/cgroup/cpu/docker/cpu.shares weight=10240; fi
    { mkdir -p "${file%/*}" && echo "$weight" >"$file"; } 2>/dev/null || true
}

# engine_storage: overlayfs where it works, which it does not on itself; vfs copies every layer whole.
engine_storage() {
    local probe driver=vfs
    probe=$(mktemp -d -p "$ENGINE_DIR")
    mkdir "$probe"/{lower,upper,work,merged}
    if mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" \
        "$probe/merged" 2>/dev/null; then
        umount "$probe/merged"
        driver=overlay2
    fi
    rm -rf "$probe"
    echo "$driver"
}

engine_answers() { docker version >/dev/null 2>&1; }

# engine_lock: for this script alone, until engine_down. Once; another one waits.
engine_lock() {
    [[ -z ${ENGINE_LOCK:-} ]] || return 0
    mkdir -p "$ENGINE_DIR"
    exec {ENGINE_LOCK}>"$ENGINE_DIR/.lock"
    flock -n "$ENGINE_LOCK" || { log "waiting for another script that has the engine"; flock "$ENGINE_LOCK"; }
}

engine_up() {
    engine_possible || die "$why"
    # The paths of its sockets may have 108 characters.
    ((${#ENGINE_DIR} <= 70)) || die "ENGINE_DIR is too long for sockets: $ENGINE_DIR"
    mkdir -p "$ENGINE_DIR"/{log,client/cli-plugins}
    engine_lock
    with_tools_lock engine_install
    ln -sf "$COMPOSE" "$ENGINE_DIR/client/cli-plugins/docker-compose"
    # Of a script that was killed.
    engine_stop
    rm -rf "$ENGINE_DIR/run"
    mkdir -p "$ENGINE_DIR/run"
    export DOCKER_HOST=unix://$ENGINE_DIR/run/d.sock
    # None of the machine's settings.
    start_process "$ENGINE_DIR/containerd.pid" "$ENGINE_DIR/log/containerd.log" containerd \
        --config "${CONTAINERD_CONFIG:-/dev/null}" \
        --root "$ENGINE_DIR/containerd" --state "$ENGINE_DIR/run/c" --address "$ENGINE_DIR/run/c.sock"
    wait_for 60 test -S "$ENGINE_DIR/run/c.sock" || engine_failed containerd
    # No iptables and no default bridge: neither is allowed everywhere.
    start_process "$ENGINE_DIR/dockerd.pid" "$ENGINE_DIR/log/dockerd.log" dockerd \
        --containerd "$ENGINE_DIR/run/c.sock" --storage-driver="$(engine_storage)" --iptables=false --ip6tables=false \
        --bridge=none --data-root "$ENGINE_DIR/data" --exec-root "$ENGINE_DIR/run/e" \
        --pidfile "$ENGINE_DIR/run/d.pid" -H "$DOCKER_HOST"
    wait_for 90 engine_answers || engine_failed dockerd
    engine_clear
    engine_weight
    log "engine: $(docker info --format '{{.ServerVersion}}, storage driver {{.Driver}}'), Compose $(docker compose version --short)"
}

engine_failed() {
    log "$1 did not start; the end of its log:"
    tail -n 20 "$ENGINE_DIR/log/$1.log" >&2
    engine_stop
    die "no engine"
}

# engine_clear: away with containers, networks and volumes; the engine is ours alone.
engine_clear() {
    local ids
    ids=$(docker ps -aq)
    # shellcheck disable=SC2086 # ids are words
    [[ -z $ids ]] || docker rm -fv $ids >/dev/null
    docker network prune -f >/dev/null
    docker volume prune -f >/dev/null
}

engine_stop() {
    stop_process "$ENGINE_DIR/dockerd.pid" "$ENGINE_DIR/" 60
    stop_process "$ENGINE_DIR/containerd.pid" "$ENGINE_DIR/" 20
    unmount_below "$ENGINE_DIR/run"
}

# unmount_below DIR: before it is removed, since what is mounted there would be, too.
unmount_below() {
    local mounted
    while read -r mounted; do umount -l "$mounted" || die "still mounted: $mounted"; done < <(
        awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r)
}

engine_down() {
    if engine_answers; then engine_clear || true; fi
    engine_stop
    rm -rf "$ENGINE_DIR/run"
    exec {ENGINE_LOCK}>&-
}
