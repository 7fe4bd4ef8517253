#!/bin/sh
# install-clients.sh : the real clients the tests drive, into $TOOLS: docker (unless the host has it),
# and docker-py in a virtual environment of its own. Needs $IMAGES, which verifies Debian's packages.
set -eu
mkdir -p "$TOOLS/bin"
if command -v docker >/dev/null 2>&1; then
    ln -sf "$(command -v docker)" "$TOOLS/bin/docker"
elif [ ! -x "$TOOLS/bin/docker" ]; then
    echo "Fetching the docker client"
    "$IMAGES" package docker-cli --file bin/docker --output "$TOOLS/bin/docker"
fi
if [ "${1:-}" != docker-only ] && [ ! -e "$TOOLS/venv/.done" ]; then
    echo "Installing docker-py"
    python3 -m venv "$TOOLS/venv"
    "$TOOLS/venv/bin/pip" install --quiet --disable-pip-version-check docker==7.1.0
    touch "$TOOLS/venv/.done"
fi
