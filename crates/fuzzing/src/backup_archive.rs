//! The archive of a backup: its header and chunks, its sections as if they had opened, and the private key of its recipient.
use jadeseal_crypto::{PrivateOpener, PublicSeal};
use jadeseal_types::SecretBytes;

/// One input.
pub fn run(data: &[u8]) {
    jadeseal_backup::fuzz(data);
    jadeseal_service::backup::fuzz_content(data);
    if let Ok(key) = PrivateOpener::parse(&SecretBytes::copy_from(data)) {
        assert!(key.open(data).is_err());
    }
    if let Some(Ok(key)) = std::str::from_utf8(data).ok().map(PublicSeal::parse) {
        key.seal(&SecretBytes::zeroed(32)).expect("an accepted key seals");
    }
}
