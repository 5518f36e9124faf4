//! What all asymmetric algorithms share.

/// What is to be signed or verified.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The message itself; the algorithm hashes it.
    Message(&'a [u8]),
    /// Its digest, made by the caller: of exactly the length of the algorithm's hash, else the call is
    /// [`Invalid`](crate::CryptoError::Invalid). For SM2 it is e = SM3(Z ‖ M) (GB/T 32918.2 section 6.1).
    Digest(&'a [u8]),
}
