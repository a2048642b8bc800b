#!/bin/bash
. "$(dirname "$0")/lab.sh"
for part in kernel swanctl charon subject; do . "$INTEROP/lib/$part.sh"; done
subject_required
kernel_required esp "$0"
lab_up
left() { echo "state $(inside a ip xfrm state | grep -c ^src) policy $(inside a ip xfrm policy | grep -c ' dir ') rule $(inside a ip rule | grep -c 'lookup 220') route $(inside a ip route show table 220 2>/dev/null | wc -l)"; }
charon_start b netlink '' ''
subject_start a xfrm '' ''; vici_initiate a >/dev/null; vici_up a && traffic && echo traffic1 ok; left
kill -KILL "$(lab_pid a shrike)"; sleep 0.3; echo after kill; left; inside a ip xfrm policy
subject_start a xfrm '' ''; echo after start; left; vici_initiate a | tail -3; vici_up a && traffic && echo traffic2 ok; left; inside a ip xfrm state | grep -A3 ^src
subject_stop a; echo after term; left; inside a ip xfrm state;  inside a ip xfrm policy; lab_wait 3 vici_gone b && echo peer gone
check x true; finish
