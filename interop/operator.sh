#!/bin/bash
# What an operator does to a daemon: starts it where it cannot start, reloads it, stops it, kills it, talks to it with
# swanctl and other vici clients, well-behaved and not, runs updown scripts, and reads its log. Shrike at both ends.
. "$(dirname "$0")/lab.sh"
for part in swanctl subject; do . "$INTEROP/lib/$part.sh"; done
subject_required
[ "$(subject_name)" = shrike ] || skip "these are Shrike's own promises"
need python3 setpriv

conf() { echo "$LAB/a/swanctl.conf"; }
ask() { "$SHRIKE" --vici "unix://$LAB/a/vici" "$@"; }
up() { vici_initiate a >/dev/null 2>&1; lab_wait 5 vici_up a; }
# refuses TEXT... -- ARGUMENTS   `shrike run ARGUMENTS` ends at once with an error, which has these texts
refuses() {
    local texts=() text output status socket="unix://$LAB/a/other"
    while [ "$1" != -- ]; do texts+=("$1"); shift; done; shift
    [ "$1" = --vici ] && { socket=$2; shift 2; }
    output=$(STRONGSWAN_CONF=/dev/null inside a timeout 5 ${as:-} "$SHRIKE" run --data-plane userspace --vici "$socket" "$@" 2>&1); status=$?
    [ $status != 0 ] && [ $status != 124 ] || { say "it does not refuse ($status):" "$output"; return 1; }
    for text in "${texts[@]}"; do [[ $output == *"$text"* ]] || { say "no '$text' in:" "$output"; return 1; }; done
    [ -e "$LAB/a/other" ] && [ ! -f "$LAB/a/other" ] && { say "it left its socket behind"; return 1; }
    return 0
}

# ---- it cannot start

starting() {
    swanctl_conf a '' ''
    subject_start a userspace '' '' || return 1
    check 'start: port taken' refuses 'port 500' 'is taken by process' '(shrike)' 'stop it' -- --config "$(conf)"
    check 'start: control socket taken' refuses 'another daemon serves' 'stop it' -- --vici "unix://$LAB/a/vici" --config "$(conf)"
    subject_stop a
    as='setpriv --reuid 65534 --regid 65534 --clear-groups'
    chmod 711 "$LAB" "$LAB/a"
    check 'start: not root, control socket' refuses 'not permitted to open the control socket' 'run as root' -- --config "$(conf)"
    check 'start: not root, ports' refuses 'not permitted' 'run as root' -- --vici "unix:///tmp/shrike-nobody.$$" --config "$(conf)"
    chmod 700 "$LAB"; as=''
    check 'start: no TUN device' no_tun
    check 'start: no configuration' refuses 'does not exist' -- --config "$LAB/none"
    check 'start: the configuration is a directory' refuses "cannot read '$LAB'" 'is a directory' -- --config "$LAB"
    sed 's/remote_addrs =/remote_addrs/' "$(conf)" >"$LAB/syntax"
    check 'start: syntax error' refuses "$LAB/syntax:5:" "remote_addrs: expected '='" '^^^' -- --config "$LAB/syntax"
    sed '/^secrets/,$d' "$(conf)" | sed '$d' >"$LAB/open"; printf 'secrets { ike { secret = hidden-%s\n} }\n' "$$" >>"$LAB/open"
    check 'start: a brace is missing' refuses "$LAB/open:1:1: connections: expected a closing '}'" -- --config "$LAB/open"
    printf 'secrets { ike { secret = hidden-%s\n' "$$" >"$LAB/open"
    check 'start: a brace is missing after a secret' refuses "ike: expected a closing '}'" 'secret = <hidden>' -- --config "$LAB/open"
    printf 'charon {\n    retransmit_tries = many\n}\n' >"$LAB/settings"
    check 'start: strongswan.conf has a wrong value' refuses "$LAB/settings:2:5: charon.retransmit_tries: 'many' is no valid value; expected a number" -- --strongswan-conf "$LAB/settings" --config "$(conf)"
    check 'start: no such strongswan.conf' refuses 'there is no such file' -- --strongswan-conf "$LAB/none" --config "$(conf)"
    check 'start: control socket of another kind' refuses 'is no control socket' -- --vici tcp://127.0.0.1:1 --config "$(conf)"
    echo precious >"$LAB/a/other"
    check 'start: a file where the control socket should be' refuses 'is no socket' -- --config "$(conf)"
    check 'start: that file is left alone' grep -q precious "$LAB/a/other"; rm -f "$LAB/a/other"
    stale_socket() { python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('$LAB/a/vici')"; lab_spawn a shrike "$SHRIKE" run --data-plane userspace --config "$(conf)" --vici "unix://$LAB/a/vici"; lab_wait 5 ask show; local s=$?; subject_stop a; return $s; }
    check 'start: a stale control socket is replaced' stale_socket
}
no_tun() {
    local output; output=$(inside a unshare -m sh -c "mount -t tmpfs none /dev/net && exec timeout 5 '$SHRIKE' run --data-plane userspace --vici 'unix://$LAB/a/other' --config '$(conf)'" 2>&1) && { say "it starts"; return 1; }
    [[ $output == *'/dev/net/tun does not exist: '*modprobe* ]] || { say "$output"; return 1; }
}

# ---- the configuration is wrong, or changes

# reloaded SIGNAL-OR-COMMAND TEXT...   after a reload the log has these texts
reloaded() {
    local how=$1 text before; shift
    before=$(wc -l <"$LAB/a/shrike.log"); : >"$LAB/load"
    case $how in
    HUP) kill -HUP "$(lab_pid a shrike)"; lab_wait 3 eval "tail -n +$((before + 1)) '$LAB/a/shrike.log' | grep -qE 'loaded|stays as it was'";;
    load) ask load >"$LAB/load" 2>&1;;
    esac
    subject_alive a || return
    sleep 0.1
    for text; do
        { tail -n "+$((before + 1))" "$LAB/a/shrike.log"; cat "$LAB/load"; } | grep -F -- "$text" >/dev/null ||
            { say "no '$text' in:"; tail -n "+$((before + 1))" "$LAB/a/shrike.log"; cat "$LAB/load"; return 1; }
    done
}
connections_are() { [ "$(vici a --list-conns --raw | grep -o 'list-conn event {[a-z]*' | sed 's/.*{//' | sort | xargs)" = "$1" ] || { vici a --list-conns --raw; return 1; }; }
edit() { swanctl_conf a '' ''; sed -i "$1" "$(conf)"; }

