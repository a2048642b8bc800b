#!/bin/bash
# Debian's libreswan package conflicts with strongSwan's. Unpack it into the cache, beside the system, and install only
# the libraries it needs (root, apt).
. "$(dirname "$0")/lab.sh"
. "$INTEROP/lib/pluto.sh"
[ -x "$PLUTO_ROOT/usr/libexec/ipsec/pluto" ] && exit
[ "$(id -u)" = 0 ] || die "installing libreswan's libraries needs root"
set -e
apt-cache show libreswan >/dev/null 2>&1 || apt-get -q -o DPkg::Lock::Timeout=300 update
libraries=$(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances libreswan |
    awk '/^  (Pre)?Depends:/ { print $2 }' | grep -v '[<>]' | grep -vE '^(debconf|iproute|ike-server|systemd)')
DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install $libraries
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
cd "$fetched"
apt-get -q download libreswan                      # a sandboxed download warns when root owns the directory; it is harmless
mkdir -p "$PLUTO_ROOT"
dpkg -x libreswan_*.deb "$PLUTO_ROOT"
"$PLUTO_ROOT/usr/libexec/ipsec/pluto" --version
