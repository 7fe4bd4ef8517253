#!/bin/sh
# demo.sh : what `make demo` shows. Expects MACHINE, IMAGES, BUSYBOX and TOOLS from the Makefile.
set -eu
here=$(dirname "$0")
"$here/install-clients.sh" docker-only
docker=$TOOLS/bin/docker
name=demo

show() { printf '\n$ %s\n' "$*"; }

case $("$MACHINE" status "$name" 2>/dev/null || echo absent) in
absent) show machine create "$name"; "$MACHINE" create "$name" ;;
Running) ;;
*) show machine start "$name"; "$MACHINE" start "$name" ;;
esac
eval "$("$MACHINE" env --shell sh "$name")"

show docker load -i busybox.tar
"$docker" load -i "$BUSYBOX"
show docker run --rm busybox echo "Hello from your own engine"
"$docker" run --rm busybox echo "Hello from your own engine"
show docker version --format "'{{.Server.Version}}'"
"$docker" version --format '{{.Server.Version}}'
show machine ls
"$MACHINE" ls
cat <<EOF

How to go on:
  export PATH="\$PWD/$(dirname "$MACHINE"):\$PWD/$TOOLS/bin:\$PATH"
  eval \$(machine env $name)     # docker now talks to the machine
  docker run -it --rm busybox    # a shell in a container
  machine ssh $name              # a shell in the machine
  machine create other           # another engine, isolated from this one
  machine rm $name               # and gone
EOF
