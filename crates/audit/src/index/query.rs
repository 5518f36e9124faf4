//! What is asked for, and which entries of the index lead to a record.

use crate::facts::{Facts, List, escaped};
use jadeseal_types::AccountId;
use siphasher::sip::SipHasher13;
use std::borrow::Cow;

/// What a record can be found by. The numbers are part of the index format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Attribute {
    /// Being of the account at all.
    Account = 0,
    /// A key, or a subject such as `uin/100000000002`.
    Resource = 1,
    /// Name of the action.
    Action = 2,
    /// `RequestId` of the answer.
    RequestId = 3,
    /// Number of the principal.
    Uin = 4,
    /// SecretId that signed.
    SecretId = 5,
    /// Address of the caller.
    Source = 6,
    /// Error code; the empty one is success.
    Code = 7,
    /// `read`, `use` or `write`.
    Access = 8,
    /// The product.
    Service = 9,
    /// Kind of the principal, his number and the name of his session, each empty where there is none: see [`Condition::who`].
    Who = 10,
}

impl Attribute {
    /// About how many records share a value: 0 for few.
    fn breadth(self) -> u8 {
        match self {
            Attribute::RequestId => 0,
            Attribute::Resource => 1,
            Attribute::SecretId | Attribute::Uin | Attribute::Source | Attribute::Who => 2,
            Attribute::Action | Attribute::Code => 3,
            Attribute::Access | Attribute::Service | Attribute::Account => 4,
        }
    }
}

/// One thing that a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    attribute: Attribute,
    /// As it stands in records, that is, escaped.
    value: String,
}

impl Condition {
    /// The record says `value`.
    pub fn new(attribute: Attribute, value: &str) -> Self {
        Condition { attribute, value: escaped(value).into_owned() }
    }

    /// A principal of this kind (`root`, `user`, …) with this number asked, in a session of this name; none of either is empty.
    /// One number alone is not enough: a federated session has that of whoever began it.
    pub fn who(principal: &str, uin: &str, session: &str) -> Self {
        let mut text = String::new();
        Condition::new(Attribute::Who, who(&mut text, principal, uin, session))
    }

    /// What it is about, and the value as it was given.
    #[cfg(test)]
    pub(super) fn parts(&self) -> (Attribute, String) {
        (self.attribute, crate::facts::unescaped(&self.value).into_owned())
    }

    /// Whether a record says it, as its account sees the record.
    fn holds(&self, seen: &Facts<'_>) -> bool {
        let is = |text: &str| text == self.value;
        let given = |text: &str| !text.is_empty() && is(text);
        match self.attribute {
            Attribute::Account => self.value.is_empty(),
            Attribute::Resource => seen.resources.iter().chain(seen.subjects.iter()).any(is),
            Attribute::Action => is(seen.action),
            Attribute::RequestId => is(seen.request_id),
            Attribute::Uin => given(seen.uin),
            Attribute::SecretId => given(seen.secret_id),
            Attribute::Source => given(seen.source),
            Attribute::Code => is(seen.code),
            Attribute::Access => is(seen.access),
            Attribute::Service => is(seen.service),
            Attribute::Who => is(who(&mut String::new(), seen.principal, seen.uin, seen.session)),
        }
    }
}

/// Makes the value of [`Attribute::Who`] in `text`. Neither kinds nor numbers have a slash.
fn who<'a>(text: &'a mut String, principal: &str, uin: &str, session: &str) -> &'a str {
    text.clear();
    for part in [principal, "/", uin, "/", session] {
        text.push_str(part);
    }
    text
}

/// Which records are wanted, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Whose records: those of its own principals, and those of administrators who acted for it.
    pub account: AccountId,
    /// Arrived at this time or later, microseconds since 1970-01-01 UTC.
    pub from_micros: u64,
    /// Arrived before this time.
    pub to_micros: u64,
    /// Of each group one condition holds.
    pub all: Vec<Vec<Condition>>,
    /// None of these hold.
    pub none: Vec<Condition>,
    /// Index below this one: where the page before ended.
    pub before: Option<u64>,
    /// Most records.
    pub limit: usize,
}

