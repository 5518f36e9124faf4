//! What a session token says. It is sealed, so whoever holds it can neither read nor change it; the server keeps nothing.

use crate::caller::{Origin, Session};
use jadeseal_types::{AccountId, SecretBytes, SecretId, Uin};

/// Format of the claims.
const FORMAT: u8 = 1;
/// Longest claims that are read, bytes: a policy with four bytes a character, and all else.
const MAX_BYTES: usize = 32 * 1024;
/// Roles that may lead to a session.
pub const MAX_CHAIN: usize = 5;

/// What a session token says.
pub struct Claims {
    /// The account that the session acts in.
    pub account: AccountId,
    /// The role or, for a federated session, the user.
    pub uin: Uin,
    /// What it is.
    pub session: Session,
    /// Narrows what the session may do: a document in the policy language.
    pub policy: Option<String>,
    /// The secret half of the temporary access key.
    pub secret_key: SecretBytes,
}

impl Claims {
    /// The bytes to seal.
    pub fn encode(&self) -> SecretBytes {
        let mut out = Writer::default();
        out.number(self.account.0);
        out.number(self.uin.0);
        out.number(u64::from(self.session.of_role));
        out.number(self.session.expires);
        out.text(self.session.name.as_bytes());
        out.text(self.session.role_name.as_bytes());
        out.number(self.session.origin.account.0);
        out.number(self.session.origin.uin.0);
        out.text(self.session.origin.secret_id.as_str().as_bytes());
        out.number(self.session.roles.len() as u64);
        for (account, role) in &self.session.roles {
            out.number(account.0);
            out.number(*role);
        }
        out.number(u64::from(self.policy.is_some()));
        out.text(self.policy.as_deref().unwrap_or_default().as_bytes());
        out.text(self.secret_key.expose());
        out.finish()
    }

    /// Reads bytes that [`Claims::encode`] made; none of other bytes.
    pub fn decode(bytes: &SecretBytes) -> Option<Self> {
        let [FORMAT, rest @ ..] = bytes.expose() else { return None };
        if rest.len() > MAX_BYTES {
            return None;
        }
        let mut from = Reader(rest);
        let (account, uin) = (AccountId(from.number()?), Uin(from.number()?));
        let (of_role, expires) = (from.flag()?, from.number()?);
        let (name, role_name) = (from.string()?, from.string()?);
        let (origin_account, origin_uin) = (AccountId(from.number()?), Uin(from.number()?));
        let secret_id = SecretId::parse(std::str::from_utf8(from.text()?).ok()?)?;
        let count = usize::try_from(from.number()?).ok().filter(|n| *n <= MAX_CHAIN)?;
        let mut roles = Vec::with_capacity(count);
        for _ in 0..count {
            roles.push((AccountId(from.number()?), from.number()?));
        }
        let (limited, policy) = (from.flag()?, from.string()?);
        let secret_key = SecretBytes::copy_from(from.text()?);
        let origin = Origin { account: origin_account, uin: origin_uin, secret_id };
        let session = Session { name, of_role, role_name, origin, roles, expires };
        from.0.is_empty().then(|| Claims { account, uin, session, policy: limited.then_some(policy), secret_key })
    }
}

/// Collects the parts first, so that the secret is written once, into bytes of the right length.
#[derive(Default)]
struct Writer<'a>(Vec<Part<'a>>);

enum Part<'a> {
    Number([u8; 8]),
    Text(&'a [u8]),
}

impl<'a> Writer<'a> {
    fn number(&mut self, n: u64) {
        self.0.push(Part::Number(n.to_be_bytes()));
    }

    fn text(&mut self, bytes: &'a [u8]) {
        self.number(bytes.len() as u64);
        self.0.push(Part::Text(bytes));
    }

    fn finish(self) -> SecretBytes {
        fn bytes<'p>(part: &'p Part<'_>) -> &'p [u8] {
            match part {
                Part::Number(bytes) => bytes,
                Part::Text(bytes) => bytes,
            }
        }
        let all = || std::iter::once(&FORMAT).chain(self.0.iter().flat_map(|part| bytes(part)));
        let mut out = SecretBytes::zeroed(all().count());
        out.expose_mut().iter_mut().zip(all()).for_each(|(to, from)| *to = *from);
        out
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*number))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.number()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(text)
    }

    fn string(&mut self) -> Option<String> {
        std::str::from_utf8(self.text()?).ok().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            account: AccountId(100),
            uin: Uin(4_611_686_018_427_387_905),
            session: Session {
                name: "ci".into(),
                of_role: true,
                role_name: "deploy".into(),
                origin: Origin { account: AccountId(7), uin: Uin(8), secret_id: SecretId::parse("AKIDx").unwrap() },
                roles: vec![(AccountId(100), 4_611_686_018_427_387_905)],
                expires: 1_795_500_000,
            },
            policy: Some("{}".into()),
            secret_key: SecretBytes::copy_from(b"secret"),
        }
    }

    #[test]
    fn what_was_said_is_read() {
        for policy in [None, Some(String::new()), Some("{\"版本\":1}".to_owned())] {
            let said = Claims { policy, ..claims() };
            let read = Claims::decode(&said.encode()).unwrap();
            assert_eq!((read.account, read.uin, &read.session), (said.account, said.uin, &said.session));
            assert_eq!((read.policy, read.secret_key.expose()), (said.policy, said.secret_key.expose()));
        }
    }

    #[test]
    fn other_bytes_are_nothing() {
        let good = claims().encode();
        for end in 0..good.len() {
            assert!(Claims::decode(&SecretBytes::copy_from(&good.expose()[..end])).is_none(), "{end}");
        }
        let longer = [good.expose(), b"x"].concat();
        assert!(Claims::decode(&SecretBytes::copy_from(&longer)).is_none());
        let mut newer = good.expose().to_vec();
        newer[0] = 2;
        assert!(Claims::decode(&SecretBytes::copy_from(&newer)).is_none());
        let endless = [&[FORMAT][..], &[0xff; 200]].concat();
        assert!(Claims::decode(&SecretBytes::copy_from(&endless)).is_none());
    }
}
