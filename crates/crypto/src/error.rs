//! The one error of this crate.

/// Why an operation gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The input does not fit the key. One failure for every cause (form, commitment, tag, padding,
    /// context), so that an answer cannot become an oracle.
    #[error("the input is not valid for this key")]
    Invalid,
    /// The machinery below failed: no random bytes, no memory. Names the operation.
    #[error("{0} is not available")]
    Unavailable(&'static str),
}
