#!/bin/bash
# Shunts: what passes beside a tunnel in the clear, and what no SA carries and is dropped. Shrike's own ESP, then the
# kernel's, with strongSwan's charon on the kernel's.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd
kernel_required esp "$0"

peer_log() { tail -25 "$LAB/b/charon.log"; }
peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }

lines='proposals = aes128-sha256-x25519'
child='esp_proposals = aes128gcm16'
# The two hosts themselves, in a tunnel, and a connection that only says what is not protected.
hosts() { # SHUNT-LINES
    printf 'connections {
  lab { children { lab { local_ts = dynamic\nremote_ts = dynamic } } }
  beside { remote_addrs = 127.0.0.1\nchildren { beside { start_action = trap\n%s } } }
}\n' "$1"
}
start_both() { # PLANE SHUNT-LINES
    CONF_MORE=([a]=$(hosts "$2") [b]=$(hosts "$2"))
    charon_start b netlink "$lines" "$child" && subject_start a "$1" "$lines" "$child"
}
echo_works() { inside a ping -q -c 3 -i 0.2 -W 2 "$(outer b)"; }
echo_in_clear() {
    local from; from=$(mark a)
    echo_works || return
    sleep 0.2
    [ "$(sent a 'IP 192\.0\.2\..*: ICMP' "$from")" -ge 3 ] && [ "$(sent a "$ESP_ON_THE_WIRE" "$from")" = 0 ]
}
echo_in_esp() {
    local from; from=$(mark a)
    echo_works || return
    sleep 0.2
    [ "$(sent a 'IP 192\.0\.2\..*: ICMP' "$from")" = 0 ] && [ "$(sent a "$ESP_ON_THE_WIRE" "$from")" -ge 3 ]
}
udp_in_esp() {
    local from; from=$(mark a)
    inside a bash -c "for n in 1 2 3; do echo \$n >/dev/udp/$(outer b)/7000; done"
    sleep 0.2
    [ "$(sent a '\.7000: UDP' "$from")" = 0 ] && [ "$(sent a "$ESP_ON_THE_WIRE" "$from")" -ge 3 ]
}
listed() { vici a --list-pols | grep -A3 "beside, $1" || { vici a --list-pols; return 1; }; }
listed_gone() { ! vici a --list-pols | grep beside; }
nothing_gets_out() { ! inside a ping -q -c 2 -i 0.2 -W 1 "$(outer b)"; }

for plane in userspace xfrm; do
    name="shunts/$plane/pass"
    lab_up
    check "$name: both daemons start" start_both $plane 'mode = pass
        local_ts = 0.0.0.0/0[icmp]
        remote_ts = 0.0.0.0/0[icmp]' || continue
    check "$name: listed by swanctl --list-pols" listed PASS
    check "$name: the tunnel between the hosts is established" established initiator || { subject_log a; peer_log; continue; }
    check "$name: what passes goes in the clear both ways" echo_in_clear || { subject_log a; inside a ip rule; }
    check "$name: everything else in ESP" udp_in_esp || { subject_log a; inside a ip rule; }
    check "$name: swanctl --uninstall removes it" vici a --uninstall --child beside
    check "$name: ... and it is not listed any more" listed_gone
    check "$name: ... and --install sets it again" vici a --install --child beside
    check "$name: echo in the clear again" echo_in_clear || { subject_log a; inside a ip rule; }
done

name=shunts/xfrm/drop
lab_up
if check "$name: both daemons start" start_both xfrm 'mode = drop
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0'; then
    check "$name: listed by swanctl --list-pols" listed DROP
    check "$name: nothing gets out before there is an SA" nothing_gets_out
    check "$name: IKE does, and the SA is established" established initiator || { subject_log a; peer_log; }
    check "$name: what the SA carries gets out" echo_in_esp || { subject_log a; inside a ip xfrm policy; }
    check "$name: deleted" vici_terminate a
    check "$name: nothing gets out without the SA" nothing_gets_out
fi

# The same by rules of routing; what comes in for the node itself they do not drop, and the log says so.
name=shunts/userspace/drop
lab_up
if check "$name: both daemons start" start_both userspace 'mode = drop
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0'; then
    check "$name: the log says what is not dropped" grep -q "'beside' drops what is sent and forwarded" "$LAB/a/$(subject_name).log"
    check "$name: nothing gets out before there is an SA" nothing_gets_out
    check "$name: IKE does, and the SA is established" established initiator || { subject_log a; peer_log; }
    check "$name: what the SA carries gets out" echo_in_esp || { subject_log a; inside a ip rule; inside a ip route show table 220; }
    check "$name: deleted" vici_terminate a
    check "$name: nothing gets out without the SA" nothing_gets_out
fi
finish
