# Where the kernel must carry ESP: this machine's, or a guest's.

# Does this kernel have ESP? XFRM netlink may exist without it, so try to add an SA (and take it back).
kernel_has_esp() {
    ip xfrm state add src 192.0.2.254 dst 192.0.2.253 proto esp spi 0xfffe mode tunnel \
        aead 'rfc4106(gcm(aes))' 0x0000000000000000000000000000000000000000 128 2>/dev/null || return 1
    ip xfrm state delete src 192.0.2.254 dst 192.0.2.253 proto esp spi 0xfffe
}
kernel_has_pfkey() { grep -qw PF_KEY /proc/net/protocols 2>/dev/null || grep -q '^ *[0-9]*: .*KEY' /proc/net/protocols 2>/dev/null || modprobe -q af_key 2>/dev/null; }

# kernel_required WHAT SCRIPT ARGUMENTS...   WHAT: esp | pfkey
# Returns when this kernel has WHAT. Otherwise runs the script again in a guest that has it (vm-run: $VM_RUN, or the one
# in ../shared), or skips.
kernel_required() {
    local what=$1 runner; shift
    [ "$(id -u)" = 0 ] && "kernel_has_$what" && return
    [ -z "${VMLAB:-}" ] || skip "not even the guest's kernel has $what"
    for runner in "${VM_RUN:-}" "$INTEROP/../../shared/lab/vm/vm-run"; do
        [ -n "$runner" ] && [ -x "$runner" ] || continue
        local pass=() name
        # Not every guest kernel that there may be has PF_KEY; this one has.
        [ "$what" = esp ] || export VMLAB_BACKEND=${VMLAB_BACKEND:-uml7}
        for name in ${!INTEROP_@} ${!INJECT_@} ${!SHRIKE@}; do pass+=(-e "$name"); done
        # What the guest writes stays in the guest, but for this.
        [ -z "${INJECT_RECORDINGS:-}" ] || pass+=(-w "$INJECT_RECORDINGS")
        exec "$runner" -t "${INTEROP_VM_SECONDS:-300}" ${pass[@]+"${pass[@]}"} -- "$@" </dev/null
    done
    skip "this kernel has no $what, and there is no vm-run (set VM_RUN) to boot one that has"
}
