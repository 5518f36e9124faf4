//! Fuzz target of `jadeseal_auth::fuzz::http_request`, whose body is beside the parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jadeseal_auth::fuzz::http_request(data));
