#!/bin/bash
# IKEv1: Shrike and strongSwan's charon with a pre-shared key, main and aggressive mode, both roles, with traffic, liveness
# checks, successors of Child SAs at short lifetimes, lifetimes that differ, and long messages in fragments; then libreswan's
# pluto.
#   ikev1.sh             Shrike's userspace ESP with strongSwan's (kernel-libipsec); pluto behind a shim, without traffic
#   ikev1.sh charon      strongSwan alone
#   ikev1.sh xauth       XAuth and Mode-Config with strongSwan
#   ikev1.sh vpnc        vpnc as a client: aggressive mode, XAuth, Mode-Config and its own ESP
#   ikev1.sh pluto       libreswan alone: main and aggressive mode, another group in quick mode, successors and deletes by
#                        either end, liveness checks, NAT traversal forced (RFC 3947 and drafts), RSA certificates
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon pluto subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd

# R-U-THERE and R-U-THERE-ACK (RFC 3706) are informational exchanges of their own: each end sends as many as the other.
INFORMATIONAL_REQUEST='isakmp: phase 2/others . inf'
INFORMATIONAL_RESPONSE=$INFORMATIONAL_REQUEST

peer_charon() {
    peer_initiate() { vici_initiate b; }
    peer_up() { vici_up b; }
    peer_gone() { vici_gone b; }
    peer_terminate() { vici_terminate b; }
    peer_log() { tail -25 "$LAB/b/charon.log"; }
}
peer_pluto() {
    peer_initiate() { whack --name lab --initiate; }
    peer_up() {
        local status; status=$(whack --status)
        [[ $status == *"IPsec SA established"* || $status == *QUICK_*IPsec* || $status == *STATE_QUICK_[IR]2* ]] || { printf '%s\n' "$status" | grep '^000 #'; return 1; }
    }
    peer_gone() { ! whack --status | grep '^000 #'; }
    peer_terminate() { whack --name lab --terminate; }
    peer_log() { tail -25 "$LAB/b/pluto.log"; }
}

# charon answers aggressive mode with a pre-shared key only when it is told that this is unsafe.
CHARON_MORE='i_dont_care_about_security_and_use_aggressive_mode_psk = yes'
charon_v1() { # CONNECTION-LINES CHILD-LINES
    charon_start b libipsec "$1" "$2"
}

# successors NODE...   the inbound SPI of the Child SA changes, twice, and traffic goes on
inbound_spi() { vici "$1" --list-sas --raw | grep -o 'spi-in=[0-9a-f]*' | sort | head -1; }
spi_changed() { local now; now=$(inbound_spi a); [ -n "$now" ] && [ "$now" != "$1" ]; }
successors() {
    local before turn isakmp; isakmp=$(vici a --list-sas --raw | grep -o 'initiator-spi=[0-9a-f]*')
    for turn in 1 2; do
        before=$(inbound_spi a)
        lab_wait 60 spi_changed "$before" || { say "no successor of $before:"; vici a --list-sas; subject_log a; return 1; }
        traffic || return
    done
    [ "$(vici a --list-sas --raw | grep -o 'initiator-spi=[0-9a-f]*')" = "$isakmp" ] || { say "not the same ISAKMP SA"; return 1; }
}

with_charon() {
peer_charon
for mode in main aggressive; do
    for role in initiator responder; do
        aggressive=no; [ $mode = aggressive ] && aggressive=yes
        case $role in                              # one suite and one liveness direction per role
        initiator) ike=aes128-sha256-x25519 esp=aes128gcm16 liveness=a dpd_a='' dpd_b='dpd_delay = 1s';;
        responder) ike=aes256-sha1-modp2048 esp=aes256-sha256-modp2048 liveness=b dpd_a='dpd_delay = 1s' dpd_b='';;
        esac
        lines="version = 1
        aggressive = $aggressive
        proposals = $ike"
        start_both() {
            charon_v1 "$lines
        $dpd_b" "esp_proposals = $esp" && subject_start a userspace "$lines
        $dpd_a" "esp_proposals = $esp"
        }
        lab_up
        check "ikev1/charon/$mode/$role: both daemons start" start_both || continue
        scenario "ikev1/charon/$mode/$role" $role yes $liveness
    done
done

