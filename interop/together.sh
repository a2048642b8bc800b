#!/bin/bash
# Both ends begin the same thing at once, 200 ms apart from each other (netem), so that the messages cross: the IKE SA is
# made, the Child SA is rekeyed, the IKE SA is, one of each, the IKE SA is deleted. Afterwards both ends have the same SAs,
# one of each kind, and carry traffic; a request that was refused for the time being is not repeated for ever.
# libreswan 4.10 does not do its part (RFC 7296 sections 2.8.1 and 2.8.2): it keeps both Child SAs of two, loses its Child SAs with
# the IKE SA that its maker deletes, and is stuck for good when our request comes while it makes one of its own. Shrike has to have
# a tunnel all the same, and to take away within a minute what libreswan leaves. (charon in Shrike's place has two of each from
# the first step on.)
#   together.sh                 strongSwan, once
#   together.sh --long [PEER..] strongSwan and libreswan, each five times (nightly)
#   together.sh PEER...         some of them, once. Both ends on the kernel's ESP: in a guest where this one has none
# OpenIKED is in iked.sh, and only for the first of these.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon pluto subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
arguments=("$@") rounds=1 peers=(charon)
[ "${1:-}" = --long ] && { shift; rounds=5 peers=(charon pluto); }
[ $# = 0 ] || peers=("$@")
for peer in "${peers[@]}"; do
    case $peer in
    charon) need charon-systemd tc;;
    pluto) pluto_required;;
    *) say "no peer $peer: charon, pluto"; exit 2;;
    esac
done
INTEROP_VM_SECONDS=${INTEROP_VM_SECONDS:-1500} kernel_required esp "$0" ${arguments[@]+"${arguments[@]}"}

start_both() {
    local ike='proposals = aes128gcm16-prfsha256-ecp256' child='esp_proposals = aes128gcm16-ecp256' node
    for node in a b; do
        inside $node tc qdisc add dev veth0 root netem delay 100ms || skip "this kernel has no netem"
    done
    case $peer in
    charon) charon_start b netlink "$ike" "$child";;
    pluto)
        pluto_start netlink 'ike=aes_gcm128-sha2_256;dh19
    esp=aes_gcm128;dh19
    pfs=yes' && whack --impair revival >/dev/null;;
    esac && subject_start a xfrm "$ike" "$child"
}
peer_log() { tail -40 "$LAB/b/$peer.log"; }
# by_peer WHAT   in the background
by_peer() {
    case $peer/$1 in
    charon/initiate) vici_initiate b;;
    charon/child) vici b --rekey --child lab;;
    charon/ike) vici b --rekey --ike lab;;
    charon/delete) vici b --terminate --ike lab --timeout 20;;
    pluto/initiate) whack --name lab --initiate --asynchronous;;
    pluto/child) whack --rekey-ipsec --name lab --asynchronous;;
    pluto/ike) whack --rekey-ike --name lab --asynchronous;;
    pluto/delete) whack --name lab --terminate;;
    esac
}
by_shrike() {
    case $1 in
    initiate) vici_initiate a;;
    child) vici a --rekey --child lab;;
    ike) vici a --rekey --ike lab;;
    delete) vici a --terminate --ike lab --timeout 20;;
    esac
}
# The SPIs of the kernel's ESP SAs that can carry something, of a node: one without keys is only reserved.
esp() {
    inside "$1" ip xfrm state list proto esp 2>/dev/null |
        awk '$1 == "proto" { spi = $4 } $1 == "aead" || $1 == "enc" { print "spi " spi }' | sort | tr '\n' ' '
}
count_of() { grep -o "$2" <<<"$1" | wc -l; }
ike_sas_of_peer() {
    case $peer in
    charon) count_of "$(vici b --list-sas --raw 2>/dev/null)" 'state=ESTABLISHED';;
    pluto) count_of "$(whack --briefstatus 2>/dev/null; whack --status)" 'ESTABLISHED_IKE_SA';;
    esac
}
within() { # SECONDS COMMAND...   by the clock: each look takes a while in a busy guest
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.3; done
}
# One IKE SA at both ends, one Child SA, and the same SPIs in both kernels. The peer may keep a deleted SA for some seconds, and
# libreswan an IKE SA without a Child SA.
same_of_each() {
    local listing of_a of_b; listing=$(vici a --list-sas --raw 2>/dev/null) of_a=$(esp a) of_b=$(esp b)
    [ "$(count_of "$listing" ' state=ESTABLISHED')/$(count_of "$listing" 'state=INSTALLED')" = 1/1 ] &&
        [ "$(count_of "$listing" ' state=')" = 2 ] &&
        [ "$(ike_sas_of_peer)" -ge 1 ] && [ "$of_a" = "$of_b" ] && [ "$(wc -w <<<"$of_a")" = 4 ] && return
    say "Shrike: $listing"; say "kernel: a has $of_a, b has $of_b; the peer lists $(ike_sas_of_peer) IKE SAs"
    return 1
}
nothing_left() { vici_gone a && [ -z "$(esp a)$(esp b)" ] && [ "$(ike_sas_of_peer)" = 0 ]; }
# together WHAT-BY-SHRIKE WHAT-BY-PEER EXPECTED
together() {
    local shrike_does=$1 peer_does=$2 expected=$3 from busy
    from=$(mark a)
    by_peer "$peer_does" >"$LAB/b/asked.log" 2>&1 &
    by_shrike "$shrike_does" >"$LAB/a/asked.log" 2>&1
    wait $!
    # What libreswan leaves is taken away in two steps, 10 s each and its own repetitions between them.
    local patience=40; [ "$peer" = pluto ] && patience=80
    within $patience "$expected" || { "$expected"; return 1; }
    # No loop: no more than a handful of requests each.
    busy=$(sent a 'isakmp:' "$from")
    [ "$busy" -le 40 ] || { say "Shrike sent $busy messages"; return 1; }
    [ "$expected" = nothing_left ] || traffic
}

for peer in "${peers[@]}"; do
    lab_up
    check "together/$peer: both daemons start" start_both || continue
    for round in $(seq $rounds); do
        title="together/$peer/$round"
        check "$title: both initiate" together initiate initiate same_of_each || break
        check "$title: both rekey the Child SA" together child child same_of_each &&
            check "$title: both rekey the IKE SA" together ike ike same_of_each &&
            check "$title: the Child SA against the IKE SA" together child ike same_of_each &&
            check "$title: the IKE SA against the Child SA" together ike child same_of_each || break
        check "$title: both delete" together delete delete nothing_left || break
    done
    [ "$FAILED" = 0 ] || { say "--- the daemon under test:"; subject_log a 60; say "--- the peer:"; peer_log; }
    check "together/$peer: Shrike still runs" subject_alive a
done
finish
