//! Policies that say who may take a role.

use super::{
    Binding, Checks, Conditions, Invalid, Resource, Taker, TrustPolicy, Trusted,
    conditions::{Test, Truth},
    invalid::{echo, refuse},
    parse::{Members, Reading, read, strings},
    resources::number,
    set::{Asked, all_hold},
};
use crate::params::Value;
use jadeseal_types::{AccountId, AppId, ErrorCode, Uin};

/// Characters of a role's name.
const MAX_ROLE_NAME_CHARS: usize = 128;

/// One statement of a [`TrustPolicy`].
#[derive(Debug)]
pub(super) struct Statement {
    denies: bool,
    principals: Vec<Trusted>,
    tests: Vec<Test>,
}

impl TrustPolicy {
    /// Reads a document as [`Policy::parse`](super::Policy::parse) does. Its statements have a principal and no resource,
    /// and their only action is `sts:AssumeRole`.
    pub fn parse(document: &str, checks: &Checks<'_>) -> Result<Self, Invalid> {
        let reading = Reading { checks, trust: true };
        Ok(TrustPolicy { statements: read(document, |members, place| statement(members, place, reading))? })
    }

    /// Whom it names, allowing or denying; each once.
    pub fn named(&self) -> Vec<Trusted> {
        let mut named: Vec<Trusted> = Vec::new();
        for principal in self.statements.iter().flat_map(|s| &s.principals) {
            if !named.contains(principal) {
                named.push(principal.clone());
            }
        }
        named
    }

    /// Whether it lets somebody take the role.
    pub fn admits(&self, taker: &Taker<'_>, conditions: &Conditions<'_>) -> bool {
        let binding = Binding { uin: taker.uin, account: taker.account, app_id: AppId(0) };
        let asked = Asked::new(&binding, &Resource::Everything, conditions);
        let about_him = self.statements.iter().filter(|s| s.principals.iter().any(|p| p.is(taker)));
        let (denying, allowing): (Vec<_>, Vec<_>) = about_him.partition(|s| s.denies);
        // What could not be decided would deny, and does not allow.
        denying.iter().all(|s| all_hold(&s.tests, &asked) == Truth::No)
            && allowing.iter().any(|s| all_hold(&s.tests, &asked) == Truth::Yes)
    }
}

impl Trusted {
    /// The account that somebody must be of to be meant.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn account(&self) -> AccountId {
        match self {
            Trusted::Account(account)
            | Trusted::User(account, _)
            | Trusted::Role(account, _)
            | Trusted::RoleName(account, _) => *account,
        }
    }

    /// True when the taker is meant. A session of a role is no user, even if its number were that of one.
    fn is(&self, taker: &Taker<'_>) -> bool {
        match self {
            Trusted::Account(account) => taker.account == *account,
            Trusted::User(account, uin) => taker.account == *account && taker.uin == *uin && taker.role_name.is_none(),
            Trusted::Role(account, id) => taker.account == *account && taker.uin.0 == *id && taker.role_name.is_some(),
            Trusted::RoleName(account, name) => taker.account == *account && taker.role_name == Some(name),
        }
    }

    /// Reads `qcs::cam::uin/<account>:<who>`.
    fn parse(text: &str) -> Option<Self> {
        let (account, who) = text.strip_prefix("qcs::cam::uin/")?.split_once(':')?;
        let account = AccountId(number(account)?);
        if who == "root" {
            return Some(Trusted::Account(account));
        }
        match who.split_once('/')? {
            ("uin", n) => Some(Trusted::User(account, Uin(number(n)?))),
            ("role", n) => Some(Trusted::Role(account, number(n)?)),
            ("roleName", name) => {
                let plain = |c: char| !c.is_control() && !c.is_whitespace() && !matches!(c, '*' | '$' | ':' | '/');
                let length = name.chars().take(MAX_ROLE_NAME_CHARS + 1).count();
                let fits = (1..=MAX_ROLE_NAME_CHARS).contains(&length) && name.chars().all(plain);
                fits.then(|| Trusted::RoleName(account, name.to_owned()))
            }
            _ => None,
        }
    }
}

