# Sourced by quickstart and test: root, packages, build. Debian 12.
# shellcheck shell=bash

# The packages that a build needs, and those that running needs.
build_packages="cmake ninja-build ccache pkg-config gcc g++ python3 git ca-certificates
  librocksdb-dev libfuse3-dev libmicrohttpd-dev libgnutls28-dev libjansson-dev libyaml-dev libre2-dev
  libarchive-dev zlib1g-dev libzstd-dev libsnappy-dev libssl-dev libsodium-dev libcrypt-dev
  libcurl4-gnutls-dev uthash-dev libcmocka-dev"
run_packages="fuse3 curl"

say() {
    printf '\033[1m%s\033[0m\n' "$*" >&2
}

# Runs this script again as root where it is not: sudo, doas or su, whichever there is.
become_root() {
    [ "$(id -u)" -eq 0 ] && return
    if command -v sudo >/dev/null; then
        exec sudo -E bash "$0" "$@"
    elif command -v doas >/dev/null; then
        exec doas bash "$0" "$@"
    fi
    say "root is needed, for packages and for the mount; su asks for root's password"
    exec su root -c "exec bash $(printf '%q ' "$0" "$@")"
}

# Installs the Debian packages named that are missing; asks nothing, starts no service.
install_packages() {
    local missing="" p policy=/usr/sbin/policy-rc.d made="" r
    for p in "$@"; do
        dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' ||
            missing="$missing $p"
    done
    [ -z "$missing" ] && return
    say "installing:$missing"
    apt-get update -qq || return
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy && made=1
    fi
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    r=$?
    [ -n "$made" ] && rm -f $policy
    return $r
}

# build PRESET [TARGET]: configures and builds; prints the log only where it failed.
build() {
    local log
    log=$(mktemp)
    say "building ($1)"
    # shellcheck disable=SC2154
    if ! (cd "$top" && cmake --preset "$1" && cmake --build --preset "$1" ${2:+--target "$2"}) >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}
