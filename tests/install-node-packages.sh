#!/bin/sh
# install-node-packages.sh : what the tests drive on Node, into $TOOLS/node: dockerode, a client of the engine, and
# Prism, which judges the cloud drivers by the providers' own specifications. Unit tests need the latter, so this
# goes before any build.
set -eu
# Prism's parts, as its command line has one specification a process; the newest want a newer Node than Debian's.
packages="dockerode@4.0.12 @stoplight/prism-core@5.8.0 @stoplight/prism-http@5.12.0 @stoplight/prism-http-server@5.12.2"
[ "$(cat "$TOOLS/node/.packages" 2>/dev/null)" != "$packages" ] || exit 0
echo "Installing dockerode and Prism"
mkdir -p "$TOOLS/node"
# shellcheck disable=SC2086 # the list is meant to split
npm install --prefix "$TOOLS/node" --silent --no-audit --no-fund --no-save $packages
echo "$packages" >"$TOOLS/node/.packages"
