//! The signature scheme (GB/T 32918.2).

use super::{LEN, Secret, TRIES, read_scalar};
use crate::{CryptoError, der, random};
use ::sm2::elliptic_curve::Curve;
use ::sm2::elliptic_curve::group::Group;
use ::sm2::elliptic_curve::ops::{MulByGeneratorVartime, Reduce};
use ::sm2::elliptic_curve::point::AffineCoordinates;
use ::sm2::{AffinePoint, ProjectivePoint, Scalar, Sm2, U256};
use rfc6979::KGenerator;
use sm3::Sm3;
use zeroize::Zeroizing;

/// A signature: r and s, each from 1 to n - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sm2Signature {
    r: [u8; LEN],
    s: [u8; LEN],
}

impl Sm2Signature {
    /// `SEQUENCE { INTEGER r, INTEGER s }` (GM/T 0009-2012 section 7.3) in DER, at most 72 bytes.
    pub fn to_der(&self) -> Vec<u8> {
        let mut numbers = Vec::with_capacity(2 * (LEN + 3));
        der::put_unsigned(&mut numbers, &self.r);
        der::put_unsigned(&mut numbers, &self.s);
        let mut out = Vec::with_capacity(numbers.len() + 2);
        der::put(&mut out, der::SEQUENCE, &numbers);
        out
    }

    /// R‖S, 64 bytes.
    pub fn to_raw(&self) -> [u8; 2 * LEN] {
        let mut out = [0; 2 * LEN];
        out[..LEN].copy_from_slice(&self.r);
        out[LEN..].copy_from_slice(&self.s);
        out
    }
}

/// Signs e.
///
/// The nonce is that of RFC 6979 section 3.6 over HMAC-SM3 with 32 random bytes added: a failing
/// generator does not give away the key, and one digest is not signed twice with one nonce, so a fault
/// in one of the signatures does not either.
pub(super) fn sign(secret: &Secret, e: &[u8; LEN]) -> Result<Sm2Signature, CryptoError> {
    let mut nonces = nonces(secret, e, random::secret(LEN)?.expose());
    let mut nonce = Zeroizing::new([0; LEN]);
    for _ in 0..TRIES {
        nonces.fill_next_k(&mut nonce[..]);
        let signature = read_scalar(&nonce[..]).map(Zeroizing::new).and_then(|k| sign_with(secret, e, &k));
        if let Some(signature) = signature {
            return Ok(signature);
        }
    }
    Err(CryptoError::Unavailable("SM2 nonce"))
}

pub(super) fn nonces(secret: &Secret, e: &[u8; LEN], added: &[u8]) -> KGenerator<'static, Sm3, U256> {
    let d: Zeroizing<[u8; LEN]> = Zeroizing::new(secret.d.to_bytes().into());
    KGenerator::new(&d[..], e, added, &Sm2::ORDER)
}

/// Signs e with the nonce k, unless the standard asks for another nonce.
pub(super) fn sign_with(secret: &Secret, e: &[u8; LEN], k: &Scalar) -> Option<Sm2Signature> {
    // Wiped before it is divided out: the third coordinate tells of k.
    let point = Zeroizing::new(ProjectivePoint::mul_by_generator(k)).to_affine();
    let r = reduce(e) + reduce(&point.x().into());
    let r_plus_k = Zeroizing::new(r + *k);
    // (k - r d)/(1 + d) = (r + k)/(1 + d) - r
    let s = secret.inverse * *r_plus_k - r;
    let again = r.is_zero() | r_plus_k.is_zero() | s.is_zero();
    if again.into() { None } else { Some(Sm2Signature { r: r.to_bytes().into(), s: s.to_bytes().into() }) }
}

/// Verifies a signature over e, in strict DER or as R‖S. Everything here is public, so time may vary.
pub(super) fn verify(point: &AffinePoint, e: &[u8; LEN], signature: &[u8]) -> bool {
    let Some((r, s)) = read_der(signature).or_else(|| read_raw(signature)) else { return false };
    let t = r + s;
    let sum = ProjectivePoint::mul_by_generator_and_mul_add_vartime(&s, &t, &ProjectivePoint::from(point));
    let degenerate = t.is_zero() | sum.is_identity();
    !bool::from(degenerate) && r == reduce(e) + reduce(&sum.to_affine().x().into())
}

fn read_der(signature: &[u8]) -> Option<(Scalar, Scalar)> {
    let (r, rest) = der::unsigned::<LEN>(der::whole(signature, der::SEQUENCE)?)?;
    let (s, []) = der::unsigned::<LEN>(rest)? else { return None };
    Some((read_scalar(&r)?, read_scalar(&s)?))
}

fn read_raw(signature: &[u8]) -> Option<(Scalar, Scalar)> {
    let (r, s) = signature.split_at_checked(LEN)?;
    Some((read_scalar(r)?, read_scalar(s)?))
}

/// The number modulo n.
fn reduce(bytes: &[u8; LEN]) -> Scalar {
    Scalar::reduce(&U256::from_be_slice(bytes))
}
