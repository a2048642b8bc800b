#!/bin/bash
# A hundred rekeyings in a row under a stream of a thousand echo requests a second, with each peer: of the Child SA and of
# the IKE SA, asked for at Shrike and at the peer. No request is lost, nothing leaves in clear text, and in the end there is
# one of each SA.
#
# pluto and iked, asked to rekey, send by the new SA before their answer is here, which Shrike keeps until the SA is. As iked
# rekeys by itself it sends the Delete of the old SA, then loads the new outbound SA, then the new inbound one, then takes the
# old ones away, without waiting for what is on its way: what Shrike sends waits until it has. (With INTEROP_STANDIN=charon
# this shows: 8 of 100 lost.)
#   hundred.sh [--times N] [PEER...]   PEER: charon, pluto, iked. Both ends on the kernel's ESP, so in a guest when this
#                                      kernel has none (and with PF_KEY for iked). Nightly.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon pluto iked subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
times=100; [ "${1:-}" = --times ] && { times=$2; shift 2; }
peers=("${@:-charon pluto iked}"); read -ra peers <<<"${peers[*]}"
for peer in "${peers[@]}"; do
    case $peer in
    charon) need charon-systemd;;
    pluto) pluto_required;;
    iked) need iked ikectl openssl;;
    *) say "no peer $peer: charon, pluto, iked"; exit 2;;
    esac
done
what=esp; [[ " ${peers[*]} " == *' iked '* ]] && what=pfkey
INTEROP_VM_SECONDS=${INTEROP_VM_SECONDS:-3000} kernel_required $what "$0" --times "$times" "${peers[@]}"

pluto_lines='ike=aes_gcm128-sha2_256;dh19
    esp=aes_gcm128;dh19
    pfs=yes'
# start PEER LIFETIMES-OF-IKED
start_both() {
    local ike='proposals = aes128gcm16-prfsha256-ecp256' child='esp_proposals = aes128gcm16-ecp256'
    case $1 in
    charon) charon_start b netlink "$ike" "$child";;
    pluto) pluto_start netlink "$pluto_lines";;
    iked) child='esp_proposals = aes128-sha512'; IKED_LIFETIMES=$2 iked_start passive;;
    esac && subject_start a xfrm "$ike" "$child"
}
peer_log() { tail -25 "$LAB/b/$1.log"; }

# The SPIs of Shrike's SA of this kind: others, once it is rekeyed.
spis() {
    local listing; listing=$(vici a --list-sas --raw 2>/dev/null)
    case $1 in
    child) grep -o 'state=INSTALLED[^{}]*spi-in=[0-9a-f]*' <<<"$listing" | grep -o 'spi-in=.*';;
    ike) grep -o 'initiator-spi=[0-9a-f]* responder-spi=[0-9a-f]*' <<<"$listing";;
    esac | sort -u
}
ask() { # BY KIND PEER
    case $1/$2/$3 in
    shrike/child/*) vici a --rekey --child lab;;
    shrike/ike/*) vici a --rekey --ike lab;;
    peer/child/charon) vici b --rekey --child lab;;
    peer/ike/charon) vici b --rekey --ike lab;;
    peer/child/pluto) whack --rekey-ipsec --name lab;;
    peer/ike/pluto) whack --rekey-ike --name lab;;
    peer/*/iked) true;; # by its lifetimes
    esac >/dev/null
}
one_of_each() { [ "$(spis child | wc -l)/$(spis ike | wc -l)" = 1/1 ] || { vici a --list-sas; return 1; }; }

# hundred KIND BY PEER
hundred() {
    local kind=$1 by=$2 peer=$3 done=0 before now
    lab_spawn a ping ping -q -i 0.001 -W 1 -I "$(inner a)" "$(inner b)"
    before=$(spis "$kind")
    other_now() { now=$(spis "$kind"); [ "$(wc -l <<<"$now")" = 1 ] && [ -n "$now" ] && [ "$now" != "$before" ]; }
    while [ $done -lt "$times" ]; do
        ask "$by" "$kind" "$peer" && lab_wait 15 other_now || break
        before=$now done=$((done + 1))
        sleep 0.03 # what is lost shows in packets: some for each rekeying
    done
    # By SIGQUIT ping prints its counts and goes on. What is lost stays missing, what is on its way does not.
    local received=0 sent=1
    all_answered() {
        kill -QUIT "$(lab_pid a ping)" && sleep 0.1
        read -r received sent < <(tr '\r' '\n' <"$LAB/a/ping.log" | sed -n 's/^\([0-9]*\)\/\([0-9]*\) packets, .*/\1 \2/p' | tail -1)
        [ "${sent:-0}" = "${received:-1}" ]
    }
    lab_wait 10 all_answered
    lab_stop a ping
    [ $done -ge "$times" ] || { say "only $done of $times rekeyings; $(spis "$kind")"; return 1; }
    say "$done rekeyings, ${sent:-no} echo requests, $((${sent:-0} - ${received:-0})) without answer" >"$LAB/counted"
    if [ $((sent - received)) -gt 0 ]; then
        for node in a b; do
            say "dropped by the kernel of node $node: $(inside $node awk '$2 { printf "%s %s  ", $1, $2 }' /proc/net/xfrm_stat)"
        done >>"$LAB/counted"
    fi
    [ "${sent:-0}" -ge $((done * 20)) ] || { say "too few to tell anything"; return 1; }
    [ "$sent" = "$received" ] || return 1
    for node in a b; do
        [ "$(sent $node "$CLEAR_TEXT")" = 0 ] || { say "CLEAR TEXT left node $node"; return 1; }
    done
    lab_wait 10 one_of_each
}

for peer in "${peers[@]}"; do
    peer_initiate() { case $peer in charon) vici_initiate b;; pluto) whack --name lab --initiate;; iked) ikectl_b active;; esac; }
    peer_up() {
        case $peer in
        charon) vici_up b;;
        pluto) [[ $(whack --status) == *ESTABLISHED_CHILD_SA* ]];;
        iked) [[ $(ikectl_b show sa 2>&1) == *ESTABLISHED* ]];;
        esac
    }
    for kind in child ike; do
        for by in shrike peer; do
            title="hundred/$peer/$kind by $by"
            lifetimes=
            # iked has no command for it, and rekeys at about nine tenths of a lifetime in whole seconds.
            [ $peer/$by/$kind = iked/peer/child ] && lifetimes='lifetime 3'
            [ $peer/$by/$kind = iked/peer/ike ] && lifetimes='ikelifetime 3'
            lab_up
            check "$title: both daemons start" start_both $peer "$lifetimes" || continue
            rm -f "$LAB/counted"
            check "$title: established" established initiator &&
                check "$title: $times times under 1 kHz, one of each in the end" hundred $kind $by $peer &&
                check "$title: Shrike still runs" subject_alive a ||
                { say "--- the daemon under test:"; subject_log a 40; say "--- the peer:"; peer_log $peer; }
            [ ! -f "$LAB/counted" ] || sed 's/^/     /' "$LAB/counted"
        done
    done
done
finish
