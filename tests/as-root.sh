#!/bin/sh
# as-root.sh cargo test … : builds as you and runs the test binaries as root, through sudo if needed:
# the engine's tests make namespaces, mounts and cgroups.
set -eu
if [ "$(id -u)" != 0 ]; then
    echo "The engine's tests need root: running the test binaries through sudo" >&2
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="sudo --preserve-env=PATH,CARGO_MANIFEST_DIR,CI"
fi
exec "$@"
