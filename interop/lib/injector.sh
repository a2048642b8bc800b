# Two daemons of four kinds, each from one template and one set of settings: what is broken is a setting that one end has
# and the other has not, or something in the cable. Settings are S[NODE.KEY]:
#   version aggressive psk id peerid expects ike esp pfs lts rts mode auth cert ca ikelife childlife dpd fragments unique address

declare -A S=()
IKE_DEFAULT=aes128-sha256-ecp256
ESP_DEFAULT=aes128-sha512                          # the one that OpenIKED can give to Linux, and all others know

settings_plain() { # VERSION   1 | 1a (aggressive mode) | 2
    local node peer
    S=()
    for node in a b; do
        peer=$(other $node)
        S[$node.version]=${1%a} S[$node.aggressive]=no
        [ "$1" = 1a ] && S[$node.aggressive]=yes
        S[$node.psk]=$LAB_PSK S[$node.id]=$(outer $node) S[$node.expects]=$(outer $peer) S[$node.address]=$(outer $peer)
        S[$node.ike]=$IKE_DEFAULT S[$node.esp]=$ESP_DEFAULT S[$node.pfs]='' S[$node.mode]=tunnel S[$node.auth]=psk
        S[$node.lts]=$(network $node) S[$node.rts]=$(network $peer) S[$node.cert]=$node S[$node.ca]=root
        S[$node.ikelife]='' S[$node.childlife]='' S[$node.dpd]='' S[$node.fragments]=yes S[$node.unique]=yes
    done
}

# ---- certificates, made once for a run of the script

make_pki() {
    local name
    for name in root other; do
        openssl req -x509 -newkey rsa:2048 -nodes -keyout "$PKI/$name.key" -out "$PKI/$name.pem" -days 30 -subj "/C=CH/O=Lab/CN=$name" 2>/dev/null || return
    done
    sign() { # NAME AUTHORITY SAN FROM TO
        openssl req -newkey rsa:2048 -nodes -keyout "$PKI/$1.key" -out "$PKI/$1.csr" -subj "/C=CH/O=Lab/CN=$1" 2>/dev/null &&
            openssl ca -batch -config "$PKI/ca.cnf" -cert "$PKI/$2.pem" -keyfile "$PKI/$2.key" -in "$PKI/$1.csr" -out "$PKI/$1.pem" -notext \
                -startdate "$4" -enddate "$5" -extfile <(echo "subjectAltName=DNS:$3") 2>/dev/null
    }
    : >"$PKI/index" && echo 01 >"$PKI/serial"
    cat >"$PKI/ca.cnf" <<CONF
[ca]
default_ca = lab
[lab]
database = $PKI/index
serial = $PKI/serial
new_certs_dir = $PKI
default_md = sha256
policy = any
unique_subject = no
[any]
countryName = optional
organizationName = optional
commonName = supplied
CONF
    local from to; from=$(date -u -d yesterday +%y%m%d000000Z) to=$(date -u -d '30 days' +%y%m%d000000Z)
    sign a root a.example "$from" "$to" && sign b root b.example "$from" "$to" && sign stranger other b.example "$from" "$to" &&
        sign expired root b.example 200101000000Z 210101000000Z && sign misnamed root elsewhere.example "$from" "$to"
}

# ---- what the keys are in each daemon's language

group_number() { case $1 in ecp256) echo 19;; ecp384) echo 20;; modp2048) echo 14;; modp3072) echo 15;; esac; }
cipher() { local family=${1%%[0-9]*}; echo "${1#"$family"}"; } # aes128 -> 128

