#!/bin/bash
# A NAT between Shrike and strongSwan, and addresses that change: userspace ESP at both ends, a router in the cable.
#   nat.sh             each end behind the NAT in turn: both ends detect it (RFC 7296 section 2.23), keepalives hold the mapping, the
#                      mapping changes, and an end moves to another line (MOBIKE, RFC 4555) with either end at the move
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd iptables

IKE='proposals = aes128gcm16-prfsha256-ecp256'
CHILD='esp_proposals = aes128gcm16'
PUBLIC=192.0.2.3                                   # what the NAT makes of node a's address
OTHER_LINE=198.51.100.1                            # node a's address on its second line

# In LAB_MIDDLE's router: node a's datagrams leave by $PUBLIC and a port of the NAT's choice.
translate() {
    inside m ip addr add $PUBLIC/32 dev to-b
    inside m iptables -t nat -A POSTROUTING -o to-b -p udp -s "$(outer a)" -j SNAT --to-source $PUBLIC --random 2>/dev/null ||
        skip "this kernel translates no addresses"
}
# The NAT forgets a mapping after so many seconds without a packet.
forgets_after() {
    inside m sysctl -qw net.netfilter.nf_conntrack_udp_timeout="$1" net.netfilter.nf_conntrack_udp_timeout_stream="$1"
}
# A second line from node a to the router, used when the first one is down.
second_line() {
    ip link add veth1 netns "$(namespace a)" type veth peer name to-a2 netns "$(namespace m)"
    inside m ip link set to-a2 up
    inside m sysctl -qw net.ipv4.conf.to-a2.proxy_arp=1 net.ipv4.neigh.to-a2.proxy_delay=0
    inside m ip route add $OTHER_LINE/32 dev to-a2
    inside a ip addr add $OTHER_LINE/24 dev veth1
    inside a ip link set veth1 up
    by_the_other_line
    inside b ip route add 198.51.100.0/24 dev veth0
}
by_the_other_line() {
    inside a ip route add 192.0.2.0/24 dev veth1 metric 100 src $OTHER_LINE
    inside a ip route add 10.0.0.0/8 via "$(outer b)" dev veth1 onlink metric 100 src "$(inner a)"
}
first_line() { # up | down
    inside a ip link set veth0 "$1"
    [ "$1" = down ] || inside a ip route add 10.0.0.0/8 via "$(outer b)" src "$(inner a)"
}

# daemon NODE   the one under test or its peer, by $behind
daemon() {
    local node=$1
    if [ "$(who "$node")" = shrike ]; then
        printf 'charon {\n    %s\n}\n' "$settings" >"$LAB/daemon.conf"
        subject_start "$node" userspace "$IKE
        $lines" "$CHILD"
    else
        CHARON_MORE=$settings charon_start "$node" libipsec "$IKE
        $lines" "$CHILD"
    fi
}
who() { [ "$1/$behind" = a/shrike ] || [ "$1/$behind" = b/charon ] && echo shrike || echo charon; }
shrike_node() { [ "$behind" = shrike ] && echo a || echo b; }
logs() {
    say "--- Shrike:"; subject_log "$(shrike_node)" 60
    say "--- charon:"; tail -60 "$LAB/$(other "$(shrike_node)")/charon.log"
}
both_established() { vici_up a && vici_up b; }
begun() { vici_initiate a && lab_wait 10 both_established; }
# Echo requests both ways, and nothing in clear text past the tunnel.
carries() {
    local node
    for node in ${1:-a b}; do
        inside $node ping -q -c 3 -i 0.2 -W 2 -I "$(inner $node)" "$(inner "$(other $node)")" >"$LAB/ping.log" 2>&1 ||
            { say "no answer to $node's echo requests:"; cat "$LAB/ping.log"; return 1; }
    done
    for node in a b; do
        # IKE may go between the inner addresses: with MOBIKE charon tries all of them.
        [ "$(sent $node "$CLEAR_TEXT.*ICMP")" = 0 ] || { say "CLEAR TEXT left node $node"; return 1; }
    done
}
listing() { vici "$1" --list-sas --raw 2>/dev/null; }
# The address and port where node b sees node a.
seen_at() { listing b | grep -o 'remote-host=[^ ]* remote-port=[0-9]*' | head -1; }
# Still the same IKE SA, not made anew. Not the Child SAs: strongSwan's userspace ESP cannot move them, so charon rekeys them.
same_sa() { [ "$(spi)" = "$(cat "$LAB/spi")" ] || { say "was $(cat "$LAB/spi"), is $(spi)"; return 1; }; }
spi() { listing b | grep -oE 'initiator-spi=[0-9a-f]+'; }

