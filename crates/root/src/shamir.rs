//! A seal key in shares: any m of n open it, m - 1 tell nothing about it (A. Shamir, "How to share a secret", 1979).
//!
//! The arithmetic is that of `vsss-rs`: GF(2^8) with the polynomial of AES, byte by byte, no tables, constant time. Ours is
//! the text of a share.

use crate::{
    error::RootError,
    private,
    seal::{SEAL_KEY_BYTES, SoftSeal, soft_seal},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jadeseal_types::SecretBytes;
use rand_core::{TryCryptoRng, TryRng, UnwrapErr};
use std::{collections::BTreeSet, fmt, io::ErrorKind, path::PathBuf};
use vsss_rs::Gf256;

/// Seal with a key that was handed out in shares.
pub struct ShamirSeal(SoftSeal);

soft_seal!(ShamirSeal);

pub(crate) const KIND: &str = "shamir";
const TAG: &str = "jadeseal-root-share-v1";
/// Most shares of one key.
pub const MAX_SHARES: usize = 16;
/// Bytes of the random name of a set of shares.
const SET_BYTES: usize = 8;
/// Format, set, threshold, number of shares.
const PARAMS_BYTES: usize = 1 + SET_BYTES + 2;
/// 32 bytes in base64 with padding.
const SHARE_CHARS: usize = 44;

/// Where a share is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareFrom {
    /// A file that only the effective user can read.
    File(PathBuf),
    /// A file descriptor that the parent process opened, read to its end.
    Fd(u32),
}

impl ShareFrom {
    /// `fd:NUMBER`, or the path of a file.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("fd:").and_then(|n| n.parse().ok()) {
            Some(number) => ShareFrom::Fd(number),
            None => ShareFrom::File(text.into()),
        }
    }

    /// The share, none where a file does not exist: its holder is not at hand.
    fn read(&self) -> Result<Option<SecretBytes>, RootError> {
        match self {
            ShareFrom::Fd(number) => private::read_descriptor(*number).map(Some),
            ShareFrom::File(path) => match private::read_owned(path) {
                Ok(text) => Ok(Some(text)),
                Err(RootError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
                Err(e) => Err(e),
            },
        }
    }
}

impl fmt::Display for ShareFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShareFrom::File(path) => path.display().fmt(f),
            ShareFrom::Fd(number) => write!(f, "fd:{number}"),
        }
    }
}

/// Which set of shares a share is of, and how many of them open the key. Public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Set {
    id: [u8; SET_BYTES],
    threshold: u8,
    shares: u8,
}

/// A share, read.
struct Share {
    set: Set,
    /// From 1.
    index: u8,
    value: SecretBytes,
}

impl ShamirSeal {
    /// A new random key, of which each file (mode 0600) gets one share: any `threshold` of them open it. At least 2, at
    /// most [`MAX_SHARES`] files; none may exist. The key itself is nowhere but in memory.
    pub fn create(threshold: u8, files: &[PathBuf]) -> Result<Self, RootError> {
        let count = files.len();
        if !(2..=MAX_SHARES).contains(&count) || !(2..=count).contains(&usize::from(threshold)) {
            return Err(RootError::malformed("shares", "must be 2 to 16 files, and the threshold 2 to their number"));
        }
        if files.iter().collect::<BTreeSet<_>>().len() != count {
            return Err(RootError::malformed("shares", "two of the files are the same"));
        }
        let failed = |_| RootError::Crypto("no random bytes for a shared key");
        let key = jadeseal_crypto::random::secret(SEAL_KEY_BYTES).map_err(failed)?;
        let mut id = [0; SET_BYTES];
        jadeseal_crypto::random::fill(&mut id).map_err(failed)?;
        let set = Set { id, threshold, shares: count as u8 };
        let shares = split(set, &key)?;
        for (made, (share, path)) in shares.iter().zip(files).enumerate() {
            private::create(path, &share.to_text()).inspect_err(|_| {
                // Shares of a set that is not whole are of no use, and in the way of the next attempt.
                files.iter().take(made).for_each(|path| std::fs::remove_file(path).unwrap_or_default());
            })?;
        }
        // What was written has to open what is sealed.
        let again = Self::open(&files.iter().cloned().map(ShareFrom::File).collect::<Vec<_>>())?;
        if !again.1.ct_eq(key.expose()) {
            return Err(RootError::Crypto("the shares do not give the key"));
        }
        Self::from_key(set, &key)
    }

