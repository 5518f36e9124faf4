//! The text of a share of a seal key.

/// One input.
pub fn run(data: &[u8]) {
    jadeseal_root::shamir::fuzz_share(data);
}
