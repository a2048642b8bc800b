#!/bin/bash
# Addresses and selectors of all kinds, with echo both ways: IPv6 outside, inside and both, several selectors, narrowing,
# everything (0.0.0.0/0), host to host. Both roles, against charon and against Shrike.
#   matrix.sh            Shrike's userspace ESP with strongSwan's (kernel-libipsec); any kernel
#   matrix.sh --kernel   Shrike's userspace ESP, then the kernel's, with charon on the kernel's; in a guest if need be
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd
if [ "${1:-}" = --kernel ]; then
    INTEROP_VM_SECONDS=${INTEROP_VM_SECONDS:-600} kernel_required esp "$0" --kernel
    planes='userspace xfrm' kernel=netlink peers=charon
else
    planes=userspace kernel=libipsec peers='charon shrike'
fi

outer6() { case $1 in a) echo fd00:c0::1;; b) echo fd00:c0::2;; esac; }
inner6() { case $1 in a) echo fd01:a::1;; b) echo fd01:b::1;; esac; }
second() { case $1 in a) echo 10.1.1.1;; b) echo 10.2.1.1;; esac; }
more_addresses() {
    local node
    for node in a b; do
        inside $node sysctl -qw net.ipv6.conf.all.forwarding=1
        inside $node ip addr add "$(outer6 $node)/64" dev veth0 nodad
        inside $node ip addr add "$(inner6 $node)/128" dev lo nodad
        inside $node ip addr add "$(second $node)/32" dev lo
        inside $node ip -6 route add fd01::/16 via "$(outer6 "$(other $node)")" src "$(inner6 $node)"
    done
    lab_wait 5 inside a ping -q -c 1 -W 1 "$(outer6 b)"
}

# echoes FROM TO   from node a's address to node b's, and back; through ESP
echoes() {
    local from to node family
    for node in a b; do
        from=$1 to=$2; [ $node = b ] && from=$2 to=$1
        family=-4; [[ $from == *:* ]] && family=-6
        local since; since=$(mark $node)
        inside $node ping $family -q -c 2 -i 0.2 -W 2 -I "$from" "$to" >"$LAB/ping.log" 2>&1 || { say "no answer from $to to $from:"; cat "$LAB/ping.log"; return 1; }
        sleep 0.2
        [ "$(sent $node "$ESP_ON_THE_WIRE" "$since")" -ge 2 ] || { say "node $node sent less than 2 ESP packets"; return 1; }
        if [ "$(sent $node "${clear:-(IP6 fd01:|IP 10\.)}" "$since")" != 0 ]; then say "CLEAR TEXT left node $node"; tail -5 "$LAB/$node/wire.log"; return 1; fi
    done
}
selectors() { vici a --list-sas --raw | grep -qF -- "$1" || { say "not '$1':"; vici a --list-sas; return 1; }; }

# try NAME LINES-a LINES-b CHILD-a CHILD-b CHECK...   LINES replace those of the connection, CHILD those of the child
try() {
    local name=$1 role; shift
    CONF_MORE[a]="connections { lab { $1
        children { lab { $3
        } } } }"
    CONF_MORE[b]="connections { lab { $2
        children { lab { $4
        } } } }"
    # The identities are addresses of the family in use.
    if [[ $1 == *fd00:* ]]; then CONF_MORE[a]+=$'\n'$secret6; CONF_MORE[b]+=$'\n'$secret6; fi
    shift 4
    for role in initiator responder; do
        one() {
            lab_stop a shrike; lab_stop b $peer
            subject_start a $plane '' '' || return
            if [ $peer = charon ]; then charon_start b $kernel '' ''; else subject_start b userspace '' ''; fi || return
            if [ $role = initiator ]; then vici_initiate a; else vici_initiate b; fi
            lab_wait 5 vici_up a && lab_wait 5 vici_up b || { vici a --list-sas; vici b --list-sas; return 1; }
            "$@" || return
            vici_terminate a && lab_wait 5 vici_gone b
        }
        check "matrix/$plane/$peer/$role: $name" one "$@" || { say "--- Shrike:"; subject_log a 12; say "--- the peer:"; tail -12 "$LAB/b/$peer.log"; inside a ip route show table 220; }
    done
}
both4() { echoes 10.1.0.1 10.2.0.1; }
both6() { echoes fd01:a::1 fd01:b::1; }
v6="local_addrs = fd00:c0::1
        remote_addrs = fd00:c0::2
        local { id = fd00:c0::1
        }
        remote { id = fd00:c0::2
        }"