    /// The seal of the shares that are at hand; files that do not exist are passed over. Shares of different sets, or
    /// fewer than the threshold, are an error.
    pub fn from_shares(from: &[ShareFrom]) -> Result<Self, RootError> {
        let (set, key) = Self::open(from)?;
        Self::from_key(set, &key)
    }

    fn open(from: &[ShareFrom]) -> Result<(Set, SecretBytes), RootError> {
        if from.len() > MAX_SHARES {
            return Err(RootError::malformed("shares", "there are more than 16"));
        }
        let mut shares: Vec<Share> = Vec::with_capacity(from.len());
        for source in from {
            let Some(text) = source.read()? else { continue };
            let share = Share::from_text(&text, &source.to_string())?;
            let refuse = |what| Err(RootError::malformed(source.to_string(), what));
            if shares.first().is_some_and(|first| first.set != share.set) {
                return refuse("is a share of another set than the first one");
            }
            if shares.iter().any(|other| other.index == share.index) {
                return refuse("is a share that was given already");
            }
            shares.push(share);
        }
        let set = shares.first().map(|share| share.set);
        let set = set.ok_or_else(|| RootError::malformed("shares", "none of the files exists"))?;
        if shares.len() < usize::from(set.threshold) {
            return Err(RootError::FewShares { there: shares.len(), threshold: set.threshold });
        }
        Ok((set, combine(&shares)?))
    }

    fn from_key(set: Set, key: &SecretBytes) -> Result<Self, RootError> {
        Ok(ShamirSeal(SoftSeal::new(KIND, set.params(), key)?))
    }
}

impl Set {
    fn params(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PARAMS_BYTES);
        out.push(1);
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&[self.threshold, self.shares]);
        out
    }

    fn name(self) -> String {
        self.id.iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// What a slot's parameters say of its shares, for people: `2 of 3, set 0011223344556677`.
pub fn describe_shares(params: &[u8]) -> Option<String> {
    let [1, id @ .., threshold, shares] = params else { return None };
    let set = Set { id: id.try_into().ok()?, threshold: *threshold, shares: *shares };
    Some(format!("{threshold} of {shares}, set {}", set.name()))
}

impl Share {
    /// One line: `jadeseal-root-share-v1`, the set, `index/threshold/shares`, the share in base64, and the CRC-32C of the
    /// words before it, which tells a mistyped copy.
    fn to_text(&self) -> SecretBytes {
        let Set { threshold, shares, .. } = self.set;
        let head = format!("{TAG} {} {}/{threshold}/{shares} ", self.set.name(), self.index);
        let mut text = SecretBytes::zeroed(head.len() + SHARE_CHARS + 10);
        let (start, rest) = text.expose_mut().split_at_mut(head.len());
        start.copy_from_slice(head.as_bytes());
        // Exactly what 32 bytes need; anything else leaves zeros, which from_text refuses.
        let (value, rest) = rest.split_at_mut(SHARE_CHARS);
        BASE64_STANDARD.encode_slice(self.value.expose(), value).unwrap_or_default();
        let crc = crc32c::crc32c_append(crc32c::crc32c(start), value);
        rest.copy_from_slice(format!(" {crc:08x}\n").as_bytes());
        text
    }

    /// Reads the text. `from` names the source in errors.
    fn from_text(text: &SecretBytes, from: &str) -> Result<Self, RootError> {
        let refuse = |what| RootError::malformed(from, what);
        let words: Vec<&[u8]> =
            text.expose().split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()).take(6).collect();
        let [tag, set, numbers, value, crc] = words.as_slice() else {
            return Err(refuse("must be one line of five words"));
        };
        if *tag != TAG.as_bytes() {
            return Err(refuse("is not a jadeseal-root-share-v1 line"));
        }
        let mut sum = 0;
        for part in [tag, b" ".as_slice(), set, b" ", numbers, b" ", value] {
            sum = crc32c::crc32c_append(sum, part);
        }
        if format!("{sum:08x}").as_bytes() != *crc {
            return Err(refuse("does not match its checksum: a damaged or mistyped copy"));
        }
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let numbers = text(numbers).map(|n| n.split('/').map(str::parse::<u8>).collect::<Vec<_>>());
        let Some([Ok(index), Ok(threshold), Ok(shares)]) = numbers.as_deref() else {
            return Err(refuse("its numbers must be INDEX/THRESHOLD/SHARES"));
        };
        let (index, threshold, shares) = (*index, *threshold, *shares);
        if !(2..=MAX_SHARES).contains(&usize::from(shares))
            || !(2..=shares).contains(&threshold)
            || !(1..=shares).contains(&index)
        {
            return Err(refuse("its numbers do not fit each other"));
        }
        let id = text(set).filter(|id| id.len() == 2 * SET_BYTES && id.bytes().all(|c| c.is_ascii_hexdigit()));
        let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).ok_or_else(|| refuse("its set is malformed"))?;
        let mut decoded = SecretBytes::zeroed(SEAL_KEY_BYTES + 1);
        let value = match BASE64_STANDARD.decode_slice(value, decoded.expose_mut()) {
            Ok(SEAL_KEY_BYTES) => SecretBytes::copy_from(decoded.expose().get(..SEAL_KEY_BYTES).unwrap_or_default()),
            _ => return Err(refuse("the share must be 32 bytes in base64")),
        };
        Ok(Share { set: Set { id: id.to_be_bytes(), threshold, shares }, index, value })
    }
}