reloading() {
    subject_start a userspace '' '' && subject_start b userspace '' '' || return 1
    check 'reload: established before' up
    edit 's/remote_addrs = .*/remote_adrs = 192.0.2.2/'
    check 'reload: unknown key' reloaded HUP "connections.lab.remote_adrs: there is no such key or section; did you mean 'remote_addrs'?" 'remote_adrs = 192.0.2.2' '^^^'
    check 'reload: the connection stays as it was' connections_are lab
    edit 's/version = 2/version = 2\n mobike = perhaps/'
    check 'reload: wrong value' reloaded load "connections.lab.mobike: 'perhaps' is no valid value; expected"
    edit 's/version = 2/version = 2\n mediation = yes/'
    check 'reload: unsupported key' reloaded HUP 'connections.lab.mediation: not supported'
    edit 's/proposals = .*//; s/version = 2/version = 2\n proposals = aes128-sha999-x25519/'
    check 'reload: unknown algorithm' reloaded HUP "'sha999' names no algorithm"
    edit 's/version = 2/version 2/'
    check 'reload: syntax error' reloaded HUP 'everything stays as it was' "version: expected '='"
    check 'reload: the SA is still there' vici_up a
    edit ''; sed 's/^    lab {/    other {/; s/192.0.2.2/192.0.2.77/' "$(conf)" >"$LAB/more"; cat "$LAB/more" >>"$(conf)"
    check 'reload: a connection more' reloaded HUP 'loaded'
    check 'reload: both are loaded' connections_are 'lab other'
    edit ''
    check 'reload: a connection less' reloaded HUP "unloaded connection 'other'"
    check 'reload: one is loaded' connections_are lab
    check 'reload: the SA is still there' vici_up a
}

# ---- it ends

