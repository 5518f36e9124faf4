//! The raw RSA private operation, which aws-lc-rs does not offer: the only C calls of this crate.

#![allow(unsafe_code)]

use super::BYTES;
use aws_lc_sys as c;
use jadeseal_types::SecretArray;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// An RSA-2048 private key of the C library, with its Montgomery and blinding contexts, which the
/// library makes on first use and keeps.
pub(super) struct RawKey(NonNull<c::RSA>);

// SAFETY: `RSA` carries locks of its own; rsa.h allows non-mutating functions, which are all that are
// called here after `from_pkcs8`, on one object from many threads at once. Freeing happens in `Drop`,
// when nobody else holds the object.
unsafe impl Send for RawKey {}
// SAFETY: as above.
unsafe impl Sync for RawKey {}

impl RawKey {
    /// Reads PKCS#8; the library checks that the numbers belong together. `None` for anything but an
    /// RSA private key of 2,048 bits.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<RawKey> {
        let mut bytes = MaybeUninit::<c::CBS>::uninit();
        // SAFETY: CBS_init writes the whole struct, which borrows `der`; the parser reads no further
        // than its length and keeps no pointer into it. The parsed key is owned and freed below. CBS_len
        // reads the struct, which says how much the parser left over.
        let (parsed, left) = unsafe {
            c::CBS_init(bytes.as_mut_ptr(), der.as_ptr(), der.len());
            let parsed = NonNull::new(c::EVP_parse_private_key(bytes.as_mut_ptr()))?;
            (parsed, c::CBS_len(bytes.as_ptr()))
        };
        // SAFETY: `parsed` is live. get1 returns null for another kind of key, else a reference of its
        // own, which `RawKey` takes over. The reference held by `parsed` is given back once.
        let key = unsafe {
            let rsa = c::EVP_PKEY_get1_RSA(parsed.as_ptr());
            c::EVP_PKEY_free(parsed.as_ptr());
            RawKey(NonNull::new(rsa)?)
        };
        // SAFETY: the key is live; the functions only read it. Without a public exponent the library would not
        // blind.
        let fits = unsafe {
            c::RSA_bits(key.0.as_ptr()) as usize == BYTES * 8
                && c::RSA_size(key.0.as_ptr()) as usize == BYTES
                && !c::RSA_get0_e(key.0.as_ptr()).is_null()
        };
        (fits && left == 0).then_some(key)
    }

    /// The modulus, big-endian.
    pub(super) fn modulus(&self) -> Option<[u8; BYTES]> {
        let mut out = [0; BYTES];
        // SAFETY: the number is owned by the live key; BN_bn2bin_padded writes exactly `len` bytes or
        // fails, also for a null number.
        let done = unsafe {
            let n = c::RSA_get0_n(self.0.as_ptr());
            !n.is_null() && c::BN_bn2bin_padded(out.as_mut_ptr(), out.len(), n) == 1
        };
        done.then_some(out)
    }

    /// The private exponent, big-endian, padded to the length of the modulus.
    pub(super) fn exponent(&self) -> Option<SecretArray<BYTES>> {
        let mut out = SecretArray::<BYTES>::zeroed();
        // SAFETY: as in `modulus`.
        let done = unsafe {
            let d = c::RSA_get0_d(self.0.as_ptr());
            !d.is_null() && c::BN_bn2bin_padded(out.expose_mut().as_mut_ptr(), BYTES, d) == 1
        };
        done.then_some(out)
    }

    /// `input`^d mod n with blinding, in constant time (RFC 8017 section 5.1.2). False when the library
    /// fails and for inputs outside 2 … n − 2, which it does not take.
    #[must_use]
    pub(super) fn decrypt(&self, input: &[u8; BYTES], out: &mut [u8; BYTES]) -> bool {
        let mut len = 0;
        // SAFETY: the key is live and is not mutated but for its own locked caches; the library reads
        // `BYTES` bytes of input and writes at most `BYTES` bytes of output, as it is told.
        let done = unsafe {
            c::RSA_decrypt(
                self.0.as_ptr(),
                &mut len,
                out.as_mut_ptr(),
                out.len(),
                input.as_ptr(),
                input.len(),
                c::RSA_NO_PADDING,
            )
        };
        done == 1 && len == BYTES
    }
}

