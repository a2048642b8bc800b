#!/bin/bash
# Shrike before a scanner and before noise: ike-scan gets an answer RFC 7296 allows, in IKEv1 a handshake in main and in
# aggressive mode, from whose hash psk-crack guesses a short key, of which the log warns; and datagrams that are no IKE
# change nothing: afterwards a good peer still establishes.
. "$(dirname "$0")/lab.sh"
for part in swanctl charon subject scenario; do . "$INTEROP/lib/$part.sh"; done
subject_required
need ike-scan charon-systemd python3

peer_initiate() { vici_initiate b; }
peer_up() { vici_up b; }
peer_gone() { vici_gone b; }
peer_terminate() { vici_terminate b; }
peer_log() { tail -25 "$LAB/b/charon.log"; }
start_a() { subject_start a userspace 'proposals = aes128gcm16-prfsha256-x25519' 'esp_proposals = aes128gcm16'; }
start_b() { charon_start b libipsec 'proposals = aes128gcm16-prfsha256-x25519' 'esp_proposals = aes128gcm16'; }

# ike-scan proposes 3DES and MODP-1024 and the like: the answer to it is an error notification (NO_PROPOSAL_CHOSEN or
# INVALID_KE_PAYLOAD, RFC 7296 sections 2.7 and 1.2) in an IKE_SA_INIT response, from the address it asked.
answers_ikev2_scan() {
    local since output; since=$(mark a)
    output=$(inside b ike-scan --ikev2 --sport=0 --retry=2 --timeout=1000 "$(outer a)" 2>&1) || { say "$output"; return 1; }
    [[ $output == *"1 returned handshake"* || $output == *"1 returned notify"* ]] || { say "$output"; return 1; }
    [ "$(sent a 'isakmp: .*ikev2_init\[R\]' "$since")" -ge 1 ] || { tail -n "+$since" "$LAB/a/wire.log"; return 1; }
}

# One IKEv1 scan: silence or an error are both right for a daemon that has no IKEv1 connection, a handshake is not.
refuses_ikev1_scan() {
    local output; output=$(inside b ike-scan --sport=0 --retry=1 --timeout=500 "$(outer a)" 2>&1)
    [[ $output == *"0 returned handshake"* ]] || { say "$output"; return 1; }
}

# 2000 datagrams from a fixed seed: noise, headers with lying lengths, truncated messages; to both ports.
noise() {
    inside b python3 -c '
import random, socket, struct, sys
rng, to = random.Random(7296), sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    for i in range(2000):
        kind = i % 4
        body = rng.randbytes(rng.randrange(0, 600))
        if kind == 0:
            datagram = body
        else:
            exchange, flags = rng.choice([34, 35, 36, 37, 2, 4, 5, rng.randrange(256)]), rng.choice([0x08, 0x20, 0x28, rng.randrange(256)])
            length = [0, 28 + len(body), rng.randrange(2**32), 28 + len(body) // 2][kind]
            datagram = rng.randbytes(8) + rng.choice([bytes(8), rng.randbytes(8)]) + struct.pack(
                "!BBBBII", rng.choice([33, 34, 40, 46, 53, 0, rng.randrange(256)]), rng.choice([0x20, 0x10, 0x30]), exchange, flags,
                rng.choice([0, 1, rng.randrange(2**32)]), length) + body
        port = rng.choice([500, 4500])
        if port == 4500 and rng.random() < 0.8:
            datagram = bytes(4) + datagram
        try:
            s.sendto(datagram, (to, port))
        except ConnectionRefusedError:
            sys.exit("nobody listens on port %d any more" % port)
' "$(outer a)" && sleep 1 && subject_alive a
}

# IKEv1 with a key of one word, for whoever calls itself client.example.
start_v1() { # AGGRESSIVE
    CONF_MORE[a]='connections { lab { remote { id = client.example } } }
secrets { ike-lab { id-2 = client.example
 secret = "shrike" } }'
    subject_start a userspace "version = 1
        aggressive = $1
        proposals = aes128-sha1-modp2048,3des-sha1-modp1024" 'esp_proposals = aes128gcm16'
}
scan() { inside b ike-scan --sport=500 --retry=1 --timeout=2000 "$@" "$(outer a)" 2>&1; }
handshake() { local output; output=$(scan "$@"); [[ $output == *"1 returned handshake"* ]] || { say "$output"; return 1; }; }
main_mode() { handshake --auth=1; }
aggressive_scan=(-A --id=client.example --idtype=2 --dhgroup=14 --trans=7/128,2,1,14)
aggressive_mode() { handshake "${aggressive_scan[@]}" --pskcrack="$LAB/psk"; }
key_is_guessed() {
    printf '%s\n' falcon shrike merlin >"$LAB/words"
    local output; output=$(psk-crack -d "$LAB/words" "$LAB/psk" 2>&1)
    [[ $output == *'key "shrike" matches'* ]] || { say "$output"; return 1; }
}
warned() { grep -i 'aggressive' "$LAB/a/$(subject_name).log" | grep -qi 'guess' || { subject_log a; return 1; }; }
to_nobody() { # of an identity that no connection takes: no hash to guess from
    local output; output=$(scan -A --id=nobody --idtype=2 --dhgroup=14 --trans=7/128,2,1,14)
    [[ $output == *"0 returned handshake"* ]] || { say "$output"; return 1; }
}

lab_up
check 'ike-scan/ikev1: the daemon starts' start_v1 no &&
    check 'ike-scan/ikev1: a handshake in main mode' main_mode
lab_up
if check 'ike-scan/ikev1/aggressive: the daemon starts' start_v1 yes; then
    check 'ike-scan/ikev1/aggressive: nothing for a stranger' to_nobody
    check 'ike-scan/ikev1/aggressive: a handshake' aggressive_mode
    check 'ike-scan/ikev1/aggressive: psk-crack guesses the key' key_is_guessed
    check 'ike-scan/ikev1/aggressive: the log warned of that' warned
fi
unset 'CONF_MORE[a]'

lab_up
check 'ike-scan: the daemon starts' start_a || finish
check 'ike-scan: an IKE_SA_INIT request is answered' answers_ikev2_scan
check 'ike-scan: no IKEv1 handshake' refuses_ikev1_scan
check 'noise: the daemon lives through 2000 datagrams' noise
check 'noise: a good peer can start' start_b &&
    scenario 'after the noise' responder yes none
finish