fn statement(members: &Members<'_>, place: &str, reading: Reading<'_>) -> Result<Statement, Invalid> {
    let principals = principals(members.principal, &format!("{place}.principal"))?;
    let denies = members.denies(place)?;
    for (place, text) in strings(members.action, &format!("{place}.action"), ErrorCode::ActionError)? {
        if text.strip_prefix("name/").unwrap_or(text) != "sts:AssumeRole" {
            let (en, zh) = ("the action of a trust policy is sts:AssumeRole", "信任策略的 action 须为 sts:AssumeRole");
            return Err(refuse(ErrorCode::ActionError, place, en, zh));
        }
    }
    if members.resource.is_some() {
        for (place, text) in strings(members.resource, &format!("{place}.resource"), ErrorCode::ResourceError)? {
            if text != "*" {
                let (en, zh) = ("a trust policy has no resource but its role", "信任策略不能指定 resource");
                return Err(refuse(ErrorCode::ResourceError, place, en, zh));
            }
        }
    }
    // Nothing in it depends on who asks, so it is compiled for nobody.
    let nobody = Binding { uin: Uin(0), account: AccountId(0), app_id: AppId(0) };
    let tests = members.conditions(place, reading)?.iter().map(|c| c.compile(&nobody)).collect();
    Ok(Statement { denies, principals, tests })
}

fn principals(value: Option<&Value<'_>>, place: &str) -> Result<Vec<Trusted>, Invalid> {
    let wrong = |code, place: &str, en: &str, zh: &str| Err(refuse(code, place, en, zh));
    let map = match value {
        Some(Value::Map(map)) => map,
        None => return wrong(ErrorCode::PrincipalError, place, "is missing", "缺失"),
        Some(Value::Str(text)) if text == "*" => {
            let (en, zh) = ("must name principals one by one", "必须逐一指定 principal");
            return wrong(ErrorCode::PrincipalQcsError, place, en, zh);
        }
        Some(_) => return wrong(ErrorCode::PrincipalError, place, "must be an object", "必须是对象"),
    };
    let (mut qcs, mut service) = (None, None);
    for (name, value) in map.iter() {
        let place = format!("{place}.{}", echo(name));
        match name.to_ascii_lowercase().as_str() {
            "qcs" if qcs.is_none() => qcs = Some(value),
            "service" if service.is_none() => {
                strings(Some(value), &place, ErrorCode::PrincipalError)?;
                service = Some(place);
            }
            "qcs" | "service" => {
                let (en, zh) = ("stands twice, in letters of different case", "重复出现，仅大小写不同");
                return wrong(ErrorCode::PrincipalError, &place, en, zh);
            }
            "federated" => {
                let (en, zh) = ("identity providers are not served", "不支持身份提供商");
                return wrong(ErrorCode::PrincipalError, &place, en, zh);
            }
            _ => return wrong(ErrorCode::PrincipalError, &place, "there is no such member", "没有该成员"),
        }
    }
    // Beside others a product takes nothing from anybody and gives nobody anything.
    if let (None, Some(place)) = (qcs, service) {
        let (en, zh) = ("no service can take a role here", "没有可扮演角色的产品服务");
        return wrong(ErrorCode::PrincipalServiceNotExist, &place, en, zh);
    }
    let named = strings(qcs, &format!("{place}.qcs"), ErrorCode::PrincipalError)?;
    let read = |(place, text): (String, &str)| {
        Trusted::parse(text).ok_or_else(|| {
            refuse(
                ErrorCode::PrincipalQcsError,
                place,
                "must be qcs::cam::uin/<account>:root, :uin/<uin>, :role/<id> or :roleName/<name>, without wildcards",
                "须为 qcs::cam::uin/<账号>:root、:uin/<uin>、:role/<id> 或 :roleName/<名称>，不含通配符",
            )
        })
    };
    named.into_iter().map(read).collect()
}
