//! Which actions can ever be asked about which resources: no policy is accepted of which a part never matches.

use super::{
    ActionId, Checks, Invalid,
    actions::{Bits, numbered},
    glob::Glob,
    invalid::{echo, refuse},
    resources::{Account, KEY_PREFIX, Pattern, Service, Six},
    variables,
};
use jadeseal_types::{AccountId, ErrorCode};
use std::sync::Arc;

/// A kind of resource that actions are authorised on.
struct Kind {
    prefix: &'static str,
    /// True for what only the own account has, see [`OWN`].
    own: bool,
    service: Service,
    /// What its last segments look like.
    shape: Glob,
    /// The actions.
    actions: Bits,
}

/// How identities begin, and how they begin besides when they are the caller's own: himself, his groups, his policies and
/// the role of his session.
const OWN: [(&str, &str); 4] =
    [("uin/", "own/uin/"), ("groupid/", "own/groupid/"), ("policyid/", "own/policyid/"), ("role/", "own/role/")];

/// What is reachable for the policies of an account.
pub(super) struct Reach<'a> {
    checks: &'a Checks<'a>,
    /// In order; one list for all resources that let them in.
    members: Arc<[AccountId]>,
    kinds: Vec<Kind>,
    assume_role: Option<ActionId>,
}

impl<'a> Reach<'a> {
    /// Of a vocabulary.
    pub fn new(checks: &'a Checks<'a>) -> Self {
        let mut kinds: Vec<Kind> = Vec::new();
        for (id, action) in numbered(checks.vocabulary).filter(|_| checks.strict) {
            for &prefix in action.resources {
                let at = kinds.iter().position(|kind| kind.prefix == prefix).unwrap_or_else(|| {
                    kinds.push(Kind::new(prefix));
                    kinds.len() - 1
                });
                kinds[at].actions.insert(id);
            }
        }
        for (prefix, own) in OWN {
            if let Some(kind) = kinds.iter().find(|kind| kind.prefix == prefix) {
                kinds.push(Kind { own: true, actions: kind.actions, ..Kind::new(own) });
            }
        }
        let mut members = checks.members.to_vec();
        members.sort_unstable();
        Reach { checks, members: members.into(), kinds, assume_role: checks.vocabulary.find("sts", "AssumeRole") }
    }

    /// The accounts that the own one administers, in order.
    pub fn members(&self) -> Arc<[AccountId]> {
        Arc::clone(&self.members)
    }

    /// True for an account that is neither the own one nor a member. A sub-user's number and an AppId are no accounts.
    pub fn is_foreign(&self, account: &Account) -> bool {
        match account {
            Account::Own | Account::Reachable(_) | Account::Variable(variables::Variable::OwnerUin) => false,
            Account::Number(n) => *n != self.checks.account && self.members.binary_search(n).is_err(),
            Account::Variable(_) => true,
        }
    }

    /// True when the account can be the own one.
    fn is_own(&self, account: &Account) -> bool {
        match account {
            Account::Own | Account::Reachable(_) | Account::Variable(variables::Variable::OwnerUin) => true,
            Account::Number(n) => *n == self.checks.account,
            Account::Variable(_) => false,
        }
    }

    /// True when a resource of a foreign account makes sense: its roles can be taken.
    pub fn lets_foreign(&self, six: &Six, actions: &Bits) -> bool {
        let takes = self.assume_role.is_some_and(|id| actions.has(id));
        takes && six.service.admits(Service::Cam) && matches!(six.account, Account::Number(_))
    }

    /// The actions that can be asked about something that the pattern matches.
    pub fn usable(&self, pattern: &Pattern) -> Bits {
        // Whatever is authorised on single resources is also asked about none, when a request names none.
        let Pattern::Six(six) = pattern else { return Bits::ALL };
        let rest = Glob::new(&variables::widen(&six.rest));
        let mut usable = Bits::default();
        for kind in &self.kinds {
            // Only keys lie in regions.
            let here = six.service.admits(kind.service) && (kind.service == Service::Kms || six.region.is_none());
            if here && (!kind.own || self.is_own(&six.account)) && kind.shape.intersects(&rest) {
                if !self.is_foreign(&six.account) {
                    usable.extend(&kind.actions);
                } else if let Some(id) = self.assume_role.filter(|id| kind.actions.has(*id)) {
                    usable.insert(id);
                }
            }
        }
        usable
    }

    /// The refusal of a resource that no action of its statement is ever asked about.
    pub fn refuse_resource(&self, pattern: &Pattern, place: &str) -> Invalid {
        let usable = self.usable(pattern);
        let (en, zh) = match numbered(self.checks.vocabulary).find(|(id, _)| usable.has(*id)) {
            None if is_key_without_creator(pattern) => (
                format!("a key is written {KEY_PREFIX}<uin>/<id>, by who made it; with * for anybody"),
                format!("密钥须写作 {KEY_PREFIX}<uin>/<id>，其中 <uin> 为创建者，* 表示任意创建者"),
            ),
            Some((_, action)) => (
                format!(
                    "no action of the statement is authorised on such a resource; {}:{} would be",
                    action.service, action.name
                ),
                format!("语句中的接口均不支持对该资源授权；例如 {}:{} 支持", action.service, action.name),
            ),
            None => {
                let kinds = self.spelled(|_| true);
                (
                    format!(
                        "nothing has such a name; the last segment must begin with one of {kinds}, and only keys have a region"
                    ),
                    format!("没有此类资源；末段须以 {kinds} 之一开头，且仅密钥有地域"),
                )
            }
        };
        refuse(ErrorCode::ResourceContentError, place, en, zh)
    }

    /// The refusal of an element of `action` none of whose actions is ever asked about a resource of its statement.
    pub fn refuse_action(&self, text: &str, bits: &Bits, place: &str) -> Invalid {
        let kinds = self.spelled(|kind| kind.actions.meets(bits));
        let text = echo(text.strip_prefix("name/").unwrap_or(text));
        let (en, zh) = if kinds.is_empty() {
            (
                format!("{text} is authorised on \"*\" only, which the statement does not name"),
                format!("{text} 仅支持对 \"*\" 授权，而语句中没有"),
            )
        } else {
            (
                format!("{text} is authorised on \"*\" and on {kinds}, of which the statement names none"),
                format!("{text} 支持对 \"*\" 和 {kinds} 授权，而语句中没有"),
            )
        };
        refuse(ErrorCode::ResourceContentError, place, en, zh)
    }

    /// How resources of some kinds begin.
    fn spelled(&self, of: impl Fn(&Kind) -> bool) -> String {
        let (own, kinds): (Vec<_>, Vec<_>) = self.kinds.iter().filter(|k| of(k)).partition(|k| k.own);
        let kinds = kinds.iter().map(|k| format!("{}*", k.prefix));
        kinds.chain((!own.is_empty()).then(|| "own/*".to_owned())).collect::<Vec<_>>().join(", ")
    }
}

impl Kind {
    fn new(prefix: &'static str) -> Self {
        let key = KEY_PREFIX.starts_with(prefix);
        Kind {
            prefix,
            own: false,
            service: if key { Service::Kms } else { Service::Cam },
            shape: Glob::new(&if key { format!("{KEY_PREFIX}*/*") } else { format!("{prefix}*") }),
            actions: Bits::default(),
        }
    }
}

/// True for `key/<id>` and the like.
fn is_key_without_creator(pattern: &Pattern) -> bool {
    matches!(pattern, Pattern::Six(six) if six.service.admits(Service::Kms) && six.rest.starts_with("key/"))
}
