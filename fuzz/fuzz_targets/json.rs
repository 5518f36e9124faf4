//! Fuzz target of `jadeseal_auth::fuzz::json`, whose body is beside the parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jadeseal_auth::fuzz::json(data));
