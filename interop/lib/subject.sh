# The daemon under test: Shrike ($SHRIKE names the binary). With INTEROP_STANDIN=charon strongSwan takes its place, which
# tests the scripts themselves.

SHRIKE=${SHRIKE:-$INTEROP/../target/release/shrike}

subject_required() {
    if [ "$(subject_name)" = charon ]; then need charon-systemd swanctl; return; fi
    need swanctl
    [ -x "$SHRIKE" ] || skip "no Shrike at $SHRIKE (cargo build --release -p shrike, or set SHRIKE)"
}

# subject_start NODE DATA-PLANE CONNECTION-LINES CHILD-LINES   DATA-PLANE: userspace | xfrm | auto
# $LAB/daemon.conf, if there is one, is its strongswan.conf.
subject_start() {
    local node=$1 plane=$2 kernel=netlink
    if [ "$(subject_name)" = charon ]; then
        [ "$plane" = userspace ] && kernel=libipsec
        charon_start "$node" $kernel "$3" "$4"
        return
    fi
    swanctl_conf "$node" "$3" "$4"
    rm -f "$LAB/$node/vici"
    local settings=(); [ -f "$LAB/daemon.conf" ] && settings=(--strongswan-conf "$LAB/daemon.conf")
    lab_spawn "$node" shrike "$SHRIKE" run ${settings[@]+"${settings[@]}"} --config "$LAB/$node/swanctl.conf" --vici "unix://$LAB/$node/vici" --data-plane "$plane" --log-level "${INTEROP_SHRIKE_LOG:-1}"
    lab_ready "$node" shrike 10 test -S "$LAB/$node/vici"
}

subject_name() { [ "${INTEROP_STANDIN:-}" = charon ] && echo charon || echo shrike; }
subject_alive() { lab_alive "$1" "$(subject_name)" || { say "the daemon has ended:"; subject_log "$1"; return 1; }; }
subject_stop() { lab_stop "$1" "$(subject_name)"; }
subject_log() { tail -n "${2:-25}" "$LAB/$1/$(subject_name).log"; }

# `shrike show` names the peer while the SA is up.
subject_shows_peer() {
    local listing; listing=$("$SHRIKE" --vici "unix://$LAB/$1/vici" show 2>&1) && [[ $listing == *"$(outer "$(other "$1")")"* ]] ||
        { say "$listing"; return 1; }
}
