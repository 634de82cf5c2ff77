# What the packages hold besides the program; to be sourced after common.sh, tools.sh and build.sh.
# shellcheck shell=bash

# ensure_cargo_tool CRATE: a subcommand of cargo, from source; in $TOOLS_DIR/bin.
ensure_cargo_tool() {
    export PATH=$TOOLS_DIR/bin:$PATH
    have "$1" || with_tools_lock cargo install --debug --locked --quiet --root "$TOOLS_DIR" "$1"
}

# package_files PROGRAM DIR: manual pages, completions and the file of settings, by the program itself; the
# licences of what is in it.
package_files() {
    local program=$1 dir=$2 shell
    rm -rf "$dir"
    mkdir -p "$dir/man" "$dir/completions"
    "$program" man --dir "$dir/man" >/dev/null
    for shell in bash zsh fish; do "$program" completions "$shell" >"$dir/completions/$shell"; done
    "$program" config example >"$dir/anonymizer.json"
    "$ROOT/ops/lib/notices.py" >"$dir/THIRD-PARTY-NOTICES"
}

# make_deb PROGRAM FILE [OPTION...]: the Debian package of a program that is built, with what package_files made.
make_deb() {
    local program=$1 file=$2 built; shift 2
    ensure_cargo_tool cargo-deb
    have dpkg-shlibdeps || with_tools_lock install_deb dpkg-dev
    # It takes only what lies where cargo builds.
    built=$(mktemp -d)
    mkdir "$built/dist"
    strip --strip-debug -o "$built/dist/anonymizer" "$program"
    CARGO_TARGET_DIR=$built cargo deb --quiet --locked --no-build --no-strip --profile dist \
        --compress-system --output "$file" "$@"
    rm -rf "$built"
}

ZIG_VENV=$TOOLS_DIR/zig

# ensure_zig: a C compiler that builds for every Linux, with what makes cargo use it; in $ZIG_VENV/bin.
ensure_zig() {
    local wanted="ziglang==0.13.0 cargo-zigbuild==0.24.1"
    [[ $(cat "$ZIG_VENV/.done" 2>/dev/null) == "$wanted" ]] && return
    log "installing Python packages: $wanted"
    # shellcheck disable=SC2086 # two words
    { python3 -m venv "$ZIG_VENV" && "$ZIG_VENV/bin/python" -m pip install -q --disable-pip-version-check $wanted; } \
        >"$TOOLS_DIR/pip.log" 2>&1 || { tail -n 20 "$TOOLS_DIR/pip.log" >&2; die "pip failed"; }
    echo "$wanted" >"$ZIG_VENV/.done"
}
