//! What strangers who have seen the cookies can do to a negotiation of IKEv1.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::fuzz_v1::endpoint_v1(data));
