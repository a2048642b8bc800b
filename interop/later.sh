#!/bin/bash
# What shows only after the first handshake, against strongSwan with userspace ESP at both ends:
#   a Child SA that the peer refuses is asked for again, and comes up once the peer's configuration is mended;
#   a rekeying that either end refuses (PFS) is told as that, and the Child SA goes on;
#   a peer that authenticates anew as soon as it hears when it must (RFC 4478) does so once in that time, not for ever;
#   certificates by hash and URL (RFC 7296 section 3.6) both ways.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd pki openssl python3

IKE='proposals = aes128gcm16-prfsha256-x25519'
both_start() { # SHRIKE'S-CONNECTION SHRIKE'S-CHILD CHARON'S-CONNECTION CHARON'S-CHILD
    charon_start b libipsec "$IKE
        $3" "$4" && subject_start a userspace "$IKE
        $1" "$2"
}
logs() { subject_log a 30; tail -20 "$LAB/b/charon.log"; }
shown() { # TEXT   `shrike show` says so
    local listing; listing=$("$SHRIKE" --vici "unix://$LAB/a/vici" show 2>&1)
    [[ $listing == *"$1"* ]] || { say "not shown: $1"; say "$listing"; return 1; }
}
up() { lab_wait "${1:-10}" vici_up a && lab_wait 5 vici_up b || { vici_up a; vici_up b; }; }

# ---- a Child SA refused under an IKE SA that stays

lab_up
check "later/child refused: both daemons start" both_start '' 'start_action = start' '' 'remote_ts = 10.9.0.0/24'
refused() {
    lab_wait 10 shown TRAFFIC_SELECTOR || shown TRAFFIC_SELECTOR && shown 'begun again in'
}
mended() {
    sed -i 's#remote_ts = 10.9.0.0/24##' "$LAB/b/swanctl.conf" && vici b --load-conns --file "$LAB/b/swanctl.conf" >/dev/null && up 25 &&
        [ "$(grep -c 'initiating IKE_SA' "$LAB/a/shrike.log")" = 1 ] && traffic
}
check "later/child refused: the IKE SA stays, and the next attempt is told" refused &&
    check "later/child refused: the peer is mended, the Child SA comes up under the same IKE SA, traffic" mended || logs

# ---- a rekeying refused

for initiator in a b; do
    lab_up
    check "later/rekeying refused/$initiator asks: both daemons start" \
        both_start '' 'esp_proposals = aes128gcm16-x25519' '' 'esp_proposals = aes128gcm16-modp3072'
    not_rekeyed() {
        local before; before=$(listing_spi)
        vici $initiator --rekey --child lab >/dev/null
        lab_wait 10 shown 'NOT REKEYED CHILD_PROPOSAL' || shown 'NOT REKEYED CHILD_PROPOSAL' || return
        [ "$(listing_spi)" = "$before" ] || { say "was $before, is $(listing_spi)"; return 1; }
        traffic
    }
    listing_spi() { vici a --list-sas --raw | grep -o 'spi-in=[0-9a-f]*'; }
    diagnosed() {
        local found; found=$("$SHRIKE" --vici "unix://$LAB/a/vici" diagnose 2>&1)
        [[ $found == *PFS* ]] || { say "$found"; return 1; }
    }
    established_first() { vici_initiate a && up; }
    check "later/rekeying refused/$initiator asks: established" established_first &&
        check "later/rekeying refused/$initiator asks: told, and the Child SA carries on" not_rekeyed &&
        check "later/rekeying refused/$initiator asks: diagnosed as PFS" diagnosed || logs
done

# ---- AUTH_LIFETIME to a peer whose own margin is longer

lab_up
# charon's margin is a tenth of its rekey_time: 24 minutes. That it claims a NAT makes it the only end that can begin.
check "later/reauthentication: both daemons start" both_start 'reauth_time = 6s
        over_time = 4s
        rand_time = 0s
        unique = never' '' '' ''
anew() { grep -c 'is initiating an IKE_SA' "$LAB/a/shrike.log"; }
in_time() {
    vici_initiate b && sleep 10 && up || return
    # At 0 s, at once after that, and once in about three seconds.
    [ "$(anew)" -ge 3 ] && [ "$(anew)" -le 8 ] || { say "$(anew) IKE SAs in 10 s"; return 1; }
    # charon ends the old SA before it makes the next: right after that there are three seconds.
    local so_far; so_far=$(anew)
    another() { [ "$(anew)" -gt "$so_far" ]; }
    lab_wait 8 another && sleep 0.3 && traffic
}
check "later/reauthentication: the peer authenticates anew when it is time, and not at once for ever" in_time || logs

# ---- hash and URL

PKI=$(mktemp -d)
make_pki() {
    local node
    pki --gen --type ecdsa --size 256 --outform pem >"$PKI/root.key" &&
        pki --self --ca --in "$PKI/root.key" --type priv --dn "O=Lab, CN=root" --outform pem >"$PKI/root.pem" || return
    mkdir -p "$PKI/web"
    for node in a b; do
        pki --gen --type ecdsa --size 256 --outform pem >"$PKI/$node.key" &&
            pki --pub --in "$PKI/$node.key" --type priv | pki --issue --cacert "$PKI/root.pem" --cakey "$PKI/root.key" \
                --dn "O=Lab, CN=$node" --san $node.example --outform der >"$PKI/$node.der" || return
        cp "$PKI/$node.der" "$PKI/web/$(sha1sum "$PKI/$node.der" | cut -d' ' -f1)"
    done
}
# Python's own http.server asks the resolver for its name before it listens.
WEB='import http.server, socketserver, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *rest): super().__init__(*rest, directory=sys.argv[2])
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer((sys.argv[1], 80), Handler).serve_forever()'
proves() { # NODE
    local node=$1
    mkdir -p "$LAB/$node"/{x509,x509ca,private}
    cp "$PKI/$node.der" "$LAB/$node/x509/own.der" && cp "$PKI/$node.key" "$LAB/$node/private/own.key" &&
        cp "$PKI/root.pem" "$LAB/$node/x509ca/" || return
    CONF_MORE[$node]="connections {
    lab {
        local {
            auth = pubkey
            certs = own.der
            id = $node.example
        }
        remote {
            auth = pubkey
            id = $(other "$node").example
        }
    }
}
authorities {
    root {
        cacert = root.pem
        cert_uri_base = http://$(outer "$node")/
    }
}"
    lab_spawn "$node" web python3 -u -c "$WEB" "$(outer "$node")" "$PKI/web"
    lab_wait 10 inside "$node" python3 -c "import socket; socket.create_connection(('$(outer "$node")', 80))"
}
check "later/hash and URL: certificates made" make_pki
for role in initiator responder; do
    lab_up && trap 'lab_down; rm -rf "$PKI"' EXIT
    CONF_MORE=()
    start_all() {
        printf 'charon {\n    hash_and_url = yes\n}\n' >"$LAB/daemon.conf"
        proves a && proves b && CHARON_PLUGINS="$CHARON_PLUGINS curl revocation" CHARON_MORE='hash_and_url = yes' \
            both_start '' '' '' ''
    }
    peer_initiate() { vici_initiate b; }
    looked_up() {
        initiate $role && up && traffic || return
        local node
        for node in a b; do
            grep -q '"GET /[0-9a-f]\{40\} .*200' "$LAB/$node/web.log" || { say "nobody asked $node:"; cat "$LAB/$node/web.log"; return 1; }
        done
    }
    check "later/hash and URL/$role: both daemons and both servers start" start_all &&
        check "later/hash and URL/$role: each end looked the other's certificate up, traffic" looked_up || logs
done
finish
