# What Shrike and charon have in common: swanctl.conf, and a vici socket at $LAB/NODE/vici.

declare -A CONF_MORE=()                            # by node: what follows in swanctl.conf, and replaces what stands before

# swanctl_conf NODE CONNECTION-LINES CHILD-LINES   the site-to-site PSK connection "lab" of this node
swanctl_conf() {
    local node=$1 peer; peer=$(other "$1")
    cat >"$LAB/$node/swanctl.conf" <<CONF
connections {
    lab {
        version = 2
        local_addrs = $(outer "$node")
        remote_addrs = $(outer "$peer")
        $2
        local {
            auth = psk
            id = $(outer "$node")
        }
        remote {
            auth = psk
            id = $(outer "$peer")
        }
        children {
            lab {
                local_ts = $(network "$node")
                remote_ts = $(network "$peer")
                $3
            }
        }
    }
}
secrets {
    ike-lab {
        id-1 = $(outer "$node")
        id-2 = $(outer "$peer")
        secret = "$LAB_PSK"
    }
}
${CONF_MORE[$node]:-}
CONF
    chmod 600 "$LAB/$node/swanctl.conf"
    [ -f "$LAB/$node/strongswan.conf" ] ||
        echo 'swanctl { load = pem pkcs1 pkcs8 x509 pubkey openssl random }' >"$LAB/$node/strongswan.conf"
}

vici() { local node=$1; shift; SWANCTL_DIR=$LAB/$node STRONGSWAN_CONF=$LAB/$node/strongswan.conf swanctl "$@" --uri "unix://$LAB/$node/vici"; }
vici_up() { # both SAs, by the daemon's own listing
    local listing; listing=$(vici "$1" --list-sas --raw 2>&1)
    [[ $listing == *"state=ESTABLISHED"* && $listing == *"state=INSTALLED"* ]] || { say "$listing"; return 1; }
}
vici_gone() { local listing; listing=$(vici "$1" --list-sas --raw 2>&1) && [[ $listing != *"state="* ]] || { say "$listing"; return 1; }; }
vici_initiate() { vici "$1" --initiate --child lab --timeout 15; }
vici_terminate() { vici "$1" --terminate --ike lab --timeout 10; }
