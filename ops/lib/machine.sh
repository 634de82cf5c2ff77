# A Debian machine with systemd as its first process, in namespaces of this one, for tests of the package;
# to be sourced after common.sh and tools.sh. It shares the network: the host's loopback is its own.
# shellcheck shell=bash

MACHINE_BASE=$TOOLS_DIR/roots/bookworm-systemd

# ensure_machine_base: a Debian release as it is installed, once; what the package depends on is in it.
ensure_machine_base() {
    ((EUID == 0)) || die "a machine needs root"
    local missing=()
    have systemd-nspawn || missing+=(systemd-container)
    have debootstrap || missing+=(debootstrap)
    install_deb "${missing[@]}"
    [[ -e $MACHINE_BASE ]] && return
    log "installing Debian into $MACHINE_BASE"
    mkdir -p "${MACHINE_BASE%/*}"
    rm -rf "$MACHINE_BASE.new"
    debootstrap --variant=minbase \
        --include=systemd,systemd-sysv,dbus,libssl3,zlib1g,ca-certificates,init-system-helpers \
        bookworm "$MACHINE_BASE.new" >"$TOOLS_DIR/debootstrap.log" 2>&1 ||
        { tail -n 20 "$TOOLS_DIR/debootstrap.log" >&2; die "debootstrap failed"; }
    mv "$MACHINE_BASE.new" "$MACHINE_BASE"
}

# machine_boot DIR: boots a copy of it that writes into DIR; afterwards `machine COMMAND...` runs in it.
machine_boot() {
    MACHINE_DIR=$1 MACHINE_INIT=
    mkdir -p "$MACHINE_DIR"/{upper,work,root}
    mount -t overlay overlay "$MACHINE_DIR/root" \
        -o "lowerdir=$MACHINE_BASE,upperdir=$MACHINE_DIR/upper,workdir=$MACHINE_DIR/work"
    # Nobody logs in, and nothing registers it: there is no systemd on the host.
    start_process "$MACHINE_DIR/pid" "$MACHINE_DIR/console.log" \
        systemd-nspawn --quiet --boot --register=no --keep-unit --console=read-only \
        --resolv-conf=off --timezone=off --link-journal=no \
        --directory="$MACHINE_DIR/root" systemd.unit=multi-user.target systemd.mask=console-getty.service
    wait_for 120 machine_is_up || { tail -n 30 "$MACHINE_DIR/console.log" >&2; die "the machine does not boot"; }
}
machine_is_up() {
    process_gone "$MACHINE_DIR/pid" && return 1
    MACHINE_INIT=$(pgrep -P "$(cat "$MACHINE_DIR/pid")" | head -n 1)
    [[ -n $MACHINE_INIT && -d /proc/$MACHINE_INIT ]] || return 1
    [[ $(machine systemctl is-system-running 2>/dev/null) == @(running|degraded) ]]
}

# machine COMMAND...: in it, as root.
machine() {
    nsenter --target "$MACHINE_INIT" --mount --uts --ipc --pid --cgroup --root --wd=/ -- \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

# machine_down: powers it off, and takes its files away.
machine_down() {
    [[ -n ${MACHINE_DIR:-} ]] || return 0
    if [[ -e $MACHINE_DIR/pid ]] && ! process_gone "$MACHINE_DIR/pid"; then
        # To its first process: power off.
        kill -s RTMIN+4 "$MACHINE_INIT" 2>/dev/null || true
        wait_for 60 process_gone "$MACHINE_DIR/pid" || stop_process "$MACHINE_DIR/pid" systemd-nspawn 10
    fi
    if mountpoint -q "$MACHINE_DIR/root"; then umount "$MACHINE_DIR/root"; fi
    MACHINE_DIR=
}