swanctl_settings() { # NODE
    local node=$1 lines='' child='' extra=''
    local proposal=${S[$node.esp]}; [ -n "${S[$node.pfs]}" ] && proposal+=-${S[$node.pfs]}
    lines="version = ${S[$node.version]}
        remote_addrs = ${S[$node.address]}
        proposals = ${S[$node.ike]}
        aggressive = ${S[$node.aggressive]}
        fragmentation = ${S[$node.fragments]}
        mobike = no
        unique = ${S[$node.unique]/yes/replace}"
    [ "${S[$node.aggressive]}" = no ] && lines=${lines/$'\n'        aggressive = no/}
    [ -n "${S[$node.ikelife]}" ] && lines+=$'\n'"        rekey_time = ${S[$node.ikelife]}"
    [ -n "${S[$node.dpd]}" ] && lines+=$'\n'"        dpd_delay = ${S[$node.dpd]}"$'\n'"        dpd_timeout = 10s"
    child="esp_proposals = $proposal
        mode = ${S[$node.mode]}"
    [ "${S[$node.mode]}" = tunnel ] && child+=$'\n'"        local_ts = ${S[$node.lts]}"$'\n'"        remote_ts = ${S[$node.rts]}"
    [ -n "${S[$node.childlife]}" ] && child+=$'\n'"        rekey_time = ${S[$node.childlife]}"
    if [ "${S[$node.auth]}" = cert ]; then
        mkdir -p "$LAB/$node"/{x509,x509ca,private}
        cp "$PKI/${S[$node.cert]}.pem" "$LAB/$node/x509/own.pem" && cp "$PKI/${S[$node.cert]}.key" "$LAB/$node/private/own.key" &&
            cp "$PKI/${S[$node.ca]}.pem" "$LAB/$node/x509ca/" || return
        extra="local {
            auth = pubkey
            certs = own.pem
            id = ${S[$node.id]}
        }
        remote {
            auth = pubkey
            id = ${S[$node.expects]}
        }"
    else
        extra="local {
            auth = psk
            id = ${S[$node.id]}
        }
        remote {
            auth = psk
            id = ${S[$node.expects]}
        }"
    fi
    CONF_MORE[$node]="connections {
    lab {
        $lines
        $extra
        children {
            lab {
        $child
            }
        }
    }
}
secrets {
    ike-lab {
        id-1 = ${S[$node.id]}
        id-2 = ${S[$node.expects]}
        secret = \"${S[$node.psk]}\"
    }
}"
    # The template has selectors; in transport mode the addresses are all there is.
    [ "${S[$node.mode]}" = tunnel ] || CONF_MORE[$node]+="
connections { lab { children { lab {
        local_ts = dynamic
        remote_ts = dynamic
} } } }"
}

