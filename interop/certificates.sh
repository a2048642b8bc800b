#!/bin/bash
# Signatures and certificates: Shrike and strongSwan's charon, both versions of IKE, both roles, with traffic; then peers that
# are not to be trusted, each refused with its reason. Shrike reads x509, x509ca, x509crl and private beside its swanctl.conf;
# charon gets the same over vici. The certificates are made anew each time.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd pki openssl

peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }
peer_gone() { vici_gone b; }
peer_terminate() { vici_terminate b; }

PKI=$(mktemp -d)
CHARON_PLUGINS="$CHARON_PLUGINS xauth-generic"
clean_lab() { lab_up && trap 'lab_down; rm -rf "$PKI"' EXIT; }
key() { # NAME KIND   KIND: rsa | p256 | p384 | ed25519
    case $2 in
    rsa) pki --gen --type rsa --size 2048 --outform pem;;
    p*) pki --gen --type ecdsa --size "${2#p}" --outform pem;;
    *) pki --gen --type ed25519 --outform pem;;
    esac >"$PKI/$1.key"
}
authority() { key "$1" p256 && pki --self --ca --in "$PKI/$1.key" --type priv --dn "C=CH, O=Lab, CN=$1" --outform pem >"$PKI/$1.pem"; }
issue() { # NAME KIND AUTHORITY OPTIONS...
    local name=$1 kind=$2 authority=$3; shift 3
    key "$name" "$kind" && pki --pub --in "$PKI/$name.key" --type priv | pki --issue --cacert "$PKI/$authority.pem" \
        --cakey "$PKI/$authority.key" --dn "C=CH, O=Lab, CN=$name" --outform pem "$@" >"$PKI/$name.pem"
}
make_pki() {
    local kind node
    authority root && authority other && issue between p256 root --ca --pathlen 0 || return
    for kind in rsa p256 p384 ed25519; do
        for node in a b; do issue $node-$kind $kind root --san $node.example || return; done
    done
    issue b-between rsa between --san b.example && issue b-other rsa other --san b.example &&
        issue b-expired rsa root --san b.example --not-before 01.01.20 --not-after 01.01.21 --dateform %d.%m.%y &&
        issue b-revoked rsa root --san b.example &&
        pki --signcrl --cacert "$PKI/root.pem" --cakey "$PKI/root.key" --cert "$PKI/b-revoked.pem" --outform pem >"$PKI/root.crl" &&
        openssl pkcs8 -topk8 -in "$PKI/a-rsa.key" -v2 aes-256-cbc -passout pass:not-a-secret -out "$PKI/a-locked.key"
}

# credentials NODE CERTIFICATE AUTHORITY...   fills the directories of a node, and names them in its swanctl.conf
credentials() {
    local node=$1 certificate=$2 name directory=$LAB/$1; shift 2
    mkdir -p "$directory"/{x509,x509ca,x509crl,private}
    cp "$PKI/$certificate.pem" "$directory/x509/own.pem" && cp "$PKI/$certificate.key" "$directory/private/own.key" || return
    for name in "$@"; do cp "$PKI/$name.pem" "$directory/x509ca/" || return; done
    CONF_MORE[$node]="connections {
    lab {
        ${MORE_LAB:-}
        local {
            auth = ${AUTH:-pubkey}
            certs = own.pem
            id = $node.example
        }
        remote {
            auth = pubkey
            id = $(other "$node").example
        }
    }
}
secrets {
    private-own {
        file = own.key
        secret = not-a-secret
    }
}"
}

# The client has no certificate, only a user's password; the server signs (hybrid authentication, IKEv1).
hybrid() { # CLIENT SERVER
    CONF_MORE[$1]="connections {
    lab {
        local {
            auth = xauth
            id = $1.example
            xauth_id = carol
        }
        remote {
            auth = pubkey
            id = $2.example
        }
    }
}
secrets { xauth { id = carol
        secret = not-a-secret } }"
    CONF_MORE[$2]="connections {
    lab {
        local {
            auth = pubkey
            certs = own.pem
            id = $2.example
        }
        remote {
            auth = xauth
            id = $1.example
        }
    }
}
secrets { xauth { id = carol
        secret = not-a-secret } }"
}

clean_lab
check "certificates: made" make_pki || { finish; exit; }

# Every kind of key, and the ways to sign with it.
for case in rsa p256 p384 ed25519 rsa/pss locked between v1/rsa v1/p256 v1/p384 v1/aggressive/rsa v1/aggressive/p256 \
    v1/curves v1/hybrid v1/aggressive/hybrid; do
    for role in initiator responder; do
        clean_lab
        lines='proposals = aes128-sha256-x25519' own=a-${case##*/} peer=b-${case##*/} AUTH=pubkey MORE_LAB=
        case $case in
        rsa/pss) own=a-rsa peer=b-rsa AUTH=rsa/pss-sha384;;
        locked) own=a-rsa peer=b-rsa;;
        between) own=a-p256;;
        *curves) own=a-p256 peer=b-p384;;
        *hybrid) own=a-rsa peer=b-rsa;;
        esac
        [[ $case != v1/* ]] || lines="version = 1
        proposals = aes128-sha256-ecp256"
        [[ $case != */aggressive/* ]] || lines="$lines
        aggressive = yes"
        more=(); [ $case = between ] && more=(between)
        start_both() {
            AUTH=pubkey credentials b $peer root ${more[@]+"${more[@]}"} && credentials a $own root || return
            [ $case = locked ] && cp "$PKI/a-locked.key" "$LAB/a/private/own.key"
            [[ $case != *hybrid ]] || if [ $role = initiator ]; then hybrid a b; else hybrid b a; fi
            charon_start b libipsec "$lines" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines" 'esp_proposals = aes128gcm16'
        }
        works() { established $role && traffic; }
        check "certificates/$case/$role: both daemons start" start_both || continue
        check "certificates/$case/$role: established, traffic" works || { subject_log a 40; tail -30 "$LAB/b/charon.log"; }
    done
done

# Whom Shrike must not let in, and what its operator reads.
refused_with() { # CODE ROLE
    if [ $2 = initiator ]; then vici_initiate a; else vici_initiate b; fi >"$LAB/initiate.log" 2>&1
    local listing; listing=$("$SHRIKE" --vici "unix://$LAB/a/vici" show)
    [[ $listing == *"$1"* ]] && ! vici_up a >/dev/null || { cat "$LAB/initiate.log"; say "$listing"; return 1; }
}
for version in 2 1; do
    for case in other:CERT_ISSUER_UNKNOWN expired:CERT_EXPIRED revoked:CERT_REVOKED; do
        for role in initiator responder; do
            clean_lab
            AUTH=pubkey MORE_LAB='send_cert = always'
            lines="version = $version
        proposals = aes128-sha256-ecp256"
            start_both() {
                credentials a a-rsa root && credentials b b-${case%:*} root other && cp "$PKI/root.crl" "$LAB/a/x509crl/" || return
                charon_start b libipsec "$lines" 'esp_proposals = aes128gcm16' && subject_start a userspace "$lines" 'esp_proposals = aes128gcm16'
            }
            code=${case#*:}
            check "certificates/ikev$version/${case%:*}/$role: both daemons start" start_both || continue
            check "certificates/ikev$version/${case%:*}/$role: refused with $code" refused_with $code $role || { subject_log a 30; tail -20 "$LAB/b/charon.log"; }
        done
    done
done
finish
