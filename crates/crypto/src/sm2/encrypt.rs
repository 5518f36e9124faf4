//! The encryption scheme (GB/T 32918.4).

use super::{LEN, TRIES, random_scalar, read_point};
use crate::{CryptoError, der};
use ::sm2::elliptic_curve::BatchNormalize;
use ::sm2::elliptic_curve::group::Group;
use ::sm2::elliptic_curve::point::AffineCoordinates;
use ::sm2::{AffinePoint, ProjectivePoint, Scalar};
use jadeseal_types::{SecretBytes, limits};
use sm3::{Digest, Sm3};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Longest message that is encrypted, bytes: the API's bound on a plaintext.
pub const MAX_MESSAGE: usize = limits::MAX_PLAINTEXT_BYTES;
/// Longest ciphertext that is decrypted, bytes of ASN.1.
pub const MAX_CIPHERTEXT: usize = limits::MAX_SM2_CIPHERTEXT_BYTES;

/// C1 and C3 of the raw form.
const RAW_HEAD: usize = 3 * LEN;

/// x2‖y2 of the standard, from which the key stream and C3 follow. As long as a block of SM3.
type Shared = Zeroizing<[u8; 2 * LEN]>;

/// Encrypts to C1‖C3‖C2.
pub(super) fn encrypt(key: &AffinePoint, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    if !(1..=MAX_MESSAGE).contains(&message.len()) {
        return Err(CryptoError::Invalid);
    }
    for _ in 0..TRIES {
        let k = random_scalar()?;
        if let Some(raw) = encrypt_with(key, message, &k) {
            return Ok(raw);
        }
    }
    Err(CryptoError::Unavailable("SM2 nonce"))
}

/// Encrypts with the nonce k, unless the key stream comes out as zeros and would show the message.
pub(super) fn encrypt_with(key: &AffinePoint, message: &[u8], k: &Scalar) -> Option<Vec<u8>> {
    // Both points share one inversion.
    let points = Zeroizing::new([ProjectivePoint::mul_by_generator(k), ProjectivePoint::from(key) * k]);
    let points = Zeroizing::new(ProjectivePoint::batch_normalize(&*points));
    let [c1, product] = &*points;
    let shared = coordinates(product);

    let mut raw = Vec::with_capacity(RAW_HEAD + message.len());
    raw.extend_from_slice(&coordinates(c1)[..]);
    raw.extend_from_slice(&hash(&shared, message));
    raw.extend_from_slice(message);
    if apply_key_stream(&shared, &mut raw[RAW_HEAD..]) == 0 {
        raw.zeroize();
        return None;
    }
    Some(raw)
}

/// The ASN.1 form of what [`encrypt`] gives.
pub(super) fn raw_to_asn1(raw: &[u8]) -> Vec<u8> {
    let (c1, rest) = raw.split_at(2 * LEN);
    let (x, y) = c1.split_at(LEN);
    let (c3, c2) = rest.split_at(LEN);
    let mut parts = Vec::with_capacity(raw.len() + 16);
    der::put_unsigned(&mut parts, x);
    der::put_unsigned(&mut parts, y);
    der::put(&mut parts, der::OCTET_STRING, c3);
    der::put(&mut parts, der::OCTET_STRING, c2);
    let mut out = Vec::with_capacity(parts.len() + 4);
    der::put(&mut out, der::SEQUENCE, &parts);
    out
}

/// Decrypts the ASN.1 form. What depends on the key takes the same time whatever comes out; only the
/// form and C1, which the sender knows, decide where it ends early.
pub(super) fn decrypt(d: &Scalar, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
    let (c1, c3, c2) = read(ciphertext).ok_or(CryptoError::Invalid)?;
    let product = Zeroizing::new(ProjectivePoint::from(c1) * d);
    let shared = coordinates(&Zeroizing::new(product.to_affine()));

    let mut message = SecretBytes::copy_from(c2);
    let stream = apply_key_stream(&shared, message.expose_mut());
    let good = hash(&shared, message.expose())[..].ct_eq(c3) & !stream.ct_eq(&0);
    // Dropped on failure, the message is wiped.
    if good.into() { Ok(message) } else { Err(CryptoError::Invalid) }
}

/// C1, C3 and C2, which is not empty.
fn read(ciphertext: &[u8]) -> Option<(AffinePoint, &[u8], &[u8])> {
    if ciphertext.len() > MAX_CIPHERTEXT {
        return None;
    }
    let (x, rest) = der::unsigned::<LEN>(der::whole(ciphertext, der::SEQUENCE)?)?;
    let (y, rest) = der::unsigned::<LEN>(rest)?;
    let (c3, rest) = der::element(rest, der::OCTET_STRING)?;
    let c2 = der::whole(rest, der::OCTET_STRING)?;
    let form = c3.len() == LEN && !c2.is_empty();
    if form { Some((read_point(&x, &y)?, c3, c2)) } else { None }
}

fn coordinates(point: &AffinePoint) -> Shared {
    let mut out = Zeroizing::new([0; 2 * LEN]);
    out[..LEN].copy_from_slice(&point.x());
    out[LEN..].copy_from_slice(&point.y());
    out
}

/// Adds the key stream (GB/T 32918.4 section 5.4.3) to the text. The result is zero if all of the stream
/// was.
fn apply_key_stream(shared: &Shared, text: &mut [u8]) -> u8 {
    let start = Sm3::new_with_prefix(&shared[..]);
    let mut seen = 0;
    for (counter, part) in (1u32..).zip(text.chunks_mut(LEN)) {
        let block = start.clone().chain_update(counter.to_be_bytes()).finalize();
        let block: Zeroizing<[u8; LEN]> = Zeroizing::new(block.into());
        for (byte, key) in part.iter_mut().zip(block.iter()) {
            *byte ^= key;
            seen |= key;
        }
    }
    seen
}

/// C3 of a message: SM3(x2 ‖ M ‖ y2).
fn hash(shared: &Shared, message: &[u8]) -> [u8; LEN] {
    let (x, y) = shared.split_at(LEN);
    Sm3::new_with_prefix(x).chain_update(message).chain_update(y).finalize().into()
}