v6b="local_addrs = fd00:c0::2
        remote_addrs = fd00:c0::1
        local { id = fd00:c0::2
        }
        remote { id = fd00:c0::1
        }"
secret6='secrets { ike-lab {
        id-1 = fd00:c0::1
        id-2 = fd00:c0::2
    } }'
ts() { printf 'local_ts = %s\n        remote_ts = %s' "$1" "$2"; }

both_start() { lab_stop a shrike; lab_stop b $peer; CONF_MORE=(); subject_start a $plane '' '' && charon_start b $kernel '' ''; }
keys_are_secret() {
    local INTEROP_SHRIKE_LOG=4 keys key
    both_start && vici_initiate a && lab_wait 5 vici_up a || return
    keys=$(inside a ip xfrm state | grep -Eo '0x[0-9a-f]{32,}') && [ "$(wc -l <<<"$keys")" = 2 ] || { say "keys: $keys"; return 1; }
    "$SHRIKE" --vici "unix://$LAB/a/vici" show --json >"$LAB/shown"
    for key in $keys; do ! grep -qi "${key:2:32}" "$LAB/a/shrike.log" "$LAB/shown" || return; done
}
killed() { # the policies that were left are taken over, and go with the daemon
    both_start && vici_initiate a && lab_wait 5 vici_up a && kill -KILL "$(lab_pid a shrike)" && sleep 0.2 && subject_start a $plane '' '' &&
        vici_initiate a && lab_wait 5 vici_up a && both4 || return
    [ "$(inside a ip rule | grep -c 'lookup 220')" = 1 ] || { inside a ip rule; return 1; }
    subject_stop a
    [ -z "$(inside a ip xfrm policy | grep tmpl)" ] && ! inside a ip rule | grep -q 'lookup 220' && lab_wait 3 vici_gone b || { inside a ip xfrm policy; inside a ip rule; vici b --list-sas; return 1; }
}

# Killed, and started again with a trap, while the peer, which checks nothing, goes on sending; from here nothing is sent. Without
# MOBIKE the peer's IKE has nothing to say that would wake the trap too.
killed_under_traffic() { # LINES fit|stale|flushed   whether the kernel still has the SAs then, and they fit the new policies
    local old so_far reqid='reqid = 9'
    local lines="mobike = no
        $1"
    lab_stop a shrike; lab_stop b $peer; CONF_MORE=()
    # Another number than after the restart, as where the children are others: the old SAs fit no policy then.
    [ "$2" = fit ] && reqid=''
    subject_start a $plane "$lines" "start_action = trap
                $reqid" && charon_start b $kernel "$lines" '' && vici_initiate b && lab_wait 5 vici_up a && lab_wait 5 vici_up b || return
    lab_spawn b pings ping -n -i 0.2 -I "$(inner b)" "$(inner a)"
    lab_wait 5 grep -q icmp_seq "$LAB/b/pings.log" || { say 'no answer to begin with'; return 1; }
    old=$(spis_here); kill -KILL "$(lab_pid a shrike)"; sleep 0.2
    if [ "$2" = flushed ]; then inside a ip xfrm state flush; inside a ip xfrm policy flush; fi
    subject_start a $plane "$lines" 'start_action = trap' || return
    lab_wait 8 vici_up a || { say 'no new SA within 8 s'; vici_up a; inside a ip xfrm state; inside a grep -v '\s0$' /proc/net/xfrm_stat; return 1; }
    so_far=$(grep -c icmp_seq "$LAB/b/pings.log")
    answered() { [ "$(grep -c icmp_seq "$LAB/b/pings.log")" -gt $((so_far + 2)) ]; }
    lab_wait 5 answered || { say 'the peer is not answered'; inside a ip xfrm policy; return 1; }
    lab_stop b pings
    [ "$(spis_here | wc -w)" = 2 ] && ! spis_here | grep -qwE "${old// /|}" || { say "was $old, is $(spis_here)"; return 1; }
    if [ "$2" = fit ]; then # make before break: nothing is lost but what is on its way
        so_far=$(sed -n 's/.*icmp_seq=\([0-9]*\).*/\1/p' "$LAB/b/pings.log" | tail -1)
        [ "$(grep -c icmp_seq "$LAB/b/pings.log")" -ge $((so_far - 2)) ] || { say "lost some of $so_far:"; cat "$LAB/b/pings.log"; return 1; }
        grep "'lab' lets 2 SAs" "$LAB/a/shrike.log" || return
    fi
    if [ "$2" = flushed ]; then ! grep -q 'takes the place of' "$LAB/a/shrike.log"; else
        grep "'lab' takes the place of 2 SAs" "$LAB/a/shrike.log"; fi && grep -q 'ESP with unknown SPI' "$LAB/a/shrike.log" && both4
}
spis_here() { inside a ip xfrm state | sed -n 's/.*proto esp spi \(0x[0-9a-f]*\).*/\1/p' | grep -v 0x00000000 | sort | paste -sd' '; }

