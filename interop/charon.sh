#!/bin/bash
# Shrike and strongSwan's charon: IKEv2 with a pre-shared key, both roles.
#   charon.sh            Shrike's userspace ESP with strongSwan's (kernel-libipsec), in two namespaces; any kernel
#   charon.sh --kernel   Shrike's userspace ESP, then the kernel's (XFRM), with charon on the kernel's ESP;
#                        in a guest when this kernel has none
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd
if [ "${1:-}" = --kernel ]; then
    kernel_required esp "$0" --kernel
    planes='userspace xfrm' kernel=netlink
else
    planes=userspace kernel=libipsec
fi

peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }
peer_gone() { vici_gone b; }
peer_terminate() { vici_terminate b; }
peer_log() { tail -25 "$LAB/b/charon.log"; }

start_both() {
    charon_start b $kernel "proposals = $ike
        $dpd_b" "esp_proposals = $esp" &&
        subject_start a $plane "proposals = $ike
        $dpd_a" "esp_proposals = $esp"
}

for plane in $planes; do
    for role in initiator responder; do
        case $role in                              # one suite and one liveness direction per role
        initiator) ike=aes128gcm16-prfsha256-x25519 esp=aes128gcm16 liveness=a dpd_a='' dpd_b='dpd_delay = 1s';;
        responder) ike=aes256-sha256-modp2048 esp=aes256-sha256 liveness=b dpd_a='dpd_delay = 1s' dpd_b='';;
        esac
        lab_up
        check "charon/$plane/$role: both daemons start" start_both || continue
        scenario "charon/$plane/$role" $role yes $liveness
    done
    [ "$(subject_name)" = shrike ] || continue
    lab_up
    check "charon/$plane: established, for a probe" eval 'start_both && vici_initiate a && both_up' &&
        check "charon/$plane: a black hole for long packets is probed" black_hole
done
finish
