# What a build of the program needs; to be sourced after common.sh and tools.sh.
# shellcheck shell=bash

RUST_NEEDED=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")

# ensure_build: a Rust toolchain that is new enough, or an end with words; Debian's packages for the C
# and C++ parts (librdkafka, zstd, TLS), installed if they are missing.
ensure_build() {
    local version missing=()
    have cargo || die "no Rust toolchain: install Rust $RUST_NEEDED or later, see https://rustup.rs"
    version=$(cargo --version | sed 's/^cargo \([0-9.]*\).*/\1/')
    [[ $(printf '%s\n' "$RUST_NEEDED" "$version" | sort -V | head -n 1) == "$RUST_NEEDED" ]] ||
        die "Rust $version is too old: $RUST_NEEDED or later is needed (rustup update stable)"
    have cc && have gcc || missing+=(gcc libc6-dev)
    have g++ || missing+=(g++)
    have make || missing+=(make)
    have pkg-config || missing+=(pkg-config)
    { have pkg-config && pkg-config --exists openssl; } || missing+=(libssl-dev)
    { have pkg-config && pkg-config --exists zlib; } || missing+=(zlib1g-dev)
    ((${#missing[@]} == 0)) || with_tools_lock install_deb "${missing[@]}"
}

# component NAME: a part of the Rust toolchain that a minimal installation lacks.
component() {
    if cargo "${1#rust}" --version >/dev/null 2>&1; then return; fi
    have rustup || { echo "the toolchain has no $1 and there is no rustup to add it"; return 1; }
    rustup component add "$1"
}

# lint_while_building: from here on our own code is compiled by what `cargo clippy` calls, with its lints as errors:
# that costs 25 s of CPU where `cargo clippy` takes 217, since it checks all dependencies first. For tests only: it
# optimises less than rustc, says its README. And once, so without what would make a second build quick.
lint_while_building() {
    component clippy
    export RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings CARGO_INCREMENTAL=0
}

# as_it_ships: ends that.
as_it_ships() { unset RUSTC_WORKSPACE_WRAPPER CLIPPY_ARGS CARGO_INCREMENTAL; }

# target_dir: where cargo builds.
target_dir() {
    cargo metadata --locked --no-deps --format-version 1 --manifest-path "$ROOT/Cargo.toml" |
        sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}