clean() { # nothing of ours is left in the node
    ! inside a ip rule | grep -q 'lookup 220' && ! inside a ip -6 rule | grep -q 'lookup 220' &&
        ! inside a ip -o link | grep -q 'shrike[0-9]' && [ -z "$(inside a ip route show table 220 2>/dev/null)" ] && [ ! -e "$LAB/a/vici" ] ||
        { inside a ip rule; inside a ip -o link; ls "$LAB/a"; return 1; }
}
ends() { # SIGNAL
    subject_start a userspace '' "updown = $LAB/updown" && up || return
    lab_wait 3 grep -q '^PLUTO_VERB=up-client$' "$LAB/updown.log" || { say "no up"; return 1; }
    kill "-$1" "$(lab_pid a shrike)"
    lab_wait 5 eval '! lab_alive a shrike' || { say "it does not end"; return 1; }
    lab_wait 2 vici_gone b || { say "the peer still has it:"; vici b --list-sas; return 1; }
    grep -q '^PLUTO_VERB=down-client$' "$LAB/updown.log" || { say "updown was not run down"; return 1; }
    clean
}
ending() {
    printf '#!/bin/sh\nenv >>"%s"\necho >>"%s"\n' "$LAB/updown.log" "$LAB/updown.log" >"$LAB/updown"; chmod +x "$LAB/updown"
    subject_stop a
    local signal
    for signal in TERM INT; do rm -f "$LAB/updown.log"; check "SIG$signal: SAs deleted at the peer, everything cleaned up" ends $signal; done
    peer_silent() { # the peer does not confirm: it ends all the same
        subject_start a userspace '' '' && up || return
        kill -STOP "$(lab_pid b shrike)"; kill -TERM "$(lab_pid a shrike)"
        lab_wait 4 eval '! lab_alive a shrike'; local result=$?
        kill -CONT "$(lab_pid b shrike)"
        [ $result = 0 ] && lab_wait 3 vici_gone b && clean
    }
    check 'SIGTERM: a peer that does not answer delays the end by seconds only' peer_silent
    killed() {
        subject_start a userspace '' '' && up && kill -KILL "$(lab_pid a shrike)" && sleep 0.2 || return
        subject_start a userspace '' '' && up && traffic || return
        [ "$(inside a ip rule | grep -c 'lookup 220')" = 1 ] || { say "several rules:"; inside a ip rule; return 1; }
        [ "$(vici b --list-sas --raw | grep -o state=ESTABLISHED | wc -l)" = 1 ] || { vici b --list-sas; return 1; }
        subject_stop a && clean
    }
    check 'SIGKILL and start: leftovers are taken over' killed
    rm -f "$LAB/updown.log"
    environment() {
        local variable
        subject_start a userspace '' "updown = $LAB/updown" && up && lab_wait 3 grep -q up-client "$LAB/updown.log" || return
        for variable in PLUTO_VERSION=1.1 PLUTO_VERB=up-client PLUTO_CONNECTION=lab PLUTO_ME=192.0.2.1 PLUTO_PEER=192.0.2.2 PLUTO_MY_ID=192.0.2.1 \
            PLUTO_PEER_ID=192.0.2.2 PLUTO_MY_CLIENT=10.1.0.0/24 PLUTO_PEER_CLIENT=10.2.0.0/24 PLUTO_PROTO=esp PLUTO_INTERFACE=shrike0; do
            grep -q "^$variable" "$LAB/updown.log" || { say "no $variable"; cat "$LAB/updown.log"; return 1; }
        done
        ! grep -q 'not a secret' "$LAB/updown.log"
    }
    check "updown: strongSwan's environment, no secret" environment
    rekeyed_unheard() { # by either end: it is the same Child SA to the script; then the last successor's end is told once
        local by before
        spis() { vici a --list-sas --raw | grep -o 'spi-in=[0-9a-f]*' | sort -u; }
        for by in a b; do
            before=$(spis)
            vici $by --rekey --child lab | grep -q 'rekey completed' || { say "$by does not rekey"; return 1; }
            another() { local now; now=$(spis); [ "$(wc -l <<<"$now")" = 1 ] && [ -n "$now" ] && [ "$now" != "$before" ]; }
            lab_wait 5 another || { say "no successor, or the old one stays:"; vici a --list-sas; return 1; }
        done
        traffic || return
        vici a --terminate --child lab >/dev/null
        lab_wait 3 grep -q down-client "$LAB/updown.log" || { say "no down"; return 1; }
        [ "$(grep '^PLUTO_VERB=' "$LAB/updown.log" | xargs)" = 'PLUTO_VERB=up-client PLUTO_VERB=down-client' ] ||
            { grep '^PLUTO_VERB=' "$LAB/updown.log"; return 1; }
    }
    check 'updown: not run at rekeyings' rekeyed_unheard
    subject_stop a
    fails() { subject_start a userspace '' "updown = sh -c 'echo the firewall is closed; exit 3'" && up && lab_wait 3 grep -q "updown .* (up-client) failed: exit status: 3: the firewall is closed" "$LAB/a/shrike.log"; }
    check 'updown: a failure is told' fails
}

