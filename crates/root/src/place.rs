//! Where a wrapped secret belongs.

use jadeseal_types::AccountId;

/// What a wrapped secret is. The numbers are part of the format and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// The root key in a slot.
    RootKey = 1,
    /// An account's domain key.
    DomainKey = 2,
    /// Key material of one version of a CMK.
    CmkMaterial = 3,
    /// The SecretKey of an access key.
    AccessKey = 4,
    /// The private key of an import token.
    ImportKey = 5,
    /// A hosted data key.
    DataKey = 6,
    /// A key pair made ahead of time, which belongs to no account yet.
    PooledKey = 7,
    /// What a session token says.
    SessionToken = 8,
    /// The key that signs checkpoints of the audit log.
    AuditKey = 9,
}

/// The place of one secret. Every field is authenticated with the wrapped bytes, so the secret
/// opens only where it was put: not in another tenant's row, not as another version, not for
/// another usage.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What it is.
    pub purpose: Purpose,
    /// The account it belongs to.
    pub account: AccountId,
    /// Region of the key; empty when it has none.
    pub region: &'a str,
    /// Id of the key: 16 bytes of a CMK, text of an access key.
    pub key_id: &'a [u8],
    /// Version of the key.
    pub version: u32,
    /// Code of the key's usage; 0 when it has none.
    pub usage: u8,
    /// Code of the key's suite or algorithm; 0 when it has none.
    pub suite: u8,
}

impl Place<'_> {
    /// The associated data: a format number, the fixed-size fields, then each variable field behind
    /// its length (32 bits, big-endian). Injective: two places never give the same bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.region.len() + self.key_id.len());
        out.extend_from_slice(&[1, self.purpose as u8]);
        out.extend_from_slice(&self.account.0.to_be_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&[self.usage, self.suite]);
        for part in [self.region.as_bytes(), self.key_id] {
            // Lengths over 32 bits cannot be: both come from parsed identifiers.
            out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_this() {
        let place = Place {
            purpose: Purpose::CmkMaterial,
            account: AccountId(0x0102),
            region: "ap",
            key_id: b"key",
            version: 7,
            usage: 8,
            suite: 9,
        };
        let wanted = [
            &[1, 3][..],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 7],
            &[8, 9],
            &[0, 0, 0, 2],
            b"ap",
            &[0, 0, 0, 3],
            b"key",
        ]
        .concat();
        assert_eq!(place.encode(), wanted);
        let shifted = Place { region: "apk", key_id: b"ey", ..place };
        assert_ne!(shifted.encode(), place.encode());
    }
}
