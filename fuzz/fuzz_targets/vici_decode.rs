//! Packets on the control socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = vici::Packet::decode(data) {
        let octets = packet.encode();
        assert_eq!(vici::Packet::decode(&octets[4..]).as_ref(), Ok(&packet));
    }
});
