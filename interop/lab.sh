# The interop laboratory: two network namespaces and the cable between them. Source it; do not run it.
#
#   10.1.0.1 (lo) [node a] veth0 192.0.2.1 ======== 192.0.2.2 veth0 [node b] (lo) 10.2.0.1
#
# Node a runs Shrike, node b the peer. Everything a run makes carries the number of the shell that runs it: the
# namespaces are shrike-a.PID and shrike-b.PID, the files live below $LAB. Several runs may go on side by side, and
# lab_down (which a trap calls however the script ends) stops only processes that lab_spawn started.
#
# With LAB_MIDDLE=yes a third node stands in the cable, the router m: what it drops or translates, one end sends and the
# other never sees.
#
# tcpdump writes down what each node *sends* for as long as the laboratory is up ($LAB/NODE/wire.log), so that
# every later question - was it ESP, did anything leave in clear text, was a request answered - is asked of one record.

set -uo pipefail
INTEROP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB=${INTEROP_STATE:-${TMPDIR:-/tmp}}/shrike-interop.$$
LAB_PSK='interop only: not a secret 0123456789'
INTEROP_CACHE=${INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shrike-interop}
PASSED=0 FAILED=0

outer() { case $1 in a) echo 192.0.2.1;; b) echo 192.0.2.2;; esac; }      # where IKE and ESP run
inner() { case $1 in a) echo 10.1.0.1;; b) echo 10.2.0.1;; esac; }        # the host behind the gateway
network() { case $1 in a) echo 10.1.0.0/24;; b) echo 10.2.0.0/24;; esac; } # the protected network
other() { case $1 in a) echo b;; b) echo a;; esac; }
namespace() { echo "shrike-$1.$$"; }
inside() { local node=$1; shift; ip netns exec "$(namespace "$node")" "$@"; }

say() { printf '%s\n' "$*"; }
skip() { say "SKIP: $*"; exit 77; }                # 77: the caller reports a skip, not a failure
die() { say "ERROR: $*" >&2; exit 1; }
need() { local program; for program; do command -v "$program" >/dev/null || skip "$program is not installed (cargo xtask setup)"; done; }

# Build the two nodes. Anything of this run that is still there goes first.
lab_up() {
    [ "$(id -u)" = 0 ] || skip "network namespaces need root"
    need ip tcpdump ping sysctl
    lab_down
    lab_sweep
    trap lab_down EXIT
    trap 'exit 130' INT TERM HUP                   # through EXIT, so that nothing is left behind
    mkdir -p "$LAB"/{a,b} && chmod 700 "$LAB"
    local node
    for node in a b; do
        ip netns add "$(namespace $node)" || die "this machine does not allow network namespaces"
        inside $node ip link set lo up
        inside $node ip addr add "$(inner $node)/32" dev lo
        inside $node sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
            net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.all.accept_redirects=0
    done
    if [ -n "${LAB_MIDDLE:-}" ]; then lab_middle; else
        ip link add veth0 netns "$(namespace a)" type veth peer name veth0 netns "$(namespace b)"
    fi
    for node in a b; do
        inside $node ip addr add "$(outer $node)/24" dev veth0
        inside $node ip link set veth0 up
        # The route past the tunnel exists on purpose: without a policy the ping would get through in clear text,
        # and the record shows it.
        inside $node ip route add 10.0.0.0/8 via "$(outer "$(other $node)")" src "$(inner $node)"
    done
    for node in a b; do
        lab_spawn $node wire tcpdump -l -n --immediate-mode -i veth0 -Q out 'ip or ip6'
        lab_wait 5 grep -q 'listening on' "$LAB/$node/wire.log" || die "tcpdump does not start: $(cat "$LAB/$node/wire.log")"
    done
}

# The router in the cable. Each end asks the other for its hardware address as before, and gets the router's.
lab_middle() {
    local node
    ip netns add "$(namespace m)" || die "this machine does not allow network namespaces"
    inside m sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv4.conf.all.send_redirects=0
    for node in a b; do
        ip link add veth0 netns "$(namespace $node)" type veth peer name to-$node netns "$(namespace m)"
        inside m ip link set to-$node up
        inside m sysctl -qw net.ipv4.conf.to-$node.proxy_arp=1 net.ipv4.neigh.to-$node.proxy_delay=0
        inside m ip route add "$(outer $node)/32" dev to-$node
    done
}

# Stop what lab_spawn started, the newest first; then remove the namespaces and the files.
lab_down() {
    local pid node
    [ -f "$LAB/pids" ] && for pid in $(tac "$LAB/pids" | cut -d' ' -f1); do lab_kill "$pid"; done
    for node in a b m; do
        if ip netns list 2>/dev/null | grep -qw "^$(namespace $node)"; then
            ip netns pids "$(namespace $node)" | xargs -r kill -KILL 2>/dev/null
            ip netns del "$(namespace $node)"
        fi
    done
    if [ -n "${INTEROP_KEEP:-}" ] && [ -d "$LAB" ]; then say "kept: $LAB"; else rm -rf "$LAB"; fi
}

