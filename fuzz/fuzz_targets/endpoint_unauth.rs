//! What strangers can do to a responder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::fuzz::endpoint_unauthenticated(data));
