# OpenIKED as node b. It gives its SAs to the kernel over PF_KEY only.

# iked_start MODE   MODE: active (it initiates when told `ikectl active`; -S keeps it waiting until then) | passive
# Debian's iked has neither AES-GCM nor HMAC-SHA2-256 for ESP on Linux (its PF_KEY layer refuses them), so the Child SA
# is AES-CBC with HMAC-SHA2-512.
iked_start() {
    local home=$LAB/b/iked
    rm -rf "$home" && mkdir -p "$home"/etc/{ca,certs,crls,private,pubkeys/{fqdn,ipv4,ipv6,ufqdn}}
    openssl ecparam -genkey -name prime256v1 -noout -out "$home/etc/private/local.key" 2>/dev/null
    openssl ec -in "$home/etc/private/local.key" -pubout -out "$home/etc/local.pub" 2>/dev/null
    chmod 600 "$home/etc/private/local.key"
    cat >"$home/iked.conf" <<CONF
${IKED_SETTINGS:-}
ikev2 "lab" $1 esp from $(network b) to $(network a) local $(outer b) peer $(outer a) \\
    ikesa enc aes-128-gcm prf hmac-sha2-256 group ecp256 childsa enc aes-128 auth hmac-sha2-512 \\
    srcid $(outer b) dstid $(outer a) ${IKED_LIFETIMES:-} psk "$LAB_PSK"
CONF
    chmod 600 "$home/iked.conf"
    # It reads keys below /etc/iked: put ours there, in the mount namespace that `ip netns exec` makes.
    lab_spawn b iked sh -c "mount --bind '$home/etc' /etc/iked && exec \"\$@\"" iked \
        iked -d -S -vv -f "$home/iked.conf" -s "$home/iked.sock"
    # The sockets are open before the policy has reached the process that answers; an exchange begun in between gets no
    # or an empty answer. The sticky-address setting is the last thing handed over.
    lab_ready b iked 30 grep -q 'config_getstatic:.*stickyaddress' "$LAB/b/iked.log"
}
ikectl_b() { ikectl -s "$LAB/b/iked/iked.sock" "$@"; }
