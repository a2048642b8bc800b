//! A log of whatever daemon.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    diag::fuzzing::log(data);
});
