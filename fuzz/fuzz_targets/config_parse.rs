//! `swanctl.conf` and `strongswan.conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sim::fuzz::config_parse(data));
