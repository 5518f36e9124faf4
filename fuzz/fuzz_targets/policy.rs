//! Fuzz target; its body and what it asserts are `jadeseal_auth::fuzz::policy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jadeseal_auth::fuzz::policy(data));
