//! Actions of a statement, as a set of numbers of the vocabulary.

use super::{ActionId, ActionInfo, Checks, Invalid, Vocabulary, glob::Glob, invalid::refuse};
use jadeseal_types::ErrorCode;

/// Actions that a [`Vocabulary`] can hold.
pub(super) const MAX_ACTIONS: usize = 512;
const WORDS: usize = MAX_ACTIONS / 64;

/// A set of actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    /// Whatever there is.
    pub const ALL: Bits = Bits([u64::MAX; WORDS]);

    /// Puts an action in.
    pub fn insert(&mut self, id: ActionId) {
        if let Some(word) = self.0.get_mut(usize::from(id.0 / 64)) {
            *word |= 1 << (id.0 % 64);
        }
    }

    /// True when the action is in.
    pub fn has(&self, id: ActionId) -> bool {
        self.0.get(usize::from(id.0 / 64)).is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
    }

    /// Puts in what is in another.
    pub fn extend(&mut self, other: &Bits) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    /// True when an action is in both.
    pub fn meets(&self, other: &Bits) -> bool {
        self.0.iter().zip(other.0).any(|(word, more)| word & more != 0)
    }

    /// True when nothing is in.
    pub fn is_empty(&self) -> bool {
        *self == Bits::default()
    }
}

/// Names under which documents of before know actions of the service `kms`. They count where they are spelled out: a
/// wildcard looks at the names of today, so that `kms:Get*` does not come to mean `kms:DescribeKey`.
const FORMER: [(&str, &str); 3] =
    [("ListKey", "ListKeys"), ("GetKeyAttributes", "DescribeKey"), ("SetKeyAttributes", "UpdateKeyDescription")];

/// The numbers and the actions, in order.
pub(super) fn numbered(vocabulary: &Vocabulary) -> impl Iterator<Item = (ActionId, &ActionInfo)> {
    (0u16..).map(ActionId).zip(vocabulary.actions())
}

/// Reads one element of `action`: `kms:Encrypt`, `name/kms:Encrypt`, `kms:Describe*`, `*`.
pub(super) fn parse(text: &str, place: &str, checks: &Checks<'_>) -> Result<Bits, Invalid> {
    let plain = text.strip_prefix("name/").unwrap_or(text);
    let (service, name) = if plain == "*" { ("*", "*") } else { plain.split_once(':').unwrap_or_default() };
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'*'))
    };
    if !fits(service) || !fits(name) {
        return Err(refuse(
            ErrorCode::ActionError,
            place,
            "an action is written <service>:<action> or name/<service>:<action>, where * is a wildcard",
            "action 须写作 <服务>:<接口> 或 name/<服务>:<接口>，* 为通配符",
        ));
    }
    let name = FORMER.iter().find(|(old, _)| service == "kms" && *old == name).map_or(name, |(_, new)| new);
    let (services, names) = (Glob::new(service), Glob::new(name));
    let (mut found, mut served) = (Bits::default(), false);
    for (id, action) in numbered(checks.vocabulary).filter(|(_, a)| services.matches(a.service)) {
        served = true;
        if names.matches(action.name) {
            found.insert(id);
        }
    }
    match (checks.strict && found.is_empty(), served) {
        (true, false) => {
            Err(refuse(ErrorCode::ActionServiceNotExist, place, "the service is not served", "该服务不存在"))
        }
        (true, true) => {
            Err(refuse(ErrorCode::ActionNotExist, place, "the service has no such action", "该服务没有此接口"))
        }
        _ => Ok(found),
    }
}