behind_nat() {
    begun && carries || return
    local a b; a=$(listing a) b=$(listing b)
    # To have UDP encapsulation, charon claims with its userspace ESP that it is behind a NAT too.
    [[ $a == *nat-local=yes* && $b == *nat-remote=yes* ]] && [[ $behind = shrike || $a != *nat-remote=yes* ]] ||
        { say "node a: $a"; say "node b: $b"; return 1; }
    [[ $(seen_at) == "remote-host=$PUBLIC "* ]] || { say "node b sees node a at $(seen_at)"; return 1; }
    spi >"$LAB/spi"
}
# The mapping ends after 3 s without a packet; a keepalive goes every second. Node b's echo requests get through at any time.
mapping_held() {
    local before; before=$(seen_at)
    forgets_after 3
    sleep 8
    carries b && [ "$(seen_at)" = "$before" ] && same_sa || { say "was $before, is $(seen_at)"; return 1; }
}
new_mapping() {
    forgets_after 1
    sleep 1.5                                      # the next keepalive has it so
    inside m iptables -t raw -A PREROUTING -p udp -j DROP
    sleep 3
    inside m iptables -t raw -F PREROUTING
}
# The mapping is forgotten, and node a's packets come from another port: node b follows them (RFC 7296 section 2.23), or, with
# MOBIKE, node a finds it out by a sign of life and says so (RFC 4555 section 3.8).
mapping_changed() {
    local before; before=$(seen_at)
    new_mapping
    inside a ping -q -c 2 -i 0.3 -W 1 -I "$(inner a)" "$(inner b)" >"$LAB/ping.log" 2>&1
    followed() { local now; now=$(seen_at); [ -n "$now" ] && [ "$now" != "$before" ]; }
    forgets_after 60
    lab_wait 20 followed && { lab_wait 5 carries || carries; } && same_sa || { say "was $before, is $(seen_at)"; cat "$LAB/ping.log"; return 1; }
}
# The mapping changes, and node a, which never asks, does not find it out. A request of node b's goes where the ESP comes from as
# well when it is not answered, and the IKE SA goes on.
asked_there() {
    forgets_after 60                               # before the ping: its mapping is to last
    inside a ping -q -c 2 -i 0.3 -W 1 -I "$(inner a)" "$(inner b)" >"$LAB/ping.log" 2>&1
    lab_wait 30 grep -q 'no answer at .*: trying .*, where its messages or ESP come from' "$LAB/b/shrike.log" || return
    sleep 15                                       # a third repetition is due 13 s after the second
    ! grep 'retransmit 3 ' "$LAB/b/shrike.log" && carries && same_sa
}
mapping_lost() { new_mapping && asked_there; }
# moved TO   node b sees node a there, and both ends still carry by the same SAs
moved() {
    there() { [[ $(seen_at) == "remote-host=$1 "* ]]; }
    lab_wait 15 there "$1" || { say "node b sees node a at $(seen_at)"; return 1; }
    { lab_wait 5 carries || carries; } && same_sa
}
line_down() { spi >"$LAB/spi"; first_line down; moved $OTHER_LINE; }
# The other line stays up and is worse: packets would leave by the first one with the other one's address. charon stays there.
line_back() {
    first_line up
    [ "$behind" = shrike ] || inside a ip link set veth1 down
    moved "$(outer a)"
}

for behind in shrike charon; do
    for mobike in yes no; do
        settings='keep_alive = 1s' lines="mobike = $mobike
        dpd_delay = 4s" title="nat/$behind is behind it, mobike = $mobike"
        # charon compares the mapping with what it was told when it asked before: it must have, so node b does not ask.
        quiet=''; [ "$behind/$mobike" = charon/yes ] && quiet='dpd_delay = 0s'
        CONF_MORE=([b]="connections { lab { remote_addrs = %any
            $quiet } }")
        LAB_MIDDLE=yes lab_up
        translate
        check "$title: both daemons start" daemon b && daemon a || continue
        check "$title: detected by both, encapsulated, echo both ways" behind_nat &&
            check "$title: keepalives hold the mapping" mapping_held &&
            check "$title: the mapping changes, the same IKE SA goes on" mapping_changed || logs
    done
    if [ "$behind" = charon ]; then
        settings='keep_alive = 1s' lines='mobike = yes
        dpd_delay = 0s' title="nat/$behind is behind it and does not ask"
        CONF_MORE=([b]='connections { lab { dpd_delay = 4s
            remote_addrs = %any } }')
        LAB_MIDDLE=yes lab_up
        translate
        check "$title: both daemons start" daemon b && daemon a || continue
        check "$title: detected by both, encapsulated, echo both ways" behind_nat &&
            check "$title: the mapping changes, and it is asked there" mapping_lost || logs
    fi
    settings='' lines='' title="mobike/$behind moves"
    CONF_MORE=([a]='connections { lab { local_addrs = %any } }' [b]='connections { lab { remote_addrs = %any } }')
    LAB_MIDDLE=yes lab_up
    second_line
    check "$title: both daemons start" daemon b && daemon a || continue
    check "$title: established" begun || { logs; continue; }
    check "$title: its line goes down, the same IKE SA goes on by the other one" line_down &&
        check "$title: and back" line_back || logs
    check "$title: Shrike still runs" subject_alive "$(shrike_node)"
done
finish
