//! Actions of a statement, as a set of numbers of the vocabulary.

use super::{
    ActionId, ActionInfo, Checks, Invalid, Vocabulary,
    glob::Glob,
    invalid::{echo, refuse},
    products,
};
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

/// Reads one element of `action`: `kms:Encrypt`, `name/kms:Encrypt`, `kms:Describe*`, `*`. Of a product that is not served
/// there is no action, whatever its name.
pub(super) fn parse(text: &str, place: &str, checks: &Checks<'_>) -> Result<Bits, Invalid> {
    let plain = text.strip_prefix("name/").unwrap_or(text);
    let (service, name) = if plain == "*" { ("*", "*") } else { plain.split_once(':').unwrap_or_default() };
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'*'))
    };
    let wrong = |code, en: &str, zh: &str| {
        let (en, zh) = match meant(plain, checks.vocabulary) {
            Some(meant) => (format!("{en}; write {meant}"), format!("{zh}；应写作 {meant}")),
            None => (en.to_owned(), zh.to_owned()),
        };
        Err(refuse(code, place, en, zh))
    };
    if !fits(service) || !fits(name) {
        return wrong(
            ErrorCode::ActionError,
            "an action is written <service>:<action> or name/<service>:<action>, where * is a wildcard",
            "action 须写作 <服务>:<接口> 或 name/<服务>:<接口>，* 为通配符",
        );
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
    if !checks.strict || !found.is_empty() || !served && products::is_elsewhere(service) {
        Ok(found)
    } else if served {
        wrong(ErrorCode::ActionNotExist, "the service has no such action", "该服务没有此接口")
    } else {
        wrong(ErrorCode::ActionServiceNotExist, "the service is not served", "该服务不存在")
    }
}

/// The right spelling of what has letters of the wrong case or a colon too many.
fn meant(text: &str, vocabulary: &Vocabulary) -> Option<String> {
    let (service, name) = text.split_once(':')?;
    let name = name.trim_start_matches(':');
    let mut of_service = vocabulary.actions().iter().filter(|a| a.service.eq_ignore_ascii_case(service)).peekable();
    let Some(&ActionInfo { service, .. }) = of_service.peek() else {
        let fits = name.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'*'));
        return products::meant(service).filter(|_| fits && !name.is_empty()).map(|s| format!("{s}:{}", echo(name)));
    };
    let names = Glob::new(name);
    let found = of_service.find(|a| a.name.eq_ignore_ascii_case(name) || names.matches(a.name))?;
    let name = if name.contains('*') { name } else { found.name };
    Some(format!("{service}:{}", echo(name)))
}
