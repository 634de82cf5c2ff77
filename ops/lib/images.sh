# Stand-ins for the images that docker-compose.yml and the Dockerfile name, since no registry is asked:
# Debian, and on it the parts that ops/stack uses; to be sourced after engine.sh, used between engine_up
# and engine_down. What of an image's own behaviour is imitated stands in the files of ops/lib/images/.
# shellcheck shell=bash

# image_of SERVICE: the name that docker-compose.yml gives its image.
image_of() {
    awk -v service="  $1:" '$0 == service { here = 1; next } /^  [^ ]/ { here = 0 }
        here && $1 == "image:" { print $2; exit }' "$ROOT/docker-compose.yml"
}

# image_from PATTERN FILE: the image of that FROM line in a Dockerfile.
image_from() { sed -n "s/^FROM \($1[^ ]*\).*/\1/p" "$ROOT/$2" | head -n 1; }

# image_is NAME INPUTS: is it there, made of these?
image_is() { [[ $(docker image inspect --format '{{.Config.Labels.inputs}}' "$1" 2>/dev/null) == "$2" ]]; }

# image NAME FOLDER VERSIONS [TAR ARGUMENTS...]: builds ops/lib/images/FOLDER, with what tar is told to
# add to its context, unless it is there from the same files and versions. Host's network: there is no NAT.
image() {
    local name=$1 folder=$ROOT/ops/lib/images/$2 inputs
    inputs=$({ echo "$BASE_ID" "$3"; cat "$folder"/*; } | sha256sum | cut -c 1-16)
    image_is "$name" "$inputs" && return
    log "making an image that stands in for $name"
    shift 3
    tar -c -C "$folder" . "$@" | docker build --network=host --progress=plain --label "inputs=$inputs" \
        --build-arg "BASE=$BASE" --build-arg "CHDB=${CHDB:-}" -t "$name" - >"$ENGINE_DIR/log/image-${folder##*/}.log" 2>&1 ||
        { tail -n 20 "$ENGINE_DIR/log/image-${folder##*/}.log" >&2; die "the image $name could not be made"; }
}

# base_image: Debian from its packages, under the name that the shipped Dockerfile starts from.
base_image() {
    BASE=$(image_from debian ops/container/Dockerfile)
    if ! docker image inspect "$BASE" >/dev/null 2>&1; then
        log "making an image that stands in for $BASE"
        local root=$ENGINE_DIR/rootfs
        rm -rf "$root"
        debootstrap --variant=minbase bookworm "$root" \
            >"$ENGINE_DIR/log/image-debian.log" 2>&1 ||
            { tail -n 20 "$ENGINE_DIR/log/image-debian.log" >&2; die "debootstrap failed"; }
        # As the slim images: no package lists, manuals or caches.
        rm -rf "$root"/var/{cache/apt,lib/apt/lists,log}/* "$root"/usr/share/{doc,man,info,locale}/*
        mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
        tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - "$BASE" >/dev/null
        rm -rf "$root"
    fi
    BASE_ID=$(docker image inspect --format '{{.Id}}' "$BASE")
}

# rust_image: cargo and rustc of this machine, without other targets and documentation.
rust_image() {
    local root target
    root=$(rustc --print sysroot)
    target=$(rustc -vV | sed -n 's/^host: //p')
    # shellcheck disable=SC2046 # a list of files
    image "$(image_from rust ops/container/Dockerfile)" rust "$(rustc -V)" -C "$root" \
        bin/cargo bin/rustc $(cd "$root" && find lib -maxdepth 1 -name '*.so*') "lib/rustlib/$target" \
        -C /etc/ssl/certs ca-certificates.crt
}

kafka_image() {
    ensure_tools kafka
    image "$(image_of broker)" kafka "$(sha256sum <"$ROOT/ops/kafka/pom.xml")" \
        --transform 's,^kafka/,jars/,' -C "$(dirname "$KAFKA_JARS")" --exclude=.done kafka
}

clickhouse_image() {
    local CHDB
    CHDB=$(grep '^chdb-core' "$ROOT/ops/lib/requirements.txt")
    image "$(image_of clickhouse)" clickhouse "$CHDB $(cat "$ROOT"/ops/lib/clickhouse_{gateway,sql}.py)" \
        -C "$ROOT/ops/lib" clickhouse_gateway.py clickhouse_sql.py -C /etc/ssl/certs ca-certificates.crt
}

nginx_image() { image "$(image_of ch-proxy)" nginx ""; }

prometheus_image() {
    local bin
    # shellcheck disable=SC2154 # it tells why
    ensure_prometheus || die "$why"
    bin=$(dirname "$(PATH=$PATH:$TOOLS_DIR/bin command -v prometheus)")
    image "$(image_of prometheus)" prometheus "$("$bin/prometheus" --version 2>&1 | head -n 1)" \
        -C "$bin" prometheus
}

# stand_ins: all of them.
stand_ins() {
    base_image
    rust_image
    kafka_image
    clickhouse_image
    nginx_image
    prometheus_image
}