# The end that made a Child SA makes its successor over the same ISAKMP SA.
for role in initiator responder; do
    lines='version = 1
        proposals = aes128-sha256-x25519'
    child='esp_proposals = aes128gcm16-x25519
        rand_time = 0s'
    short="$child
        rekey_time = 4s
        life_time = 60s"
    start_both() {
        case $role in
        initiator) charon_v1 "$lines" "$child" && subject_start a userspace "$lines" "$short";;
        responder) charon_v1 "$lines" "$short" && subject_start a userspace "$lines" "$child";;
        esac
    }
    lab_up
    check "ikev1/charon/rekey/$role: both daemons start" start_both || continue
    check "ikev1/charon/rekey/$role: established" established $role && check "ikev1/charon/rekey/$role: two successors, traffic" successors ||
        { subject_log a; peer_log; }
done

# Lifetimes that differ, in seconds and kilobytes: the shorter one holds at Shrike. charon reads past the notification of it,
# and sends none.
lifetime_at_most() { # SECONDS   of the Child SA at Shrike
    local left; left=$(vici a --list-sas --raw | grep -o 'life-time=[0-9]*') && [ "${left#*=}" -le "$1" ] || { vici a --list-sas; return 1; }
}
for role in initiator responder; do
    lines='version = 1
        proposals = aes128-sha256-x25519'
    long='esp_proposals = aes128gcm16
        rekey_time = 2h
        life_time = 3h
        rand_time = 0s
        life_bytes = 500M'
    short='esp_proposals = aes128gcm16
        life_time = 100s
        life_bytes = 100M'
    for shorter in shrike charon; do
        start_both() {
            case $shorter in
            shrike) charon_v1 "$lines" "$long" && subject_start a userspace "$lines" "$short";;
            charon) charon_v1 "$lines" "$short" && subject_start a userspace "$lines" "$long";;
            esac
        }
        # charon as the responder takes what is offered, whatever it has itself.
        limit=100; [ $role/$shorter = initiator/charon ] && limit=10800
        shorter_holds() { established $role && traffic && lifetime_at_most $limit; }
        lab_up
        check "ikev1/charon/lifetime/$role: both daemons start" start_both || continue
        check "ikev1/charon/lifetime/$role: the shorter one of $shorter holds, traffic" shorter_holds || { subject_log a; peer_log; }
    done
done

# charon authenticates anew without negotiating phase 2 again, and deletes the old ISAKMP SA when over_time is over: the Child
# SA goes to the new one.
lines='version = 1
        proposals = aes128-sha256-x25519'
start_both() {
    charon_v1 "$lines
        reauth_time = 5s
        rand_time = 0s
        over_time = 5s" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines" 'esp_proposals = aes128gcm16'
}
cookie() { vici a --list-sas --raw | grep -o 'initiator-spi=[0-9a-f]*' | head -1; }
first_is_gone() { [ "$(cookie)" != "$before" ]; }
moves() {
    local before spi; before=$(cookie) spi=$(inbound_spi a)
    inside a ping -q -c 130 -i 0.1 -W 2 -I "$(inner a)" "$(inner b)" >"$LAB/ping.log" 2>&1 || { cat "$LAB/ping.log"; return 1; }
    lab_wait 5 first_is_gone && [ "$(inbound_spi a)" = "$spi" ] || { vici a --list-sas; return 1; }
    traffic && grep -q ' 0% packet loss' "$LAB/ping.log" || { cat "$LAB/ping.log"; return 1; }
}
lab_up
check 'ikev1/charon/reauth: both daemons start' start_both &&
    check 'ikev1/charon/reauth: established' established responder &&
    { check 'ikev1/charon/reauth: the same Child SA under a new ISAKMP SA, no packet lost' moves || { subject_log a 30; peer_log; }; }

