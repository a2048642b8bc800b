//! What a peer with the right keys can do.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::fuzz::endpoint_authentic(data));
