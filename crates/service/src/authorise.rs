//! Asking the policies: what a request is about, in their words.

use crate::{
    action::{Access, Identity, Named},
    credentials::{Found, Known},
    cx::Cx,
    keys::pair,
    organisations::Acting,
    presets::VOCABULARY,
    principals,
    principals::{Account, role_at},
};
use jadeseal_auth::{
    Authority, Outcome,
    params::{Params, Value},
    policy::{ActionId, Conditions, Facts, Resource},
    refusal,
};
use jadeseal_store::{Attached, Identities, RoleRow};
use jadeseal_types::{AccountId, ApiError, ErrorCode, GroupId, KeyId, Region, Uin, error::Result};
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

/// Whose authority is asked about which action.
struct Question<'a> {
    authority: &'a Authority,
    action: ActionId,
    name: (&'static str, &'static str),
}

/// Longest resource that is looked at, characters.
const MAX_WRITTEN: usize = 512;
/// Tags of a request that are looked at.
const MAX_TAGS: usize = 100;

impl Cx<'_> {
    /// Asks the policy about all that the request names; default deny.
    pub(crate) async fn authorise(&self) -> Result<()> {
        self.authorise_with(self.caller.authority()).await
    }

    /// Asks again, before something that had to wait for its turn: what the caller may do can have been taken away since, and
    /// he himself be gone. What he signed with, as it is now.
    pub(crate) async fn authorise_anew(&self) -> Result<Arc<Known>> {
        let (secret_id, token) = self.presented;
        let found = match token {
            None => self.svc.credentials.find(secret_id).await?.ok_or(ErrorCode::SecretIdNotFound)?,
            Some(token) => match self.svc.credentials.find_session(secret_id, token, self.now).await? {
                Found::Known(known) => known,
                Found::Ended | Found::Unknown => return Err(ErrorCode::TokenFailure.into()),
            },
        };
        self.authorise_with(&found.credential.authority).await?;
        Ok(found)
    }

    async fn authorise_with(&self, authority: &Authority) -> Result<()> {
        match &self.named {
            Named::Nothing => {}
            Named::Everything => self.must(authority, Asked::Everything).await?,
            Named::Resources(texts) => {
                for text in texts {
                    self.must(authority, Asked::Written(text)).await?;
                }
            }
            Named::Identities(identities) => {
                for identity in identities {
                    self.must(authority, Asked::Identity(identity)).await?;
                }
            }
            Named::Keys(ids) => {
                for id in ids {
                    self.must(authority, Asked::Key(*id)).await?;
                }
            }
        }
        if self.named.is_none() { self.must(authority, Asked::Everything).await } else { Ok(()) }
    }

    /// Whether a key exists is not told to whom none allows it: the policy is asked without looking at the key, and where its
    /// creator or its tags decide, a key that is not there is refused as one that is.
    async fn must(&self, authority: &Authority, asked: Asked<'_>) -> Result<()> {
        if authority.is_unlimited() {
            return Ok(());
        }
        let question =
            Question { authority, action: self.action, name: (self.entry.api.service, self.entry.spec.name) };
        let (outcome, looked) = self.decide(&question, asked).await?;
        if matches!(outcome, Outcome::Allowed(_)) {
            return Ok(());
        }
        // While he acts for a member, the resource could tell him whose Uin is behind the AppId that he named.
        let told = matches!(self.acting, Acting::Own).then(|| self.written(asked));
        // Of a key that had to be looked at no more is told than that: the same as of one that is not there.
        let why = if looked { &Outcome::Depends } else { &outcome };
        let why = self.dry_run.then_some(why);
        Err(refusal(question.name.0, question.name.1, told.as_deref(), why))
    }

    /// Whether a statement denies another action to the caller, which this one would do with.
    pub(crate) async fn is_denied(
        &self,
        service: &'static str,
        action: &'static str,
        asked: Asked<'_>,
    ) -> Result<bool> {
        let authority = self.caller.authority();
        let id = VOCABULARY.find(service, action);
        let id = id.ok_or_else(|| ApiError::internal(format!("no policy can name {service}:{action}")))?;
        let (outcome, _) = self.decide(&Question { authority, action: id, name: (service, action) }, asked).await?;
        Ok(matches!(outcome, Outcome::Denied(_)))
    }

    /// Asks about a role of another account, under both its spellings: once it has let the caller in, it is known to be there.
    pub(crate) fn may_take(&self, account: AccountId, role: &RoleRow) -> bool {
        let question = Question {
            authority: self.caller.authority(),
            action: self.action,
            name: (self.entry.api.service, self.entry.spec.name),
        };
        let spellings = spellings(role);
        matches!(self.ask(&question, &Resource::Identity { account, spellings: &spellings }), Outcome::Allowed(_))
    }

    /// Decides; true when a key had to be looked at, or would have been if there were one.
    async fn decide(&self, question: &Question<'_>, asked: Asked<'_>) -> Result<(Outcome, bool)> {
        let account = self.scope.account();
        match asked {
            Asked::Everything => Ok((self.ask(question, &Resource::Everything), false)),
            Asked::Key(id) => self.ask_about_key(question, self.scope.region(), id).await,
            Asked::Written(text) => match parse(text, account) {
                Some((region, id)) => self.ask_about_key(question, &region, id).await,
                // Not one of his: whoever may everything is told so later.
                None => Ok((self.ask(question, &Resource::Everything), false)),
            },
            Asked::Identity(identity) => {
                let (account, spellings) = self.spell(identity).await?;
                Ok((self.ask(question, &Resource::Identity { account, spellings: &spellings }), false))
            }
        }
    }

    fn ask(&self, question: &Question<'_>, resource: &Resource<'_>) -> Outcome {
        let conditions = Conditions {
            source: self.caller.source(),
            now: self.now,
            secure: self.secure,
            request_tags: &self.request_tags,
            external_id: None,
        };
        question.authority.decide(question.action, question.name, resource, &conditions)
    }

    async fn ask_about_key(&self, question: &Question<'_>, region: &Region, id: KeyId) -> Result<(Outcome, bool)> {
        let account = self.scope.account();
        let unknown = Resource::Key { region, account, id, facts: None };
        let outcome = self.ask(question, &unknown);
        if outcome != Outcome::Depends {
            return Ok((outcome, false));
        }
        let Some((creator, tags)) = self.facts(region, id).await? else { return Ok((Outcome::Depends, true)) };
        let facts = Some(Facts { creator, tags: &tags });
        Ok((self.ask(question, &Resource::Key { region, account, id, facts }), true))
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
        let account = self.account().await?;
        let all = &account.identities;
        // Nobody has the number 0: only who may do it to everybody learns that there is nothing of a name.
        let last = match identity {
            Identity::Caller => format!("uin/{}", self.caller.uin()),
            Identity::User(uin) => format!("uin/{uin}"),
            Identity::UserNamed(name) => {
                format!("uin/{}", all.user_named(name).map_or(0, |user| user.uin.0))
            }
            Identity::Group(id) => format!("groupid/{id}"),
            Identity::Policy(id) => format!("policyid/{id}"),
            Identity::PolicyNamed(name) => {
                format!("policyid/{}", principals::policy_named(all, name).map_or(0, |id| id.0))
            }
            Identity::Role(id) => format!("role/{id}"),
            Identity::RoleNamed(name) => format!("roleName/{name}"),
            Identity::RoleArn(arn) => match parse_arn(arn, own) {
                Some((account, last)) if account == own => last.to_owned(),
                // Which roles another account has is its own affair.
                Some((account, last)) => return Ok((account, vec![last.to_owned()])),
                None => String::new(),
            },
        };
        Ok((own, spellings_of(all, self.caller.uin(), &last)))
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
                    // Whose it is, is not told; and policies name numbers.
                    Identity::UserNamed(_) => "uin/*".to_owned(),
                    Identity::Group(id) => format!("groupid/{id}"),
                    Identity::Policy(id) => format!("policyid/{id}"),
                    Identity::PolicyNamed(_) => "policyid/*".to_owned(),
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

/// Account and last segment of a role's six segments: `qcs::cam::uin/<account>:role/<id>` or `:roleName/<name>`. Without an
/// account it is that of `own`.
pub(crate) fn parse_arn(arn: &str, own: AccountId) -> Option<(AccountId, &str)> {
    let (account, last) = arn.strip_prefix("qcs::cam::uin/")?.split_once(':')?;
    let account = match account {
        "" => own,
        number => AccountId(number.parse().ok().filter(|n: &u64| n.to_string() == number)?),
    };
    (last.starts_with("role/") || last.starts_with("roleName/")).then_some((account, last))
}

/// Every spelling of a principal or policy of an account by one of them. What is a principal's own has one more, so that a
/// policy can keep him from changing what he may do himself.
pub(crate) fn spellings_of(all: &Identities, himself: Uin, last: &str) -> Vec<String> {
    if let Some(role) = role_at(all, last) {
        let own = (role.id.0 == himself.0).then(|| format!("own/role/{}", role.id));
        return spellings(role).into_iter().chain(own).collect();
    }
    let is_in = |group: GroupId| all.members.iter().any(|m| m.uin == himself && m.group == group);
    let is_his = |to: &Attached| match to {
        Attached::User(uin) => *uin == himself,
        Attached::Group(group) => is_in(*group),
        Attached::Role(role) => role.0 == himself.0,
    };
    let number = |text: &str| text.parse::<u64>().ok().filter(|n| n.to_string() == text);
    let is_own = match last.split_once('/').and_then(|(kind, id)| Some((kind, number(id)?))) {
        Some(("uin", uin)) => uin == himself.0,
        Some(("groupid", group)) => is_in(GroupId(group)),
        Some(("policyid", policy)) => all.attachments.iter().any(|a| a.policy.0 == policy && is_his(&a.to)),
        _ => false,
    };
    std::iter::once(last.to_owned()).chain(is_own.then(|| format!("own/{last}"))).collect()
}

/// Both spellings of a role.
pub(crate) fn spellings(role: &RoleRow) -> Vec<String> {
    vec![format!("role/{}", role.id), format!("roleName/{}", role.name)]
}