# Shrike authenticates anew. charon moves the Child SA in a job after message 6: it must not be deleted with the old ISAKMP SA.
start_both() {
    charon_v1 "$lines" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines
        reauth_time = 4s
        rand_time = 0s
        over_time = 3s" 'esp_proposals = aes128gcm16'
}
one_each() { # at charon
    local listing; listing=$(vici b --list-sas --raw)
    [ "$(grep -o 'state=ESTABLISHED' <<<"$listing" | wc -l)" = 1 ] && [ "$(grep -o 'state=INSTALLED' <<<"$listing" | wc -l)" = 1 ]
}
authenticates_anew() {
    local times
    inside a ping -q -c 170 -i 0.1 -W 2 -I "$(inner a)" "$(inner b)" >"$LAB/ping.log" 2>&1
    grep -q ' 0% packet loss' "$LAB/ping.log" || { cat "$LAB/ping.log"; return 1; }
    times=$(grep -c 'IKE_SA lab\[[0-9]*\] established' "$LAB/a/shrike.log")
    [ "$times" -ge 4 ] || { say "established $times times"; return 1; }
    lab_wait 8 one_each && traffic || { vici b --list-sas; return 1; }
}
lab_up
check 'ikev1/charon/reauth by Shrike: both daemons start' start_both &&
    check 'ikev1/charon/reauth by Shrike: established' established initiator &&
    { check 'ikev1/charon/reauth by Shrike: four times, no packet lost, one SA and one child at charon' authenticates_anew || { subject_log a 30; peer_log; }; }

# Several children at once, one of which charon refuses: the others are made and stay.
several() { # SIDE OTHER-SIDE NETWORK-OF-two ACTION
    printf '%s\n' 'connections { lab { children {' "lab { $4 }" "two { $1 = $3
        $2 = $(network a)
        $4 }" "three { $1 = 10.22.0.0/24
        $2 = $(network a)
        $4 }" '} } }'
}
start_both() {
    CONF_MORE=([a]="$(several remote_ts local_ts 10.21.0.0/24 'start_action = start')" [b]="$(several local_ts remote_ts 10.77.0.0/24 '')")
    inside b ip address add 10.22.0.1/24 dev lo
    charon_v1 "$lines" '' && subject_start a userspace "$lines" ''
}
others_carry() {
    two() { [ "$(vici a --list-sas --raw | grep -o 'state=INSTALLED' | wc -l)" = 2 ] && [ "$(vici b --list-sas --raw | grep -o 'state=INSTALLED' | wc -l)" = 2 ]; }
    lab_wait 8 two && traffic || { vici a --list-sas; vici b --list-sas; return 1; }
    inside a ping -q -c 3 -i 0.2 -W 2 -I "$(inner a)" 10.22.0.1 && inside b ping -q -c 3 -i 0.2 -W 2 -I 10.22.0.1 "$(inner a)" || return
    "$SHRIKE" --vici "unix://$LAB/a/vici" show | grep -q 'lab #[0-9]* / two .*\(TRAFFIC_SELECTOR\|refused\|selector\)'
}
lab_up
check 'ikev1/charon/several: both daemons start' start_both &&
    { check 'ikev1/charon/several: one of three is refused, the others carry traffic' others_carry || { "$SHRIKE" --vici "unix://$LAB/a/vici" show; subject_log a 30; peer_log; }; }
CONF_MORE=()

# charon, asked for more than it has, returns the narrower network (RFC 2409 section 5.5 does not have that).
start_both() {
    CONF_MORE=([b]="connections { lab { children { lab { local_ts = 10.2.0.0/25 } } } }")
    charon_v1 "$lines" '' && subject_start a userspace "$lines" ''
}
narrower() { established initiator && vici a --list-sas | grep -q '^    remote 10\.2\.0\.0/25$' && traffic || { vici a --list-sas; return 1; }; }
lab_up
check 'ikev1/charon/narrower: both daemons start' start_both &&
    { check 'ikev1/charon/narrower: the network that charon returns holds, traffic' narrower || { subject_log a; peer_log; }; }

