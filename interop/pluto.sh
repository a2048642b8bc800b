#!/bin/bash
# Shrike and libreswan's pluto: IKEv2 with a pre-shared key, both roles.
#   pluto.sh             pluto cannot work without the kernel's ESP, so a shim stands in for it: the SAs, no traffic
#   pluto.sh --kernel    pluto on the kernel's ESP, Shrike on its own and then on the kernel's, with traffic; in a guest
#                        when this kernel has none
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon pluto subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
pluto_required
if [ "${1:-}" = --kernel ]; then
    kernel_required esp "$0" --kernel
    planes='userspace xfrm' kernel=netlink traffic=yes
else
    need cc
    planes=userspace kernel=shim traffic=no
fi

# The last state whack lists for each SA is the truth about it; --briefstatus has one line per SA.
peer_initiate() { whack --name lab --initiate; }
peer_up() {
    local status; status=$(whack --status)
    [[ $status == *ESTABLISHED_IKE_SA* && $status == *ESTABLISHED_CHILD_SA* ]] || { printf '%s\n' "$status" | grep '^000 #'; return 1; }
}
peer_gone() { ! whack --status | grep '^000 #'; }
peer_terminate() { whack --name lab --terminate; }
peer_log() { tail -25 "$LAB/b/pluto.log"; }
start_both() {
    pluto_start $kernel "$lines" && subject_start a $plane "proposals = aes128gcm16-prfsha256-ecp256
        $dpd_a" "esp_proposals = aes128gcm16"
}

for plane in $planes; do
    for role in initiator responder; do
        lines='ike=aes_gcm128-sha2_256;dh19
    esp=aes_gcm128
    pfs=no' dpd_a='' liveness=a
        case $role in
        initiator) lines+=$'\n    dpddelay=1\n    dpdtimeout=10\n    dpdaction=clear';;
        responder) dpd_a='dpd_delay = 1s' liveness=b;;
        esac
        lab_up
        check "pluto/$plane/$role: both daemons start" start_both || continue
        whack --impair revival >/dev/null          # it would bring an SA that Shrike deletes up again at once
        scenario "pluto/$plane/$role" $role $traffic $liveness
    done
done
finish
