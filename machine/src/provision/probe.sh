# What kind of host is this? One line "key=value" for every fact; nothing stays changed. POSIX sh, as root if that
# may be. Arguments: how it became root ("no" if it did not), and the number of the account that logged in. Forks are dear on a
# host that is emulated or small: the shell does what it can itself.
# Before it stand services.sh and the assignments of: FOLDERS (the user's that it shall show, one a line) PLACES MADE.
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
say() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }

say become "$1"
say uid "$2"
say arch "$(uname -m)"
for file in /etc/os-release /usr/lib/os-release; do
    [ -r "$file" ] || continue
    while IFS='=' read -r key value; do
        case $key in ID | PRETTY_NAME) say "os_$key" "$value" ;; esac
    done <"$file"
    break
done

init=
if [ -d /run/systemd/system ]; then init=systemd
elif [ -d /run/openrc ] && has rc-service; then init=openrc
else read -r init </proc/1/comm
fi
say init "$init"
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then say cgroup 2
elif [ -d /sys/fs/cgroup/memory ]; then say cgroup 1
elif [ "$init" = openrc ] && [ -x /etc/init.d/cgroups ]; then say cgroup later
else say cgroup 0
fi
if grep -qw overlay /proc/filesystems || modprobe -n overlay 2>/dev/null; then say overlay yes
else say overlay no
fi

# Whether a folder can be written is found out by writing: some shells take root's word for it.
for folder in /usr/local/lib /opt /var/lib; do
    (: >"$folder/.machine-engine") 2>/dev/null || continue
    rm -f "$folder/.machine-engine"
    say library "$folder"
    for file in "$folder"/machine-engine/bin/engine-*; do
        case $file in *.part) ;; *) [ ! -x "$file" ] || say binary "${file##*/}" ;; esac
    done
    break
done
df -Pk /var/lib 2>/dev/null | while read -r _ _ _ free _; do
    case $free in *[!0-9]*) ;; *) say free_kib "$free" ;; esac
done
if [ -r /sys/fs/selinux/enforce ]; then read -r enforce </sys/fs/selinux/enforce; say selinux "$enforce"; fi
for tool in gzip ip nft iptables; do if has $tool; then say tool $tool; fi; done
for engine in dockerd containerd podman; do if has $engine; then say engine $engine; fi; done

# Folders, by their place in the list, at whose path the host has something that is not ours. A path through a link of
# ours is not followed: it leads to the user's computer, and that link goes.
is_covered() { # PATH
    rest=${1#/} path=
    while [ -n "$rest" ]; do
        path=$path/${rest%%/*}
        case $rest in */*) rest=${rest#*/} ;; *) rest= ;; esac
        [ ! -L "$path" ] || case $(readlink "$path") in "$PLACES"/*) return 1 ;; esac
    done
    { [ -e "$1" ] || [ -L "$1" ]; } && ! grep -qxF "$1" "$MADE" 2>/dev/null
}
number=0
printf '%s' "$FOLDERS" | while IFS= read -r folder; do
    if is_covered "$folder"; then say covered $number; fi
    number=$((number + 1))
done
if [ -n "$FOLDERS" ]; then
    if { [ -c /dev/fuse ] && grep -qw fuse /proc/filesystems; } || modprobe -n fuse 2>/dev/null; then say fuse yes; fi
fi

# What we put here before, if anything. Services are asked for only where there may be one.
INIT=$init
if [ -r /etc/machine-engine/installed ]; then
    cat /etc/machine-engine/installed
    # One that is still bringing containers back runs, too: they may wait for folders, which come after this.
    if service_runs_or_starts machine-engine; then say active yes; fi
fi
if has firewall-cmd && service_runs firewalld; then say firewall firewalld; fi
if has ufw && service_runs ufw; then say firewall ufw; fi
say end yes
exit 0