# Shrike rejects whom charon says it is in message 6: charon, to which the ISAKMP SA is up, drops it.
start_both() {
    CONF_MORE=([b]="connections { lab { local { id = b.example } } }
secrets { ike-lab { id-3 = b.example } }")
    charon_v1 "$lines" '' && subject_start a userspace "$lines" ''
}
rejected() {
    ! vici_initiate a >/dev/null && lab_wait 3 vici_gone b && grep -q 'received INVALID_ID_INFORMATION error notify' "$LAB/b/charon.log"
}
lab_up
check 'ikev1/charon/rejected: both daemons start' start_both &&
    { check 'ikev1/charon/rejected: charon hears why, and has no ISAKMP SA' rejected || { vici b --list-sas; subject_log a; peer_log; }; }
CONF_MORE=()

# A peer that is killed is dead after dpd_timeout, not after five questions.
lines='version = 1
        proposals = aes128-sha256-x25519'
start_both() {
    charon_v1 "$lines" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines
        dpd_delay = 1s
        dpd_timeout = 3s" 'esp_proposals = aes128gcm16'
}
dead_in_time() {
    established initiator && sleep 2 && vici_up a || return
    kill -KILL "$(lab_pid b charon)"
    lab_wait 5 vici_gone a || { vici a --list-sas; return 1; }
    "$SHRIKE" --vici "unix://$LAB/a/vici" show | grep -q PEER_LOST
}
lab_up
check "ikev1/charon/dpd_timeout: both daemons start" start_both &&
    { check "ikev1/charon/dpd_timeout: alive while it answers, dead three seconds after" dead_in_time || subject_log a; }

# Quick mode of more than 1280 octets: many proposals and a large public value.
many='aes128-aes192-aes256-sha1-sha256-sha384-sha512-modp8192, aes128gcm16-aes192gcm16-aes256gcm16-modp8192'
for role in initiator responder; do
    lines='version = 1
        fragmentation = yes
        proposals = aes128-sha256-x25519'
    start_both() { charon_v1 "$lines" "esp_proposals = $many" && subject_start a userspace "$lines" "esp_proposals = $many"; }
    in_pieces() {
        local said='received fragment #'; [ $role = responder ] && said='splitting IKE message'
        established $role && traffic && grep -q "$said" "$LAB/b/charon.log"
    }
    lab_up
    check "ikev1/charon/fragments/$role: both daemons start" start_both || continue
    check "ikev1/charon/fragments/$role: established, traffic, message 1 in fragments" in_pieces || { subject_log a; peer_log; }
done
}

