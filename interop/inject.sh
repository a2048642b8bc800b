#!/bin/bash
# The fault injector: two daemons, one thing broken between them, and a record of what each end lists, logs and sees on the
# wire, with the known answer beside it. What is broken stands in injections.txt; what is made of it, `cargo xtask diag-score`
# says.
#   inject.sh --quick                    one pairing, the faults that tell most
#   inject.sh INITIATOR RESPONDER [FAULT...]   shrike | charon | pluto | iked, each; FAULT is NAME or NAME/VERSION
#   inject.sh --all                      every pairing (nightly)
# INJECT_RECORDINGS=DIRECTORY keeps what was recorded.
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon pluto subject injector; do . "$INTEROP/lib/$part.sh"; done

QUICK='in-order/2 secret/1 their-identity/2 ike-group/2 esp-cipher/2 selectors/1 main-mode/1 off/2'
kinds='shrike charon pluto iked'
trimmed() { local text=$1; text=${text#"${text%%[![:space:]]*}"}; printf '%s' "${text%"${text##*[![:space:]]}"}"; }

# ---- what is done; the daemons run already, unless their fault says otherwise

both_start() { daemon_start b "$responder" && daemon_start a "$initiator"; }
watch_for() { sleep "${1:-5}"; }
up() { lab_wait 8 daemon_up a "$initiator" && lab_wait 4 daemon_up b "$responder"; }
begin() { both_start && daemon_begin a "$initiator" && watch_for "${INJECT_SECONDS:-6}"; }
# An SA that stands is no fault, and it has to stand.
stay() { both_start && daemon_begin a "$initiator" && up && watch_for 3; }
stay_long() { both_start && daemon_begin a "$initiator" && up && watch_for 13; }
stay_and_end() { both_start && daemon_begin a "$initiator" && up && watch_for 2 && daemon_end a "$initiator" && watch_for 1; }
nothing() { both_start && watch_for 3; }
begin_alone() { daemon_start a "$initiator" && daemon_begin a "$initiator" && watch_for 7; }
begin_stopped() {
    both_start || return
    local pid pids; pid=$(lab_pid b "$responder"); pids="$pid $(pgrep -P "$pid")" # OpenIKED is several
    kill -STOP $pids
    daemon_begin a "$initiator"; watch_for 7; kill -KILL $pids # it must not answer at last
}
# In the router, by whichever tool this kernel takes; 77 if by none.
rule() { inside m iptables "$@" 2>/dev/null || inside m iptables-legacy "$@" 2>/dev/null || return 77; }
block_there() { rule -A FORWARD -i to-a -p udp -j DROP || return 77; both_start && daemon_begin a "$initiator" && watch_for 7; }
block_back() { rule -A FORWARD -i to-b -p udp -j DROP || return 77; both_start && daemon_begin a "$initiator" && watch_for 7; }
nat_between() { rule -t nat -A POSTROUTING -o to-b -p udp -j SNAT --to-source 192.0.2.1:20000-30000 || return 77; stay; }
nat_blocked() {
    rule -t nat -A POSTROUTING -o to-b -p udp -j SNAT --to-source 192.0.2.1:20000-30000 || return 77
    rule -A FORWARD -p udp --dport 4500 -j DROP && both_start && daemon_begin a "$initiator" && watch_for 7
}
fragments_lost() {
    local node
    for node in a b; do inside $node ip link set veth0 mtu 700; done
    rule -A FORWARD -f -j DROP || return 77
    both_start && daemon_begin a "$initiator" && watch_for 7
}
peer_dies() { both_start && daemon_begin a "$initiator" && up && kill -KILL "$(lab_pid b "$responder")" && watch_for 15; }
peer_deletes() {
    local turn
    both_start || return
    for turn in 1 2 3 4; do daemon_begin a "$initiator"; up || return; watch_for 1; daemon_end b "$responder"; watch_for 1; done
}
both_begin() { both_start && { daemon_begin a "$initiator"; daemon_begin b "$responder"; } && up && watch_for 4; }
restart_a() { both_start && daemon_begin a "$initiator" && up && again a "$initiator" && daemon_begin a "$initiator" && up && watch_for 3; }
restart_b() { both_start && daemon_begin a "$initiator" && up && again b "$responder" && daemon_begin b "$responder" && up && watch_for 3; }
again() { # NODE KIND   killed and started; its log goes on
    kill -KILL "$(lab_pid "$1" "$2")"; sleep 0.3; cp "$LAB/$1/$2.log" "$LAB/$1/before.log"
    daemon_start "$1" "$2"
}

# ---- the record

series() { # until $LAB/over is there, each listing of each end again and again
    local began node
    began=$(date +%s%N)
    for node in a b; do series_of $node & done # neither waits for the other: one may be stopped
    wait
}
series_of() { # NODE
    local node=$1 kind=$initiator which now
    [ "$node" = a ] || kind=$responder
    while [ ! -f "$LAB/over" ]; do
        lab_alive "$node" "$kind" && for which in $(daemon_listings "$kind"); do
            now=$((($(date +%s%N) - began) / 1000000))
            printf '$ %s   (t=%s ms)\n' "$(daemon_command "$which")" $now >>"$record/$node.watch-$which.txt"
            daemon_list "$node" "$which" >>"$record/$node.watch-$which.txt" </dev/null
        done
        sleep 0.4
    done
}
known_answer() {
    local n=0 source marks=$1
    echo "fault = $name"; echo "version = $version"; echo "initiator = $initiator"; echo "responder = $responder"; echo "causes = $causes"
    for source in series-a series-b log-a log-b capture-a capture-b all; do echo "$source = ${marks:$n:1}"; n=$((n + 1)); done
    [ -z "$reason" ] || echo "reason = $reason"
}
# What this pairing's daemons cannot know that others do.
excepted() { # MARKS   prints them, changed
    local marks=$1 field names versions ends changes why change source n
    while IFS='|' read -r field names versions ends changes why; do
        [ "$(trimmed "$field")" = except ] || continue
        [[ " $names " == *" $name "* || $(trimmed "$names") = '*' ]] && [[ " $versions " == *" $version "* ]] || continue
        local holds=yes end
        for end in $ends; do case $end in a=*) [ "${end#a=}" = "$initiator" ] || holds='';; b=*) [ "${end#b=}" = "$responder" ] || holds='';; esac; done
        [ -n "$holds" ] || continue
        for change in $changes; do
            n=0
            for source in series-a series-b log-a log-b capture-a capture-b all; do
                [ "${change%=*}" = $source ] && marks=${marks:0:$n}${change#*=}${marks:$((n + 1))}
                n=$((n + 1))
            done
        done
        reason+="; $(trimmed "$why")"
    done <"$INTEROP/injections.txt"
    marks_now=$marks
}

# injected   one fault, with $name, $version, $settings, $act, $causes, $marks and $reason
injected() {
    local node setting poller result
    LAB_MIDDLE=yes lab_up
    trap 'lab_down; rm -rf "$PKI"' EXIT
    settings_plain "$version"
    printf 'charon {\n    retransmit_timeout = 1.0\n    retransmit_base = 1.2\n    retransmit_tries = 2\n    half_open_timeout = 5s\n}\n' >"$LAB/daemon.conf"
    for setting in $settings; do S[${setting%%=*}]=${setting#*=}; done
    record=$LAB/record; mkdir -p "$record"
    for node in a b; do
        lab_spawn $node dump tcpdump -U --immediate-mode -w "$record/$node.pcap" -i veth0 udp or icmp or esp
        lab_wait 5 grep -q 'listening on' "$LAB/$node/dump.log" || return
    done
    series & poller=$!
    "$act"; result=$?
    touch "$LAB/over"; wait $poller
    for node in a b; do
        local kind=$initiator; [ $node = b ] && kind=$responder
        lab_stop $node dump
        cat "$LAB/$node/before.log" "$LAB/$node/$kind.log" >"$record/$node.log" 2>/dev/null
    done
    [ "$result" = 0 ] || return $result
    excepted "$marks"
    known_answer "$marks_now" >"$record/answer.txt"
    [ -z "${INJECT_RECORDINGS:-}" ] || { mkdir -p "$INJECT_RECORDINGS" && rm -rf "${INJECT_RECORDINGS:?}/$title" && cp -r "$record" "$INJECT_RECORDINGS/$title"; }
    judged
}

# All sources of both ends together: the right cause is named, or nothing is where nothing is wrong.
judged() {
    local found file arguments=() codes cause
    for file in "$record"/?.watch-{swanctl,status,ikectl}.txt; do [ ! -s "$file" ] || arguments+=(--listing "$file"); done
    for file in "$record"/?.log; do [ ! -s "$file" ] || arguments+=(--log "$file"); done
    for file in "$record"/?.pcap; do arguments+=(--pcap "$file"); done
    found=$("$SHRIKE" diagnose "${arguments[@]}" 2>&1)
    [ $? -le 2 ] || { say "$found"; return 1; }
    codes=$(grep -E '  (ERROR|WARNING)  ' <<<"$found")
    if [ -z "$causes" ]; then [ -z "$codes" ] || { say "$found"; return 1; }; return 0; fi
    [ "${marks_now:6:1}" != - ] || return 0
    for cause in $causes; do [[ $codes != *"$cause"* ]] || return 0; done
    say "$found"; return 1
}

pairing() { # INITIATOR RESPONDER FAULT...
    local line row settings act causes marks reason versions version wanted title record
    initiator=$1 responder=$2; shift 2
    while IFS='|' read -r name versions settings act causes marks reason; do
        name=$(trimmed "$name"); [ -n "$name" ] && [ "$name" != except ] && [ "${name:0:1}" != '#' ] || continue
        settings=$(trimmed "$settings") act=$(trimmed "$act") causes=$(trimmed "$causes") marks=$(trimmed "$marks") why=$(trimmed "$reason")
        for version in $versions; do
            [ $# = 0 ] || [[ " $* " == *" $name "* || " $* " == *" $name/$version "* ]] || continue
            title=$initiator-$responder-$name-v$version reason=$why
            if [ "$version" != 2 ] && [[ "$initiator $responder" == *iked* ]]; then continue; fi # IKEv2 only
            cannot=''; able
            if [ -n "$cannot" ]; then say "SKIP inject/$title: $cannot"; continue; fi
            local result
            injected >"$PKI/output" 2>&1; result=$?
            case $result in
            0) PASSED=$((PASSED + 1)); say "PASS inject/$title";;
            77) say "SKIP inject/$title: this kernel has no filter or translation of addresses";;
            *) FAILED=$((FAILED + 1)); say "FAIL inject/$title"; tail -30 "$PKI/output" | sed 's/^/     /'
                local node; for node in a b; do tail -4 "$LAB/$node"/{charon,pluto,iked,shrike,setup,begin}.log 2>/dev/null | sed "s/^/     $node: /"; done;;
            esac
        done
    done <"$INTEROP/injections.txt"
    lab_down
}
# What a daemon cannot be made to do, with the reason in $cannot.
able() {
    case "$name $initiator $responder" in
    ike-hash*iked*) cannot='OpenIKED on Linux has no HMAC-SHA2-384 of its own for IKE with this PRF';;
    expired*' pluto') cannot='pluto does not load a certificate of its own that has expired';;
    pfs-here*' pluto' | pfs-group*' pluto') cannot='pluto takes whatever group it is asked for';;
    selectors*' pluto') [ "$version" = 1 ] && cannot='pluto 4.10 takes the selectors of IKEv1 that are not its own, and installs its own';;
    version-2*' iked') cannot='OpenIKED speaks IKEv2 only';;
    transport*' pluto') cannot='pluto 4.10 answers transport mode with tunnel mode, and installs that';;
    peer-dies*' iked '*) cannot='OpenIKED asks for a sign of life after a minute only';;
    selectors*' iked iked') cannot='OpenIKED takes what its peer narrows the selectors to: the SA stands';;
    transport*charon*) [ "$PLANE" = userspace ] && cannot='kernel-libipsec knows tunnel mode only';;
    fragments*) [[ "$initiator $responder" != *iked* ]] || cannot='OpenIKED fragments always';;
    off*iked* | silent*iked* | way-there*iked*) ;;
    esac
}

