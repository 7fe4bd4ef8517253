# The service that shows the user's folders, for install.sh and halt.sh, before which this stands. POSIX sh, as root.
# Before it stand services.sh and the assignments of: FOLDERS_SERVICE FOLDERS_FILE FOLDERS_SOCKET PLACES MADE.

# Ends the service, and takes away the mounts and everything that was made for them.
drop_folders() {
    if [ -f "$FOLDERS_FILE" ]; then
        stop_service $FOLDERS_SERVICE
        rm -f "$FOLDERS_FILE"
        [ "$INIT" != systemd ] || systemctl daemon-reload
    fi
    if [ -d $PLACES ]; then
        for place in $PLACES/*; do
            umount -l "$place" 2>/dev/null
            rmdir "$place" 2>/dev/null
        done
        rmdir $PLACES 2>/dev/null
    fi
    [ ! -e $FOLDERS_SOCKET ] || rm -f $FOLDERS_SOCKET
    [ -f $MADE ] || return 0
    # What is in a folder goes before it.
    sort -r $MADE | while IFS= read -r path; do
        if [ -L "$path" ]; then case $(readlink "$path") in $PLACES/*) rm -f "$path" ;; esac
        else rmdir "$path" 2>/dev/null
        fi
    done
    rm -f $MADE
}