# ---- the control socket

talking() {
    subject_stop a; subject_start a userspace '' '' || return 1
    load_twice() { vici a --load-all --file "$(conf)" && vici a --load-all --file "$(conf)" && connections_are lab; }
    check 'swanctl: --load-all twice' load_twice
    check 'swanctl: --initiate' vici_initiate a
    where_kept() { "$SHRIKE" --vici "unix://$LAB/a/vici" show | grep -q . && vici a --initiate --child lab --timeout 3; }
    check 'swanctl: --initiate when it is up' where_kept
    lists() { vici a "$@" | grep -q "$expected" || { vici a "$@"; return 1; }; }
    expected='lab: IKEv2' check 'swanctl: --list-conns' lists --list-conns
    expected='lab: #[0-9]*, ESTABLISHED, IKEv2' check 'swanctl: --list-sas' lists --list-sas
    expected='state=ESTABLISHED' check 'swanctl: --list-sas --raw' lists --list-sas --raw
    expected='state = ESTABLISHED' check 'swanctl: --list-sas --pretty' lists --list-sas --pretty
    expected='uptime: ' check 'swanctl: --stats' lists --stats
    expected='shrike ' check 'swanctl: --version' lists --version --daemon
    expected='ike-init-out-req *: [1-9]' check 'swanctl: --counters' lists --counters
    expected='AES_GCM_16' check 'swanctl: --list-algs' lists --list-algs
    check 'swanctl: --list-pols, --list-certs, --list-authorities, --list-pools' eval 'vici a --list-pols && vici a --list-certs && vici a --list-authorities && vici a --list-pools'
    check 'swanctl: --reload-settings' vici a --reload-settings
    wrong() { local output; output=$(vici a "$@" 2>&1) && { say "it works: $output"; return 1; }; [[ $output == *"$expected"* ]] || { say "$output"; return 1; }; }
    expected="no connection has a child 'nosuch'; loaded children: lab" check 'swanctl: --initiate what is not there' wrong --initiate --child nosuch
    expected='no matching SAs' check 'swanctl: --terminate what is not there' wrong --terminate --ike nosuch
    expected='name what to rekey' check 'swanctl: --rekey of everything at once is not meant' wrong --rekey
    rekeyed() { # the same IKE SA under a new number, with its Child SA, and traffic
        local before; before=$(vici a --list-sas --raw | grep -o 'uniqueid=[0-9]*' | head -1)
        vici a --rekey --ike lab | grep -q 'rekey completed' || return
        another() { [[ $before != "$(vici a --list-sas --raw | grep -o 'uniqueid=[0-9]*' | head -1)" ]]; }
        lab_wait 3 another && vici a --rekey --child lab | grep -q 'rekey completed' &&
            lab_wait 3 eval 'vici a --list-sas --raw | grep -q INSTALLED'
    }
    check 'swanctl: --rekey' rekeyed
    expected='no matching' check 'swanctl: --rekey what is not there' wrong --rekey --ike nosuch
    watched() {
        STRONGSWAN_CONF=$LAB/a/strongswan.conf stdbuf -oL swanctl --log --uri "unix://$LAB/a/vici" >"$LAB/log.out" 2>&1 & local log=$!
        STRONGSWAN_CONF=$LAB/a/strongswan.conf stdbuf -oL swanctl --monitor-sa --uri "unix://$LAB/a/vici" >"$LAB/monitor.out" 2>&1 & local monitor=$!
        sleep 0.5; vici a --terminate --child lab >/dev/null && vici a --initiate --child lab >/dev/null 2>&1; sleep 0.3
        vici a --terminate --ike lab >/dev/null; sleep 0.3; kill $log $monitor; wait $log $monitor 2>/dev/null
        grep -q CHILD_SA "$LAB/log.out" || { say "no log:"; cat "$LAB/log.out"; return 1; }
        grep -q 'ike-updown\|child-updown\|lab' "$LAB/monitor.out" || { say "no monitor:"; cat "$LAB/monitor.out"; return 1; }
    }
    check 'swanctl: --log, --monitor-sa' watched
    by_number() {
        up || return; vici a --terminate --child-id "$(vici a --list-sas --raw | grep -o 'child-sas {lab-\([0-9]*\)' | grep -o '[0-9]*$')" && ! vici a --list-sas --raw | grep -q INSTALLED || return
        vici a --terminate --ike lab; up && vici a --terminate --ike-id "$(vici a --list-sas --raw | grep -o 'uniqueid=[0-9]*' | head -1 | cut -d= -f2)" --force && vici_gone a
    }
    check 'swanctl: --terminate --child-id, --ike-id --force' by_number
    cleared() { vici a --load-creds --clear --file "$(conf)" && up && vici_terminate a; }
    check 'swanctl: --load-creds --clear' cleared
    no_answer() { # initiate with a timeout, towards a peer that is away
        kill -STOP "$(lab_pid b shrike)"; expected='not up yet' wrong --initiate --child lab --timeout 1; local result=$?
        vici a --terminate --ike lab --force >/dev/null; kill -CONT "$(lab_pid b shrike)"; return $result
    }
    check 'swanctl: --initiate --timeout' no_answer
    check 'vici: rude clients' inside a python3 "$INTEROP/lib/rude.py" "$LAB/a/vici" "$(lab_pid a shrike)"
    check 'vici: Shrike still runs and works' eval 'subject_alive a && up'
    if python3 -c 'import vici' 2>/dev/null || python3 -m pip -q install --target "$LAB/python" vici >/dev/null 2>&1; then
        check "vici: PyPI's client" env PYTHONPATH="$LAB/python" python3 "$INTEROP/lib/client.py" "$LAB/a/vici"
    else
        say "SKIP: vici: PyPI's client is not installed and cannot be"
    fi
}