required() { # KINDS...
    local kind
    for kind; do
        case $kind in
        shrike) subject_required;;
        charon) need charon-systemd swanctl;;
        pluto) pluto_required; need cc pk12util;;
        iked) need iked ikectl openssl; kernel_required pfkey "$0" "${arguments[@]}";;
        *) die "no such daemon: $kind; there are $kinds";;
        esac
    done
}
arguments=("$@")
[ -x "$SHRIKE" ] || skip "no Shrike at $SHRIKE: it judges what was recorded"
need tcpdump iptables openssl
CHARON_MORE='retransmit_tries = 2
    retransmit_base = 1.2
    half_open_timeout = 5
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes'
CHARON_LOG_MORE='time_format = %b %e %T'
PLANE=userspace
PKI=$(mktemp -d)
case ${1:-} in
--quick) required shrike charon; make_pki && pairing charon shrike $QUICK;;
--all)
    make_pki
    for initiator in shrike charon pluto; do for responder in shrike charon pluto; do (required "$initiator" "$responder") && pairing "$initiator" "$responder"; done; done
    for kind in shrike charon pluto iked; do for pair in "iked $kind" "$kind iked"; do INTEROP_VM_SECONDS=1800 "$0" $pair; case $? in 0 | 77) ;; *) FAILED=$((FAILED + 1));; esac; [ "$kind" = iked ] && break; done; done;;
*)
    [ $# -ge 2 ] || die "usage: inject.sh --quick | --all | INITIATOR RESPONDER [FAULT...]"
    required "$1" "$2"
    [[ "$1 $2" != *iked* ]] || PLANE=xfrm
    make_pki && pairing "$@";;
esac
finish
