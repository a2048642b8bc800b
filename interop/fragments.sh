#!/bin/bash
# IKEv2 messages in fragments (RFC 7383): Shrike with strongSwan in both roles, then with libreswan.
#   fragments.sh         Shrike's userspace ESP with strongSwan's (kernel-libipsec); pluto behind a shim, without traffic
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon pluto subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd

# Small enough that a list of proposals does not fit into one.
SIZE='fragment_size = 160'
MANY='esp_proposals = aes128-aes192-aes256-sha1-sha256-sha384-sha512, aes128gcm16-aes192gcm16-aes256gcm16-aes128gcm8-aes256gcm8'
IKE='proposals = aes128gcm16-prfsha256-ecp256'
IKE_AUTH='isakmp:.*ikev2_auth'                     # whole, or a fragment: tcpdump does not look closer
small() { lab_up && printf 'charon {\n    %s\n}\n' "$SIZE" >"$LAB/daemon.conf"; }
auths() { # NODE COMPARISON NUMBER   datagrams of IKE_AUTH that it sent
    counted() { [ "$(sent "$1" "$IKE_AUTH")" "$2" "$3" ]; }
    lab_wait 2 counted "$@" || { say "node $1 sent $(sent "$1" "$IKE_AUTH") of IKE_AUTH, not $2 $3"; return 1; }
}

peer_log() { tail -25 "$LAB/b/charon.log"; }
peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }
for setting in yes no; do
    for role in initiator responder; do
        CHARON_MORE=$SIZE
        lines="$IKE
        fragmentation = $setting"
        start_both() { charon_start b libipsec "$IKE" "$MANY" && subject_start a userspace "$lines" "$MANY"; }
        as_agreed() {
            local node=a; [ $role = responder ] && node=b
            established $role && traffic || return
            if [ $setting = yes ]; then auths $node -ge 2; else auths a -eq 1 && auths b -eq 1; fi
        }
        small
        check "fragments/charon/$setting/$role: both daemons start" start_both || continue
        check "fragments/charon/$setting/$role: established, traffic, IKE_AUTH as agreed" as_agreed || { subject_log a; peer_log; }
    done
done

if [ -x "$PLUTO_BIN/pluto" ] && command -v certutil cc >/dev/null; then
    peer_log() { tail -25 "$LAB/b/pluto.log"; }
    peer_up() { local status; status=$(whack --status); [[ $status == *ESTABLISHED_CHILD_SA* ]] || { printf '%s\n' "$status" | grep '^000 #'; return 1; }; }
    start_both() {
        pluto_start shim 'ike=aes_gcm128-sha2_256;dh19
    esp=aes_gcm128
    fragmentation=yes' && subject_start a userspace "$IKE" "$MANY"
    }
    taken() { established initiator && auths a -ge 2; }
    small
    check 'fragments/pluto/initiator: both daemons start' start_both &&
        check 'fragments/pluto/initiator: established, IKE_AUTH in fragments' taken || { subject_log a; peer_log; }
else
    say "SKIP: libreswan is not unpacked in $PLUTO_ROOT (cargo xtask setup)"
fi
finish
