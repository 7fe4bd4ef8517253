# The service that shows the user's folders, for install.sh and halt.sh, before which this stands. POSIX sh, as root.
# Before it stand the assignments of: INIT FOLDERS_SERVICE FOLDERS_FILE FOLDERS_SOCKET PLACES MADE.

folders_run() {
    if [ "$INIT" = systemd ]; then systemctl -q is-active $FOLDERS_SERVICE 2>/dev/null
    else rc-service -q $FOLDERS_SERVICE status >/dev/null 2>&1
    fi
}

# Returns once the folders are mounted, or cannot be.
start_folders() {
    if [ "$INIT" = systemd ]; then
        # One that is new is read when it is first named, most often.
        systemctl -q --no-reload enable $FOLDERS_SERVICE || return 1
        systemctl restart $FOLDERS_SERVICE
        code=$?
        if [ $code = 5 ]; then systemctl daemon-reload && systemctl restart $FOLDERS_SERVICE; code=$?; fi
        return $code
    fi
    rc-update -q add $FOLDERS_SERVICE default || return 1
    rc-service -q $FOLDERS_SERVICE restart || return 1
    tries=0
    until [ -S $FOLDERS_SOCKET ]; do
        tries=$((tries + 1))
        [ $tries -le 60 ] || return 1
        sleep 0.5
    done
}

# Ends the service, and takes away the mounts and everything that was made for them.
drop_folders() {
    if [ -f "$FOLDERS_FILE" ]; then
        if [ "$INIT" = systemd ]; then
            systemctl -q disable --now $FOLDERS_SERVICE
            systemctl reset-failed $FOLDERS_SERVICE
        else
            rc-service -q $FOLDERS_SERVICE stop
            rc-update -q del $FOLDERS_SERVICE default
        fi 2>/dev/null
        rm -f "$FOLDERS_FILE"
        [ "$INIT" != systemd ] || systemctl daemon-reload
    fi
    for place in $PLACES/*; do
        umount -l "$place" 2>/dev/null
        rmdir "$place" 2>/dev/null
    done
    rmdir $PLACES 2>/dev/null
    rm -f $FOLDERS_SOCKET
    [ -f $MADE ] || return 0
    # What is in a folder goes before it.
    sort -r $MADE | while IFS= read -r path; do
        if [ -L "$path" ]; then case $(readlink "$path") in $PLACES/*) rm -f "$path" ;; esac
        else rmdir "$path" 2>/dev/null
        fi
    done
    rm -f $MADE
}
