//! A capture, and what is found in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    diag::fuzzing::capture(&capture::fuzzing::capture(data));
});
