# Installs or upgrades the engine, and goes back to what was there when the new one does not answer. Runs as root.
# Before it stand services.sh, folders.sh and the assignments of: INIT LIBRARY ENGINE UNPACK LENGTH SERVICE_FILE
# SERVICE_TEXT ENVIRONMENT_TEXT INSTALLED_TEXT SOCKET DATA SELINUX FOLDERS_TEXT FOLDERS. With UNPACK, the
# binary is on standard input. Prints "key=value" lines. Forks are dear on a host that is emulated or small.
set -u
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
umask 077
SETTINGS=/etc/machine-engine
name=machine-engine

log_tail() { # SERVICE
    if [ "$INIT" = systemd ]; then journalctl -u "$1" -n 15 --no-pager -o cat 2>/dev/null
    else tail -n 15 "/var/log/$1.log" 2>/dev/null
    fi | sed 's/^/log=/'
}
fail() { printf 'error=%s\n' "$1"; log_tail $name; exit 1; }

# Returns once the engine answers, or cannot.
start_engine() {
    if [ "$INIT" = systemd ]; then [ -z "$had" ] || systemctl daemon-reload
    else
        # Only the socket tells that it answers, so that of the one before must be gone.
        [ -z "$had" ] || rc-service -q $name stop
        rm -f "$SOCKET"
    fi
    start_service $name "$SOCKET"
}

write() { # FILE TEXT: whole or not at all
    printf '%s' "$2" >"$1.new" && mv -f "$1.new" "$1"
}
write_service() { # FILE TEXT: for everybody's eyes, and a script with OpenRC
    umask 022
    write "$1" "$2"
    code=$?
    umask 077
    if [ "$INIT" != systemd ]; then chmod 755 "$1" || return 1; fi
    return $code
}

# It has its name only once it is whole: SSH saw to it that nothing was changed on the way, and only gzip knows by
# itself when something is missing.
receive() {
    part=$LIBRARY/$ENGINE.part
    (umask 022; mkdir -p "$LIBRARY" && $UNPACK >"$part") &&
        { [ "$UNPACK" != cat ] || [ "$(wc -c <"$part")" -eq "$LENGTH" ]; } &&
        chmod 755 "$part" && mv -f "$part" "$LIBRARY/$ENGINE" && return
    rm -f "$part"
    rmdir "$LIBRARY" "${LIBRARY%/*}" 2>/dev/null
    return 1
}

# Shows the folders of TEXT, the service's file, by ENGINE. A service that does so already goes on, by whichever
# engine: containers use its mounts.
show_folders() { # TEXT ENGINE
    if [ -z "$1" ]; then
        drop_folders
        [ ! -L "$LIBRARY/folders" ] || rm -f "$LIBRARY/folders"
        return 0
    fi
    if [ "$(cat "$FOLDERS_FILE" 2>/dev/null)" = "$(printf '%s' "$1")" ] && service_runs $FOLDERS_SERVICE; then
        return 0
    fi
    drop_folders
    ln -sfn "$2" "$LIBRARY/folders" && write_service "$FOLDERS_FILE" "$1" &&
        start_service $FOLDERS_SERVICE $FOLDERS_SOCKET
}
# Whether each has its link, which it gets once it is mounted.
all_shown() {
    [ -n "$FOLDERS" ] || return 0
    printf '%s' "$FOLDERS" | while IFS= read -r path; do
        case $(readlink "$path") in $PLACES/*) ;; *) exit 1 ;; esac
    done
}

if [ -n "$UNPACK" ] && ! receive; then echo "error=The engine did not arrive whole in $LIBRARY"; exit 1; fi
mkdir -p $SETTINGS "$DATA" || fail "Could not make $SETTINGS and $DATA"
if [ "$SELINUX" = 1 ]; then chcon -t bin_t "$LIBRARY/$ENGINE" 2>/dev/null; fi

modprobe -qa overlay br_netfilter nf_tables 2>/dev/null

had= folders_before= shower_before=
for file in "$SERVICE_FILE" $SETTINGS/environment; do
    [ ! -f "$file.previous" ] || rm -f "$file.previous"
    if [ -f "$file" ]; then cp -p "$file" "$file.previous" || fail "Could not keep $file"; had=yes; fi
done
if [ -f "$FOLDERS_FILE" ]; then
    folders_before=$(cat "$FOLDERS_FILE")
    shower_before=$(readlink "$LIBRARY/folders")
fi
write $SETTINGS/environment "$ENVIRONMENT_TEXT" && write_service "$SERVICE_FILE" "$SERVICE_TEXT" ||
    fail "Could not write the service's files"

# The folders first: containers that come back with the engine may need them.
shown=yes
{ show_folders "$FOLDERS_TEXT" "$ENGINE" && all_shown; } || shown=
if [ -n "$shown" ] && start_engine; then
    # What shows them later is this engine, too.
    [ ! -L "$LIBRARY/folders" ] || ln -sfn "$ENGINE" "$LIBRARY/folders"
    write $SETTINGS/installed "$INSTALLED_TEXT" || fail "Could not write $SETTINGS/installed"
    [ -z "$had" ] || rm -f "$SERVICE_FILE.previous" $SETTINGS/environment.previous
    # Running containers hold the binary they were started with open; its name is not needed.
    for file in "$LIBRARY"/engine-*; do [ "$file" = "$LIBRARY/$ENGINE" ] || rm -f "$file"; done
    echo done=yes
    exit 0
fi

if [ -z "$shown" ]; then
    printf 'error=Not all folders of this computer could be shown on the host\n'
    log_tail $FOLDERS_SERVICE
else
    printf 'error=The engine did not start\n'
    log_tail $name
fi
if [ -n "$had" ]; then
    show_folders "$folders_before" "$shower_before"
    for file in "$SERVICE_FILE" $SETTINGS/environment; do
        [ ! -f "$file.previous" ] || mv -f "$file.previous" "$file"
    done
    if start_engine; then echo rolled_back=yes; else echo rolled_back=no; fi
else
    stop_service $name
    show_folders '' ''
    rm -f "$SERVICE_FILE" $SETTINGS/environment
    rm -f "$LIBRARY/$ENGINE"
    rmdir $SETTINGS "$LIBRARY" "${LIBRARY%/*}" "$DATA" "${DATA%/*}" "${SOCKET%/*}" 2>/dev/null
    [ "$INIT" != systemd ] || systemctl daemon-reload
fi
exit 1
