//! Asking the policies: what a request is about, in their words.

use crate::{
    action::{Access, Identity},
    cx::Cx,
    keys::pair,
    organisations::Acting,
    principals,
    principals::{Account, role_at},
};
use jadeseal_auth::{
    Outcome,
    params::{Params, Value},
    policy::{Conditions, Facts, Resource},
    refusal,
};
use jadeseal_types::{AccountId, ApiError, KeyId, Region, Uin, error::Result};
use std::sync::Arc;

/// What a policy is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked<'a> {
    /// Nothing in particular.
    Everything,
    /// A CMK or data key of the scope.
    Key(KeyId),
    /// A resource as the caller wrote it. What it says of account, creator and region is checked afterwards, and must be true
    /// of the key.
    Written(&'a str),
    /// A principal or a policy.
    Identity(&'a Identity),
}

/// Longest resource that is looked at, characters.
const MAX_WRITTEN: usize = 512;
/// Tags of a request that are looked at.
const MAX_TAGS: usize = 100;

impl Cx<'_> {
    /// Asks the policy; default deny. Whether a key exists is not told to whom none allows it: the policy is asked without
    /// looking at the key, and where its creator or its tags decide, a key that is not there is refused as one that is.
    pub(crate) async fn authorise(&self, asked: Asked<'_>) -> Result<()> {
        if self.caller.authority().is_unlimited() {
            return Ok(());
        }
        let (outcome, looked) = self.decide(asked).await?;
        if matches!(outcome, Outcome::Allowed(_)) {
            return Ok(());
        }
        // While he acts for a member, the resource could tell him whose Uin is behind the AppId that he named.
        let told = matches!(self.acting, Acting::Own).then(|| self.written(asked));
        // Of a key that had to be looked at no more is told than that: the same as of one that is not there.
        let why = if looked { &Outcome::Depends } else { &outcome };
        let why = self.dry_run.then_some(why);
        Err(refusal(self.entry.api.service, self.entry.spec.name, told.as_deref(), why))
    }

    /// Decides; true when a key had to be looked at, or would have been if there were one.
    async fn decide(&self, asked: Asked<'_>) -> Result<(Outcome, bool)> {
        let account = self.scope.account();
        match asked {
            Asked::Everything => Ok((self.ask(&Resource::Everything), false)),
            Asked::Key(id) => self.ask_about_key(self.scope.region(), id).await,
            Asked::Written(text) => match parse(text, account) {
                Some((region, id)) => self.ask_about_key(&region, id).await,
                // Not one of his: whoever may everything is told so later.
                None => Ok((self.ask(&Resource::Everything), false)),
            },
            Asked::Identity(identity) => {
                let (account, spellings) = self.spell(identity).await?;
                Ok((self.ask(&Resource::Identity { account, spellings: &spellings }), false))
            }
        }
    }

    fn ask(&self, resource: &Resource<'_>) -> Outcome {
        let conditions = Conditions {
            source: self.caller.source(),
            now: self.now,
            secure: self.secure,
            request_tags: &self.request_tags,
            external_id: None,
        };
        let (service, action) = (self.entry.api.service, self.entry.spec.name);
        self.caller.authority().decide(self.action, (service, action), resource, &conditions)
    }

    async fn ask_about_key(&self, region: &Region, id: KeyId) -> Result<(Outcome, bool)> {
        let account = self.scope.account();
        let unknown = Resource::Key { region, account, id, facts: None };
        let outcome = self.ask(&unknown);
        if outcome != Outcome::Depends {
            return Ok((outcome, false));
        }
        let Some((creator, tags)) = self.facts(region, id).await? else { return Ok((Outcome::Depends, true)) };
        let facts = Some(Facts { creator, tags: &tags });
        Ok((self.ask(&Resource::Key { region, account, id, facts }), true))
    }

    /// Creator and tags of a CMK or data key of the scope's account; none if there is none.
    async fn facts(&self, region: &Region, id: KeyId) -> Result<Option<(Uin, Arc<[String]>)>> {
        // A CMK of the region is in memory, as a rule. Everything else is rarely asked for.
        if region == self.scope.region()
            && let Some(entry) = self.svc.keys.find(&self.scope, id).await?
        {
            return Ok(Some((entry.row.creator, self.svc.keys.tags(&self.scope, &entry).await?)));
        }
        let found = self.svc.store.taggables(&self.scope, &[id]).await.map_err(ApiError::internal)?;
        let found = found.into_iter().flatten().next().filter(|found| found.region == *region);
        Ok(found.map(|found| (found.creator, found.tags.iter().map(pair).collect())))
    }

    /// Keeps the tags that a request carries, for conditions on them.
    pub(crate) fn note_request_tags(&mut self, params: &Params<'_>) {
        // What a reading action has under these names is what it looks for.
        if self.caller.authority().is_unlimited() || self.entry.spec.access == Access::Read {
            return;
        }
        let lists = ["Tags", "ReplaceTags"].into_iter().filter_map(|name| match params.get(name) {
            Some(Value::List(items)) => Some(items),
            _ => None,
        });
        for item in lists.flatten().take(MAX_TAGS) {
            let Value::Map(tag) = item else { continue };
            let text = |names: [&str; 2]| {
                names.into_iter().find_map(|name| match tag.get(name) {
                    Some(Value::Str(text)) => Some(text.as_ref()),
                    _ => None,
                })
            };
            if let (Some(key), Some(value)) = (text(["TagKey", "Key"]), text(["TagValue", "Value"])) {
                self.request_tags.push(format!("{key}&{value}"));
            }
        }
    }

    /// The account of a principal or policy, and every spelling of the end of its six segments.
    async fn spell(&self, identity: &Identity) -> Result<(AccountId, Vec<String>)> {
        let own = self.caller.account();
        let user = |uin: u64| vec![format!("uin/{uin}")];
        let spelled = match identity {
            Identity::Caller => user(self.caller.uin().0),
            Identity::User(uin) => user(*uin),
            Identity::UserNamed(name) => {
                let account = self.account().await?;
                let found = account.identities.users.iter().find(|u| u.name == *name);
                // Nobody has the number 0: only who may do it to everybody learns that there is no such user.
                user(found.map_or(0, |u| u.uin.0))
            }
            Identity::Group(id) => vec![format!("groupid/{id}")],
            Identity::Policy(id) => vec![format!("policyid/{id}")],
            Identity::PolicyNamed(name) => {
                let found = principals::policy_named(&self.account().await?.identities, name);
                // As with users.
                vec![format!("policyid/{}", found.map_or(0, |id| id.0))]
            }
            Identity::Role(id) => self.spell_role(own, &format!("role/{id}")).await?,
            Identity::RoleNamed(name) => self.spell_role(own, &format!("roleName/{name}")).await?,
            Identity::RoleArn(arn) => {
                let Some((account, last)) = parse_arn(arn) else { return Ok((own, vec![String::new()])) };
                return Ok((account, self.spell_role(account, last).await?));
            }
        };
        Ok((own, spelled))
    }

    /// Both spellings of a role, where there is one; else the one that was given.
    async fn spell_role(&self, account: AccountId, last: &str) -> Result<Vec<String>> {
        let found = self.svc.principals.of(account).await?;
        let role = found.as_ref().and_then(|account| role_at(&account.identities, last));
        Ok(match role {
            Some(role) => vec![format!("role/{}", role.id), format!("roleName/{}", role.name)],
            None => vec![last.to_owned()],
        })
    }

    /// The caller's account with its principals.
    pub(crate) async fn account(&self) -> Result<Arc<Account>> {
        let account = self.svc.principals.of(self.caller.account()).await?;
        account.ok_or_else(|| ApiError::internal("the caller has no account"))
    }

    /// What was asked about, for a refusal. Who made a key is not told, so the creator in it is the caller.
    fn written(&self, asked: Asked<'_>) -> String {
        let account = self.scope.account();
        match asked {
            Asked::Everything => "*".to_owned(),
            Asked::Key(id) => {
                format!("qcs::kms:{}:uin/{account}:key/creatorUin/{}/{id}", self.scope.region(), self.caller.uin())
            }
            Asked::Written(text) => {
                // An empty uin is the caller's account: the policy is asked about one spelling.
                let text: String = text.chars().take(MAX_WRITTEN).collect();
                text.replacen(":uin/:", &format!(":uin/{account}:"), 1)
            }
            Asked::Identity(identity) => {
                let last = match identity {
                    Identity::Caller => format!("uin/{}", self.caller.uin()),
                    Identity::User(uin) => format!("uin/{uin}"),
                    Identity::UserNamed(name) => format!("userName/{name}"),
                    Identity::Group(id) => format!("groupid/{id}"),
                    Identity::Policy(id) => format!("policyid/{id}"),
                    Identity::PolicyNamed(name) => format!("policyName/{name}"),
                    Identity::Role(id) => format!("role/{id}"),
                    Identity::RoleNamed(name) => format!("roleName/{name}"),
                    Identity::RoleArn(arn) => return arn.chars().take(MAX_WRITTEN).collect(),
                };
                let text = format!("qcs::cam::uin/{account}:{last}");
                text.chars().take(MAX_WRITTEN).collect()
            }
        }
    }
}

/// Region and id of a key's resource that says to be of an account.
fn parse(text: &str, account: AccountId) -> Option<(Region, KeyId)> {
    let rest = text.strip_prefix("qcs::kms:")?;
    let mut segments = rest.splitn(3, ':');
    let (region, uin, name) = (segments.next()?, segments.next()?, segments.next()?);
    let uin = uin.strip_prefix("uin/")?;
    if !uin.is_empty() && uin != account.to_string() {
        return None;
    }
    let (_, id) = name.strip_prefix("key/creatorUin/")?.split_once('/')?;
    Some((Region::parse(region)?, KeyId::parse(id)?))
}

/// Account and last segment of a role's six segments: `qcs::cam::uin/<account>:role/<id>` or `:roleName/<name>`.
pub(crate) fn parse_arn(arn: &str) -> Option<(AccountId, &str)> {
    let (account, last) = arn.strip_prefix("qcs::cam::uin/")?.split_once(':')?;
    let account = AccountId(account.parse().ok().filter(|n: &u64| n.to_string() == account)?);
    (last.starts_with("role/") || last.starts_with("roleName/")).then_some((account, last))
}
