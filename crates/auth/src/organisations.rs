//! Organisations: which accounts may act for which.
//!
//! The configuration says it and nothing else does. A [`Member`] is the proof that an authenticated caller is an
//! administrator of an account; only [`Organisations::admit`] makes one.

use crate::caller::Caller;
use hashbrown::{HashMap, HashSet};
use jadeseal_types::{AccountId, limits};
use std::fmt;

/// One organisation, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// What the operator calls it.
    pub name: String,
    /// Accounts that may act for the members: the main account of the organisation and its delegated administrators.
    pub admins: Vec<AccountId>,
    /// Accounts that they act for.
    pub members: Vec<AccountId>,
}

/// What is wrong with configured organisations, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misconfigured(String);

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misconfigured {}

/// The checked organisations. Accounts need not exist yet.
#[derive(Clone, Debug, Default)]
pub struct Organisations {
    /// Members of each organisation, in the order of the configuration.
    members: Vec<Vec<AccountId>>,
    /// The organisation that an account administers.
    of_admin: HashMap<AccountId, usize>,
    /// The organisation that an account is a member of.
    of_member: HashMap<AccountId, usize>,
}

/// An account that an authenticated caller may act for: a member of the organisation that he administers, or his own.
/// Only [`Organisations::admit`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    account: AccountId,
}

impl Member {
    /// The account.
    pub fn account(&self) -> AccountId {
        self.account
    }
}

impl Organisations {
    /// Checks: names are there once each, no list is empty, names an account twice or more than 1,000 members, and no
    /// account belongs to two organisations. An administrator may be a member of his own: the others then act for him too.
    pub fn new(list: Vec<Organisation>) -> Result<Self, Misconfigured> {
        let mut all = Organisations::default();
        let mut names = HashSet::new();
        for Organisation { name, admins, members } in list {
            let wrong = |what: &str| Err(Misconfigured(format!("organisation {name:?}: {what}")));
            if name.is_empty() || !names.insert(name.clone()) {
                return wrong("needs a name of its own");
            }
            if admins.is_empty() || members.is_empty() {
                return wrong("admins and members must not be empty");
            }
            if admins.len() > limits::MAX_MEMBERS || members.len() > limits::MAX_MEMBERS {
                return wrong("at most 1000 admins and 1000 members");
            }
            let here = all.members.len();
            for account in &admins {
                if all.of_admin.insert(*account, here).is_some() {
                    return wrong(&format!("account {account} is an admin twice"));
                }
            }
            for account in &members {
                if all.of_member.insert(*account, here).is_some() {
                    return wrong(&format!("account {account} is a member twice"));
                }
            }
            for account in admins.iter().chain(&members) {
                let elsewhere = |of: &HashMap<AccountId, usize>| of.get(account).is_some_and(|there| *there != here);
                if elsewhere(&all.of_admin) || elsewhere(&all.of_member) {
                    return wrong(&format!("account {account} belongs to another organisation"));
                }
            }
            all.members.push(members);
        }
        Ok(all)
    }

    /// The organisation that a caller administers. A cloud product acts for the account that let it, and for no other.
    fn administered(&self, caller: &Caller) -> Option<&usize> {
        self.of_admin.get(&caller.account()).filter(|_| caller.product().is_none())
    }

    /// Whether a caller may act for an account: his own or a member, if his account is an administrator's.
    pub fn admit(&self, caller: &Caller, account: AccountId) -> Option<Member> {
        let here = self.administered(caller)?;
        let is_member = self.of_member.get(&account) == Some(here);
        (is_member || account == caller.account()).then_some(Member { account })
    }

    /// The accounts that the caller's account administers, its own only if it is a member; none if it is no
    /// administrator's.
    pub fn members_of(&self, caller: &Caller) -> &[AccountId] {
        self.administered(caller).and_then(|here| self.members.get(*here)).map_or(&[], Vec::as_slice)
    }

    /// As [`Organisations::members_of`], of an account: which policies of it can be about.
    pub fn members_of_account(&self, account: AccountId) -> &[AccountId] {
        self.of_admin.get(&account).and_then(|here| self.members.get(*here)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organisation(name: &str, admins: &[u64], members: &[u64]) -> Organisation {
        let accounts = |list: &[u64]| list.iter().map(|n| AccountId(*n)).collect();
        Organisation { name: name.into(), admins: accounts(admins), members: accounts(members) }
    }

    fn caller(account: u64) -> Caller {
        crate::caller::tests::root(account)
    }

    #[test]
    fn only_administrators_are_admitted_and_only_to_their_own_members() {
        let all = Organisations::new(vec![organisation("a", &[1, 2], &[2, 3, 4]), organisation("b", &[11], &[12])]);
        let all = all.unwrap();
        let admitted = |by: u64| {
            let to = |n: &u64| all.admit(&caller(by), AccountId(*n)).map(|m| m.account().0) == Some(*n);
            [1, 2, 3, 4, 11, 12, 99].into_iter().filter(to).collect::<Vec<u64>>()
        };
        assert_eq!(admitted(1), [1, 2, 3, 4]);
        assert_eq!(admitted(2), [2, 3, 4], "a delegated administrator does not act for the main account");
        assert_eq!(admitted(11), [11, 12]);
        for nobody in [3, 4, 12, 99] {
            assert!(admitted(nobody).is_empty(), "{nobody}");
            assert!(all.members_of(&caller(nobody)).is_empty());
        }
        assert_eq!(all.members_of(&caller(2)).len(), 3);
        assert!(Organisations::default().admit(&caller(1), AccountId(1)).is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let many: Vec<u64> = (10..1010).collect();
        let too_many: Vec<u64> = (10..1011).collect();
        assert!(Organisations::new(vec![organisation("a", &[1], &many)]).is_ok());
        for (list, words) in [
            (vec![organisation("", &[1], &[2])], "name"),
            (vec![organisation("a", &[1], &[2]), organisation("a", &[3], &[4])], "name"),
            (vec![organisation("a", &[], &[2])], "empty"),
            (vec![organisation("a", &[1], &[])], "empty"),
            (vec![organisation("a", &[1], &too_many)], "1000"),
            (vec![organisation("a", &[1], &[2, 2])], "account 2 is a member twice"),
            (vec![organisation("a", &[1, 1], &[2])], "account 1 is an admin twice"),
            (vec![organisation("a", &[1], &[2]), organisation("b", &[3], &[2])], "account 2 is a member twice"),
            (vec![organisation("a", &[1], &[2]), organisation("b", &[1], &[3])], "account 1 is an admin twice"),
            (vec![organisation("a", &[1], &[2]), organisation("b", &[2], &[3])], "another organisation"),
            (vec![organisation("a", &[1], &[2]), organisation("b", &[3], &[1])], "another organisation"),
        ] {
            let error = Organisations::new(list).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
