//! Owners of secret bytes. They wipe themselves on drop and have no `Debug`, `Display`, `Clone`,
//! `PartialEq` or `Serialize`; bytes are read only through [`SecretBytes::expose`].

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Secret bytes of any length, on the heap, wiped on drop. Never grows, so no stale copy is left
/// behind by a reallocation.
pub struct SecretBytes(Box<[u8]>);

impl SecretBytes {
    /// Takes the bytes over. A vector with spare capacity is copied to an exact allocation and
    /// wiped first.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        if bytes.len() == bytes.capacity() {
            return SecretBytes(bytes.into_boxed_slice());
        }
        let exact: Box<[u8]> = bytes.as_slice().into();
        bytes.zeroize();
        SecretBytes(exact)
    }

    /// Copies a slice; the caller stays responsible for wiping the original.
    pub fn copy_from(bytes: &[u8]) -> Self {
        SecretBytes(bytes.into())
    }

    /// `len` zero bytes, to be filled through [`SecretBytes::expose_mut`].
    pub fn zeroed(len: usize) -> Self {
        SecretBytes(vec![0; len].into_boxed_slice())
    }

    /// The bytes. The one way to read them, so that every use can be found by its name.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be written.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Length in bytes (not secret).
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no byte.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Comparison whose time depends on the lengths alone.
    pub fn ct_eq(&self, other: &[u8]) -> bool {
        self.0.ct_eq(other).into()
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Secret bytes of a fixed length, boxed so that moves leave no copy on the stack; wiped on drop.
pub struct SecretArray<const N: usize>(Box<[u8; N]>);

impl<const N: usize> SecretArray<N> {
    /// `N` zero bytes, to be filled through [`SecretArray::expose_mut`].
    pub fn zeroed() -> Self {
        SecretArray(Box::new([0; N]))
    }

    /// Copies a slice of exactly `N` bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut out = Self::zeroed();
        if bytes.len() != N {
            return None;
        }
        out.0.copy_from_slice(bytes);
        Some(out)
    }

    /// The bytes. The one way to read them.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be written.
    pub fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for SecretArray<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_with_spare_room_is_copied_exactly() {
        let mut v = Vec::with_capacity(64);
        v.extend_from_slice(b"secret");
        let s = SecretBytes::new(v);
        assert_eq!(s.expose(), b"secret");
        assert!(s.ct_eq(b"secret"));
        assert!(!s.ct_eq(b"secreT"));
        assert!(!s.ct_eq(b"secret "));
    }

    #[test]
    fn arrays_take_only_their_own_length() {
        assert!(SecretArray::<4>::from_slice(&[1, 2, 3]).is_none());
        assert_eq!(SecretArray::<3>::from_slice(&[1, 2, 3]).unwrap().expose(), &[1, 2, 3]);
    }
}
