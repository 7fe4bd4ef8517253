#!/bin/sh
# install-clients.sh : the real clients the tests drive, into $TOOLS: docker (unless the host has it),
# its plugins buildx and compose, and Python's clients (and moto, which is EC2 to a client) in a virtual environment.
# Needs $IMAGES, which verifies Debian's packages.
set -eu
mkdir -p "$TOOLS/bin"
if command -v docker >/dev/null 2>&1; then
    ln -sf "$(command -v docker)" "$TOOLS/bin/docker"
elif [ ! -x "$TOOLS/bin/docker" ]; then
    echo "Fetching the docker client"
    "$IMAGES" package docker-cli --file bin/docker --output "$TOOLS/bin/docker"
fi
[ "${1:-}" != docker-only ] || exit 0
plugin=cli-plugins/docker-compose
if [ ! -x "$TOOLS/compose/$plugin" ]; then
    echo "Fetching docker compose"
    mkdir -p "$TOOLS/compose/cli-plugins"
    "$IMAGES" package docker-compose --file "usr/libexec/docker/$plugin" --output "$TOOLS/compose/$plugin"
fi
if [ ! -x "$TOOLS/buildx/docker-buildx" ]; then
    echo "Fetching docker buildx"
    mkdir -p "$TOOLS/buildx"
    "$IMAGES" package docker-buildx --file usr/libexec/docker/cli-plugins/docker-buildx --output "$TOOLS/buildx/docker-buildx"
fi
packages="docker==7.1.0 testcontainers==4.15.0 moto[ec2,server]==5.2.5"
if [ "$(cat "$TOOLS/venv/.packages" 2>/dev/null)" != "$packages" ]; then
    echo "Installing docker-py, testcontainers and moto"
    python3 -m venv "$TOOLS/venv"
    # shellcheck disable=SC2086 # the list is meant to split
    "$TOOLS/venv/bin/pip" install --quiet --disable-pip-version-check $packages
    echo "$packages" >"$TOOLS/venv/.packages"
fi
