#!/bin/sh
# The guest's first process. The kernel's console is ttyS0; what is said on ttyS1 is what the run
# says, and its last line is the run's status.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 WEIR_REQUIRE_KERNEL=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# No mount: the tests may lie below it.
chmod 1777 /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
# As systemd leaves it: what is mounted shows in mount namespaces made later.
mount --make-rshared /
ulimit -n 65536
# Before Linux 5.11 maps count as locked memory.
ulimit -l unlimited

stty -F /dev/ttyS1 raw -echo
for module in /modules/*.ko; do
    insmod "$module" || echo "vm: $module cannot be loaded" >/dev/ttyS1
done
ip link set lo up
uname -sr >/dev/ttyS1
cd /root
sh /run.sh >/dev/ttyS1 2>&1 </dev/null
echo "vm: status $?" >/dev/ttyS1
# The serial line is slow; then the machine ends, told by a key that needs no program.
sleep 1
echo 1 >/proc/sys/kernel/sysrq
echo o >/proc/sysrq-trigger
sleep 60
