//! A table of keys, a zero octet, and a capture that it opens.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    diag::fuzzing::capture(&capture::fuzzing::opened(data));
});