# A user (carol) with a virtual address: a has it from b, or b from a.
client_lines() {
    printf '%s\n' 'connections { lab { vips = 0.0.0.0' 'local-x { auth = xauth' "xauth_id = carol }" "children { lab { local_ts = dynamic } } } }" \
        "secrets { xauth { id = carol" "secret = \"$1\" } }"
}
server_lines() {
    printf '%s\n' 'connections { lab { pools = rw' 'remote-x { auth = xauth }' "children { lab { remote_ts = dynamic } } } }" \
        'secrets { xauth { id = carol' 'secret = "of carol" } }' 'pools { rw { addrs = 10.3.0.0/28' 'dns = 10.1.0.53 } }'
}
with_xauth() {
peer_charon
local CHARON_PLUGINS="$CHARON_PLUGINS xauth-generic"
for mode in main aggressive; do
    for role in initiator responder; do
        client=a server=b; [ $role = responder ] && client=b server=a
        aggressive=no; [ $mode = aggressive ] && aggressive=yes
        lines="version = 1
        aggressive = $aggressive
        proposals = aes128-sha256-x25519"
        start_both() {
            CONF_MORE=([$client]=$(client_lines "${password:-of carol}") [$server]=$(server_lines))
            charon_v1 "$lines" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines" 'esp_proposals = aes128gcm16'
        }
        has_address() { inside $client ip -br -4 address | grep -q '10\.3\.0\.1/32'; }
        configured() {
            vici $client --initiate --child lab --timeout 15 && peer_up && vici_up a && has_address || return
            inside $client ping -q -c 3 -i 0.2 -W 2 -I 10.3.0.1 "$(inner $server)" || return
            vici $client --list-sas | grep -q "^  local .*\[10\.3\.0\.1\]" || { vici $client --list-sas; return 1; }
            vici $server --list-sas | grep -q "^  remote .* XAuth: 'carol' \[10\.3\.0\.1\]" || { vici $server --list-sas; return 1; }
            vici $server --list-pools --leases | grep -q '10.3.0.1 *online *.carol'
        }
        given_back() {
            vici $client --terminate --ike lab --timeout 10 && lab_wait 5 vici_gone a && lab_wait 5 vici_gone b && ! has_address &&
                vici $server --list-pools --leases | grep -q '10.3.0.1 *offline *.carol'
        }
        name="ikev1/xauth/$mode/$role"
        lab_up
        check "$name: both daemons start" start_both || continue
        check "$name: established, virtual address, echo" configured || { subject_log a; peer_log; continue; }
        check "$name: deleted, address given back" given_back || { subject_log a; peer_log; }
        [ $mode = main ] || continue
        refused() {
            ! vici $client --initiate --child lab --timeout 15 >/dev/null && ! has_address &&
                "$SHRIKE" --vici "unix://$LAB/a/vici" show | grep -q XAUTH_FAILED
        }
        lab_up
        password='of someone else' check "$name: both daemons start, wrong password" start_both || continue
        check "$name: refused and explained" refused || { "$SHRIKE" --vici "unix://$LAB/a/vici" show; subject_log a; peer_log; }
    done
done

# The networks that charon names (Unity) are Shrike's Child SAs.
local CHARON_MORE="$CHARON_MORE
    cisco_unity = yes"
lines='version = 1
        proposals = aes128-sha256-x25519'
start_both() {
    CONF_MORE=([a]="$(client_lines 'of carol')
connections { lab { children { lab { remote_ts = 0.0.0.0/0 } } } }" [b]="$(server_lines)
connections { lab { children { lab { local_ts = 0.0.0.0/0 } } } }
pools { rw { split_include = $(network b), 10.9.0.0/24 } }")
    charon_v1 "$lines" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines" 'esp_proposals = aes128gcm16'
}
networks() {
    vici a --initiate --child lab --timeout 15 && peer_up && vici_up a || return
    two() { [ "$(vici a --list-sas | grep -Ec "^    remote ($(network b)|10\.9\.0\.0/24)\$")" = 2 ]; }
    lab_wait 3 two || { vici a --list-sas; return 1; }
    for host in "$(inner b)" 10.9.0.1; do
        inside a ping -q -c 3 -i 0.2 -W 2 -I 10.3.0.1 "$host" || return
    done
    two || { vici a --list-sas; return 1; }
}
killed() { # with an address, which the next one removes
    has() { inside a ip -br -4 address | grep -q '10\.3\.0\.1/32'; }
    kill -KILL "$(lab_pid a "$(subject_name)")" && sleep 0.5 && has || { inside a ip -br address; return 1; }
    subject_start a userspace "$lines" 'esp_proposals = aes128gcm16' && ! has || { inside a ip -br address; return 1; }
}
lab_up
inside b ip addr add 10.9.0.1/32 dev lo # charon's own data plane installs no policy without an address of its own there
check 'ikev1/xauth/networks: both daemons start' start_both &&
    { check 'ikev1/xauth/networks: a Child SA for each that the server names, echo' networks || { subject_log a; peer_log; }; } &&
    { check 'ikev1/xauth/networks: killed, and the address is gone after a new start' killed || subject_log a; }
CONF_MORE=()
}

with_vpnc() {
    command -v vpnc >/dev/null || { say "SKIP: vpnc is not installed (cargo xtask setup)"; return; }
    lab_up
    CONF_MORE=([a]="$(server_lines)
connections { lab {
    remote_addrs = %any
    remote { id = keyid:group1 }
} }
secrets { ike-group {
    id = keyid:group1
    secret = group-secret
} }")
    serve() { subject_start a userspace 'version = 1
        aggressive = yes
        encap = yes
        proposals = aes128-sha1-modp2048' 'esp_proposals = aes128-sha1'; }
    check 'ikev1/vpnc: Shrike starts' serve || return
    cat >"$LAB/b/script" <<'SCRIPT'
#!/bin/sh
[ "$reason" = connect ] || exit 0
ip link set "$TUNDEV" up mtu 1350
ip address add "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
ip route replace 10.1.0.0/24 dev "$TUNDEV" src "$INTERNAL_IP4_ADDRESS"
SCRIPT
    chmod +x "$LAB/b/script"
    cat >"$LAB/b/vpnc.conf" <<CONF
IPSec gateway $(outer a)
IPSec ID group1
IPSec secret group-secret
Xauth username carol
Xauth password of carol
IKE Authmode psk
IKE DH Group dh14
Perfect Forward Secrecy nopfs
NAT Traversal Mode force-natt
Local Port 0
IPSEC target network 10.1.0.0/24
Script $LAB/b/script
Pidfile $LAB/b/vpnc.pid
CONF
    chmod 600 "$LAB/b/vpnc.conf"
    lab_spawn b vpnc vpnc --no-detach "$LAB/b/vpnc.conf"
    connected() { inside b ip -br -4 address | grep -q '10\.3\.0\.1/32'; }
    passes() { lab_wait 12 connected && inside b ping -q -c 3 -i 0.2 -W 2 -I 10.3.0.1 "$(inner a)"; }
    check 'ikev1/vpnc: aggressive mode, XAuth, Mode-Config, echo' passes || { cat "$LAB/b/vpnc.log"; subject_log a; }
    CONF_MORE=()
}

# both_start PLUTO-LINES SHRIKE-LINES SHRIKE-CHILD   the three in addition to what every case has
both_start() {
    PLUTO_SETUP=ikev1-policy=accept PLUTO_IKEV2=no pluto_start shim "ike=aes128-sha2_256;dh19
    $1" && subject_start a userspace "version = 1
        proposals = aes128-sha256-ecp256
        $2" "$3" && whack --impair revival >/dev/null
}
# Of the Child SA that is in use: one that has a successor is listed beside it for a while.
current_spi() { vici a --list-sas --raw | grep -o 'state=INSTALLED[^}]*spi-in=[0-9a-f]*' | grep -o '[0-9a-f]*$' | head -1; }
has_successor() { local now; now=$(current_spi); [ -n "$now" ] && [ "$now" != "$1" ]; }
rekeyed_by() { # COMMAND...
    local before; before=$(current_spi)
    "$@" >/dev/null && lab_wait 10 has_successor "$before" && vici_up a && peer_up || { vici a --list-sas; whack --status | grep '^000 #'; return 1; }
}
child_gone() { ! vici a --list-sas --raw | grep -q 'state=INSTALLED'; }
child_deleted_by_shrike() { vici a --terminate --child lab --timeout 5 && both_gone; } # pluto's ISAKMP SA goes with its last Child SA
child_deleted_by_peer() {
    established initiator || return
    local number; number=$(whack --status | sed -n 's/^000 #\([0-9]*\):.*IPsec SA established.*/\1/p' | tail -1)
    whack --deletestate "$number" && lab_wait 5 child_gone || { vici a --list-sas; whack --status | grep '^000 #'; return 1; }
}
encapsulated() { established "$1" && vici a --list-sas --raw | grep -q 'encap=yes' && [ "$(sent a '192.0.2.1.4500 > 192.0.2.2.4500')" -gt 0 ]; }
each_answers() { established initiator && answered_by a && answered_by b; }
rsa_pki() { # a certificate for each node, of one authority
    local node
    mkdir -p "$PKI" &&
        openssl req -x509 -newkey rsa:2048 -nodes -keyout "$PKI/ca.key" -out "$PKI/ca.pem" -days 30 -subj '/C=CH/O=Lab/CN=root' 2>/dev/null || return
    for node in a b; do
        openssl req -newkey rsa:2048 -nodes -keyout "$PKI/$node.key" -out "$PKI/$node.csr" -subj "/C=CH/O=Lab/CN=$node" 2>/dev/null &&
            openssl x509 -req -in "$PKI/$node.csr" -CA "$PKI/ca.pem" -CAkey "$PKI/ca.key" -CAcreateserial -days 30 -out "$PKI/$node.pem" \
                -extfile <(echo "subjectAltName=DNS:$node.example") 2>/dev/null || return
    done
    mkdir -p "$LAB"/a/{x509,x509ca,private} && cp "$PKI/a.pem" "$LAB/a/x509/own.pem" && cp "$PKI/a.key" "$LAB/a/private/own.key" &&
        cp "$PKI/ca.pem" "$LAB/a/x509ca/" && openssl pkcs12 -export -inkey "$PKI/b.key" -in "$PKI/b.pem" -name b -passout pass: -out "$PKI/b.p12"
}
rsa_nss() { # DATABASE
    pk12util -i "$PKI/b.p12" -d "$1" -W '' -K '' >/dev/null && certutil -A -d "$1" -n root -t CT,, -i "$PKI/ca.pem"
}

# What differs from main mode with a secret and no group of its own in quick mode.
with_pluto_beyond() {
    local PKI=$LAB/pki role draft plain='esp=aes_gcm128
    pfs=no'
    for role in initiator responder; do
        lab_up
        check "ikev1/pluto/aggressive/$role: both daemons start" both_start "$plain
    aggressive=yes" 'aggressive = yes' 'esp_proposals = aes128gcm16' &&
            check "ikev1/pluto/aggressive/$role: established" established $role || { subject_log a; peer_log; }
    done
    lab_up
    check 'ikev1/pluto/pfs: both daemons start' both_start 'esp=aes128-sha2_256;dh14
    pfs=yes' '' 'esp_proposals = aes128-sha256-modp2048' &&
        check 'ikev1/pluto/pfs: established, quick mode with another group' established initiator &&
        check 'ikev1/pluto/pfs: the Child SA rekeyed by Shrike' rekeyed_by vici a --rekey --child lab &&
        check 'ikev1/pluto/pfs: the Child SA deleted by Shrike, gone at both' child_deleted_by_shrike &&
        check 'ikev1/pluto/pfs: and by the peer' child_deleted_by_peer || { subject_log a; peer_log; }
    lab_up # pluto rekeys what it began, when its time comes
    check 'ikev1/pluto/rekeyed: both daemons start' both_start "$plain
    salifetime=12s
    rekeymargin=9s
    rekeyfuzz=0%" '' 'esp_proposals = aes128gcm16' &&
        check 'ikev1/pluto/rekeyed: established by the peer' established responder &&
        check 'ikev1/pluto/rekeyed: the Child SA rekeyed by the peer' rekeyed_by true || { subject_log a; peer_log; }
    lab_up
    check 'ikev1/pluto/dpd: both daemons start' both_start "$plain
    dpddelay=1
    dpdtimeout=10
    dpdaction=clear" 'dpd_delay = 1s' 'esp_proposals = aes128gcm16' &&
        check 'ikev1/pluto/dpd: each answers R-U-THERE' each_answers || { subject_log a; peer_log; }
    for draft in rfc drafts; do
        role=initiator; [ $draft = drafts ] && role=responder
        lab_up
        check "ikev1/pluto/natt/$draft: both daemons start" both_start "$plain
    encapsulation=yes
    nat-ikev1-method=$draft" 'encap = yes' 'esp_proposals = aes128gcm16' &&
            check "ikev1/pluto/natt/$draft: established on port 4500, in UDP" encapsulated $role || { subject_log a; peer_log; }
    done
    lab_up
    CONF_MORE=([a]="connections { lab {
    local { auth = pubkey
        certs = own.pem
        id = a.example }
    remote { auth = pubkey
        id = b.example } } }")
    PLUTO_NSS=rsa_nss PLUTO_AUTHBY=rsasig
    check 'ikev1/pluto/rsa: certificates are made' rsa_pki &&
        check 'ikev1/pluto/rsa: both daemons start' both_start "$plain
    leftcert=b
    leftid=@b.example
    leftsendcert=always
    rightid=@a.example
    rightca=%same" '' 'esp_proposals = aes128gcm16' &&
        check 'ikev1/pluto/rsa: established by Shrike' established initiator &&
        check 'ikev1/pluto/rsa: deleted by Shrike, gone at both' terminated_by_shrike &&
        check 'ikev1/pluto/rsa: established by the peer' established responder || { subject_log a; peer_log; }
    unset PLUTO_NSS PLUTO_AUTHBY
    CONF_MORE=()
}

with_pluto() {
if [ -x "$PLUTO_BIN/pluto" ] && command -v certutil cc >/dev/null; then
    peer_pluto
    for role in initiator responder; do
        start_both() {
            PLUTO_SETUP=ikev1-policy=accept PLUTO_IKEV2=no pluto_start shim 'ike=aes128-sha2_256;dh19
    esp=aes_gcm128
    pfs=no' && subject_start a userspace 'version = 1
        proposals = aes128-sha256-ecp256' 'esp_proposals = aes128gcm16'
        }
        lab_up
        check "ikev1/pluto/main/$role: both daemons start" start_both || { peer_log; continue; }
        whack --impair revival >/dev/null
        if [ $role = initiator ]; then scenario "ikev1/pluto/main/$role" $role no none; continue; fi
        # pluto makes an SA that it began anew at once when the other end deletes it: only its own deletes end here.
        check "ikev1/pluto/main/$role: established" established $role &&
            check "ikev1/pluto/main/$role: deleted by the peer, gone at both" terminated_by_peer || peer_log
    done
    with_pluto_beyond
else
    say "SKIP: libreswan is not unpacked in $PLUTO_ROOT (cargo xtask setup)"
fi
}

for peer in ${1:-charon xauth vpnc pluto}; do "with_$peer"; done
finish
