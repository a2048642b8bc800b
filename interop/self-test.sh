#!/bin/bash
# The laboratory's own test: its checks must fail when there is no tunnel, else a pass would mean nothing.
. "$(dirname "$0")/lab.sh"
. "$INTEROP/lib/swanctl.sh"
lab_up
without_tunnel() {
    local output; output=$(traffic) && { say 'the traffic check passed without a tunnel'; return 1; }
    [[ $output == *'CLEAR TEXT'* ]] || { say "$output"; return 1; }
}
unanswered() { # no route at all
    inside a ip route del 10.0.0.0/8
    local output; output=$(traffic) && { say 'the traffic check passed without a route'; return 1; }
    [[ $output == *'no answer'* ]] || { say "$output"; return 1; }
}
cleaned() { # a run that was killed outright leaves a namespace, the next run takes it away
    local gone=4194305                             # above the kernel's highest process number
    ip netns add "shrike-a.$gone" && lab_sweep
    ! ip netns list | grep "shrike-a.$gone"
}
check 'clear text is noticed' without_tunnel
check 'a missing answer is noticed' unanswered
check 'an absent daemon is not up' eval '! vici_up a'
check 'namespaces of a killed run are swept' cleaned
finish
