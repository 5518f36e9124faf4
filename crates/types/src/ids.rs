//! Identifiers, parsed once at the edge.

use std::{fmt, sync::Arc};

/// Id of a CMK: 16 bytes, written as a UUID (`8-4-4-4-12` hexadecimal digits, lower case).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// From the 16 bytes that a ciphertext header or a row carries.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        KeyId(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Parses the 36-character text; upper-case digits are accepted, braces and missing hyphens not.
    pub fn parse(text: &str) -> Option<Self> {
        let t = text.as_bytes();
        if t.len() != 36 {
            return None;
        }
        let mut out = [0u8; 16];
        let mut digits = 0usize;
        for (i, &c) in t.iter().enumerate() {
            if matches!(i, 8 | 13 | 18 | 23) {
                if c != b'-' {
                    return None;
                }
                continue;
            }
            let v = (c as char).to_digit(16)? as u8;
            out[digits / 2] = out[digits / 2] << 4 | v;
            digits += 1;
        }
        Some(KeyId(out))
    }

    /// Writes the 36 ASCII characters.
    pub fn write_text(&self, out: &mut [u8; 36]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut at = 0;
        for (i, b) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                out[at] = b'-';
                at += 1;
            }
            out[at] = HEX[(b >> 4) as usize];
            out[at + 1] = HEX[(b & 15) as usize];
            at += 2;
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buf = [0u8; 36];
        self.write_text(&mut buf);
        f.write_str(std::str::from_utf8(&buf).unwrap_or_default())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut buf = [0u8; 36];
        self.write_text(&mut buf);
        s.serialize_str(std::str::from_utf8(&buf).unwrap_or_default())
    }
}

/// Id of a hosted data key, written as that of a CMK. A type of its own, so that neither is looked for in the
/// other's place; the policy and the audit log name both alike, by what is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct DataKeyId(pub KeyId);

impl fmt::Display for DataKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number_id!(
    /// A main account, named by its OwnerUin. The boundary between tenants.
    AccountId
);
number_id!(
    /// A principal: the main account itself (then equal to the OwnerUin), a sub-user or a role.
    Uin
);
number_id!(
    /// The second number of a main account.
    AppId
);
number_id!(
    /// A policy: a preset or one of an account.
    PolicyId
);
number_id!(
    /// A group of users.
    GroupId
);
number_id!(
    /// A role. A session of it acts under this number as its Uin.
    RoleId
);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Name of a region such as `ap-guangzhou`: 1 to 32 of `a-z0-9-`.
    Region
);
text_id!(
    /// Alias of a CMK or name of a data key: 1 to 60 of `A-Za-z0-9_-`, the first a letter or digit.
    Alias
);
text_id!(
    /// Public half of an access key (`AKID…`): 1 to 128 of `A-Za-z0-9_-`.
    SecretId
);

fn within(text: &str, max: usize, ok: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(ok)
}

impl Region {
    /// Checks the form; whether the region is served is the configuration's matter.
    pub fn parse(text: &str) -> Option<Self> {
        within(text, 32, |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-')).then(|| Region(text.into()))
    }
}

impl Alias {
    /// Checks the form, not the reserved prefix: product keys have it rightly.
    pub fn parse(text: &str) -> Option<Self> {
        let ok = within(text, 60, |c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        ok.then(|| Alias(text.into()))
    }

    /// True for the prefix kept for keys of cloud products (`kms-`, in any case of letters).
    pub fn is_reserved(&self) -> bool {
        self.0.len() >= 4 && self.0.as_bytes()[..4].eq_ignore_ascii_case(b"kms-")
    }
}

impl std::borrow::Borrow<str> for SecretId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl SecretId {
    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        within(text, 128, |c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-')).then(|| SecretId(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_round_trip_and_refuse_other_forms() {
        let text = "f73b7a61-8ff9-11f0-9c5b-525400b3a4a6";
        let id = KeyId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(KeyId::parse(&text.to_uppercase()), Some(id));
        for bad in [
            "",
            "f73b7a61",
            "f73b7a618ff911f09c5b525400b3a4a6",
            "f73b7a61-8ff9-11f0-9c5b-525400b3a4ag",
            "f73b7a61-8ff9-11f0-9c5b+525400b3a4a6",
            "é73b7a61-8ff9-11f0-9c5b-525400b3a4a",
        ] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn aliases_follow_the_published_rule() {
        for good in ["a", "0", "my_key-1", &"x".repeat(60)] {
            assert!(Alias::parse(good).is_some(), "{good}");
        }
        for bad in ["", "_a", "-a", "a b", "a.b", "键", &"x".repeat(61)] {
            assert!(Alias::parse(bad).is_none(), "{bad}");
        }
        assert!(Alias::parse("KMS-x").unwrap().is_reserved());
        assert!(!Alias::parse("kms").unwrap().is_reserved());
    }
}
