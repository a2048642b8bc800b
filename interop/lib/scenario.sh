# The one scenario every peer goes through. A peer is a set of functions, all about node b:
#   peer_initiate, peer_up, peer_gone, peer_terminate, peer_log

# Wait for both ends to say so; print what the slower one says when it does not.
both_up() {
    lab_wait 10 vici_up a || { say "Shrike:"; vici_up a; return 1; }
    lab_wait 10 peer_up || { say "peer:"; peer_up; return 1; }
}
both_gone() {
    lab_wait 10 vici_gone a || { say "Shrike still lists it:"; vici_gone a; return 1; }
    lab_wait 10 peer_gone || { say "the peer still lists it:"; peer_gone; return 1; }
}
initiate() { # ROLE of Shrike
    case $1 in initiator) vici_initiate a;; responder) peer_initiate;; esac
}
terminated_by_shrike() { vici_terminate a && both_gone; }
terminated_by_peer() { peer_terminate && both_gone; }

# answered_by NODE   the other node's liveness checks (empty INFORMATIONAL requests, RFC 7296 section 2.4) are answered
# by this node, and the SAs are still there
answered_by() {
    local node=$1 asker since_node since_asker; asker=$(other "$1")
    since_node=$(mark "$node") since_asker=$(mark "$asker")
    asked_and_answered() {
        [ "$(sent "$asker" "$INFORMATIONAL_REQUEST" "$since_asker")" -ge 2 ] &&
            [ "$(sent "$node" "$INFORMATIONAL_RESPONSE" "$since_node")" -ge 2 ]
    }
    lab_wait "${LIVENESS_SECONDS:-8}" asked_and_answered ||
        { say "node $asker sent $(sent "$asker" "$INFORMATIONAL_REQUEST" "$since_asker") requests," \
            "node $node $(sent "$node" "$INFORMATIONAL_RESPONSE" "$since_node") responses"; return 1; }
    both_up
}

# probed   Shrike's own probe of the Child SA finds that packets of every length pass, and says so when diagnosed
probed() {
    local found; found=$("$SHRIKE" --vici "unix://$LAB/a/vici" probe lab --to "$(inner b)" 2>&1) &&
        [[ $found == *"carries packets of up to"* ]] || { say "$found"; return 1; }
    found=$("$SHRIKE" --vici "unix://$LAB/a/vici" diagnose -v 2>&1)
    [[ $found == *"carries packets of up to"* ]] || { say "$found"; return 1; }
}

# black_hole   the cable takes less at the peer's end than it says at ours: the probe says so, with the length that passes
black_hole() {
    local found
    inside b ip link set veth0 mtu 1300
    found=$("$SHRIKE" --vici "unix://$LAB/a/vici" probe lab --to "$(inner b)" 2>&1)
    inside b ip link set veth0 mtu 1500
    [[ $found =~ 'WARNING  PATH_MTU'.*'up to 12'[0-9][0-9]' octets and none of 12' ]] || { say "$found"; return 1; }
}

# scenario TITLE ROLE TRAFFIC LIVENESS
#   ROLE      of Shrike: initiator | responder
#   TRAFFIC   yes | no (a peer without a data plane)
#   LIVENESS  the node that must answer liveness checks: a | b | none
# Both daemons run already. Returns non-zero at the first failure, with the ends of both logs.
scenario() {
    local title=$1 role=$2 traffic=$3 liveness=$4
    if ! { check "$title: established" established "$role" &&
        { [ "$(subject_name)" != shrike ] || check "$title: shown by shrike show" subject_shows_peer a; } &&
        { [ "$traffic" = no ] || check "$title: echo both ways through ESP, no clear text" traffic; } &&
        { [ "$traffic" = no ] || [ "$(subject_name)" != shrike ] || check "$title: probed, packets of every length pass" probed; } &&
        { [ "$liveness" = none ] || check "$title: liveness check answered by node $liveness" answered_by "$liveness"; } &&
        check "$title: deleted by Shrike, gone at both" terminated_by_shrike &&
        check "$title: established again" established "$role" &&
        { [ "$traffic" = no ] || check "$title: echo through the second SA" traffic; } &&
        check "$title: deleted by the peer, gone at both" terminated_by_peer &&
        check "$title: Shrike still runs" subject_alive a; }; then
        say "--- the daemon under test:"; subject_log a
        say "--- the peer:"; peer_log
        return 1
    fi
}
established() { initiate "$1" && both_up; }