# A run that was killed outright could not clean up; its namespaces are recognised by a number no process has.
lab_sweep() {
    local name
    ip netns list 2>/dev/null | awk '$1 ~ /^shrike-[abm]\.[0-9]+$/ { print $1 }' | while read -r name; do
        [ -d "/proc/${name##*.}" ] && continue
        ip netns pids "$name" | xargs -r kill -KILL 2>/dev/null
        ip netns del "$name"
    done
}

# lab_spawn NODE NAME COMMAND...   start a process in a node; its output goes to $LAB/NODE/NAME.log
lab_spawn() {
    local node=$1 name=$2; shift 2
    ip netns exec "$(namespace "$node")" "$@" >"$LAB/$node/$name.log" 2>&1 </dev/null &
    echo "$! $node $name" >>"$LAB/pids"
    disown $! 2>/dev/null || true
}

lab_pid() { awk -v node="$1" -v name="$2" '$2 == node && $3 == name { pid = $1 } END { print pid }' "$LAB/pids" 2>/dev/null; }
lab_alive() { local pid; pid=$(lab_pid "$1" "$2"); [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; }

lab_stop() { # NODE NAME
    local pid; pid=$(lab_pid "$1" "$2")
    [ -n "$pid" ] || return 0
    lab_kill "$pid"
    sed -i "/^$pid /d" "$LAB/pids"
}

lab_kill() { # PID: ask, wait five seconds, insist
    kill -TERM "$1" 2>/dev/null || return 0
    local turn
    for turn in {1..50}; do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
    kill -KILL "$1" 2>/dev/null || true
}

# lab_wait SECONDS COMMAND...   until COMMAND succeeds
lab_wait() {
    local turns=$(($1 * 10)); shift
    while ! "$@" >/dev/null 2>&1; do
        turns=$((turns - 1)); [ $turns -gt 0 ] || return 1
        sleep 0.1
    done
}

# lab_ready NODE NAME SECONDS COMMAND...   until COMMAND succeeds; not when the process ends first, or time is up
lab_ready() {
    local node=$1 name=$2 seconds=$3; shift 3
    ready_or_ended() { "$@" || ! lab_alive "$node" "$name"; }
    lab_wait "$seconds" ready_or_ended "$@"
    lab_alive "$node" "$name" || { say "$name has ended:"; tail -20 "$LAB/$node/$name.log"; return 1; }
    "$@" >/dev/null 2>&1 || { say "$name is not ready after $seconds s:"; tail -20 "$LAB/$node/$name.log"; return 1; }
}

# ---- the record of the wire

mark() { wc -l <"$LAB/$1/wire.log"; }              # a position in what a node has sent
sent() { # NODE EXPRESSION [MARK]   how many packets that look like this the node has sent (since MARK)
    tail -n "+$((${3:-0} + 1))" "$LAB/$1/wire.log" | grep -Ec -- "$2"
}
ESP_ON_THE_WIRE='ESP\(spi='
CLEAR_TEXT='IP 10\.[12]\.0\.'
INFORMATIONAL_REQUEST='isakmp:.* inf2(\[I\])?$' # tcpdump prints the flags I and R, and no brackets without any
INFORMATIONAL_RESPONSE='isakmp:.* inf2\[I?R\]$'

# Three echo requests each way between the inner hosts. All must come back, each node must have sent at least as many
# ESP packets as it had to (three requests and three answers), and nothing inner may have left a node in clear text.
traffic() {
    local node from_a from_b
    from_a=$(mark a) from_b=$(mark b)
    for node in a b; do
        inside $node ping -q -c 3 -i 0.2 -W 2 -I "$(inner $node)" "$(inner "$(other $node)")" >"$LAB/ping.log" 2>&1 ||
            { say "no answer to $node's echo requests:"; cat "$LAB/ping.log"; return 1; }
    done
    sleep 0.2                                      # tcpdump's last lines
    for node in a b; do
        local since=$from_a; [ $node = b ] && since=$from_b
        if [ "$(sent $node "$CLEAR_TEXT")" != 0 ]; then
            say "CLEAR TEXT left node $node: $(grep -Em1 "$CLEAR_TEXT" "$LAB/$node/wire.log")"; return 1
        fi
        [ "$(sent $node "$ESP_ON_THE_WIRE" "$since")" -ge 6 ] || { say "node $node sent fewer than 6 ESP packets"; return 1; }
    done
}

# ---- results

# check NAME COMMAND...   one line per check; the command's output only when it fails
check() {
    local name=$1 output; shift
    if output=$("$@" 2>&1); then
        PASSED=$((PASSED + 1)); say "PASS $name"
    else
        FAILED=$((FAILED + 1)); say "FAIL $name"
        [ -z "$output" ] || printf '%s\n' "$output" | sed 's/^/     /'
        return 1
    fi
}

finish() {
    say "$PASSED passed, $FAILED failed"
    [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
    exit
}
