#!/bin/sh
# The first program that Linux starts.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
exec /bin/busybox sh
