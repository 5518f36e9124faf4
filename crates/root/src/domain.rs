//! The key of one account.

use crate::{
    error::{RootError, not_opened},
    place::Place,
};
use jadeseal_crypto::{
    hmac_sha256, random,
    wrap::{KEY_LEN, WrapKey},
};
use jadeseal_types::{AccountId, SecretBytes, Suite};

/// An account's domain key, opened. Wraps everything of the account that is secret at rest;
/// destroying its record shreds the account.
pub struct DomainKey {
    account: AccountId,
    version: u32,
    wrap: WrapKey,
    digest_key: SecretBytes,
}

/// Format of the secret: this byte, the suite's code, the wrapping key, the digest key.
const FORMAT: u8 = 1;
const DIGEST_KEY_BYTES: usize = 32;

impl DomainKey {
    /// The account.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The version; rows that it wrapped carry it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The suite that it wraps with.
    pub fn suite(&self) -> Suite {
        self.wrap.suite()
    }

    /// Wraps a secret for its place. Fails for a place of another account.
    pub fn seal(&self, place: &Place<'_>, secret: &[u8]) -> Result<Vec<u8>, RootError> {
        self.check(place)?;
        let sealed = self.wrap.seal(self.version, &place.encode(), secret);
        sealed.map_err(|_| RootError::Crypto("wrapping a secret failed"))
    }

    /// Opens a secret at its place. [`RootError::DoesNotOpen`] when it was wrapped elsewhere, by
    /// another key, or was altered.
    pub fn open(&self, place: &Place<'_>, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        self.check(place)?;
        self.wrap.open(wrapped, &place.encode()).map_err(not_opened)
    }

    /// A keyed digest (HMAC-SHA-256 over the label behind its length, then the data): recognises a secret that was seen before, for instance imported material,
    /// without keeping it. Different labels give unrelated digests. Compare in constant time.
    pub fn digest(&self, label: &str, data: &[u8]) -> [u8; 32] {
        // One buffer, wiped: the data is often a secret.
        let length = (label.len() as u64).to_be_bytes();
        let mut input = SecretBytes::zeroed(length.len() + label.len() + data.len());
        let parts = length.iter().chain(label.as_bytes()).chain(data);
        input.expose_mut().iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        hmac_sha256(self.digest_key.expose(), input.expose())
    }

    /// A new key and the secret to wrap under the root key.
    pub(crate) fn random(account: AccountId, version: u32, suite: Suite) -> Result<(Self, SecretBytes), RootError> {
        let len = KEY_LEN + DIGEST_KEY_BYTES;
        let fresh = random::secret(len).map_err(|_| RootError::Crypto("no random bytes for a domain key"))?;
        let mut secret = SecretBytes::zeroed(2 + len);
        let bytes = [FORMAT, suite.code()];
        let source = bytes.iter().chain(fresh.expose());
        secret.expose_mut().iter_mut().zip(source).for_each(|(to, from)| *to = *from);
        Ok((Self::from_secret(account, version, &secret)?, secret))
    }

    /// From the secret that the root key wrapped. It is authentic, so a wrong form can only come
    /// from a newer release.
    pub(crate) fn from_secret(account: AccountId, version: u32, secret: &SecretBytes) -> Result<Self, RootError> {
        const NEWER: RootError = RootError::Crypto("the domain key has an unknown form; is this an older release?");
        let &[FORMAT, suite, ref keys @ ..] = secret.expose() else { return Err(NEWER) };
        let suite = Suite::from_code(suite).ok_or(NEWER)?;
        let (wrap, digest) = keys.split_at_checked(KEY_LEN).ok_or(NEWER)?;
        if digest.len() != DIGEST_KEY_BYTES {
            return Err(NEWER);
        }
        let wrap = WrapKey::new(suite, &SecretBytes::copy_from(wrap));
        Ok(DomainKey {
            account,
            version,
            wrap: wrap.map_err(|_| RootError::Crypto("a domain key is unusable"))?,
            digest_key: SecretBytes::copy_from(digest),
        })
    }

    fn check(&self, place: &Place<'_>) -> Result<(), RootError> {
        if place.account == self.account { Ok(()) } else { Err(RootError::ForeignPlace) }
    }
}
