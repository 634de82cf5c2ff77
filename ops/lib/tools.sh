# Installs what the scripts of ops/ need and only if it is missing; to be sourced after common.sh.
# Tools are shared by all stacks: TOOLS_DIR, default .stack/tools. Each function may be called by
# several scripts at once (flock) and is quick when there is nothing to do.
# shellcheck shell=bash

TOOLS_DIR=${TOOLS_DIR:-$ROOT/.stack/tools}
VENV=$TOOLS_DIR/venv         # after ensure_venv: $VENV/bin/python
AXE_VERSION=4.14.1
AXE=$TOOLS_DIR/axe-$AXE_VERSION.js  # after ensure_browser
# shellcheck disable=SC2034 # who sources this uses it
KAFKA_JARS=$TOOLS_DIR/kafka  # after ensure_jars kafka: java -cp "$KAFKA_JARS/*" CLASS

# with_tools_lock COMMAND...: one installation at a time, over all stacks.
with_tools_lock() {
    mkdir -p "$TOOLS_DIR"
    (flock 8; "$@") 8>"$TOOLS_DIR/.lock"
}

# install_deb PACKAGE...: install Debian packages. Callers ask for what they found missing. A package's
# own service is not started: nginx's would listen on port 80 for the whole network.
install_deb() {
    (($#)) || return 0
    have apt-get || die "install these yourself, this is no Debian: $*"
    local as_root=()
    if ((EUID != 0)); then
        have sudo || die "not root and no sudo; run: apt-get install $*"
        as_root=(sudo)
    fi
    log "installing Debian packages: $*"
    mkdir -p "$TOOLS_DIR"
    # The lists of packages on a fresh machine are empty or old.
    # shellcheck disable=SC2016 # the inner shell expands
    "${as_root[@]}" bash -c '
        set -e
        policy=/usr/sbin/policy-rc.d
        if [ ! -e $policy ]; then
            trap "rm -f $policy" EXIT
            printf "#!/bin/sh\nexit 101\n" >$policy
            chmod 755 $policy
        fi
        apt-get -q update
        DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@"
        case " $* " in *" nginx-light "*) if [ -d /run/systemd/system ]; then systemctl disable nginx; fi ;; esac
    ' install_deb "$@" >"$TOOLS_DIR/apt.log" 2>&1 ||
        { tail -n 20 "$TOOLS_DIR/apt.log" >&2; die "apt-get failed"; }
}

# java_is_new: true for Java 17 or later.
java_is_new() {
    local version
    have java && version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p') && ((${version:-0} >= 17))
}

# ensure_debs SERVICE...: every Debian package that these services of the stack need.
ensure_debs() {
    local missing=() name
    for name in kafka zookeeper; do
        [[ " $* " == *" $name "* ]] || continue
        java_is_new || missing+=(default-jre-headless)
        # Maven is needed once, to fetch the jars.
        [[ -e $TOOLS_DIR/$name/.done ]] || have mvn || missing+=(maven)
    done
    if [[ " $* " == *" nginx "* ]]; then
        have nginx || [[ -x /usr/sbin/nginx ]] || missing+=(nginx-light)
    fi
    if [[ " $* " == *" clickhouse "* ]]; then
        [[ -x $VENV/bin/python ]] || python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    fi
    have envsubst || missing+=(gettext-base)
    have curl || missing+=(curl)
    have setsid || missing+=(util-linux)
    install_deb "${missing[@]}"
}

# ensure_venv: Python packages of ops/lib/requirements.txt, again when that file changes.
ensure_venv() {
    local wanted
    wanted=$(sha256sum <"$ROOT/ops/lib/requirements.txt")
    [[ $(cat "$VENV/.done" 2>/dev/null) == "$wanted" ]] && "$VENV/bin/python" -c '' 2>/dev/null && return
    log "installing Python packages: $(grep -v '^#' "$ROOT/ops/lib/requirements.txt" | xargs)"
    # An unfinished one, or one whose interpreter is gone, is made anew.
    if ! { [[ -e $VENV/.done ]] && "$VENV/bin/python" -c '' 2>/dev/null; }; then rm -rf "$VENV"; fi
    { { [[ -d $VENV ]] || python3 -m venv "$VENV"; } &&
        "$VENV/bin/python" -m pip install -q --disable-pip-version-check -r "$ROOT/ops/lib/requirements.txt"
    } >"$TOOLS_DIR/pip.log" 2>&1 || { tail -n 20 "$TOOLS_DIR/pip.log" >&2; die "pip failed"; }
    echo "$wanted" >"$VENV/.done"
}

# ensure_engines [RELEASE...]: ClickHouse's engines of other releases, all that ops/lib/engines/versions.txt
# names if none is named; after it $TOOLS_DIR/engines/RELEASE/bin/python has the engine.
ensure_engines() {
    local release package dir
    while read -r release package; do
        if [[ $release == '#'* ]] || { (($#)) && [[ " $* " != *" $release "* ]]; }; then continue; fi
        dir=$TOOLS_DIR/engines/$release
        [[ $(cat "$dir/.done" 2>/dev/null) == "$package" ]] && continue
        log "installing the engine of $release: $package"
        rm -rf "$dir"
        { python3 -m venv "$dir" && "$dir/bin/python" -m pip install -q --disable-pip-version-check "$package"; } \
            >"$TOOLS_DIR/pip.log" 2>&1 || { tail -n 20 "$TOOLS_DIR/pip.log" >&2; die "pip failed"; }
        echo "$package" >"$dir/.done"
    done <"$ROOT/ops/lib/engines/versions.txt"
}

# ensure_browser: Chromium, what drives it, and axe-core, which is one script, at $AXE.
ensure_browser() {
    local missing=()
    have chromium || missing+=(chromium)
    have chromedriver || missing+=(chromium-driver)
    # Without any font there is no text to look at.
    [[ -n $(find /usr/share/fonts -name '*.ttf' -print -quit 2>/dev/null) ]] || missing+=(fonts-dejavu-core)
    have npm || missing+=(npm)
    install_deb "${missing[@]}"
    ensure_venv
    [[ -e $AXE ]] && return
    log "fetching axe-core $AXE_VERSION"
    (
        dir=$(mktemp -d "$TOOLS_DIR/axe.XXXXXX")
        trap 'rm -rf "$dir"' EXIT
        npm pack --silent --pack-destination "$dir" "axe-core@$AXE_VERSION" &&
            tar -xzf "$dir"/axe-core-*.tgz -C "$dir" package/axe.min.js && mv "$dir/package/axe.min.js" "$AXE"
    ) >"$TOOLS_DIR/npm.log" 2>&1 || { tail -n 20 "$TOOLS_DIR/npm.log" >&2; die "npm failed"; }
}

# ensure_jars NAME: the jars of ops/NAME/pom.xml in $TOOLS_DIR/NAME, again when that file changes.
ensure_jars() {
    local wanted jars=$TOOLS_DIR/$1
    wanted=$(sha256sum <"$ROOT/ops/$1/pom.xml")
    [[ $(cat "$jars/.done" 2>/dev/null) == "$wanted" ]] && return
    log "fetching the jars of $1"
    rm -rf "$jars"
    mvn -B -q -f "$ROOT/ops/$1/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$jars" \
        >"$TOOLS_DIR/mvn.log" 2>&1 || { tail -n 20 "$TOOLS_DIR/mvn.log" >&2; die "maven failed"; }
    echo "$wanted" >"$jars/.done"
}

# ensure_tools [SERVICE...]: what these services of the stack need, all if none is named; under the lock.
ensure_tools() {
    (($#)) || set -- kafka clickhouse nginx
    with_tools_lock _ensure_tools "$@"
}
_ensure_tools() {
    local kafka=
    ensure_debs "$@"
    # Both wait for the network more than they compute.
    if [[ " $* " == *" kafka "* ]]; then ensure_jars kafka & kafka=$!; fi
    if [[ " $* " == *" zookeeper "* ]]; then ensure_jars zookeeper; fi
    if [[ " $* " == *" clickhouse "* ]]; then ensure_venv; fi
    [[ -z $kafka ]] || wait "$kafka"
}

# ensure_prometheus: prometheus and promtool, out of Debian's package: installing it would start a service.
# After it they are in $TOOLS_DIR/bin, or were on the PATH before. False with the reason in `why` if not.
ensure_prometheus() {
    # shellcheck disable=SC2034 # callers show it
    why="prometheus is not there, and Debian's package could not be fetched"
    if have prometheus && have promtool; then return; fi
    with_tools_lock _ensure_prometheus
}
_ensure_prometheus() {
    local work
    if [[ -x $TOOLS_DIR/bin/prometheus && -x $TOOLS_DIR/bin/promtool ]]; then return; fi
    have apt-get || return 1
    work=$(mktemp -d -p "$TOOLS_DIR")
    mkdir -p "$TOOLS_DIR/bin"
    # On a fresh machine the list of packages is empty or old.
    if (
        cd "$work"
        apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }
        dpkg-deb -x prometheus_*.deb .
        mv usr/bin/prometheus usr/bin/promtool "$TOOLS_DIR/bin/"
    ) >"$TOOLS_DIR/apt.log" 2>&1; then rm -rf "$work"; else rm -rf "$work"; return 1; fi
}

HELM_VERSION=v4.3.1
KUBECONFORM_VERSION=v0.8.0
# The newest release of every second minor version, from the oldest that the chart takes.
KUBERNETES_VERSIONS=(v1.31.14 v1.33.13 v1.35.4 v1.37.2)
# The newest of the operator's modules that has its resource definitions in it.
PROMETHEUS_OPERATOR_VERSION=v0.85.0
KUBERNETES_SCHEMAS=$TOOLS_DIR/kubernetes  # after ensure_helm: VERSION-standalone-strict/ and crd/

# has_helm: true if all that ensure_helm brings is there.
has_helm() {
    local wanted="$HELM_VERSION $KUBECONFORM_VERSION ${KUBERNETES_VERSIONS[*]} $PROMETHEUS_OPERATOR_VERSION"
    wanted+=" $(sha256sum <"$ROOT/ops/lib/kubernetes/schemas.py")"
    [[ $(cat "$KUBERNETES_SCHEMAS/.done" 2>/dev/null) == "$wanted" ]] || { helm_wanted=$wanted; return 1; }
}

# ensure_helm: helm and kubeconform in $TOOLS_DIR/bin, built by Go, and schemas of Kubernetes' API, out of
# its own source.
ensure_helm() {
    have go || die "Go 1.25 or later is needed to build helm"
    ensure_venv
    has_helm || with_tools_lock _ensure_helm
}
_ensure_helm() {
    local version work
    has_helm && return
    log "building helm $HELM_VERSION and kubeconform $KUBECONFORM_VERSION"
    GOBIN=$TOOLS_DIR/bin go install "helm.sh/helm/v4/cmd/helm@$HELM_VERSION"
    GOBIN=$TOOLS_DIR/bin go install "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM_VERSION"
    work=$(mktemp -d -p "$TOOLS_DIR")
    # Some 20 MiB each to fetch, of which one file is wanted.
    module() { GOMODCACHE=$work/modules GOFLAGS=-modcacherw go mod download "$1"; }
    log "making schemas of Kubernetes ${KUBERNETES_VERSIONS[*]}"
    for version in "${KUBERNETES_VERSIONS[@]}"; do
        module "k8s.io/kubernetes@$version"
        "$VENV/bin/python" "$ROOT/ops/lib/kubernetes/schemas.py" "$work/made" "$version" \
            "$work/modules/k8s.io/kubernetes@$version/api/openapi-spec/swagger.json"
    done
    module "github.com/prometheus-operator/prometheus-operator@$PROMETHEUS_OPERATOR_VERSION"
    "$VENV/bin/python" "$ROOT/ops/lib/kubernetes/schemas.py" "$work/made" crd \
        "$work"/modules/github.com/prometheus-operator/prometheus-operator@*/example/prometheus-operator-crd/*_{servicemonitors,prometheusrules}.yaml
    rm -rf "$KUBERNETES_SCHEMAS"
    mv "$work/made" "$KUBERNETES_SCHEMAS"
    echo "$helm_wanted" >"$KUBERNETES_SCHEMAS/.done"
    rm -rf "$work"
}
