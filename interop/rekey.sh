#!/bin/bash
# Shrike and strongSwan's charon, whose keys live for seconds: CREATE_CHILD_SA by either end, for the Child SA and for
# the IKE SA, with and without a key exchange, under an echo request every 10 ms. No echo is lost,
# nothing leaves in clear text, and after ten rekeyings both ends list one IKE SA with one Child SA.
#   rekey.sh                Shrike's userspace ESP with strongSwan's (kernel-libipsec), in two namespaces; any kernel
#   rekey.sh --kernel       the kernel's ESP (XFRM) at both ends
#   rekey.sh --all          without a key exchange by either end too, not only by Shrike (nightly)
#   rekey.sh --kernel-all   the same, and Shrike's userspace ESP as well, with charon on the kernel's (nightly)
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd
if [[ ${1:-} == --kernel* ]]; then
    INTEROP_VM_SECONDS=${INTEROP_VM_SECONDS:-1200} kernel_required esp "$0" "$1"
    planes=xfrm kernel=netlink
    [ "$1" = --kernel ] || planes='userspace xfrm'
else
    planes=userspace kernel=libipsec
fi

peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }

# How often the Child SA and the IKE SA of a node were made anew, by charon's own log (both ends see each one).
rekeyed_children() { grep 'CHILD_SA lab.*established with SPIs' "$LAB/b/charon.log" | grep -cv outbound; }
rekeyed_ike() { grep -c 'IKE_SA lab\[[0-9]*\].* \(rekeyed\|established\) between' "$LAB/b/charon.log"; }

# Both ends list one IKE SA and one Child SA, or do so in a moment: a rekeying may be under way. charon keeps what is
# deleted for five seconds, should packets come late.
one_of_each() {
    local node states
    for node in a b; do
        states=$(vici $node --list-sas --raw 2>&1 | grep -o 'state=[A-Z]*' | grep -v DELETED | sort | tr '\n' ' ')
        [ "$states" = 'state=ESTABLISHED state=INSTALLED ' ] || { say "node $node: $states"; return 1; }
    done
}

# rekeyings WHAT   WHAT (children | ike) is made anew ten times under echo requests
rekeyings() {
    local node sent received
    inside a ping -q -i 0.01 -w $seconds -W 1 -I "$(inner a)" "$(inner b)" >"$LAB/ping.log" 2>&1
    [ "$("rekeyed_$1")" -gt 10 ] || { say "only $("rekeyed_$1") SAs in $seconds s"; return 1; }
    read -r sent received < <(sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\1 \2/p' "$LAB/ping.log")
    local lost=2 # the last requests may be under way when time is up
    [ "${sent:-0}" -gt 1000 ] && [ $((sent - received)) -le $lost ] || { say "${sent:-no} echo requests, $received answers"; return 1; }
    for node in a b; do
        [ "$(sent $node "$CLEAR_TEXT")" = 0 ] || { say "CLEAR TEXT left node $node"; return 1; }
    done
    lab_wait 10 one_of_each || one_of_each
}

# rand_time beside a rekey_time. None beside 0 (no rekeying): charon on the kernel's ESP takes the spread from the zero, and
# rekeys after a second.
spread() { if [ "$1" = 0s ]; then echo 0s; else echo 1s; fi; }

start_both() {
    charon_start b $kernel "proposals = aes128gcm16-prfsha256-x25519
        rekey_time = $ike_b
        over_time = 10s
        rand_time = $(spread $ike_b)" "esp_proposals = $esp
                rekey_time = $child_b
                life_time = 60s
                rand_time = $(spread $child_b)" &&
        subject_start a $plane "proposals = aes128gcm16-prfsha256-x25519
        rekey_time = $ike_a
        over_time = 10s
        rand_time = $(spread $ike_a)" "esp_proposals = $esp
                rekey_time = $child_a
                life_time = 60s
                rand_time = $(spread $child_a)"
}

for plane in $planes; do
    for what in children ike; do
        for by in shrike charon both; do
            for pfs in yes no; do
                [ $what/$pfs = ike/no ] && continue # an IKE SA is always rekeyed with a key exchange
                [[ ${1:-} == *all || $by/$pfs == */yes || $by == shrike ]] || continue
                role=initiator; [ $by = charon ] && role=responder
                esp=aes128gcm16; [ $pfs = yes ] && esp=aes128gcm16-x25519
                child_a=0s child_b=0s ike_a=0s ike_b=0s seconds=28
                case $what/$by in
                children/shrike) child_a=2s;;
                children/charon) child_b=3s seconds=40;; # its kernel interface counts whole seconds
                children/both) child_a=2s child_b=2s;;
                ike/shrike) ike_a=2s;;
                ike/charon) ike_b=2s;;
                ike/both) ike_a=2s ike_b=2s;;
                esac
                title="rekey/$plane/$what by $by"
                [ $what = children ] && title="$title, $([ $pfs = yes ] && echo with || echo without) key exchange"
                lab_up
                check "$title: both daemons start" start_both || continue
                check "$title: established" established $role &&
                    check "$title: ten times, no echo lost, one of each" rekeyings $what &&
                    check "$title: Shrike still runs" subject_alive a ||
                    { say "--- the daemon under test:"; subject_log a 40; say "--- the peer:"; tail -40 "$LAB/b/charon.log"; }
            done
        done
    done
done
finish
