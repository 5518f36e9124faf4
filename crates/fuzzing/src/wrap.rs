//! Wrapped keys, as rows of the store hold them: nothing opens that was not wrapped for this very place.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_crypto::{WrapKey, parent_version, place, wrap};
use jadeseal_types::{SecretBytes, Suite};
use std::sync::LazyLock;

static KEY: LazyLock<WrapKey> =
    LazyLock::new(|| WrapKey::new(Suite::Aes256, &SecretBytes::new(vec![5; wrap::KEY_LEN])).expect("a key"));

#[derive(Arbitrary, Debug)]
struct Given<'a> {
    raw: &'a [u8],
    secret: &'a [u8],
    here: Vec<&'a [u8]>,
    there: Vec<&'a [u8]>,
    version: u32,
    at: u16,
    xor: u8,
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    let Given { raw, secret, here, there, version, at, xor } = given;
    parent_version(raw).ok();
    assert!(KEY.open(raw, &place(&here)).is_err());
    // No two places encode alike.
    assert_eq!(here == there, place(&here) == place(&there));
    let mut wrapped = KEY.seal(version, &place(&here), secret).expect("wrapping");
    assert_eq!(parent_version(&wrapped), Ok(version));
    assert_eq!(KEY.open(&wrapped, &place(&there)).is_ok(), here == there);
    assert_eq!(KEY.open(&wrapped, &place(&here)).expect("what was wrapped").expose(), secret);
    let at = usize::from(at) % wrapped.len();
    wrapped[at] ^= xor;
    assert_eq!(KEY.open(&wrapped, &place(&here)).is_ok(), xor == 0);
}
