#!/bin/bash
# Transport mode between two hosts: Shrike's own ESP, then the kernel's, with strongSwan's charon on the kernel's; IKEv1 and
# IKEv2, both roles; IKEv2 where only one end wants it; ports, which the userspace data plane refuses.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd
kernel_required esp "$0"

peer_log() { tail -25 "$LAB/b/charon.log"; }
peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }

ports=''
hosts() { printf 'connections { lab { children { lab { local_ts = dynamic%s\nremote_ts = dynamic%s\nmode = %s } } } }\n' "$ports" "$ports" "$1"; }
start_both() { # PLANE MODE-OF-SHRIKE MODE-OF-CHARON
    CONF_MORE=([a]=$(hosts "$2") [b]=$(hosts "$3"))
    charon_start b netlink "$lines" "$child" && subject_start a "$1" "$lines" "$child"
}
mode_is() { # MODE
    local node
    for node in a b; do
        vici $node --list-sas --raw | grep -q "mode=$1" || { vici $node --list-sas; return 1; }
    done
}
ICMP_IN_CLEAR='IP 192\.0\.2\..*: ICMP'
between_hosts() { # echo both ways between the outer addresses: all of it in ESP
    local node from_a from_b
    from_a=$(mark a) from_b=$(mark b)
    for node in a b; do
        inside $node ping -q -c 3 -i 0.2 -W 2 "$(outer "$(other $node)")" || return
    done
    sleep 0.2
    for node in a b; do
        local since=$from_a; [ $node = b ] && since=$from_b
        [ "$(sent $node "$ICMP_IN_CLEAR" "$since")" = 0 ] || { say "CLEAR TEXT left node $node"; return 1; }
        [ "$(sent $node "$ESP_ON_THE_WIRE" "$since")" -ge 6 ] || { say "node $node sent fewer than 6 ESP packets"; return 1; }
    done
}
carries() { established $role && mode_is "$1" && between_hosts; }
configured() { vici a --list-conns | grep -q 'lab: TRANSPORT' || { vici a --list-conns; return 1; }; }
gone_again() { vici_terminate a && lab_wait 5 vici_gone a && lab_wait 5 vici_gone b && inside a ping -q -c 1 -W 2 "$(outer b)"; }
# A successor in the same mode: by the hand of either end.
rekeyed() {
    local before; before=$(vici a --list-sas --raw | grep -o 'spi-in=[0-9a-f]*')
    vici "$1" --rekey --child lab >/dev/null
    changed() { ! vici a --list-sas --raw | grep -o 'spi-in=[0-9a-f]*' | tail -1 | grep -q "$before"; }
    lab_wait 5 changed && mode_is TRANSPORT && between_hosts
}

child='esp_proposals = aes128gcm16'
for plane in userspace xfrm; do
for version in 1 2; do
    for role in initiator responder; do
        lines="version = $version
        proposals = aes128-sha256-x25519"
        name="transport/$plane/ikev$version/$role"
        lab_up
        check "$name: both daemons start" start_both $plane transport transport || continue
        check "$name: established, echo between the hosts in ESP" carries TRANSPORT || { subject_log a; peer_log; continue; }
        check "$name: listed as configured" configured
        rekeyer=a; [ $role = responder ] && rekeyer=b
        check "$name: rekeyed, echo" rekeyed $rekeyer || { subject_log a; peer_log; }
        check "$name: deleted, echo in clear text again" gone_again || { subject_log a; peer_log; }
    done
done
done

# RFC 7296 section 1.3.1: who declines has a tunnel.
lines='version = 2
        proposals = aes128-sha256-x25519'
for wanted in 'transport tunnel' 'tunnel transport'; do
    for role in initiator responder; do
        lab_up
        check "transport/declined/$role: both daemons start, $wanted" start_both xfrm $wanted || continue
        check "transport/declined/$role: a tunnel, echo in ESP" carries TUNNEL || { subject_log a; peer_log; }
    done
done

# The userspace data plane says why not.
role=initiator ports='[udp/1701]'
vici_no_child() { ! vici "$1" --list-sas --raw | grep -q state=INSTALLED; }
refuses() { ! vici a --initiate --child lab --timeout 5 && ! vici_up a && lab_wait 5 vici_no_child b && "$SHRIKE" --vici "unix://$LAB/a/vici" show | grep -A4 INSTALL_FAILED | grep -q 'without ports'; }
lab_up
check 'transport/userspace/ports: both daemons start' start_both userspace transport transport &&
    { check 'transport/userspace/ports: refused and explained' refuses || { "$SHRIKE" --vici "unix://$LAB/a/vici" show; subject_log a; }; }
finish
