#!/bin/sh
# install-tools.sh demo|test : installs from the host's own package manager what the build, the demo or
# the tests need and the host lacks. Says what it installs; sudo is used for nothing else.
set -eu

case "${1:-}" in
demo) packages="gcc:cc libc6-dev:/usr/include/stdio.h make:make qemu-system-x86:qemu-system-x86_64
    debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg
    ca-certificates:/etc/ssl/certs/ca-certificates.crt" ;;
test) packages="gcc:cc libc6-dev:/usr/include/stdio.h make:make qemu-system-x86:qemu-system-x86_64
    debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg
    ca-certificates:/etc/ssl/certs/ca-certificates.crt
    e2fsprogs:e2fsck mmdebstrap:mmdebstrap qemu-utils:qemu-img busybox-static:/bin/busybox openssh-client:ssh
    openssh-server:sshd
    docker-registry:docker-registry skopeo:skopeo apache2-utils:htpasswd openssl:openssl git:git
    python3:python3 python3-venv:python3 nodejs:node npm:npm util-linux:script iproute2:ip golang-go:go" ;;
*) echo "usage: install-tools.sh demo|test" >&2; exit 2 ;;
esac

# sbin holds e2fsck, and is not in everybody's PATH.
PATH=$PATH:/usr/sbin:/sbin
missing=
for entry in $packages; do
    package=${entry%%:*} probe=${entry#*:}
    case $probe in
    /*) [ -e "$probe" ] && continue ;;
    *) command -v "$probe" >/dev/null 2>&1 && continue ;;
    esac
    missing="$missing $package"
done
if ! command -v cargo >/dev/null 2>&1; then
    echo "Error: cargo is not installed" >&2
    echo "Hint: Install Rust 1.95 or newer, see https://www.rust-lang.org/tools/install" >&2
    exit 1
fi
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # the list is meant to split
install() { $sudo apt-get install -y -qq --no-install-recommends $missing; }
# An outdated index is the usual reason for a failure; once more, and now with the reasons shown.
install >/dev/null 2>&1 || { $sudo apt-get update -qq && install >/dev/null; }

# Debian starts the servers that it installs; the tests start their own, and nobody asked for others.
[ -d /run/systemd/system ] || exit 0
for package in $missing; do
    case $package in
    openssh-server) $sudo systemctl -q disable --now ssh ssh.socket ;;
    docker-registry) $sudo systemctl -q disable --now docker-registry ;;
    esac
done
