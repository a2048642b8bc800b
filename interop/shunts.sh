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
# UDP from b in the clear: whether a socket of a's sees it.
comes_in() {
    local got=$LAB/a/came; : >"$got"
    inside a timeout 4 python3 -c 'import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7001)); s.settimeout(3)
sys.stdout.write(s.recv(100).decode()); sys.stdout.flush()' >"$got" 2>/dev/null &
    local receiver=$!
    for _ in 1 2 3 4 5 6 7 8; do inside b bash -c "echo x >/dev/udp/$(outer a)/7001"; sleep 0.2; done
    wait "$receiver"
    [ -s "$got" ]
}
nothing_comes_in() { ! comes_in; }
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

# The same by rules of routing, and by a packet filter for what comes in for the node itself.
name=shunts/userspace/drop
lab_up
if check "$name: both daemons start" start_both userspace 'mode = drop
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0'; then
    check "$name: nothing gets out before there is an SA" nothing_gets_out
    check "$name: IKE does, and the SA is established" established initiator || { subject_log a; peer_log; }
    check "$name: what the SA carries gets out" echo_in_esp || { subject_log a; inside a ip rule; inside a ip route show table 220; }
    check "$name: deleted" vici_terminate a
    check "$name: nothing gets out without the SA" nothing_gets_out
    check "$name: the peer sends in the clear" vici b --uninstall --child beside
    check "$name: ... and nothing comes in" nothing_comes_in || subject_log a
    check "$name: swanctl --uninstall removes it" vici a --uninstall --child beside
    check "$name: ... and what is sent to the node comes in" comes_in || subject_log a
fi
finish
