#!/bin/busybox sh
# Copyright 2026 The buffersync Authors
# SPDX-License-Identifier: Apache-2.0
#
# First process of the testbed's guest. Console: ttyS0. The command's output, and a line that ends it: ttyS1. Its
# exit status: ttyS2. Whatever goes wrong here ends without a status, which the host takes for a failure.

/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/ BUFFERSYNC_STAGE=/stage BUFFERSYNC_OUT=/out

# The service manager trusts no rules below a folder that others can write.
chmod 0755 / /run

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t selinuxfs selinux /sys/fs/selinux 2>/dev/null
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
mount -t tracefs tracing /sys/kernel/tracing 2>/dev/null

# A binder device for each of the lanes in which tests run.
lanes=lane0,lane1,lane2,lane3,lane4
# The camera and the display of a machine that has them (`DEVICES` in vm.rs).
[ "$DEVICES" ] && devices=/devices
for module in /modules/*.ko ${devices:+$devices/*.ko}; do
    options=
    case $module in
    *binder_linux.ko) options=devices=binder,hwbinder,vndbinder,$lanes ;;
    # One webcam that captures, and nothing else of what vivid can be.
    *vivid.ko) options='node_types=0x1 num_inputs=1 input_types=0' ;;
    esac
    insmod "$module" $options || echo "init: cannot load $module"
done

# rsb_hub looks for its device where binderfs would put it.
mkdir -p /dev/binderfs
for device in binder hwbinder vndbinder; do
    ln -sf ../$device /dev/binderfs/$device
done
# Clients run under users of their own.
chmod 0666 /dev/binder /dev/hwbinder /dev/vndbinder /dev/lane* /dev/dma_heap/* /dev/udmabuf /dev/dri/* /dev/video* 2>/dev/null
chmod 0755 /dev/dma_heap /dev/dri 2>/dev/null

ip link set lo up
ulimit -n 65536

options=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o $options,cache=loose,ro stage /stage || echo "init: no stage"
mount -t 9p -o $options out /out || echo "init: no out"

# The host's files, so that what needs its shared libraries (a C program, a JVM) runs here too. Of its
# settings only those of a JVM: with nsswitch.conf, static programs would load the host's NSS.
if mount -t 9p -o $options,cache=loose,ro host /host; then
    for file in /host/usr /host/lib /host/lib64 /host/etc/alternatives /host/etc/java-* /host/etc/ssl; do
        here=${file#/host}
        [ -e "$here" ] || ln -s "$file" "$here"
    done
else
    echo "init: no host"
fi

stty -F /dev/ttyS1 raw -echo
stty -F /dev/ttyS2 raw -echo
# `BEGIN` in vm.rs.
echo "@@ output" >/dev/ttyS1
setsid sh "/stage/$RUN" </dev/null >/dev/ttyS1 2>&1
status=$?
sync
echo "exit=$status" >/dev/ttyS2
# The host ends the machine when it has read this line. If the guest did, QEMU could still have output that the host
# was too slow to take. (`END` in vm.rs.) The rest is for a host that is gone.
echo "@@ end of output" >/dev/ttyS1
sleep 60
poweroff -f
