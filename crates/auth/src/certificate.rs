//! Client certificates as a second factor: which principals and access keys need one, and what the certificate of a
//! connection is good for. Signatures stay what tells who calls (ADR 0021).

use crate::caller::Caller;
use jadeseal_types::{SecretId, Uin};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whom a client certificate is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// The main account, a user or a role, by its number: all of its access keys and sessions. Not a cloud product that
    /// acts for the account, which has the account's number, too.
    Principal(Uin),
    /// One permanent access key, whoever's it is.
    AccessKey(SecretId),
}

/// Who may not be served without a client certificate.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    principals: HashSet<Uin>,
    access_keys: HashSet<SecretId>,
}

impl Bindings {
    /// Those of a configuration.
    pub fn new(bound: impl IntoIterator<Item = Bound>) -> Self {
        let mut bindings = Bindings::default();
        for bound in bound {
            match bound {
                Bound::Principal(uin) => drop(bindings.principals.insert(uin)),
                Bound::AccessKey(id) => drop(bindings.access_keys.insert(id)),
            }
        }
        bindings
    }

    /// The principals that need a certificate.
    pub fn principals(&self) -> impl Iterator<Item = Uin> + '_ {
        self.principals.iter().copied()
    }

    /// Whether a caller may be served at a time (Unix seconds) over a connection with this certificate. A caller who is
    /// bound twice, by his number and by his access key, needs a certificate that is good for both.
    pub fn allow(&self, caller: &Caller, certificate: Option<&ClientCertificate>, now: u64) -> bool {
        if self.principals.is_empty() && self.access_keys.is_empty() {
            return true;
        }
        let principal = caller.product().is_none() && self.principals.contains(&caller.uin());
        let access_key = self.access_keys.contains(caller.secret_id());
        if !principal && !access_key {
            return true;
        }
        certificate.is_some_and(|certificate| {
            certificate.counts(now)
                && (!principal || certificate.is_for(|b| matches!(b, Bound::Principal(uin) if *uin == caller.uin())))
                && (!access_key
                    || certificate.is_for(|b| matches!(b, Bound::AccessKey(id) if id == caller.secret_id())))
        })
    }
}

/// The client certificate of one connection, verified at its handshake.
#[derive(Debug)]
pub struct ClientCertificate {
    bound: Vec<Bound>,
    not_after: u64,
    withdrawn: Arc<AtomicBool>,
}

impl ClientCertificate {
    /// A certificate that is bound to these, until its end (Unix seconds) or until `withdrawn` turns true, because
    /// those who vouched for it have changed.
    pub fn new(bound: Vec<Bound>, not_after: u64, withdrawn: Arc<AtomicBool>) -> Self {
        ClientCertificate { bound, not_after, withdrawn }
    }

    fn counts(&self, now: u64) -> bool {
        now <= self.not_after && !self.withdrawn.load(Ordering::Acquire)
    }

    fn is_for(&self, who: impl Fn(&Bound) -> bool) -> bool {
        self.bound.iter().any(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::tests::{product, root};

    fn certificate(bound: &[Bound], not_after: u64) -> (ClientCertificate, Arc<AtomicBool>) {
        let withdrawn = Arc::new(AtomicBool::new(false));
        (ClientCertificate::new(bound.to_vec(), not_after, withdrawn.clone()), withdrawn)
    }

    fn uin(n: u64) -> Bound {
        Bound::Principal(Uin(n))
    }

    /// The access key of `root` and `product`.
    fn key() -> Bound {
        Bound::AccessKey(SecretId::parse("AKIDx").unwrap())
    }

    #[test]
    fn nobody_is_bound_by_default() {
        assert!(Bindings::default().allow(&root(100), None, 5));
        let others = Bindings::new([uin(101), Bound::AccessKey(SecretId::parse("AKIDy").unwrap())]);
        assert!(others.allow(&root(100), None, 5));
        assert!(others.allow(&root(100), Some(&certificate(&[], 9).0), 5));
    }

    #[test]
    fn a_bound_principal_needs_one_of_its_certificates() {
        let bindings = Bindings::new([uin(100), uin(101)]);
        let allows = |bound: &[Bound], now| bindings.allow(&root(100), Some(&certificate(bound, 9).0), now);
        assert!(!bindings.allow(&root(100), None, 5));
        assert!(allows(&[uin(101), uin(100)], 5));
        assert!(allows(&[uin(100)], 9));
        assert!(!allows(&[uin(100)], 10), "it has ended since the handshake");
        assert!(!allows(&[uin(101)], 5), "somebody else's");
        assert!(!allows(&[], 5), "nobody's");
        assert!(!allows(&[key()], 5), "another kind of binding");
    }

    #[test]
    fn a_withdrawn_certificate_is_none() {
        let (certificate, withdrawn) = certificate(&[uin(100)], 9);
        let bindings = Bindings::new([uin(100)]);
        assert!(bindings.allow(&root(100), Some(&certificate), 5));
        withdrawn.store(true, Ordering::Release);
        assert!(!bindings.allow(&root(100), Some(&certificate), 5));
    }

    #[test]
    fn a_product_is_bound_by_its_access_key_alone() {
        assert!(Bindings::new([uin(100)]).allow(&product(100), None, 5));
        let bindings = Bindings::new([key()]);
        assert!(!bindings.allow(&product(100), None, 5));
        assert!(bindings.allow(&product(100), Some(&certificate(&[key()], 9).0), 5));
    }

    #[test]
    fn who_is_bound_twice_needs_both() {
        let bindings = Bindings::new([uin(100), key()]);
        let allows = |bound: &[Bound]| bindings.allow(&root(100), Some(&certificate(bound, 9).0), 5);
        assert!(!allows(&[uin(100)]));
        assert!(!allows(&[key()]));
        assert!(allows(&[uin(100), key()]));
    }
}
