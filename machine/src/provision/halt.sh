# Ends the engine and its containers; with REMOVE=yes takes away everything that was ever put here.
# Runs as root. Before it stand services.sh, folders.sh and the assignments of: INIT REMOVE MACHINE_ID SERVICE_FILE BRIDGE.
set -u
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
name=machine-engine
has() { command -v "$1" >/dev/null 2>&1; }

owner=$(sed -n 's/^ours_machine=//p' /etc/machine-engine/installed 2>/dev/null)
# Another machine's engine, or none any more, is nothing to touch.
if [ -n "$owner" ] && [ "$owner" != "$MACHINE_ID" ]; then printf 'foreign=%s\n' "$owner"; exit 0; fi
if [ -z "$owner" ] && [ ! -f "$SERVICE_FILE" ]; then echo done=nothing; exit 0; fi

# The signal that means: stop the containers as well.
if [ "$INIT" = systemd ]; then
    systemctl kill -s USR1 --kill-who=main $name 2>/dev/null
    tries=0
    while service_runs $name && [ $tries -lt 40 ]; do sleep 0.5; tries=$((tries + 1)); done
else
    # Its supervisor would start it again, were it not told right away to stop; it waits for the engine.
    kill -USR1 "$(cat /run/openrc/options/$name/child_pid)" 2>/dev/null
fi
stop_service $name
# Nobody uses them any more, and whoever has their files may go.
drop_folders
[ "$REMOVE" = yes ] || { echo done=halted; exit 0; }

rm -f "$SERVICE_FILE" "$SERVICE_FILE.previous"
[ "$INIT" != systemd ] || systemctl daemon-reload
has ip && ip link delete "$BRIDGE" 2>/dev/null
has nft && nft delete table inet machine 2>/dev/null
# Mounts of a crashed engine, deepest first: what is mounted there is not ours to delete through.
mounts() { awk '{ print $2 }' /proc/mounts | grep -E '^(/var/lib|/run)/machine-engine/' | sort -r; }
mounts | while read -r mount; do umount -l "$mount" 2>/dev/null; done
if [ -n "$(mounts)" ]; then printf 'error=Could not unmount %s\n' "$(mounts | tr '\n' ' ')"; exit 1; fi
rm -rf --one-file-system /var/lib/machine-engine /run/machine-engine 2>/dev/null ||
    rm -rf /var/lib/machine-engine /run/machine-engine
rm -rf /usr/local/lib/machine-engine /opt/machine-engine /etc/machine-engine /var/log/$name.log* \
    /var/log/$FOLDERS_SERVICE.log*
left=
for path in "$SERVICE_FILE" /var/lib/machine-engine /etc/machine-engine; do
    [ ! -e "$path" ] || left="$left $path"
done
if [ -n "$left" ]; then printf 'error=Could not remove%s\n' "$left"; exit 1; fi
echo done=removed
