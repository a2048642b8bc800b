# strongSwan's charon, the variant for systemd: it has neither a pid file nor a fixed socket, so any number may run.

CHARON_PLUGINS="random nonce openssl aes sha1 sha2 hmac gcm chapoly curve25519 gmp kdf pem pkcs1 pkcs8 x509 pubkey updown vici kernel-netlink socket-default"

# charon_start NODE KERNEL CONNECTION-LINES CHILD-LINES
# KERNEL: libipsec (strongSwan's ESP in userspace, always inside UDP) | netlink (the kernel's ESP)
charon_start() {
    local node=$1 kernel=$2 plugins=$CHARON_PLUGINS
    need charon-systemd swanctl
    [ "$kernel" = libipsec ] && plugins="kernel-libipsec $plugins" # before kernel-netlink, which still has the routes
    cat >"$LAB/$node/strongswan.conf" <<CONF
charon-systemd {
    load = $plugins
    retransmit_timeout = 1.0
    ${CHARON_MORE:-}
    plugins {
        vici {
            socket = unix://$LAB/$node/vici
        }
    }
    journal {
        default = -1
    }
    filelog {
        stderr {
            default = ${INTEROP_CHARON_LOG:-1}
            ${CHARON_LOG_MORE:-}
        }
    }
}
swanctl {
    load = pem pkcs1 pkcs8 x509 pubkey openssl random
}
CONF
    swanctl_conf "$node" "$3" "$4"
    rm -f "$LAB/$node/vici"
    lab_spawn "$node" charon env STRONGSWAN_CONF="$LAB/$node/strongswan.conf" charon-systemd
    lab_ready "$node" charon 10 test -S "$LAB/$node/vici" || return
    vici "$node" --load-all --file "$LAB/$node/swanctl.conf" >"$LAB/$node/load.log" 2>&1 || { cat "$LAB/$node/load.log"; return 1; }
}
