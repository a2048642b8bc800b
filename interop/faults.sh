#!/bin/bash
# What can go wrong between two gateways, and what Shrike says about it: against charon in both roles, then against
# Shrike. Each fault must end in its own explanation, in `shrike show` and in what `initiate` answers, with both sides'
# values and the line of swanctl.conf.
. "$(dirname "$0")/lab.sh"
for part in swanctl charon subject; do . "$INTEROP/lib/$part.sh"; done
subject_required
[ "$(subject_name)" = shrike ] || skip "only Shrike explains"
need charon-systemd iptables

quick_retransmission() { # for whoever waits for an answer that never comes
    cat >"$LAB/daemon.conf" <<CONF
charon {
    retransmit_timeout = 0.2
    retransmit_base = 1.2
    retransmit_tries = 3
    half_open_timeout = 3s
}
CONF
}

peer=charon                                        # who runs at node b
peer_start() {
    if [ $peer = charon ]; then
        charon_start b libipsec "${lines_b:-}" "${child_b:-}"
    else
        subject_start b userspace "${lines_b:-}" "${child_b:-}"
    fi
}
peer_stop() { lab_stop b $peer; }
restart() { # both daemons, with $lines_a, $child_a, $lines_b and $child_b
    subject_stop a; peer_stop
    subject_start a userspace "${lines_a:-}" "${child_a:-}" && peer_start
}

# What `shrike show` says about the latest failure, in one line.
explained() { "$SHRIKE" --vici "unix://$LAB/$1/vici" show 2>&1 | awk '/ FAILED / { if (on++) exit } /^$/ { if (on) exit } on' | tr -s ' \n' ' '; }

# where NODE KEY   FILE:LINE (KEY), the line being the last one in the file that begins with the key's last word
where() {
    local file=$LAB/$1/swanctl.conf line
    line=$(grep -n "^ *${2##*.} *[={]" "$file" | tail -1 | cut -d: -f1)
    echo "$file:$line ($2)"
}

# says NODE CODE [TEXT...]   the latest failure at this node has this code and these texts. OURS and THEIRS stand for
# $value_a and $value_b as that node sees them, WHERE(KEY) for a place in its configuration.
says() {
    local node=$1 code=$2 ours theirs listing text; shift 2
    [ "$node" = a ] && ours=${value_a:-} theirs=${value_b:-} || { ours=${value_b:-} theirs=${value_a:-}; }
    has_failed() { listing=$(explained "$node"); [[ $listing == *" FAILED $code "* ]]; }
    if ! lab_wait "${SAYS_SECONDS:-6}" has_failed; then
        say "node $node does not say $code:"; "$SHRIKE" --vici "unix://$LAB/$node/vici" show; return 1
    fi
    listing=$(explained "$node")
    for text; do
        text=${text//OURS/$ours} text=${text//THEIRS/$theirs}
        [[ $text =~ ^WHERE\((.*)\)$ ]] && text="where: $(where "$node" "${BASH_REMATCH[1]}") "
        [[ $listing == *"$text"* ]] || { say "node $node does not say '$text':" "$listing"; return 1; }
        # The client that waits for the initiation hears the same.
        if [ "$node" = "$initiator" ] && [ -s "$LAB/answer" ]; then
            text=${text#where: } text=${text#do: } text=${text% }
            [[ $(tr -s ' \n' ' ' <"$LAB/answer") == *"$text"* ]] || { say "initiate does not answer '$text':"; cat "$LAB/answer"; return 1; }
        fi
    done
    [ -z "${FAULTS_REPORT:-}" ] || printf '%s\t%s\n' "$peer/$node" "$listing" >>"$FAULTS_REPORT"
}
initiator=
begin() { # NODE   initiates; what it answers is in $LAB/answer if Shrike does
    initiator=$1
    vici "$1" --initiate --child lab --timeout "${2:-8}" >"$LAB/answer" 2>&1
    [ "$1" = a ] || [ $peer = shrike ] || : >"$LAB/answer"
}
peer_log_has() { [ $peer = shrike ] || lab_wait 3 grep -qE "$1" "$LAB/b/charon.log" || { say "charon does not log '$1':"; tail -20 "$LAB/b/charon.log"; return 1; }; }
# To the peer goes AUTHENTICATION_FAILED and nothing else (RFC 7296 section 2.21.2).
only_refused() { peer_log_has 'parsed IKE_AUTH response 1 \[ N\(AUTH_FAILED\) \]'; }
ike_up() { lab_wait 5 eval "vici $1 --list-sas --raw | grep -q state=ESTABLISHED" || { say "the IKE SA is not up at $1"; return 1; }; }

connection() { CONF_MORE[$1]+="connections { lab { $(printf '\n        %s' "${@:2}")
} }
"; }
child() { CONF_MORE[$1]+="connections { lab { children { lab { $(printf '\n        %s' "${@:2}")
} } } }
"; }
plain() { CONF_MORE=(); value_a='' value_b='' lines_a='' lines_b='' child_a='' child_b=''; }

