# Services under either init, for probe.sh, install.sh and halt.sh, before which this stands. POSIX sh, as root. INIT
# says which.

service_runs() { # NAME
    if [ "$INIT" = systemd ]; then systemctl -q is-active "$1" 2>/dev/null
    else rc-service -q "$1" status >/dev/null 2>&1
    fi
}

# Also one that is on its way up; not one that systemd starts over and over.
service_runs_or_starts() { # NAME
    if [ "$INIT" = systemd ]; then
        case $(systemctl show --value -p SubState "$1") in running | start) ;; *) return 1 ;; esac
    else service_runs "$1"
    fi
}

# Returns once it serves, or cannot. The SOCKET is not there yet with OpenRC, where nothing else tells.
start_service() { # NAME SOCKET
    if [ "$INIT" = systemd ]; then
        # Reading all units again is the dearest step by far. One that is new is read when it is first named, most
        # often.
        systemctl -q --no-reload enable "$1" || return 1
        systemctl restart "$1"
        code=$?
        if [ $code = 5 ]; then systemctl daemon-reload && systemctl restart "$1"; code=$?; fi
        return $code
    fi
    rc-update -q add "$1" default || return 1
    rc-service -q "$1" start || return 1
    tries=0
    until [ -S "$2" ]; do
        tries=$((tries + 1))
        [ $tries -le 150 ] || return 1
        sleep 0.2
    done
}

stop_service() { # NAME
    # Units are read again by whoever takes the file away.
    if [ "$INIT" = systemd ]; then systemctl -q --no-reload disable --now "$1"; systemctl reset-failed "$1"
    else rc-service -q "$1" stop; rc-update -q del "$1" default
    fi 2>/dev/null
}
