//! What a principal may do, and which statement says so: without a request, and without the root of trust.

use crate::{
    authorise::spellings_of,
    keys::pair,
    presets::VOCABULARY,
    principals::{Account, Principals},
    region::Regions,
};
use jadeseal_auth::{
    Authority, Organisations, Outcome,
    policy::{ActionInfo, Conditions, Facts, Invalid, Policy, Resource, TrustPolicy},
};
use jadeseal_store::{Attached, Store};
use jadeseal_types::{AccountId, ApiError, KeyId, Region, RoleId, Uin, error::Result};
use std::{net::IpAddr, sync::Arc};

/// Who would do something.
#[derive(Clone, Debug)]
pub enum Who {
    /// The main account itself.
    Root,
    /// A user, by name or Uin.
    User(String),
    /// A session of a role, by name or id.
    Role(String),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The account.
    pub account: AccountId,
    /// Who would do it.
    pub who: Who,
    /// `kms:Encrypt`, or with `name/` before it.
    pub action: String,
    /// Six segments, or `*`.
    pub resource: String,
    /// From where.
    pub source: Option<IpAddr>,
    /// When, Unix seconds.
    pub now: u64,
    /// Whether over TLS.
    pub secure: bool,
    /// Tags of the key, as `key&value`; none to take those that it has.
    pub tags: Option<Vec<String>>,
    /// Tags in the request, as `key&value`.
    pub request_tags: Vec<String>,
    /// A session policy.
    pub session_policy: Option<String>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, in words.
    pub why: String,
    /// Policies of the principal, in the order in which they are asked, each with where it comes from.
    pub policies: Vec<(String, String)>,
}

/// A policy simulator on a store.
pub struct Simulator {
    store: Arc<dyn Store>,
    principals: Principals,
}

impl Simulator {
    /// Of a store, with the regions and organisations of its deployment.
    pub fn new(store: Arc<dyn Store>, regions: &Regions, organisations: Organisations) -> Self {
        Simulator { principals: Principals::new(store.clone(), regions, organisations), store }
    }

    /// Checks a document as CreatePolicy (or with `trust` CreateRole) would.
    pub fn check(&self, account: AccountId, document: &str, trust: bool) -> Result<(), String> {
        let checks = self.principals.checks(account, true);
        let parsed = match trust {
            false => Policy::parse(document, &checks).map(drop),
            true => TrustPolicy::parse(document, &checks).map(drop),
        };
        parsed.map_err(|Invalid { place, en, code, .. }| {
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            format!("{place}{en} ({code})")
        })
    }

    /// Answers a question. Errors are the asker's: something that he names does not exist.
    pub async fn explain(&self, q: &Question) -> Result<Answer> {
        let account = self.principals.of(q.account).await?;
        let account = account.ok_or_else(|| wrong(format!("there is no account {}", q.account)))?;
        let (uin, authority, attached) = self.principal(&account, &q.who)?;
        let authority = match &q.session_policy {
            None => authority,
            Some(document) => {
                self.check(q.account, document, false).map_err(|e| wrong(format!("session policy: {e}")))?;
                self.principals.narrowed(authority, &account, uin, document)
            }
        };
        let name = q.action.strip_prefix("name/").unwrap_or(&q.action);
        let (service, action) = name.split_once(':').ok_or_else(|| wrong("an action is SERVICE:ACTION".to_owned()))?;
        let id = VOCABULARY.find(service, action).ok_or_else(|| wrong(no_action(service, action)))?;
        let conditions = Conditions {
            source: q.source,
            now: q.now,
            secure: q.secure,
            request_tags: &q.request_tags,
            external_id: None,
        };
        let decide = |resource: &Resource<'_>| authority.decide(id, (service, action), resource, &conditions);
        let outcome = match self.resource(q)? {
            Asked::Everything => decide(&Resource::Everything),
            Asked::Identity(number, last) => {
                let spellings = match number == q.account {
                    true => spellings_of(&account.identities, uin, &last),
                    false => vec![last],
                };
                decide(&Resource::Identity { account: number, spellings: &spellings })
            }
            Asked::Key { region, account, creator, id } => {
                let facts = self.facts(account, &region, id, creator, q.tags.clone()).await?;
                let facts = facts.as_ref().map(|(creator, tags)| Facts { creator: *creator, tags });
                decide(&Resource::Key { region: &region, account, id, facts })
            }
        };
        let all = &account.identities;
        let policies = all.attachments.iter().filter_map(|a| {
            let from = attached.iter().find(|(to, _)| *to == a.to)?;
            Some((crate::principals::name(all, a.policy).to_owned(), from.1.clone()))
        });
        let is_his = |to: &Attached| attached.iter().any(|(his, _)| his == to);
        let unreadable = self.principals.unreadable(&account, is_his);
        let why = match &outcome {
            _ if unreadable.is_some() => {
                format!("refused: policy {} cannot be read, so nothing is allowed", unreadable.unwrap_or_default())
            }
            Outcome::Depends => {
                "refused: it depends on the key's creator and tags, and there is no such key".to_owned()
            }
            other => other.to_string(),
        };
        Ok(Answer { allowed: matches!(outcome, Outcome::Allowed(_)), why, policies: policies.collect() })
    }

