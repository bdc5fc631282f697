#!/bin/sh
# Writes this overlay as a tar to the file $1, `-` for standard output. It runs in a sandbox: it sees this folder, the
# programs of the host and the variables of image.kdl, and `xcluster` answers as it does outside.
set -e
dir=$(dirname "$(readlink -f "$0")")
tmp=$(mktemp -d)
mkdir -p "$tmp/etc"
echo "setup: $SETUP" > "$tmp/etc/setup"
cp -R "$dir/default/." "$tmp"
tar -C "$tmp" -cf "$1" .
rm -rf "$tmp"
