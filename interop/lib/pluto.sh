# libreswan's pluto as node b, unpacked below $PLUTO_ROOT (fetch-libreswan.sh).

PLUTO_ROOT=${PLUTO_ROOT:-$INTEROP_CACHE/libreswan}
PLUTO_BIN=$PLUTO_ROOT/usr/libexec/ipsec
pluto_required() { [ -x "$PLUTO_BIN/pluto" ] || skip "libreswan is not unpacked in $PLUTO_ROOT (cargo xtask setup)"; need certutil; }

# pluto runs helpers from /usr/libexec/ipsec, a path compiled into it: put ours there, in the mount namespace that
# `ip netns exec` gives each command.
PLUTO_AT_HOME="mkdir -p /usr/libexec/ipsec && mount --bind '$PLUTO_BIN' /usr/libexec/ipsec && exec \"\$@\""

# pluto_start KERNEL CONNECTION-LINES   KERNEL: netlink | shim (SAs are negotiated, nothing is installed: no traffic)
pluto_start() {
    local home=$LAB/b/pluto preload=
    rm -rf "$home" && mkdir -p "$home"/{run,policies,nss}
    certutil -N -d "sql:$home/nss" --empty-password || return 1
    [ -z "${PLUTO_NSS:-}" ] || "$PLUTO_NSS" "sql:$home/nss" || return 1 # a function that fills it
    printf '%s %s : PSK "%s"\n' "$(outer a)" "$(outer b)" "$LAB_PSK" >"$home/ipsec.secrets"
    cat >"$home/ipsec.conf" <<CONF
config setup
    ${PLUTO_SETUP:-}

conn lab
    left=$(outer b)
    leftsubnet=$(network b)
    right=$(outer a)
    rightsubnet=$(network a)
    authby=${PLUTO_AUTHBY:-secret}
    ikev2=${PLUTO_IKEV2:-insist}
    leftupdown=%disabled
    auto=add
    $2
CONF
    if [ "$1" = shim ]; then
        preload=$home/no-kernel-esp.so
        cc -O1 -Wall -shared -fPIC -o "$preload" "$INTEROP/shim/no-kernel-esp.c" -ldl || return 1
    fi
    lab_spawn b pluto env ${preload:+LD_PRELOAD="$preload"} sh -c "$PLUTO_AT_HOME" pluto \
        "$PLUTO_BIN/pluto" --nofork --stderrlog --config "$home/ipsec.conf" --rundir "$home/run" --ipsecdir "$home/policies" \
        --nssdir "$home/nss" --secretsfile "$home/ipsec.secrets" --no-dnssec
    lab_ready b pluto 15 whack --status || return
    whack --listen
    inside b sh -c "$PLUTO_AT_HOME" addconn "$PLUTO_BIN/addconn" --config "$home/ipsec.conf" --ctlsocket "$home/run/pluto.ctl" lab
}
whack() { inside b "$PLUTO_BIN/whack" --ctlsocket "$LAB/b/pluto/run/pluto.ctl" "$@"; }
