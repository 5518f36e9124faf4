//! Digests that other crates need, from the audited core.

use aws_lc_rs::{digest, hmac};
use jadeseal_types::Suite;
use sm3::{Digest as _, Sm3};

/// SHA-256 (FIPS 180-4) of the bytes.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    fixed(digest::digest(&digest::SHA256, data).as_ref())
}

/// HMAC-SHA-256 (FIPS 198-1) of the bytes under a key of any length. Either may be secret.
///
/// # Panics
/// As the library's own functions, when that fails, which it does without memory alone.
pub fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // Not `hmac::sign`: it moves its context, which holds the last bytes of the data, before it ends it. What it moved from stays on
    // the stack, and the next context that is made there takes it along, as bytes of its own that nobody has written,
    // to wherever that is kept: imported key material was found in the cached state of other keys.
    let done = hmac::sign_to_buffer(&hmac::Key::new(hmac::HMAC_SHA256, key), data, &mut out).map(drop);
    done.expect("HMAC-SHA-256");
    out
}

/// The digest of a suite: SHA-256, or SM3 (GB/T 32905).
pub fn digest(suite: Suite, data: &[u8]) -> [u8; 32] {
    match suite {
        Suite::Aes256 => sha256(data),
        Suite::Sm4 => Sm3::digest(data).into(),
    }
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn lengths_around_a_block() {
        // Against the library's other way to the same.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
        for len in [0, 1, 55, 56, 63, 64, 65, 200] {
            let data = vec![7; len];
            assert_eq!(hmac_sha256(b"key", &data), hmac::sign(&key, &data).as_ref(), "{len}");
        }
    }

    #[test]
    fn published_answers() {
        // FIPS 180-4 example "abc"; RFC 4231 test case 2.
        assert_eq!(
            HEXLOWER.encode(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            HEXLOWER.encode(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
