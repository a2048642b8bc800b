#!/bin/bash
# shrike diagnose: two strongSwans, a fault between them, and what a capture of the wire alone says about it; what the
# running charon says of itself (it counts messages of IKEv2, and forgets the rest); and the same of a running Shrike.
#   diagnose.sh          kernel-libipsec on both sides; any kernel
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject; do . "$INTEROP/lib/$part.sh"; done
subject_required
need charon-systemd

# recorded NAME EXPECTED-CODE EXIT-CODE COMMAND...   records while COMMAND runs; the first cause found must be this one
recorded() {
    local expected=$1 code=$2 found; shift 2
    lab_spawn a dump tcpdump -U --immediate-mode -w "$LAB/trace.pcap" -i veth0 udp port 500 or udp port 4500
    lab_wait 5 grep -q 'listening on' "$LAB/a/dump.log" || return
    "$@" || true
    sleep 0.3
    lab_stop a dump
    found=$("$SHRIKE" diagnose --pcap "$LAB/trace.pcap"); local result=$?
    [ $result = "$code" ] && [[ $found == *"  $expected"* ]] || { say "exit code $result:"; say "$found"; return 1; }
    [ -z "${DIAGNOSE_REPORT:-}" ] || printf '%s\n\n' "$found" >>"$DIAGNOSE_REPORT"
}

# asked NODE EXPECTED   the daemon at this node, asked by shrike diagnose without a file
asked() {
    local found; found=$("$SHRIKE" --vici "unix://$LAB/$1/vici" diagnose)
    [[ $found == *"  $2"* ]] || { say "$found"; return 1; }
}
# sources EXPECTED   the logs of both ends, each alone: none accuses something else; and with the capture: this cause comes first
sources() {
    local expected=$1 code=${1##* } node found
    for node in a b; do
        found=$("$SHRIKE" diagnose --log "$LAB/$node/charon.log")
        [[ $found != *"  ERROR  "* && $found != *"  WARNING  "* || $found == *"$code"* ]] ||
            { say "the log of $node:"; say "$found"; return 1; }
    done
    found=$("$SHRIKE" diagnose --pcap "$LAB/trace.pcap" --log "$LAB/a/charon.log" --log "$LAB/b/charon.log")
    [[ $found == *"  $expected"* ]] && [ "$code" != OK ] ||
        [[ $code == OK && $found != *"  ERROR  "* && $found != *"  WARNING  "* ]] ||
        { say "all together:"; say "$found"; return 1; }
}
quickly='retransmit_tries = 2'
CHARON_PLUGINS+=' counters'
CHARON_MORE="$quickly
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes"
vary() { # LINES-a LINES-b CHILD-a CHILD-b SECRET-b
    CONF_MORE=()
    [ -z "$5" ] || CONF_MORE[b]="secrets { ike-lab {
    secret = \"$5\"
} }"
    charon_start a libipsec "$1" "$3" && charon_start b libipsec "$2" "$4"
}
begin() { vici a --initiate --child lab --timeout 9 >/dev/null 2>&1; }
begin_and_end() { # not at once: that looks like a refusal
    begin && sleep 1.5 && vici a --terminate --ike lab >/dev/null; }
gone() { lab_stop b charon; begin; }

V1='version = 1
        proposals = aes128-sha256-x25519'
AGGRESSIVE="$V1
        aggressive = yes"
V2='proposals = aes128-sha256-x25519'
OTHER=${V1/aes128-sha256-x25519/aes256-sha512-ecp384}
OTHER2='proposals = aes256-sha512-ecp384'
while IFS='|' read -r name expected code act a b child_a child_b secret; do
    lab_up
    check "diagnose/$name: both daemons start" vary "${!a}" "${!b}" "$child_a" "$child_b" "$secret" || continue
    check "diagnose/$name: $expected" recorded "$expected" "$code" "$act"
    check "diagnose/$name: logs, and all together" sources "$expected"
    [[ $name == IKEv2* && $expected == ERROR* ]] &&
        check "diagnose/$name: charon is asked: $expected" asked a "$expected"
done <<'CASES'
IKEv2, in order|OK|0|begin_and_end|V2|V2|||
IKEv2, other secret|ERROR  PSK_MISMATCH|2|begin|V2|V2|||other
IKEv2, other proposal|ERROR  P1_PROPOSAL|2|begin|V2|OTHER2|||
IKEv2, nobody there|ERROR  NO_RESPONSE|2|gone|V2|V2|||
IKEv1, in order|OK|0|begin_and_end|V1|V1|||
IKEv1, other secret|ERROR  PSK_MISMATCH|2|begin|V1|V1|||other
IKEv1, other proposal|ERROR  P1_PROPOSAL|2|begin|V1|OTHER|||
IKEv1, other networks|ERROR  TRAFFIC_SELECTOR|2|begin|V1|V1||local_ts = 10.99.0.0/24|
IKEv1, other secret, aggressive|ERROR  PSK_MISMATCH|2|begin|AGGRESSIVE|AGGRESSIVE|||other
CASES

# Shrike begins, charon answers: the reason is kept.
cat >"$LAB/daemon.conf" <<CONF
charon {
    retransmit_timeout = 0.2
    retransmit_base = 1.2
    retransmit_tries = 3
}
CONF
mixed() { # LINES-a LINES-b CHILD-a CHILD-b SECRET-b
    CONF_MORE=()
    [ -z "$5" ] || CONF_MORE[b]="secrets { ike-lab {
    secret = \"$5\"
} }"
    subject_start a userspace "$1" "$3" && charon_start b libipsec "$2" "$4"
}
V1_LIVELY="$V1
        dpd_delay = 1s" V2_LIVELY="$V2
        dpd_delay = 1s"
killed() { # and begun anew: charon goes on with what it had
    begin && kill -KILL "$(lab_pid a "$(subject_name)")" && sleep 0.3 && subject_start a userspace "${!a}" '' && sleep 2.5
}
while IFS='|' read -r name expected act a b child_b secret; do
    cp "$LAB/daemon.conf" "$LAB.conf" && lab_up && mv "$LAB.conf" "$LAB/daemon.conf"
    check "diagnose/Shrike, $name: both daemons start" mixed "${!a}" "${!b}" "" "$child_b" "$secret" || continue
    "$act" || true
    check "diagnose/Shrike, $name: asked: $expected" asked a "$expected"
done <<'CASES'
IKEv2, in order|OK|begin|V2|V2||
IKEv2, other secret|ERROR  PSK_MISMATCH|begin|V2|V2||other
IKEv2, other networks|ERROR  TRAFFIC_SELECTOR|begin|V2|V2|local_ts = 10.99.0.0/24|
IKEv2, nobody there|ERROR  NO_RESPONSE|gone|V2|V2||
IKEv1, other secret|ERROR  PSK_MISMATCH|begin|V1|V1||other
IKEv2, killed|WARNING  STALE_SA|killed|V2|V2_LIVELY||
IKEv1, killed|WARNING  STALE_SA|killed|V1|V1_LIVELY||
CASES
finish