for plane in $planes; do
    for peer in $peers; do
        lab_up; more_addresses
        try 'IPv4 in IPv6' "$v6" "$v6b" '' '' both4
        try 'IPv6 in IPv4' '' '' "$(ts fd01:a::/64 fd01:b::/64)" "$(ts fd01:b::/64 fd01:a::/64)" both6
        try 'IPv6 in IPv6' "$v6" "$v6b" "$(ts fd01:a::/64 fd01:b::/64)" "$(ts fd01:b::/64 fd01:a::/64)" both6
        mixed() { both4 && both6; }
        try 'both families in one child' '' '' "$(ts '10.1.0.0/24, fd01:a::/64' '10.2.0.0/24, fd01:b::/64')" "$(ts '10.2.0.0/24, fd01:b::/64' '10.1.0.0/24, fd01:a::/64')" mixed
        several() { both4 && echoes 10.1.1.1 10.2.1.1 && echoes 10.1.0.1 10.2.1.1; }
        try 'several selectors' '' '' "$(ts '10.1.0.0/24, 10.1.1.0/24' '10.2.0.0/24, 10.2.1.0/24')" "$(ts '10.2.0.0/24, 10.2.1.0/24' '10.1.0.0/24, 10.1.1.0/24')" several
        narrowed() { selectors '10.1.0.0/24' && selectors '10.2.0.0/16' && both4; }
        try 'narrowing' '' '' "$(ts 10.1.0.0/16 10.2.0.0/16)" "$(ts 10.0.0.0/8 10.1.0.0/24)" narrowed
        everything() { selectors '0.0.0.0/0' && both4 && sleep 1.5 && both4; }
        try 'everything to the peer, IKE and ESP beside it' 'dpd_delay = 1s' '' "$(ts 10.1.0.0/24 0.0.0.0/0)" "$(ts 0.0.0.0/0 10.1.0.0/24)" everything
        if [ "$peer/$kernel" != charon/libipsec ]; then # libipsec itself would loop
            hosts() { clear='IP .*ICMP echo' echoes 192.0.2.1 192.0.2.2; }
            try 'host to host' 'dpd_delay = 1s' '' "$(ts dynamic dynamic)" "$(ts dynamic dynamic)" hosts
        fi
        if [ $plane = xfrm ]; then
            check "matrix/$plane/$peer: no key of the kernel's is in the log" keys_are_secret
            check "matrix/$plane/$peer: killed and started again" killed
            check "matrix/$plane/$peer: killed, its SAs in use: they go on until the peer has new ones" killed_under_traffic '' fit
            check "matrix/$plane/$peer: killed, its SAs left that fit no more: replaced, the peer's traffic alone brings the tunnel back" killed_under_traffic '' stale
            check "matrix/$plane/$peer: killed, its SAs gone: the peer's traffic alone brings the tunnel back" killed_under_traffic '' flushed
            check "matrix/$plane/$peer: killed, its SAs gone, ESP in UDP: the peer's traffic alone brings the tunnel back" killed_under_traffic 'encap = yes' flushed
        fi
    done
done
finish