fn split(set: Set, key: &SecretBytes) -> Result<Vec<Share>, RootError> {
    let (threshold, count) = (set.threshold.into(), set.shares.into());
    let made = Gf256::split_bytes(threshold, count, key.expose(), UnwrapErr(Random));
    let made = made.map_err(|_| RootError::Crypto("sharing a key failed"))?;
    let shares = made.into_iter().map(|bytes| {
        // The first byte is where the polynomial was evaluated.
        let bytes = SecretBytes::new(bytes);
        let (index, value) = bytes.expose().split_first().ok_or(RootError::Crypto("sharing a key failed"))?;
        Ok(Share { set, index: *index, value: SecretBytes::copy_from(value) })
    });
    shares.collect()
}

fn combine(shares: &[Share]) -> Result<SecretBytes, RootError> {
    let mut points: Vec<Vec<u8>> = Vec::with_capacity(shares.len());
    for share in shares {
        let mut point = Vec::with_capacity(1 + share.value.len());
        point.push(share.index);
        point.extend_from_slice(share.value.expose());
        points.push(point);
    }
    let key = Gf256::combine_bytes(&points).map(SecretBytes::new);
    points.iter_mut().for_each(zeroize::Zeroize::zeroize);
    key.map_err(|_| RootError::Crypto("putting shares together failed"))
}

/// The audited core's generator in the form that the library asks for.
struct Random;

/// The generator failed.
#[derive(Debug, thiserror::Error)]
#[error("no random bytes")]
struct NoRandom;

impl TryRng for Random {
    type Error = NoRandom;

    fn try_next_u32(&mut self) -> Result<u32, NoRandom> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, NoRandom> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), NoRandom> {
        jadeseal_crypto::random::fill(out).map_err(|_| NoRandom)
    }
}

impl TryCryptoRng for Random {}

/// For the fuzz target: reads any bytes as a share, and what is read is written as it was.
#[doc(hidden)]
pub fn fuzz_share(bytes: &[u8]) {
    if let Ok(share) = Share::from_text(&SecretBytes::copy_from(bytes), "input") {
        let text = share.to_text();
        let again = Share::from_text(&text, "again");
        assert!(again.is_ok_and(|again| again.set == share.set && again.value.ct_eq(share.value.expose())));
    }
}

#[cfg(test)]
#[path = "shamir_tests.rs"]
mod tests;