# fault NAME INITIATOR-SAYS RESPONDER-SAYS [THEN]   Both are arrays of the caller's: code, texts. Against charon Shrike is
# first the one and then the other, against Shrike both at once. THEN is checked after each.
fault() {
    local name=$1 after=${4:-true} after_responder=${5:-true}; local -n as_initiator=$2 as_responder=$3
    initiated() { restart && { begin a; [ ${#as_initiator[@]} = 0 ] || says a "${as_initiator[@]}"; } && { [ $peer = charon ] || [ ${#as_responder[@]} = 0 ] || says b "${as_responder[@]}"; } && $after; }
    answered() { restart && { begin b; says a "${as_responder[@]}"; } && $after_responder; }
    check "faults/$peer/initiator: $name" initiated || both_logs
    [ $peer = shrike ] || [ ${#as_responder[@]} = 0 ] || check "faults/$peer/responder: $name" answered || both_logs
}
both_logs() { say "--- Shrike:"; subject_log a 15; say "--- the peer:"; tail -15 "$LAB/b/$peer.log"; }

configuration_faults() {
    local i r
    plain; CONF_MORE[b]='secrets { ike-lab {
        secret = "another secret"
    } }'
    i=(AUTH_FAILED "as '192.0.2.1' to '192.0.2.2'" 'does not accept our proof') r=(PSK_MISMATCH "'192.0.2.1' and '192.0.2.2'")
    [ $peer = charon ] && r+=("WHERE(secrets.ike-lab.secret)")
    [ $peer = shrike ] && r=(PSK_MISMATCH "'192.0.2.2' and '192.0.2.1'" "WHERE(secrets.ike-lab.secret)")
    fault 'wrong secret' i r true only_refused

    # In IKEv1 the secret is part of the keys: neither end can read what the other one sends last.
    plain; CONF_MORE[b]='secrets { ike-lab {
        secret = "another secret"
    } }'
    lines_a='version = 1' lines_b='version = 1'
    i=(PSK_MISMATCH "'192.0.2.1' and '192.0.2.2'" 'WHERE(secrets.ike-lab.secret)') r=(PSK_MISMATCH 'pre-shared keys differ')
    fault 'wrong secret, IKEv1' i r

    plain; CONF_MORE[a]='secrets { ike-lab {
        id-2 = elsewhere.example
        id-1 = elsewhere.example
    } }'
    i=(PSK_MISSING "'192.0.2.1' and '192.0.2.2'" 'WHERE(connections.lab.remote.id)') r=("${i[@]}")
    [ $peer = shrike ] && r=(HALF_OPEN)
    fault 'no secret' i r true only_refused

    plain; connection b 'local {' 'id = b.example' '}'
    i=(AUTH_FAILED "'192.0.2.2'") r=(PEER_ID_UNKNOWN "'b.example'" "lab: 192.0.2.2" "WHERE(connections.lab.remote.id)")
    [ $peer = shrike ] && r=()
    fault 'unknown identity' i r true only_refused

    plain; value_a=AES_CBC-128 value_b=AES_CBC-256
    lines_a='proposals = aes128-sha256-x25519' lines_b='proposals = aes256-sha256-x25519'
    i=(IKE_PROPOSAL 'aes128-sha256-prfsha256-x25519' 'WHERE(connections.lab.proposals)')
    r=(IKE_PROPOSAL 'encryption algorithm: ours OURS, theirs THEIRS' 'WHERE(connections.lab.proposals)')
    fault 'wrong IKE encryption' i r

    plain; value_a=CURVE_25519 value_b=MODP_2048
    lines_a='proposals = aes128-sha256-x25519' lines_b='proposals = aes128-sha256-modp2048'
    i=(IKE_PROPOSAL 'aes128-sha256-prfsha256-x25519' 'WHERE(connections.lab.proposals)')
    r=(IKE_PROPOSAL 'key exchange group: ours OURS, theirs THEIRS' 'WHERE(connections.lab.proposals)')
    fault 'wrong key exchange group' i r

    plain; value_a=AES_GCM_16-128 value_b=AES_CBC-256
    child_a='esp_proposals = aes128gcm16' child_b='esp_proposals = aes256-sha256'
    i=(CHILD_PROPOSAL 'aes128gcm16' 'WHERE(connections.lab.children.lab.esp_proposals)')
    r=(CHILD_PROPOSAL 'encryption algorithm: ours OURS, theirs THEIRS' 'WHERE(connections.lab.children.lab.esp_proposals)')
    fault 'wrong ESP proposal' i r 'ike_up a' 'ike_up a'

    plain; child b 'local_ts = 10.9.0.0/24' 'remote_ts = 10.8.0.0/24'
    i=(TRAFFIC_SELECTOR '10.1.0.0/24 === 10.2.0.0/24' 'WHERE(connections.lab.children.lab.remote_ts)')
    r=(TRAFFIC_SELECTOR 'ours 10.1.0.0/24 === 10.2.0.0/24, the peer asks for 10.8.0.0/24 === 10.9.0.0/24' 'WHERE(connections.lab.children.lab.local_ts)')
    [ $peer = shrike ] && r=(TRAFFIC_SELECTOR 'ours 10.9.0.0/24 === 10.8.0.0/24, the peer asks for 10.2.0.0/24 === 10.1.0.0/24' 'WHERE(connections.lab.children.lab.local_ts)')
    fault 'wrong selectors' i r 'ike_up a' 'ike_up a'

    plain; child b 'local_ts = 10.9.0.0/24'
    i=(TRAFFIC_SELECTOR '10.1.0.0/24 === 10.2.0.0/24' 'WHERE(connections.lab.children.lab.remote_ts)')
    r=(TRAFFIC_SELECTOR 'ours 10.1.0.0/24 === 10.2.0.0/24, the peer asks for 10.1.0.0/24 === 10.9.0.0/24' 'WHERE(connections.lab.children.lab.remote_ts)')
    [ $peer = shrike ] && r=(TRAFFIC_SELECTOR 'ours 10.9.0.0/24 === 10.1.0.0/24, the peer asks for 10.2.0.0/24 === 10.1.0.0/24' 'WHERE(connections.lab.children.lab.local_ts)')
    fault "wrong selector of one side" i r 'ike_up a' 'ike_up a'

    plain; connection b 'remote_addrs = 192.0.2.99'
    i=(); r=(NO_CONFIG '192.0.2.2 from 192.0.2.1')
    if [ $peer = shrike ]; then i=(IKE_PROPOSAL) ; else i=(IKE_PROPOSAL); r=(); fi
    fault 'no connection for this address' i r
}