impl Query {
    /// Everything that an account did between two times.
    pub fn of(account: AccountId, from_micros: u64, to_micros: u64, limit: usize) -> Self {
        Query { account, from_micros, to_micros, all: Vec::new(), none: Vec::new(), before: None, limit }
    }

    /// The same question without what is said twice: each condition costs a look into every part of the index.
    pub(super) fn simplified(&self) -> Self {
        let mut query = self.clone();
        query.all.iter_mut().for_each(distinct);
        distinct(&mut query.all);
        distinct(&mut query.none);
        query
    }

    /// Whether records of these times can be wanted.
    pub(super) fn overlaps(&self, zone: Zone) -> bool {
        zone.min < self.to_micros && zone.max >= self.from_micros
    }

    /// Whether a record is wanted. This decides; the index only proposes.
    pub fn wants(&self, facts: &Facts<'_>, account: &str) -> bool {
        let in_time = (self.from_micros..self.to_micros).contains(&facts.time_micros);
        in_time
            && facts.seen_by(account).is_some_and(|seen| {
                self.all.iter().all(|group| group.iter().any(|c| c.holds(&seen)))
                    && !self.none.iter().any(|c| c.holds(&seen))
            })
    }
}

/// Leaves the first of equal items; of few items, as requests have them.
fn distinct<T: PartialEq>(list: &mut Vec<T>) {
    let mut at = 0;
    while at < list.len() {
        let (before, rest) = list.split_at(at);
        if rest.first().is_some_and(|item| before.contains(item)) {
            list.remove(at);
        } else {
            at += 1;
        }
    }
}

/// Times of some records: the first and the last of them. Without a record, `min` is above `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    pub min: u64,
    pub max: u64,
}

impl Zone {
    pub const EMPTY: Zone = Zone { min: u64::MAX, max: 0 };

    pub fn add(&mut self, micros: u64) {
        self.min = self.min.min(micros);
        self.max = self.max.max(micros);
    }
}

impl<'a> Facts<'a> {
    /// The record as an account may see it; `None` where it is no business of its.
    ///
    /// Its own records it sees whole. Of what an administrator of its organisation did for it, it sees who that was, from
    /// where, what and how it ended, but not the other accounts that the request was about, nor keys where these may be
    /// theirs, nor the administrator's access key, session and programs. Keys are its own for sure only where the request was
    /// about it alone and succeeded: until then, what is named has not been found to be there.
    pub fn seen_by(&self, account: &str) -> Option<Facts<'a>> {
        if account.is_empty() {
            return None;
        }
        if self.account == account {
            return Some(*self);
        }
        let target = self.targets.only(account)?;
        let alone = self.targets.iter().nth(1).is_none();
        let resources = if alone && self.code.is_empty() { self.resources } else { List::EMPTY };
        Some(Facts {
            targets: target,
            secret_id: "",
            session: "",
            user_agent: "",
            resources,
            subjects: List::EMPTY,
            ..*self
        })
    }

    /// Every account that may see the record, with everything that it can find it by. `text` is overwritten; it spares an
    /// allocation.
    pub(super) fn for_each_entry(&self, text: &mut String, mut visit: impl FnMut(&str, Attribute, &str)) {
        let mut entries = |account: &str, seen: &Facts<'_>| {
            let mut given = |attribute, value: &str| {
                if !value.is_empty() {
                    visit(account, attribute, value);
                }
            };
            given(Attribute::Uin, seen.uin);
            given(Attribute::SecretId, seen.secret_id);
            given(Attribute::Source, seen.source);
            visit(account, Attribute::Account, "");
            visit(account, Attribute::Action, seen.action);
            visit(account, Attribute::RequestId, seen.request_id);
            visit(account, Attribute::Code, seen.code);
            visit(account, Attribute::Access, seen.access);
            visit(account, Attribute::Service, seen.service);
            visit(account, Attribute::Who, who(text, seen.principal, seen.uin, seen.session));
            for resource in seen.resources.iter().chain(seen.subjects.iter()) {
                visit(account, Attribute::Resource, resource);
            }
        };
        if !self.account.is_empty() {
            entries(self.account, self);
        }
        for target in self.targets.iter().filter(|target| *target != self.account) {
            if let Some(seen) = self.seen_by(target) {
                entries(target, &seen);
            }
        }
    }
}