pluto_id() { case $1 in *[a-z]*) echo "@$1";; *) echo "$1";; esac; }
pluto_algorithm() { local text=$1; text=${text/sha256/sha2_256}; text=${text/sha384/sha2_384}; echo "${text/sha512/sha2_512}"; }
node_pluto() { # NODE
    local node=$1 home=$LAB/$1/pluto ike=${S[$1.ike]} preload='' version=no esp pfs=no lines=''
    rm -rf "$home" && mkdir -p "$home"/{run,policies,nss}
    certutil -N -d "sql:$home/nss" --empty-password || return 1
    printf '%s %s : PSK "%s"\n' "$(pluto_id "${S[$node.id]}")" "$(pluto_id "${S[$node.expects]}")" "${S[$node.psk]}" >"$home/ipsec.secrets"
    [ "${S[$node.version]}" = 2 ] && version=insist
    esp=$(pluto_algorithm "${S[$node.esp]}"); [ -n "${S[$node.pfs]}" ] && pfs=yes esp+=";dh$(group_number "${S[$node.pfs]}")"
    # Its groups of IKE are part of ike=; the last word is the group.
    lines="ike=$(pluto_algorithm "${ike%-*}");dh$(group_number "${ike##*-}")
    esp=$esp
    pfs=$pfs
    type=${S[$node.mode]}
    aggressive=${S[$node.aggressive]}
    fragmentation=${S[$node.fragments]}
    mobike=no"
    [ "${S[$node.mode]}" = tunnel ] && lines+="
    leftsubnet=${S[$node.lts]}
    rightsubnet=${S[$node.rts]}"
    [ -n "${S[$node.ikelife]}" ] && lines+="
    ikelifetime=${S[$node.ikelife]}
    rekeymargin=1s
    rekeyfuzz=0%"
    [ -n "${S[$node.childlife]}" ] && lines+="
    salifetime=${S[$node.childlife]}
    rekeymargin=3s
    rekeyfuzz=0%"
    [ -n "${S[$node.dpd]}" ] && lines+="
    dpddelay=${S[$node.dpd]}
    dpdtimeout=10s
    dpdaction=clear"
    if [ "${S[$node.auth]}" = cert ]; then
        openssl pkcs12 -export -inkey "$PKI/${S[$node.cert]}.key" -in "$PKI/${S[$node.cert]}.pem" -name own -passout pass: -out "$home/own.p12" &&
            pk12util -i "$home/own.p12" -d "sql:$home/nss" -W '' -K '' >/dev/null &&
            certutil -A -d "sql:$home/nss" -n root -t CT,, -i "$PKI/${S[$node.ca]}.pem" || return
        lines+="
    authby=rsasig
    leftcert=own
    leftsendcert=always
    rightca=%same"
    else
        lines+=$'\n'"    authby=secret"
    fi
    cat >"$home/ipsec.conf" <<CONF
config setup
    ikev1-policy=accept

conn lab
    left=$(outer "$node")
    leftid=$(pluto_id "${S[$node.id]}")
    right=${S[$node.address]}
    rightid=$(pluto_id "${S[$node.expects]}")
    ikev2=$version
    leftupdown=%disabled
    retransmit-timeout=4s
    retransmit-interval=500
    auto=add
    $lines
CONF
    if [ "$PLANE" = userspace ]; then
        preload=$LAB/no-kernel-esp.so
        [ -f "$preload" ] || cc -O1 -Wall -shared -fPIC -o "$preload" "$INTEROP/shim/no-kernel-esp.c" -ldl || return 1
    fi
    lab_spawn "$node" pluto env ${preload:+LD_PRELOAD="$preload"} sh -c "$PLUTO_AT_HOME" pluto \
        "$PLUTO_BIN/pluto" --nofork --stderrlog --config "$home/ipsec.conf" --rundir "$home/run" --ipsecdir "$home/policies" \
        --nssdir "$home/nss" --secretsfile "$home/ipsec.secrets" --no-dnssec
    lab_ready "$node" pluto 15 node_whack "$node" --status || return
    node_whack "$node" --listen >/dev/null
    inside "$node" sh -c "$PLUTO_AT_HOME" addconn "$PLUTO_BIN/addconn" --config "$home/ipsec.conf" --ctlsocket "$home/run/pluto.ctl" lab >>"$LAB/$node/setup.log" 2>&1
}
node_whack() { local node=$1; shift; inside "$node" "$PLUTO_BIN/whack" --ctlsocket "$LAB/$node/pluto/run/pluto.ctl" "$@"; }

iked_cipher() { echo "aes-$(cipher "$1")"; }
iked_hash() { echo "hmac-${1/sha/sha2-}"; }
node_iked() { # NODE
    local node=$1 home=$LAB/$1/iked enc hash group esp_enc esp_hash proof peer
    peer=$(other "$node")
    rm -rf "$home" && mkdir -p "$home"/etc/{ca,certs,crls,private,pubkeys/{fqdn,ipv4,ipv6,ufqdn}}
    if [ "${S[$node.auth]}" = cert ]; then
        cp "$PKI/${S[$node.cert]}.key" "$home/etc/private/local.key" && cp "$PKI/${S[$node.cert]}.pem" "$home/etc/certs/${S[$node.id]}.crt" &&
            cp "$PKI/${S[$node.ca]}.pem" "$home/etc/ca/ca.crt" || return
        openssl rsa -in "$home/etc/private/local.key" -pubout -out "$home/etc/local.pub" 2>/dev/null
        proof=rsa
    else
        openssl ecparam -genkey -name prime256v1 -noout -out "$home/etc/private/local.key" 2>/dev/null
        openssl ec -in "$home/etc/private/local.key" -pubout -out "$home/etc/local.pub" 2>/dev/null
        proof="psk \"${S[$node.psk]}\""
    fi
    chmod 600 "$home/etc/private/local.key"
    IFS=- read -r enc hash group <<<"${S[$node.ike]}"
    IFS=- read -r esp_enc esp_hash <<<"${S[$node.esp]}"
    cat >"$home/iked.conf" <<CONF
ikev2 "lab" active ${S[$node.mode]/tunnel/} esp from ${S[$node.lts]} to ${S[$node.rts]} local $(outer "$node") peer ${S[$node.address]} \\
    ikesa enc $(iked_cipher "$enc") prf $(iked_hash "$hash") auth $(iked_hash "$hash") group $group \\
    childsa enc $(iked_cipher "$esp_enc") auth $(iked_hash "$esp_hash") ${S[$node.pfs]:+group ${S[$node.pfs]}} \\
    srcid ${S[$node.id]} dstid ${S[$node.expects]} ${S[$node.ikelife]:+ikelifetime ${S[$node.ikelife]}} ${S[$node.childlife]:+lifetime ${S[$node.childlife]}} $proof
CONF
    chmod 600 "$home/iked.conf"
    lab_spawn "$node" iked sh -c "mount --bind '$home/etc' /etc/iked && exec \"\$@\"" iked iked -d -S -vv -f "$home/iked.conf" -s "$home/iked.sock"
    lab_ready "$node" iked 30 grep -q 'config_getstatic:.*stickyaddress' "$LAB/$node/iked.log"
}
node_ikectl() { local node=$1; shift; ikectl -s "$LAB/$node/iked/iked.sock" "$@"; }

# ---- the same verbs for each

# daemon_start NODE KIND
daemon_start() {
    local node=$1 kernel=libipsec
    [ "$PLANE" = userspace ] || kernel=netlink
    case $2 in
    shrike) swanctl_settings "$node" && subject_start "$node" "$PLANE" '' '';;
    charon) swanctl_settings "$node" && charon_start "$node" $kernel '' '';;
    pluto) node_pluto "$node";;
    iked) node_iked "$node";;
    esac
}
daemon_begin() { # NODE KIND   in the background: what it answers is not awaited
    case $2 in
    shrike | charon) (vici "$1" --initiate --child lab --timeout 6 >"$LAB/$1/begin.log" 2>&1 &);;
    pluto) node_whack "$1" --name lab --initiate --asynchronous >"$LAB/$1/begin.log" 2>&1;;
    iked) node_ikectl "$1" passive >/dev/null 2>&1; node_ikectl "$1" active >/dev/null 2>&1;;
    esac
}
daemon_end() { # NODE KIND
    case $2 in
    shrike | charon) vici "$1" --terminate --ike lab --timeout 3 >/dev/null 2>&1;;
    pluto) node_whack "$1" --name lab --terminate >/dev/null 2>&1;;
    iked) node_ikectl "$1" reset sa >/dev/null 2>&1;;
    esac
}
daemon_up() { # NODE KIND
    case $2 in
    shrike | charon) vici_up "$1";;
    pluto) node_whack "$1" --showstates | grep -qE 'ESTABLISHED_CHILD_SA|IPsec SA established';;
    iked) [[ $(node_ikectl "$1" show sa 2>&1) == *ESTABLISHED*iked_activesas* ]];;
    esac
}
# The listings that an operator would paste of it, by the name that the file gets.
daemon_listings() { case $1 in shrike) echo swanctl racoonctl tmsh own;; charon) echo swanctl;; pluto) echo status;; iked) echo ikectl;; esac; }
daemon_command() { # WHICH
    case $1 in
    swanctl) echo 'swanctl --list-sas';;
    racoonctl) echo 'racoonctl -ll show-sa isakmp';;
    tmsh) echo 'tmsh show net ipsec ike-sa all-properties';;
    own) echo 'shrike show';;
    status) echo 'ipsec whack --showstates';;
    ikectl) echo 'ikectl show sa';;
    esac
}
# A daemon that is stopped does not answer: nobody waits for it.
daemon_list() { # NODE WHICH
    case $2 in
    swanctl) SWANCTL_DIR=$LAB/$1 STRONGSWAN_CONF=$LAB/$1/strongswan.conf timeout 3 swanctl --list-sas --uri "unix://$LAB/$1/vici";;
    racoonctl) timeout 3 "$SHRIKE" --vici "unix://$LAB/$1/vici" racoonctl -ll show-sa isakmp;;
    tmsh) timeout 3 "$SHRIKE" --vici "unix://$LAB/$1/vici" tmsh show net ipsec ike-sa all-properties;;
    own) timeout 3 "$SHRIKE" --vici "unix://$LAB/$1/vici" show;;
    status) timeout 3 ip netns exec "$(namespace "$1")" "$PLUTO_BIN/whack" --ctlsocket "$LAB/$1/pluto/run/pluto.ctl" --showstates;;
    ikectl) timeout 3 ikectl -s "$LAB/$1/iked/iked.sock" show sa;;
    esac 2>/dev/null
}
