#!/bin/sh
# Becomes the systemd of a host of its own. Runs in namespaces made for it (mount, pid, net, uts, ipc,
# cgroup), on this kernel; below $layers are the directories that make its files, none of which it
# changes: what it writes goes into memory.
set -eu
layers=$1 work=$2 console=$3
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/work" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$layers,upperdir=$work/upper,workdir=$work/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
# The top of this cgroup namespace: version 2 and nothing else, also where the machine has both.
mount -t cgroup2 -o nsdelegate cgroup2 "$root/sys/fs/cgroup"
mount -t bpf -o mode=700 bpf "$root/sys/fs/bpf"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
# Where a virtual machine has its second serial line.
: >"$root/dev/ttyS1"
mount --bind "$console" "$root/dev/ttyS1"
cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
exec env -i container=weir-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd systemd.show_status=0