impl Drop for RawKey {
    fn drop(&mut self) {
        // SAFETY: the one reference that this object owns, given back once.
        unsafe { c::RSA_free(self.0.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec::{Curve, EcKey};
    use crate::rsa::{Padding, RsaKey, RsaPublicKey};
    use crate::{CryptoError, ImportKey};
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};

    #[test]
    fn the_operation_undoes_encryption_on_many_threads() {
        let pair = RsaKey::generate().unwrap();
        let key = RawKey::from_pkcs8(pair.to_pkcs8().unwrap().expose()).unwrap();
        let public = RsaPublicKey::from_spki(pair.public_spki()).unwrap();
        std::thread::scope(|scope| {
            for t in 0..8u8 {
                let (key, public) = (&key, &public);
                scope.spawn(move || {
                    for i in 0..20u8 {
                        let text = public.encrypt(Padding::Pkcs1, &[t, i]).unwrap();
                        let mut em = [0; BYTES];
                        assert!(key.decrypt(text[..].try_into().unwrap(), &mut em));
                        assert_eq!((&em[..2], &em[253..]), (&[0, 2][..], &[0, t, i][..]));
                    }
                });
            }
        });
    }

    #[test]
    fn keys_come_and_go() {
        let der = RsaKey::generate().unwrap().to_pkcs8().unwrap();
        for _ in 0..50 {
            let key = RawKey::from_pkcs8(der.expose()).unwrap();
            assert_eq!(key.modulus().unwrap()[0] & 0x80, 0x80);
            assert_ne!(key.exponent().unwrap().expose(), &[0; BYTES]);
        }
    }

    #[test]
    fn other_keys_and_broken_ones_are_refused() {
        let long: Pkcs8V1Der<'_> = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap().as_der().unwrap();
        assert!(RawKey::from_pkcs8(long.as_ref()).is_none());
        assert!(RawKey::from_pkcs8(EcKey::generate(Curve::P256).unwrap().to_pkcs8().unwrap().expose()).is_none());
        let der = RsaKey::generate().unwrap().to_pkcs8().unwrap();
        for len in 0..der.len() {
            assert!(RawKey::from_pkcs8(&der.expose()[..len]).is_none());
        }
        assert!(RawKey::from_pkcs8(&[der.expose(), &[0]].concat()).is_none());
    }

    #[test]
    fn a_key_without_its_public_exponent_is_refused() {
        let key = RawKey::from_pkcs8(RsaKey::generate().unwrap().to_pkcs8().unwrap().expose()).unwrap();
        // Lengths in their shortest form, as DER has it: now and then a private exponent is a byte shorter.
        let element = |tag: u8, body: &[u8]| match body.len() {
            len @ ..128 => [&[tag, len as u8], body].concat(),
            len @ 128..256 => [&[tag, 0x81, len as u8], body].concat(),
            len => [&[tag, 0x82, (len >> 8) as u8, len as u8], body].concat(),
        };
        let number = |bytes: &[u8]| {
            let bytes = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
            if bytes[0] < 0x80 { element(2, bytes) } else { element(2, &[&[0], bytes].concat()) }
        };
        let d = number(key.exponent().unwrap().expose());
        let zero = [2, 1, 0];
        let numbers = [&zero[..], &number(&key.modulus().unwrap()), &zero, &d, &zero, &zero, &zero, &zero, &zero];
        let head = b"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        let der = element(0x30, &[&head[..], &element(4, &element(0x30, &numbers.concat()))].concat());
        assert!(PrivateDecryptingKey::from_pkcs8(&der).is_ok());
        assert!(RawKey::from_pkcs8(&der).is_none());
        assert!(matches!(RsaKey::from_pkcs8(&der), Err(CryptoError::Invalid)));
        assert!(matches!(ImportKey::from_pkcs8(&der), Err(CryptoError::Invalid)));
    }

    #[test]
    fn inputs_that_the_library_refuses_are_told() {
        let key = RawKey::from_pkcs8(RsaKey::generate().unwrap().to_pkcs8().unwrap().expose()).unwrap();
        let mut out = [0; BYTES];
        let mut one = [0; BYTES];
        one[BYTES - 1] = 1;
        for input in [[0; BYTES], one, key.modulus().unwrap(), [0xff; BYTES]] {
            assert!(!key.decrypt(&input, &mut out));
        }
    }
}
