#!/usr/bin/env bash
# Part of ops/release: builds what is in DIR/src into DIR/out. The caller gives it a place that is always the
# same, zig and cargo's sources below it, and SOURCE_DATE_EPOCH, ANONYMIZER_COMMIT and TOOLS_DIR.
set -euo pipefail
DIR=$1
. "$DIR/src/ops/lib/common.sh"
. "$ROOT/ops/lib/tools.sh"
. "$ROOT/ops/lib/build.sh"
. "$ROOT/ops/lib/package.sh"
cd "$ROOT"

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
OUT=$DIR/out
export PATH=$TOOLS_DIR/bin:$PATH ANONYMIZER_NO_CAPNP=1
# Zig itself: through its Python module each of thousands of files starts Python first. Where it lies is written
# into OpenSSL, so it lies at the same place in each build.
zig=$(echo "$DIR"/zig/lib/python3*/site-packages/ziglang)
export CARGO_ZIGBUILD_PYTHON_PATH=none CARGO_ZIGBUILD_ZIG_PATH=$zig/zig
export CARGO_ZIGBUILD_CACHE_DIR=$DIR/zig-cache ZIG_GLOBAL_CACHE_DIR=$DIR/zig-cache ZIG_LOCAL_CACHE_DIR=$DIR/zig-cache
umask 022

# wrapped NAME COMMAND...: a program of one word that runs it.
wrapped() {
    printf '#!/bin/sh\nexec %s "$@"\n' "${*:2}" >"$DIR/wrapped/$1"
    chmod 755 "$DIR/wrapped/$1"
}
mkdir -p "$DIR/wrapped"

# build TARGET OPTION...: the program is then at $(program TARGET).
build() {
    local target=$1 environment=() cargo=(cargo build) zig_target; shift
    if [[ $target == *musl ]]; then
        cargo=("$DIR/zig/bin/cargo-zigbuild" zigbuild)
        # librdkafka's configure knows no target: it takes CC, and without it the machine's own. lld wants each symbol
        # that librdkafka exports, of which some are of its tests.
        zig_target=${target/-unknown/}
        wrapped "cc-$target" "$zig/zig" cc -target "$zig_target"
        wrapped "c++-$target" "$zig/zig" c++ -target "$zig_target"
        wrapped ar "$zig/zig" ar
        wrapped ranlib "$zig/zig" ranlib
        environment=(CC="$DIR/wrapped/cc-$target" CXX="$DIR/wrapped/c++-$target" AR="$DIR/wrapped/ar"
            RANLIB="$DIR/wrapped/ranlib" LDFLAGS="-Wl,--undefined-version" HOST_CC=cc HOST_CXX=c++ HOST_AR=ar)
    fi
    env "${environment[@]}" "${cargo[@]}" --locked --quiet --profile dist --bin anonymizer --target "$target" "$@"
}
program() { echo "target/$1/dist/anonymizer"; }

build x86_64-unknown-linux-musl --features static
# Kernels of arm64 have pages of 4, 16 or 64 KiB: the allocator must suit the largest.
JEMALLOC_SYS_WITH_LG_PAGE=16 build aarch64-unknown-linux-musl --features static
build x86_64-unknown-linux-gnu

# Pages are made by the program of this machine, and are the same for all.
package_files "$(program x86_64-unknown-linux-gnu)" target/package
make_deb "$(program x86_64-unknown-linux-gnu)" "$OUT/anonymizer_${VERSION}_amd64.deb"

# The archives hold more of others' work: what is linked statically.
ops/lib/notices.py --static "$zig" >"$OUT/THIRD-PARTY-NOTICES"
for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
    case $target in x86_64*) arch=amd64 ;; *) arch=arm64 ;; esac
    name=anonymizer-$VERSION-linux-$arch
    mkdir -p "$DIR/$name"
    cp -r target/package/. "$DIR/$name/"
    cp "$(program "$target")" "$OUT/THIRD-PARTY-NOTICES" LICENSE README.md LIMITATIONS.md ops/CHANGELOG.md \
        ops/runbook.md ops/systemd/anonymizer.service ops/systemd/anonymizer.conf ops/debian/anonymizer.default \
        "$DIR/$name/"
    tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r,go-w \
        -C "$DIR" -cf - "$name" | gzip -9n >"$OUT/$name.tar.gz"
done

cargo cyclonedx --quiet --format json --spec-version 1.5 --target all --features static --override-filename sbom
mv sbom.json "$OUT/anonymizer-$VERSION.cdx.json"
cd "$OUT"
sha256sum -- *.deb *.tar.gz *.cdx.json THIRD-PARTY-NOTICES >SHA256SUMS
