//! Fuzz target of `jadeseal_auth::fuzz::authorization`, whose body is beside the parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jadeseal_auth::fuzz::authorization(data));
