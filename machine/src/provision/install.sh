# Installs or upgrades the engine, and goes back to what was there when the new one does not answer.
# Runs as root. Before it stand the assignments of: INIT LIBRARY ENGINE GROUP_USER SERVICE_FILE
# SERVICE_TEXT ENVIRONMENT_TEXT INSTALLED_TEXT SOCKET DATA SELINUX. Prints "key=value" lines.
set -u
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 077
SETTINGS=/etc/machine-engine
name=machine-engine

log_tail() {
    if [ "$INIT" = systemd ]; then journalctl -u $name -n 15 --no-pager -o cat 2>/dev/null
    else tail -n 15 /var/log/$name.log 2>/dev/null
    fi | sed 's/^/log=/'
}
fail() { printf 'error=%s\n' "$1"; log_tail; exit 1; }

# Returns once the engine answers, or cannot.
start_service() {
    if [ "$INIT" = systemd ]; then
        systemctl daemon-reload && systemctl -q enable $name && systemctl restart $name
        return
    fi
    rc-update -q add $name default || return 1
    rc-service -q $name restart || return 1
    tries=0
    until [ -S "$SOCKET" ]; do
        tries=$((tries + 1))
        [ $tries -le 60 ] || return 1
        sleep 0.5
    done
}
stop_service() {
    if [ "$INIT" = systemd ]; then
        systemctl -q disable --now $name; systemctl reset-failed $name 2>/dev/null
    else rc-service -q $name stop; rc-update -q del $name default
    fi
}
write() { # FILE MODE TEXT: whole or not at all
    printf '%s' "$3" >"$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1"
}

mkdir -p $SETTINGS "$DATA" || fail "Could not make $SETTINGS and $DATA"
[ -x "$LIBRARY/$ENGINE" ] || fail "The engine that was uploaded is not in $LIBRARY"
if [ "$SELINUX" = 1 ]; then chcon -t bin_t "$LIBRARY/$ENGINE" 2>/dev/null; fi

if [ -n "$GROUP_USER" ]; then
    getent group $name >/dev/null 2>&1 || groupadd -r $name 2>/dev/null || addgroup -S $name ||
        fail "Could not make the group $name"
    usermod -aG $name "$GROUP_USER" 2>/dev/null || addgroup "$GROUP_USER" $name ||
        fail "Could not put $GROUP_USER into the group $name"
fi
for module in overlay br_netfilter nf_tables; do modprobe -q $module 2>/dev/null; done

had=
for file in "$SERVICE_FILE" $SETTINGS/environment; do
    rm -f "$file.previous"
    if [ -f "$file" ]; then cp -p "$file" "$file.previous" || fail "Could not keep $file"; had=yes; fi
done
case $INIT in systemd) mode=644 ;; *) mode=755 ;; esac
write $SETTINGS/environment 600 "$ENVIRONMENT_TEXT" && write "$SERVICE_FILE" $mode "$SERVICE_TEXT" ||
    fail "Could not write the service's files"

if start_service; then
    write $SETTINGS/installed 600 "$INSTALLED_TEXT" || fail "Could not write $SETTINGS/installed"
    rm -f "$SERVICE_FILE.previous" $SETTINGS/environment.previous
    # Running containers hold the binary they were started with open; its name is not needed.
    for file in "$LIBRARY"/engine-*; do [ "$file" = "$LIBRARY/$ENGINE" ] || rm -f "$file"; done
    echo done=yes
    exit 0
fi

printf 'error=The engine did not start\n'
log_tail
if [ -n "$had" ]; then
    for file in "$SERVICE_FILE" $SETTINGS/environment; do
        [ ! -f "$file.previous" ] || mv -f "$file.previous" "$file"
    done
    if start_service; then echo rolled_back=yes; else echo rolled_back=no; fi
else
    stop_service 2>/dev/null
    rm -f "$SERVICE_FILE" $SETTINGS/environment
    rm -f "$LIBRARY/$ENGINE"
    rmdir $SETTINGS "$LIBRARY" "$DATA" "${DATA%/*}" 2>/dev/null
    [ "$INIT" != systemd ] || systemctl daemon-reload
fi
rm -f "$LIBRARY/$ENGINE.part"
exit 1
