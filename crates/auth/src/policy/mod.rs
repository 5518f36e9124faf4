//! The policy language of CAM, version 2.0: parsed once, compiled for a principal, evaluated in memory.
//!
//! Denied by default; a statement that denies goes before every statement that allows; the main account needs no policy.

mod actions;
#[cfg(test)]
mod condition_tests;
mod conditions;
#[cfg(test)]
mod elsewhere_tests;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod glob;
mod invalid;
mod operators;
mod parse;
mod products;
#[cfg(test)]
mod properties;
mod reach;
#[cfg(test)]
mod reference;
mod resources;
mod set;
#[cfg(test)]
mod tests;
mod trust;
mod variables;

use jadeseal_types::{AccountId, AppId, ErrorCode, KeyId, Region, Uin};
use std::{net::IpAddr, sync::Arc};

/// An action that policies can name.
#[derive(Clone, Copy, Debug)]
pub struct ActionInfo {
    /// The service, such as `kms`.
    pub service: &'static str,
    /// The action, such as `Encrypt`.
    pub name: &'static str,
    /// What the last segment of the resources begins with that it is authorised on, such as `key/`; none when it is
    /// authorised on `*` alone.
    pub resources: &'static [&'static str],
}

/// The number of an action in a [`Vocabulary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId(pub(crate) u16);

/// All actions that policies can name.
#[derive(Debug)]
pub struct Vocabulary {
    actions: Vec<ActionInfo>,
}

impl Vocabulary {
    /// Of these actions, at most 512; the number of each is its place in the list.
    ///
    /// # Panics
    ///
    /// On more than 512 actions: the list is part of the program.
    pub fn new(actions: Vec<ActionInfo>) -> Self {
        assert!(actions.len() <= actions::MAX_ACTIONS, "a vocabulary has at most {} actions", actions::MAX_ACTIONS);
        Vocabulary { actions }
    }

    /// The number of an action.
    pub fn find(&self, service: &str, name: &str) -> Option<ActionId> {
        let at = self.actions.iter().position(|a| a.service == service && a.name == name)?;
        u16::try_from(at).ok().map(ActionId)
    }

    /// The actions in the order of their numbers.
    pub fn actions(&self) -> &[ActionInfo] {
        &self.actions
    }
}

/// What a policy is checked against when it is written.
pub struct Checks<'a> {
    /// The actions that there are.
    pub vocabulary: &'a Vocabulary,
    /// The account that the policy belongs to.
    pub account: AccountId,
    /// Accounts whose keys its principals can reach besides: members of an organisation that the account administers.
    pub members: &'a [AccountId],
    /// The regions that are served.
    pub regions: &'a [Region],
    /// False for what has been stored: what can match nothing (any more) is then no error, only what cannot be read is.
    pub strict: bool,
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The code of the answer.
    pub code: ErrorCode,
    /// Where in the document, such as `statement[0].action[2]`; empty for the whole of it.
    pub place: String,
    /// What is wrong, for `<place>: <en>.`
    pub en: String,
    /// The same in Chinese.
    pub zh: String,
}

/// A policy that says what its principals may do.
#[derive(Debug)]
pub struct Policy {
    statements: Vec<parse::Statement>,
}

/// A policy that says who may take a role.
#[derive(Debug)]
pub struct TrustPolicy {
    statements: Vec<trust::Statement>,
}

/// Who would take a role.
#[derive(Clone, Copy, Debug)]
pub struct Taker<'a> {
    /// His account.
    pub account: AccountId,
    /// Himself: for the main account its own number, for a session of a role the number of the role.
    pub uin: Uin,
    /// Name of the role, for a session of a role.
    pub role_name: Option<&'a str>,
}

/// Whom a trust policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// Every principal of an account: `qcs::cam::uin/<account>:root`.
    Account(AccountId),
    /// One user, or the main account itself: `qcs::cam::uin/<account>:uin/<uin>`.
    User(AccountId, Uin),
    /// Sessions of a role: `qcs::cam::uin/<account>:role/<id>`.
    Role(AccountId, u64),
    /// Sessions of a role: `qcs::cam::uin/<account>:roleName/<name>`.
    RoleName(AccountId, String),
}

/// The principal that policies are compiled for: what variables stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `${uin}`, `qcs:uin`.
    pub uin: Uin,
    /// `${owner_uin}`, `qcs:owner_uin`.
    pub account: AccountId,
    /// `${app_id}`.
    pub app_id: AppId,
}

/// What conditions are asked about, besides the principal and the resource.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// `qcs:ip`; none for what came over no network.
    pub source: Option<IpAddr>,
    /// `qcs:current_time`, Unix seconds.
    pub now: u64,
    /// `kms:secure-transport`.
    pub secure: bool,
    /// `qcs:request_tag`, as `key&value`.
    pub request_tags: &'a [String],
    /// `sts:external_id`.
    pub external_id: Option<&'a str>,
}

/// What is known of a key when it has been looked at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who made it.
    pub creator: Uin,
    /// Its tags, as `key&value`.
    pub tags: &'a [String],
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// Nothing in particular: `*`.
    Everything,
    /// A CMK or a data key.
    Key {
        /// Where it lives.
        region: &'a Region,
        /// The account it belongs to.
        account: AccountId,
        /// Its id.
        id: KeyId,
        /// None while nobody has looked: it may not even exist.
        facts: Option<Facts<'a>>,
    },
    /// A principal or policy of an account.
    Identity {
        /// The account it belongs to.
        account: AccountId,
        /// Every spelling of the last segment, such as `role/4611686018427387905` and `roleName/ci`.
        spellings: &'a [String],
    },
}

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Name of the policy.
    pub policy: Arc<str>,
    /// Which of its statements, from 0.
    pub statement: usize,
}

/// The outcome of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it, and none denies it.
    Allowed(By),
    /// None allows it.
    NotAllowed,
    /// A statement denies it.
    Denied(By),
    /// It depends on what the key is ([`Resource::Key`] without facts): look at it and ask again; where there is none, the
    /// answer is no.
    Depends,
}

/// Policies compiled for a principal.
#[derive(Debug)]
pub struct PolicySet {
    binding: Binding,
    denying: Vec<set::Statement>,
    allowing: Vec<set::Statement>,
}
