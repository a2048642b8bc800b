#!/bin/bash
# Shrike and OpenIKED: IKEv2 with a pre-shared key, both roles, the kernel's ESP under iked (PF_KEY), so in a guest when
# this kernel has none.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon iked subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need iked ikectl openssl
kernel_required pfkey "$0"

# On its way from passive to active, iked initiates every active policy (two seconds later).
peer_initiate() { ikectl_b passive && ikectl_b active; }
peer_up() {
    local sas; sas=$(ikectl_b show sa 2>&1)
    [[ $sas == *ESTABLISHED* && $sas == *iked_activesas* ]] || { printf '%s\n' "$sas"; return 1; }
}
peer_gone() { local sas; sas=$(ikectl_b show sa 2>&1); [[ $sas != *ESTABLISHED* ]] || { printf '%s\n' "$sas"; return 1; }; }
peer_terminate() { ikectl_b reset sa; }
peer_log() { tail -25 "$LAB/b/iked.log"; }
start_both() {
    subject_start a $plane "proposals = aes128gcm16-prfsha256-ecp256
        dpd_delay = 1s" "esp_proposals = aes128-sha512" && iked_start $mode
}

for plane in userspace xfrm; do
    for role in initiator responder; do
        mode=passive; [ $role = responder ] && mode=active
        lab_up
        check "iked/$plane/$role: both daemons start" start_both || continue
        # iked asks for a sign of life once a minute only, so it is the one to answer.
        scenario "iked/$plane/$role" $role yes b
    done
done
finish
