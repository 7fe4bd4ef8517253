# What kind of host is this? Looks only; one line "key=value" for every fact. POSIX sh, any shell's child.
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
say() { printf '%s=%s\n' "$1" "$2"; }
has() { command -v "$1" >/dev/null 2>&1; }

become=no
if [ "$(id -u)" = 0 ]; then become=root
elif has sudo && sudo -n true 2>/dev/null; then become=sudo
elif has doas && doas -n true 2>/dev/null; then become=doas
fi
as_root() {
    case $become in
    root) "$@" ;;
    sudo) sudo -n "$@" ;;
    doas) doas -n "$@" ;;
    *) "$@" ;;
    esac
}
say become "$become"
say user "$(id -un)"
say arch "$(uname -m)"
say kernel "$(uname -r)"
for file in /etc/os-release /usr/lib/os-release; do
    [ -r "$file" ] || continue
    sed -n 's/^\(ID\|ID_LIKE\|VERSION_ID\|PRETTY_NAME\)=/os_\1=/p' "$file"
    break
done

if [ -d /run/systemd/system ]; then
    say init systemd
    say init_version "$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
elif has rc-service; then say init openrc
else say init "$(cat /proc/1/comm 2>/dev/null)"
fi
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then say cgroup 2
elif [ -d /sys/fs/cgroup/memory ]; then say cgroup 1
else say cgroup 0
fi
if grep -qw overlay /proc/filesystems || as_root modprobe -n overlay 2>/dev/null; then say overlay yes
else say overlay no
fi

for folder in /usr/local/lib /opt /var/lib; do
    if as_root test -d "$folder" -a -w "$folder"; then say library "$folder"; break; fi
done
say free_kib "$(df -Pk /var/lib 2>/dev/null | awk 'NR == 2 { print $4 }')"
say memory_kib "$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo)"
if [ -r /sys/fs/selinux/enforce ]; then say selinux "$(cat /sys/fs/selinux/enforce)"; fi
for tool in sha256sum gzip ip nft iptables; do has $tool && say tool $tool; done

for engine in dockerd containerd podman; do has $engine && say engine $engine; done
for firewall in firewalld ufw; do
    if has systemctl && systemctl -q is-active $firewall 2>/dev/null; then say firewall $firewall; fi
done

# What we put here before, if anything.
as_root cat /etc/machine-engine/installed 2>/dev/null
if has systemctl && systemctl -q is-active machine-engine 2>/dev/null; then say active yes
elif has rc-service && as_root rc-service machine-engine status >/dev/null 2>&1; then say active yes
fi
say end yes