/// Makes numbers of entries. Keyed anew for each part of the index: who names keys in his requests, of whatever id he likes,
/// cannot make his entries meet those of somebody else.
#[derive(Clone)]
pub(super) struct Hash {
    pub key: [u64; 2],
}

impl Hash {
    pub fn new() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _, RandomState};
        // The standard library has no other door to its random keys.
        let random = || RandomState::new().build_hasher().finish();
        Hash { key: [random(), random()] }
    }

    /// `scratch` is overwritten; it spares an allocation. The lowest bit says whether it is a request id.
    pub fn of(&self, account: &str, attribute: Attribute, value: &str, scratch: &mut Vec<u8>) -> u64 {
        scratch.clear();
        scratch.push(attribute as u8);
        scratch.extend_from_slice(account.as_bytes());
        scratch.push(0);
        scratch.extend_from_slice(value.as_bytes());
        let hash = SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(scratch);
        hash & !1 | u64::from(attribute == Attribute::RequestId)
    }

    /// Whether a number was made of a request id: they are kept apart, so that they cannot meet others.
    pub fn is_of_request_id(entry: u64) -> bool {
        entry & 1 == 1
    }
}

/// Anything that has lists of records by entry.
pub(super) trait Lists {
    type Error;
    /// How entries are numbered.
    fn hash(&self) -> &Hash;
    /// The records under an entry, ascending, counted from the part's first.
    fn list(&mut self, entry: u64) -> Result<Cow<'_, [u32]>, Self::Error>;
}

/// The records that a query may want, ascending: all of them, and few others.
pub(super) fn candidates<L: Lists>(lists: &mut L, query: &Query) -> Result<Vec<u32>, L::Error> {
    let account = query.account.to_string();
    let hash = lists.hash().clone();
    let mut scratch = Vec::new();
    let mut of = |c: &Condition| hash.of(&account, c.attribute, &c.value, &mut scratch);
    let everything = vec![vec![Condition::new(Attribute::Account, "")]];
    let mut groups: Vec<_> = if query.all.is_empty() { &everything } else { &query.all }.iter().collect();
    // What few records say comes first: where none does, the long lists need not be read.
    groups.sort_by_key(|group| group.iter().map(|c| c.attribute.breadth()).max());
    let mut found: Option<Vec<u32>> = None;
    for group in groups {
        let mut any = Vec::new();
        for (i, condition) in group.iter().enumerate() {
            let list = lists.list(of(condition))?;
            if i == 0 { any = list.into_owned() } else { any = union(&any, &list) }
        }
        let both = match found {
            None => any,
            Some(before) => intersection(&before, &any),
        };
        if both.is_empty() {
            return Ok(both);
        }
        found = Some(both);
    }
    let mut found = found.unwrap_or_default();
    for condition in &query.none {
        let list = lists.list(of(condition))?;
        found.retain(|n| list.binary_search(n).is_err());
    }
    Ok(found)
}

fn union(mut a: &[u32], mut b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len() + b.len());
    while let ([x, more_a @ ..], [y, more_b @ ..]) = (a, b) {
        out.push(*x.min(y));
        if x <= y {
            a = more_a;
        }
        if y <= x {
            b = more_b;
        }
    }
    out.extend_from_slice(a);
    out.extend_from_slice(b);
    out
}

fn intersection(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (few, many) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut from = 0;
    few.iter()
        .copied()
        .filter(|n| {
            let rest = many.get(from..).unwrap_or_default();
            // Neighbours mostly lie near; where they do not, halves are quicker.
            from += match rest.iter().take(8).position(|m| m >= n) {
                Some(near) => near,
                None => rest.partition_point(|m| m < n),
            };
            many.get(from) == Some(n)
        })
        .collect()
}
