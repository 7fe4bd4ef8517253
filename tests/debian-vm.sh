#!/bin/sh
# debian-vm.sh DIR : a Debian host as a cloud has it, for VMs of the test cloud: disk.raw, vmlinuz and
# initrd.img in DIR. systemd, OpenSSH and cloud-init are Debian's own; with init=/sbin/openrc-init it is a host
# with OpenRC. Made once for every version of this file; takes a minute or two. The mirror is that of the host's
# apt sources, or $MACHINE_DEBIAN_MIRROR.
set -eu
out=$1
PATH=$PATH:/usr/sbin:/sbin
recipe=$(sha256sum <"$0")
[ "$(cat "$out/recipe" 2>/dev/null)" != "$recipe" ] || exit 0
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MACHINE_DEBIAN_MIRROR "$0" "$@"

mirror=${MACHINE_DEBIAN_MIRROR:-$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null |
    head -n 1 | tr -d ' ')}
[ -n "$mirror" ] || { echo "Error: no Debian mirror in the apt sources; name one in MACHINE_DEBIAN_MIRROR" >&2; exit 1; }
echo "Building the Debian host for the test cloud"
rm -rf "$out"
mkdir -p "$out"
tree=$out/tree
trap 'rm -rf "$tree" "$out/before" "$out/after"' EXIT

cat >"$out/before" <<'END'
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/test-cloud"
printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic >"$1/etc/initramfs-tools/modules"
END
# What a provider's image has besides packages; and nothing that only costs time under emulation.
cat >"$out/after" <<'END'
cd "$1"
rm -f etc/ssh/ssh_host_*
: >etc/machine-id
echo 'nameserver 10.0.2.3' >etc/resolv.conf
echo 'LABEL=root / ext4 rw,noatime 0 0' >etc/fstab
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >etc/systemd/network/80-dhcp.network
# Round trips are counted in sshd's log.
echo 'LogLevel VERBOSE' >etc/ssh/sshd_config.d/test-cloud.conf
cat >etc/cloud/cloud.cfg.d/99_test_cloud.cfg <<'CFG'
datasource_list: [ NoCloud ]
network: { config: disabled }
bootcmd: [ "touch /etc/cloud/cloud-init.disabled" ]
cloud_init_modules: [ bootcmd, write-files, users-groups, ssh ]
CFG
# With OpenRC two services are all that runs. One does what a distribution's and cloud-init would do, for the
# keys and the address; the other is as Alpine's, which is started only where some service wants it.
rm -f etc/runlevels/*/*
cat >etc/init.d/test-host <<'SERVICE'
#!/sbin/openrc-run
depend() { provide net localmount; }
start() {
    mkdir -p /run/sshd /dev/pts /root/.ssh
    mount -t devpts devpts /dev/pts
    mount -o ro LABEL=CIDATA /mnt
    (umask 077; sed -n 's/^    //p' /mnt/user-data >/etc/ssh/ssh_host_ed25519_key)
    sed -n 's/.*"public-keys":\["\([^"]*\)"\].*/\1/p' /mnt/meta-data >/root/.ssh/authorized_keys
    umount /mnt
    modprobe -a virtio_net virtio_rng
    until ls -d /sys/class/net/e* >/dev/null 2>&1; do sleep 0.1; done
    link=$(echo /sys/class/net/e*)
    ip link set lo up
    ip link set "${link##*/}" up
    ip addr add 10.0.2.15/24 dev "${link##*/}"
    ip route add default via 10.0.2.2
    /usr/sbin/sshd
}
SERVICE
cat >etc/init.d/cgroups <<'SERVICE'
#!/sbin/openrc-run
start() { mountinfo -q /sys/fs/cgroup || mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup; }
SERVICE
chmod 755 etc/init.d/test-host etc/init.d/cgroups
ln -s /etc/init.d/test-host etc/runlevels/default/test-host
chroot . systemctl -q enable systemd-networkd
chroot . systemctl -q mask systemd-networkd-wait-online apt-daily.timer apt-daily-upgrade.timer \
    e2scrub_reap fstrim.timer dpkg-db-backup.timer getty.target systemd-update-utmp \
    systemd-update-utmp-runlevel cloud-init cloud-config cloud-final cloud-init-hotplugd.socket
END
mmdebstrap --quiet --mode=root --variant=minbase --components=main \
    --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
    --include=systemd-sysv,udev,dbus,openssh-server,sudo,iproute2,ca-certificates,cloud-init,openrc,linux-image-cloud-amd64 \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="sh $(realpath "$out")/before \"\$1\"" --customize-hook="sh $(realpath "$out")/after \"\$1\"" \
    bookworm "$tree" "$mirror"
cp "$tree"/boot/vmlinuz-* "$out/vmlinuz"
cp "$tree"/boot/initrd.img-* "$out/initrd.img"
truncate -s 3G "$out/disk.raw"
mkfs.ext4 -q -F -O ^has_journal -L root -d "$tree" "$out/disk.raw"
echo "$recipe" >"$out/recipe"
