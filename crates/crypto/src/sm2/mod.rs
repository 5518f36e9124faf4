//! SM2 (GB/T 32918-2016) on the recommended curve (GB/T 32918.5): signatures and public-key encryption.
//!
//! The arithmetic is that of the crate `sm2`; `docs/sm2.md` says what of it was checked to take the same
//! time for every secret, and where secrets stay behind. The schemes on top are here, because the
//! crate's compare C3 with `!=`, leave the plaintext behind on failure and never draw a second nonce.

mod encrypt;
mod sign;
#[cfg(test)]
mod tests;

pub use encrypt::{MAX_CIPHERTEXT, MAX_MESSAGE};
pub use sign::Sm2Signature;

use crate::asymmetric::Input;
use crate::{CryptoError, der, random};
use ::sm2::elliptic_curve::group::Group;
use ::sm2::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use ::sm2::{AffinePoint, ProjectivePoint, Scalar};
use jadeseal_types::SecretBytes;
use sm3::{Digest, Sm3};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a coordinate, of a scalar and of a digest.
const LEN: usize = 32;
/// Bytes of a SubjectPublicKeyInfo with an uncompressed point.
const SPKI: usize = SPKI_HEAD.len() + 2 * LEN;
/// How often something random is drawn again before that counts as a broken generator. One draw fails
/// with a probability of 2^-8 at the most (encryption of one byte).
const TRIES: usize = 32;

/// `id-ecPublicKey`, 1.2.840.10045.2.1.
pub(crate) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// The recommended curve, 1.2.156.10197.1.301.
pub(crate) const CURVE: &[u8] = &[0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d];

/// A SubjectPublicKeyInfo up to the coordinates.
#[rustfmt::skip]
const SPKI_HEAD: [u8; 27] = [
    0x30, 0x59,
        0x30, 0x13,
            0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
            0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d,
        0x03, 0x42, 0x00, 0x04,
];

/// What stands before the public key in the input of Z (GB/T 32918.2 section 5.5), but for the generator:
/// the length in bits of the default user id, that id, and the curve's a and b.
const Z_HEAD: [u8; 82] = *b"\x00\x801234567812345678\
    \xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfc\
    \x28\xe9\xfa\x9e\x9d\x9f\x5e\x34\x4d\x5a\x9e\x4b\xcf\x65\x09\xa7\
    \xf3\x97\x89\xf5\x15\xab\x8f\x92\xdd\xbc\xbd\x41\x4d\x94\x0e\x93";

/// A private key, wiped on drop.
pub struct Sm2Key {
    secret: Box<Secret>,
    public: Sm2PublicKey,
    /// Z of this key under the default user id.
    z: [u8; LEN],
}

struct Secret {
    d: Scalar,
    /// 1/(1 + d), so that signing inverts nothing.
    inverse: Scalar,
}

impl Sm2Key {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the generator fails.
    pub fn generate() -> Result<Self, CryptoError> {
        for _ in 0..TRIES {
            let made = Self::from_scalar(random::secret(LEN)?.expose());
            if made.is_ok() {
                return made;
            }
        }
        Err(CryptoError::Unavailable("SM2 key"))
    }

    /// Takes the private scalar: 32 bytes, big-endian, from 1 to n - 2 (GB/T 32918.1 section 6.1).
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything else.
    pub fn from_scalar(scalar: &[u8]) -> Result<Self, CryptoError> {
        let d = Zeroizing::new(read_scalar(scalar).ok_or(CryptoError::Invalid)?);
        // No inverse when d is n - 1.
        let inverse = Option::from((*d + Scalar::ONE).invert()).ok_or(CryptoError::Invalid)?;
        let secret = Box::new(Secret { d: *d, inverse });
        // Wiped, because its third coordinate tells of d.
        let point = Zeroizing::new(ProjectivePoint::mul_by_generator(&d));
        let public = Sm2PublicKey::new(point.to_affine());
        let z = public.z();
        Ok(Sm2Key { secret, public, z })
    }

    /// What [`Sm2Key::from_scalar`] takes.
    pub fn to_scalar(&self) -> SecretBytes {
        let bytes: Zeroizing<[u8; LEN]> = Zeroizing::new(self.secret.d.to_bytes().into());
        SecretBytes::copy_from(&bytes[..])
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280) in DER: `id-ecPublicKey` with the curve
    /// 1.2.156.10197.1.301 and an uncompressed point, 91 bytes.
    pub fn public_spki(&self) -> &[u8] {
        &self.public.spki
    }

    /// The public key.
    pub fn public(&self) -> &Sm2PublicKey {
        &self.public
    }

    /// Signs (GB/T 32918.2 section 6.1). A message goes through Z with the default user id
    /// `1234567812345678` and SM3; a digest of 32 bytes is taken as e.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest of another length, [`CryptoError::Unavailable`] when the
    /// generator fails.
    pub fn sign(&self, input: Input<'_>) -> Result<Sm2Signature, CryptoError> {
        sign::sign(&self.secret, &self.digest(input)?)
    }

    /// Verifies a signature (GB/T 32918.2 section 7.1) in strict DER or as 64 bytes R‖S. A malformed one
    /// is false.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest of another length than 32 bytes.
    pub fn verify(&self, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        Ok(sign::verify(&self.public.point, &self.digest(input)?, signature))
    }

