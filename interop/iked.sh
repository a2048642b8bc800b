#!/bin/bash
# Shrike and OpenIKED: IKEv2 with a pre-shared key, both roles and at once, the kernel's ESP under iked (PF_KEY), so in a
# guest when this kernel has none.
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
peer_log() { tail -60 "$LAB/b/iked.log"; }
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

# Both begin at once. OpenIKED has no rule for that and keeps both IKE SAs; Shrike takes one away (docs/adr/019).
both_begin() {
    peer_initiate && sleep 2 && vici_initiate a && lab_wait 5 peer_up && lab_wait 30 one_of_each && traffic
}
one_of_each() {
    local listing count; listing=$(vici a --list-sas --raw 2>/dev/null); count=$(ikectl_b show sa | grep -c '^iked_sas:.*ESTABLISHED')
    [[ $(grep -o ' state=ESTABLISHED' <<<"$listing" | wc -l)/$(grep -o state=INSTALLED <<<"$listing" | wc -l)/$count = 1/1/1 ]] && return
    say "Shrike: $listing"; say "iked: $(ikectl_b show sa)"
    return 1
}

# Fragments (RFC 7383), small ones of ours: OpenIKED announces them, and puts them together.
in_fragments() {
    local count
    vici_initiate a && lab_wait 5 peer_up && traffic || return
    count=$(grep -Ec 'ikev2_auth' "$LAB/a/wire.log")
    [ "$count" -ge 2 ] || { say "Shrike's IKE_AUTH request left in $count messages"; grep isakmp "$LAB/a/wire.log"; return 1; }
}
plane=userspace mode=passive
lab_up
printf 'charon {\n    fragment_size = 160\n}\n' >"$LAB/daemon.conf"
IKED_SETTINGS='set fragmentation'
check "iked/fragments: both daemons start" start_both && check "iked/fragments: IKE_AUTH in fragments, traffic" in_fragments ||
    { say "--- the daemon under test:"; subject_log a 60; say "--- the peer:"; peer_log; }
unset IKED_SETTINGS; rm -f "$LAB/daemon.conf"

plane=userspace mode=active
lab_up
check "iked/together: both daemons start" start_both && check "iked/together: one of two IKE SAs goes" both_begin ||
    { say "--- the daemon under test:"; subject_log a 60; say "--- the peer:"; peer_log; }
finish