# ---- no secrets anywhere but where they belong

secrets() {
    subject_stop a
    everything() {
        swanctl_conf a '' ''
        lab_spawn a shrike "$SHRIKE" run --log-level 4 --data-plane userspace --config "$(conf)" --vici "unix://$LAB/a/vici"
        lab_wait 5 ask show >/dev/null && up || return
        ask show --json >"$LAB/shown"; ask show >>"$LAB/shown"; vici a --list-sas --raw >>"$LAB/shown"; vici a --list-conns --raw >>"$LAB/shown"
        local psk; for psk in "$LAB_PSK" 'not a secret' "$(printf %s "$LAB_PSK" | od -An -tx1 | tr -d ' \n')" "$(printf %s "$LAB_PSK" | base64 -w0)"; do
            ! grep -lF -- "$psk" "$LAB/a/shrike.log" "$LAB/shown" || return
        done
        # Nor in a core file: there is none.
        [ "$(awk '/Max core file size/ { print $5 }' "/proc/$(lab_pid a shrike)/limits")" = 0 ] || { say "core files are possible"; return 1; }
    }
    check 'secrets: in no log line and no listing' everything
}

# ---- an operator of racoon

racoonctl() { "$LAB/racoonctl" -s "unix://$LAB/a/vici" "$@"; }
# says TEXT -- ARGUMENTS   racoonctl prints this, whatever it thinks of the arguments
says() {
    local text=$1 output; shift 2
    output=$(racoonctl "$@" 2>&1); [[ $output =~ $text ]] || { say "no '$text' in:" "$output"; return 1; }
}
as_racoon() {
    subject_stop a; subject_stop b; ln -sf "$SHRIKE" "$LAB/racoonctl"
    subject_start a userspace 'version = 1' '' && subject_start b userspace 'version = 1' '' || return 1
    local nets='10.1.0.0/24/any 10.2.0.0/24/any any'
    check 'racoonctl: establish-sa -w esp' says '^Phase 2 established : 192.0.2.1.500. -> 192.0.2.2.500.$' -- establish-sa -w esp inet $nets
    check 'racoonctl: -l show-sa isakmp' says '192\.0\.2\.2\.500 .* 9 I 10 M 20[0-9-]+ [0-9:]+      1 $' -- -l show-sa isakmp
    steady() { local n; for n in 1 2 3 4 5 6; do racoonctl show-sa isakmp; sleep 0.25; done | sort -u | wc -l | grep -qx 2; }
    check 'racoonctl: Created is the same in each listing' steady
    check 'racoonctl: show-sa internal' says '192\.0\.2\.1\.500 +192\.0\.2\.2\.500' -- show-sa internal
    check 'racoonctl: show-schedule' says $'^index    tick     xtime    created\n[123]        3[0-9]{3} ' -- show-schedule
    check 'racoonctl: get-cert of a peer without one' says 'did not show a certificate: .* pre-shared-key' -- get-cert inet 192.0.2.1 192.0.2.2
    check 'racoonctl: logout-user of nobody' says "no user 'carol' is logged in" -- logout-user carol
    check 'racoonctl: -u without XAuth' says "'lab' has no user" -- establish-sa -u carol isakmp inet 192.0.2.1 192.0.2.2
    check 'racoonctl: delete-sa esp' racoonctl delete-sa esp inet $nets
    check 'racoonctl: it is gone' says 'No SAD entries' -- show-sa esp
    check 'racoonctl: delete-sa esp again' says 'no IPsec SA between 10.1.0.0/24 and 10.2.0.0/24' -- delete-sa esp inet $nets
    check 'racoonctl: establish-sa -w isakmp' says '^VPN connexion established$' -- establish-sa -w isakmp inet 192.0.2.1 192.0.2.2
    check 'racoonctl: vpn-disconnect in the newer dialect' says '^Phase 1 deleted : 192.0.2.1.500. -> 192.0.2.2.500.$' -- --dialect racoon08 vpn-disconnect 192.0.2.2
    check 'racoonctl: vpn-connect' says '^VPN connexion established$' -- vpn-connect 192.0.2.2
    check 'racoonctl: delete-sa isakmp' racoonctl delete-sa isakmp inet 192.0.2.1 192.0.2.2
    check 'racoonctl: phase 1 alone' says '^VPN connexion established$' -- establish-sa -w isakmp inet 192.0.2.1 192.0.2.2
    check 'racoonctl: ... nothing over it' says '192\.0\.2\.2\.500 .* 9 I 10 M 20[0-9-]+ [0-9:]+      0 $' -- -l show-sa isakmp
    subject_stop a; subject_stop b
    cat >"$LAB/a/swanctl.conf" <<CONF
connections { lab { version = 1
 local_addrs = 192.0.2.1
 remote_addrs = 192.0.2.2
 vips = 0.0.0.0
 local { auth = psk
 }
 local-xauth { auth = xauth
 xauth_id = carol
 }
 remote { auth = psk
 }
 children { lab { remote_ts = 10.2.0.0/24
 } } } }
secrets { ike { secret = "$LAB_PSK"
 } }
CONF
    cat >"$LAB/b/swanctl.conf" <<CONF
connections { lab { version = 1
 local_addrs = 192.0.2.2
 pools = road
 local { auth = psk
 }
 remote { auth = psk
 }
 remote-xauth { auth = xauth
 }
 children { lab { local_ts = 10.2.0.0/24
 } } } }
pools { road { addrs = 10.3.0.0/24
 28672 = "Welcome to the lab"
 } }
secrets { ike { secret = "$LAB_PSK"
 }
 xauth-carol { id = carol
 secret = "lab password: not a secret"
 } }
CONF
    local node; for node in a b; do
        rm -f "$LAB/$node/vici"
        lab_spawn $node shrike "$SHRIKE" run --config "$LAB/$node/swanctl.conf" --vici "unix://$LAB/$node/vici" --data-plane userspace
        lab_ready $node shrike 10 test -S "$LAB/$node/vici" || return 1
    done
    typed() { local output; output=$(printf '%s\n' "$1" | racoonctl vpn-connect -u carol 192.0.2.2 2>&1); [[ $output =~ $2 ]] || { say "$output"; return 1; }; }
    check 'racoonctl: vpn-connect -u, no password' typed '' 'no password was given'
    check 'racoonctl: vpn-connect -u, a wrong password' typed 'a wrong one' 'XAUTH_REFUSED|refused|password'
    secrets_are() { [ "$(python3 - "$LAB/a/vici" <<'PY'
import socket, struct, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(struct.pack('>IBB', 12, 0, 10) + b'get-shared')
print(s.recv(4096).count(b'racoonctl-'))
PY
    )" = "$1" ]; }
    check 'racoonctl: a wrong password is forgotten' secrets_are 0
    check 'racoonctl: vpn-connect -u, address and banner' typed 'lab password: not a secret' $'Bound to address 10\\.3\\.0\\.[0-9]+\n=+\nWelcome to the lab\n=+'
    check 'racoonctl: the right one is kept for later' secrets_are 1
    check 'racoonctl: logout-user at the gateway' "$LAB/racoonctl" -s "unix://$LAB/b/vici" logout-user carol
    check 'racoonctl: the user is gone' lab_wait 3 says 'Phase2 *.?$' -- -l show-sa isakmp
    racoonctl vpn-disconnect 192.0.2.2 >/dev/null 2>&1
    check 'racoonctl: vpn-disconnect forgets the password' secrets_are 0
}

lab_up
starting; reloading; ending; talking; secrets; as_racoon
finish