    /// Decrypts C1C3C2 in ASN.1 (GM/T 0009-2012): `SEQUENCE { INTEGER x, INTEGER y, OCTET STRING C3,
    /// OCTET STRING C2 }` in strict DER, at most [`MAX_CIPHERTEXT`] bytes (GB/T 32918.4 section 7.1).
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault alike.
    pub fn decrypt(&self, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        encrypt::decrypt(&self.secret.d, ciphertext)
    }

    fn digest(&self, input: Input<'_>) -> Result<[u8; LEN], CryptoError> {
        match input {
            Input::Message(message) => Ok(Sm3::new_with_prefix(self.z).chain_update(message).finalize().into()),
            Input::Digest(e) => e.try_into().map_err(|_| CryptoError::Invalid),
        }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.d.zeroize();
        self.inverse.zeroize();
    }
}

/// A public key: a point of the curve other than infinity. The curve has cofactor 1, so that is all
/// there is to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sm2PublicKey {
    point: AffinePoint,
    spki: [u8; SPKI],
}

impl Sm2PublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280) in strict DER: `id-ecPublicKey` with the curve
    /// 1.2.156.10197.1.301, the point uncompressed or compressed.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything else.
    pub fn from_spki(spki: &[u8]) -> Result<Self, CryptoError> {
        read_spki(spki).map(Self::new).ok_or(CryptoError::Invalid)
    }

    /// The key as [`Sm2Key::public_spki`] gives it.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether a signature of a message is this key's, as [`Sm2Key::verify`] tells it. A malformed one is false.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let e: [u8; LEN] = Sm3::new_with_prefix(self.z()).chain_update(message).finalize().into();
        sign::verify(&self.point, &e, signature)
    }

    /// Z under the default user id (GB/T 32918.2 section 5.5).
    fn z(&self) -> [u8; LEN] {
        Sm3::new_with_prefix(Z_HEAD)
            .chain_update(AffinePoint::GENERATOR.x())
            .chain_update(AffinePoint::GENERATOR.y())
            .chain_update(self.coordinates())
            .finalize()
            .into()
    }

    /// Encrypts 1 to [`MAX_MESSAGE`] bytes (GB/T 32918.4 section 6.1) to C1‖C3‖C2, C1 without the prefix
    /// 0x04: 96 bytes more than the message.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a message of another length, [`CryptoError::Unavailable`] when the
    /// generator fails.
    pub fn encrypt_raw(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        encrypt::encrypt(&self.point, message)
    }

    /// As [`Sm2PublicKey::encrypt_raw`], in ASN.1. What [`Sm2Key::decrypt`] takes back is shorter than
    /// [`MAX_CIPHERTEXT`], a message of about 140 bytes.
    ///
    /// # Errors
    /// As [`Sm2PublicKey::encrypt_raw`].
    pub fn encrypt_asn1(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.encrypt_raw(message).map(|raw| encrypt::raw_to_asn1(&raw))
    }

    /// `point` is not infinity.
    fn new(point: AffinePoint) -> Self {
        let mut spki = [0; SPKI];
        let (head, coordinates) = spki.split_at_mut(SPKI_HEAD.len());
        let (x, y) = coordinates.split_at_mut(LEN);
        head.copy_from_slice(&SPKI_HEAD);
        x.copy_from_slice(&point.x());
        y.copy_from_slice(&point.y());
        Sm2PublicKey { point, spki }
    }

    fn coordinates(&self) -> &[u8] {
        &self.spki[SPKI_HEAD.len()..]
    }
}

fn read_spki(spki: &[u8]) -> Option<AffinePoint> {
    let (algorithm, key) = der::element(der::whole(spki, der::SEQUENCE)?, der::SEQUENCE)?;
    let (EC, curve) = der::element(algorithm, der::OBJECT_ID)? else { return None };
    let CURVE = der::whole(curve, der::OBJECT_ID)? else { return None };
    // The first byte of a BIT STRING says how many bits of the last one are unused.
    let (&[0, form], coordinates) = der::whole(key, der::BIT_STRING)?.split_first_chunk::<2>()? else { return None };
    let (x, y) = coordinates.split_first_chunk::<LEN>()?;
    match (form, y) {
        (2 | 3, []) => AffinePoint::decompress(&(*x).into(), (form & 1).into()).into(),
        (4, y) => read_point(x, y.try_into().ok()?),
        _ => None,
    }
}

/// The point with these coordinates, if it is on the curve.
fn read_point(x: &[u8; LEN], y: &[u8; LEN]) -> Option<AffinePoint> {
    AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).into()
}

/// A scalar from 1 to n - 1: 32 bytes, big-endian.
fn read_scalar(bytes: &[u8]) -> Option<Scalar> {
    Scalar::from_slice(bytes).filter(|s| !bool::from(s.is_zero()))
}

/// A uniformly random scalar from 1 to n - 1. Rejected candidates say nothing of the accepted one.
fn random_scalar() -> Result<Zeroizing<Scalar>, CryptoError> {
    for _ in 0..TRIES {
        if let Some(scalar) = read_scalar(random::secret(LEN)?.expose()) {
            return Ok(Zeroizing::new(scalar));
        }
    }
    Err(CryptoError::Unavailable("random generator"))
}
