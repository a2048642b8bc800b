//! A text with listings of SAs in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    show::fuzzing::listing(data).series.values().for_each(|series| diag::fuzzing::listing(series));
});