    /// Number and authority of a principal, and what policies can be attached to that count for him, with a word on each.
    #[allow(clippy::type_complexity)]
    fn principal(&self, account: &Account, who: &Who) -> Result<(Uin, Authority, Vec<(Attached, String)>)> {
        let all = &account.identities;
        match who {
            Who::Root => Ok((Uin(all.account.account.0), Authority::everything(), Vec::new())),
            Who::User(named) => {
                let user = all.users.iter().find(|u| u.name == *named || u.uin.to_string() == *named);
                let user = user.ok_or_else(|| wrong(format!("there is no user {named}")))?;
                let groups = all.members.iter().filter(|m| m.uin == user.uin).map(|m| {
                    let name = all.group(m.group).map_or("", |g| g.name.as_str());
                    (Attached::Group(m.group), format!("group {name}"))
                });
                let attached = std::iter::once((Attached::User(user.uin), "user".to_owned())).chain(groups).collect();
                Ok((user.uin, self.principals.authority_of_user(account, user.uin), attached))
            }
            Who::Role(named) => {
                let role = all.roles.iter().find(|r| r.name == *named || r.id.to_string() == *named);
                let role = role.ok_or_else(|| wrong(format!("there is no role {named}")))?;
                let authority = self.principals.authority_of_role(account, role.id);
                Ok((Uin(role.id.0), authority, vec![(Attached::Role(RoleId(role.id.0)), "role".to_owned())]))
            }
        }
    }

    fn resource(&self, q: &Question) -> Result<Asked> {
        let malformed =
            || wrong("a resource is * or six segments, qcs::kms:REGION:uin/UIN:key/creatorUin/UIN/ID".to_owned());
        if q.resource == "*" {
            return Ok(Asked::Everything);
        }
        let segments: Vec<&str> = q.resource.splitn(6, ':').collect();
        let ["qcs", "", service, region, account, last] = segments[..] else { return Err(malformed()) };
        let account = match account.strip_prefix("uin/").unwrap_or(account) {
            "" => q.account,
            number => AccountId(number.parse().map_err(|_| malformed())?),
        };
        if service != "kms" {
            return Ok(Asked::Identity(account, last.to_owned()));
        }
        let (creator, id) =
            last.strip_prefix("key/creatorUin/").and_then(|rest| rest.split_once('/')).ok_or_else(malformed)?;
        Ok(Asked::Key {
            region: Region::parse(region).ok_or_else(malformed)?,
            account,
            creator: creator.parse().ok().map(Uin),
            id: KeyId::parse(id).ok_or_else(malformed)?,
        })
    }

    /// Creator and tags: those that the CMK has, where nothing else is said. Of data keys and of keys that are not there, those
    /// that are said.
    async fn facts(
        &self,
        account: AccountId,
        region: &Region,
        id: KeyId,
        creator: Option<Uin>,
        tags: Option<Vec<String>>,
    ) -> Result<Option<(Uin, Vec<String>)>> {
        // The one behind the id before it: an operator's question comes from no account.
        let before = KeyId::from_bytes(u128::from_be_bytes(*id.as_bytes()).saturating_sub(1).to_be_bytes());
        let next = self.store.all_keys_meta(Some(before), 1).await.map_err(ApiError::internal)?;
        let found = next.into_iter().find(|row| row.key_id == id && row.account == account && row.region == *region);
        let has = match &found {
            None => None,
            Some(row) => {
                let tags = self.store.tags(&row.scope(), id).await.map_err(ApiError::internal)?;
                Some(tags.iter().map(pair).collect())
            }
        };
        Ok(match (found.map(|row| row.creator).or(creator.filter(|_| tags.is_some())), tags.or(has)) {
            (Some(creator), Some(tags)) => Some((creator, tags)),
            _ => None,
        })
    }
}

enum Asked {
    Everything,
    Identity(AccountId, String),
    Key { region: Region, account: AccountId, creator: Option<Uin>, id: KeyId },
}

/// Letter case counts; the action that differs in nothing else may be meant.
fn no_action(service: &str, action: &str) -> String {
    let same = |a: &&ActionInfo| a.service.eq_ignore_ascii_case(service) && a.name.eq_ignore_ascii_case(action);
    match VOCABULARY.actions().iter().find(same) {
        None => format!("there is no action {service}:{action}"),
        Some(a) => {
            format!("there is no action {service}:{action}; {}:{} is one, letter case counts", a.service, a.name)
        }
    }
}

fn wrong(what: String) -> ApiError {
    ApiError::internal(what)
}