path_faults() {
    peer_off() { # [CONNECTION-LINE]
        plain; subject_stop a; peer_stop
        subject_start a userspace "${1:-}" '' || return
        begin a 20
        says a NO_RESPONSE '192.0.2.2:500' '4 datagrams' 'WHERE(connections.lab.remote_addrs)' 'check that 192.0.2.2 runs IKE'
    }
    check "faults/$peer: peer off" peer_off || both_logs
    peer_off_v1() { peer_off 'version = 1'; }
    check "faults/$peer: peer off, IKEv1" peer_off_v1 || both_logs
    port_blocked() {
        plain; lines_a='mobike = yes' lines_b='mobike = yes'
        restart || return
        inside b iptables -A INPUT -p udp --dport 4500 -j DROP
        begin a 20; inside b iptables -F
        says a NO_RESPONSE '192.0.2.2:4500' 'open UDP 4500 in both directions'
    }
    check "faults/$peer/initiator: UDP 4500 blocked" port_blocked || both_logs
    initiator_blocked() {
        plain; lines_a='mobike = yes' lines_b='mobike = yes'
        restart || return
        inside a iptables -A INPUT -p udp --dport 4500 -j DROP
        begin b 2
        says a HALF_OPEN 'UDP 4500'; local result=$?
        inside a iptables -F
        return $result
    }
    check "faults/$peer/responder: UDP 4500 blocked" initiator_blocked || both_logs
    peer_deletes() {
        plain; restart && begin a && lab_wait 5 vici_up a && vici_terminate b >/dev/null && lab_wait 5 vici_gone a &&
            "$SHRIKE" --vici "unix://$LAB/a/vici" show | grep 'deleted by the peer'
    }
    check "faults/$peer: the peer deletes" peer_deletes || both_logs
    peer_dies() {
        plain; lines_a='dpd_delay = 1s'; restart && begin a && lab_wait 5 vici_up a || return
        kill -KILL "$(lab_pid b $peer)"; : >"$LAB/answer"
        SAYS_SECONDS=10 says a PEER_LOST '192.0.2.2' 'any more' && vici_gone a
    }
    check "faults/$peer: the peer is killed, dpd notices" peer_dies || both_logs
    probed() { # EXIT-CODE TEXT...   what shrike probe says of the child, the peer's host being named
        local code=$1 found result text; shift
        found=$("$SHRIKE" --vici "unix://$LAB/a/vici" probe lab --to "$(inner b)" 2>&1); result=$?
        [ $result = "$code" ] || { say "exit code $result:" "$found"; return 1; }
        for text; do [[ $found == *"$text"* ]] || { say "the probe does not say '$text':" "$found"; return 1; }; done
    }
    black_hole() { # the cable takes less there than it says here; then the host behind the peer is silent
        plain; restart && begin a && lab_wait 5 vici_up a || return
        probed 0 'carries packets of up to 1400 octets' || return
        inside b ip link set veth0 mtu 1300 && probed 1 PATH_MTU 'a black hole for what is longer'
        local result=$? found; found=$("$SHRIKE" --vici "unix://$LAB/a/vici" diagnose)
        [[ $found == *'WARNING  PATH_MTU'* ]] || { say "diagnose does not know it:" "$found"; result=1; }
        inside b ip link set veth0 mtu 1500
        [ $result = 0 ] && probed 0 'of up to 1400' || return
        inside b iptables -I INPUT -d "$(inner b)" -p icmp -j DROP && probed 1 NATT 'nothing comes back'
        result=$?
        inside b iptables -D INPUT -d "$(inner b)" -p icmp -j DROP
        return $result
    }
    check "faults/$peer: a black hole for long packets, and nothing that comes back, are probed" black_hole || both_logs
    peer_restarts() { # the peer comes back and says INITIAL_CONTACT: one SA is left here
        plain; restart && begin a && lab_wait 5 vici_up a || return
        kill -KILL "$(lab_pid b $peer)"
        sleep 0.5; peer_start || return
        begin b; lab_wait 5 vici_up b || { say "not up at the peer"; return 1; }
        [ "$(vici a --list-sas --raw | grep -o 'state=ESTABLISHED' | wc -l)" = 1 ] || { vici a --list-sas; return 1; }
        traffic
    }
    check "faults/$peer: the peer is killed and comes back" peer_restarts || both_logs
    restarted() { # we are killed and come back
        plain; restart && begin a && lab_wait 5 vici_up a || return
        kill -KILL "$(lab_pid a shrike)"; sleep 0.5
        subject_start a userspace '' '' && begin a && lab_wait 5 vici_up a || return
        [ "$(vici b --list-sas --raw | grep -o 'state=ESTABLISHED' | wc -l)" = 1 ] || { vici b --list-sas; return 1; }
        traffic
    }
    check "faults/$peer: Shrike is killed and comes back" restarted || both_logs
}

for peer in charon shrike; do
    lab_up; quick_retransmission
    configuration_faults
    path_faults
done
finish
