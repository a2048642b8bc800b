//! Every parser of `wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    wire::fuzzing::parse_anything(data);
});
