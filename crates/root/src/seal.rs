//! The root of trust.

use crate::error::{RootError, not_opened};
use jadeseal_crypto::wrap::EitherWrapKey;
use jadeseal_types::{SecretBytes, Suite};

/// A root of trust: a software secret, or a token that keeps its key inside. Sealing and opening
/// happen within it; no method hands its secret out.
///
/// Contract: what `seal` returned opens with the same `place` under a seal of the same kind with the
/// same parameters and secret, also after a restart and in another process. Any other place, secret
/// or byte is [`RootError::DoesNotOpen`].
pub trait Seal: Send + Sync {
    /// `file`, `passphrase`, `systemd`, …: stored with each slot.
    fn kind(&self) -> &'static str;

    /// Public parameters, stored with each slot: what is needed besides the secret to make this
    /// seal again. Empty when nothing is.
    fn params(&self) -> Vec<u8>;

    /// Seals a secret for a place, with the algorithms of a suite where the seal has a choice.
    fn seal(&self, suite: Suite, place: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError>;

    /// Opens what [`Seal::seal`] returned.
    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<SecretBytes, RootError>;
}

/// A seal whose secret is in memory. What the software seals have in common.
pub(crate) struct SoftSeal {
    kind: &'static str,
    params: Vec<u8>,
    key: EitherWrapKey,
}

/// Length of a seal's key, bytes.
pub(crate) const SEAL_KEY_BYTES: usize = jadeseal_crypto::wrap::KEY_LEN;
/// Seals have no versions: each slot names its own.
const NO_VERSION: u32 = 0;

impl SoftSeal {
    /// From a key of [`SEAL_KEY_BYTES`].
    pub fn new(kind: &'static str, params: Vec<u8>, key: &SecretBytes) -> Result<Self, RootError> {
        let key = EitherWrapKey::new(key).map_err(|_| RootError::Crypto("the seal's key is unusable"))?;
        Ok(SoftSeal { kind, params, key })
    }
}

impl Seal for SoftSeal {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn params(&self) -> Vec<u8> {
        self.params.clone()
    }

    fn seal(&self, suite: Suite, place: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let sealed = self.key.of(suite).seal(NO_VERSION, &self.bind(place), secret.expose());
        sealed.map_err(|_| RootError::Crypto("sealing failed"))
    }

    fn open(&self, place: &[u8], sealed: &[u8]) -> Result<SecretBytes, RootError> {
        self.key.open(sealed, &self.bind(place)).map_err(not_opened)
    }
}

impl SoftSeal {
    /// Binds kind and parameters too: a slot whose parameters were edited does not open.
    fn bind(&self, place: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(place.len() + self.params.len() + 24);
        for part in [self.kind.as_bytes(), &self.params, place] {
            bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound.extend_from_slice(part);
        }
        bound
    }
}

/// Makes a newtype around [`SoftSeal`] a [`Seal`].
macro_rules! soft_seal {
    ($name:ident) => {
        impl $crate::seal::Seal for $name {
            fn kind(&self) -> &'static str {
                self.0.kind()
            }
            fn params(&self) -> Vec<u8> {
                self.0.params()
            }
            fn seal(
                &self,
                suite: jadeseal_types::Suite,
                place: &[u8],
                secret: &jadeseal_types::SecretBytes,
            ) -> Result<Vec<u8>, $crate::error::RootError> {
                self.0.seal(suite, place, secret)
            }
            fn open(
                &self,
                place: &[u8],
                sealed: &[u8],
            ) -> Result<jadeseal_types::SecretBytes, $crate::error::RootError> {
                self.0.open(place, sealed)
            }
        }
    };
}
pub(crate) use soft_seal;

/// Seal with a key that whoever makes it keeps: of an encrypted backup, which has the key inside.
pub struct KeySeal(SoftSeal);

soft_seal!(KeySeal);

impl KeySeal {
    /// From 32 bytes. The kind tells whose seal it is.
    pub fn new(kind: &'static str, key: &SecretBytes) -> Result<Self, RootError> {
        Ok(KeySeal(SoftSeal::new(kind, Vec::new(), key)?))
    }
}
