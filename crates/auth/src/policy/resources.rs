//! Resources of a statement: read, compiled for a principal, matched.

use super::{
    Binding, Checks, Invalid,
    actions::Bits,
    conditions::{Truth, decimal},
    glob::Glob,
    invalid::refuse,
    products,
    reach::Reach,
    variables::{self, Variable},
};
use jadeseal_types::{AccountId, ErrorCode, KeyId};
use std::sync::Arc;

/// Characters of one resource.
const MAX_RESOURCE_CHARS: usize = 512;

/// A resource as written.
#[derive(Debug)]
pub(super) enum Pattern {
    /// `*`.
    Everything,
    /// Six segments.
    Six(Six),
}

/// The segments `qcs::<service>:<region>:<account>:<rest>`.
#[derive(Debug)]
pub(super) struct Six {
    pub service: Service,
    /// None for all.
    pub region: Option<Glob>,
    pub account: Account,
    /// May hold variables.
    pub rest: Box<str>,
}

/// What the service segment lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Any,
    /// Keys.
    Kms,
    /// Principals and policies.
    Cam,
    /// Nothing that a request is ever about.
    Other,
}

impl Service {
    /// True when resources of the other service pass.
    pub fn admits(self, other: Service) -> bool {
        self == Service::Any || self == other
    }
}

/// The account segment.
#[derive(Clone, Debug)]
pub(super) enum Account {
    /// That of the principal.
    Own,
    /// That of the principal and the members that it administers, in order.
    Reachable(Arc<[AccountId]>),
    /// This one.
    Number(AccountId),
    /// Likewise, known once the principal is.
    Variable(Variable),
}

/// Reads one element of `resource`; none for what belongs to a product that is not served.
pub(super) fn parse(
    text: &str,
    place: &str,
    checks: &Checks<'_>,
    actions: &Bits,
    reach: &Reach<'_>,
) -> Result<Option<Pattern>, Invalid> {
    let wrong = |code, en: &str, zh: &str| refuse(code, place, en, zh);
    if text == "*" {
        return Ok(Some(Pattern::Everything));
    }
    if text.len() > MAX_RESOURCE_CHARS && text.chars().count() > MAX_RESOURCE_CHARS {
        return Err(wrong(ErrorCode::ResourceError, "is longer than 512 characters", "超过 512 个字符"));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(ErrorCode::ResourceError, "holds a control character", "含有控制字符"));
    }
    let mut segments = text.splitn(6, ':');
    let mut next = || segments.next();
    let (Some("qcs"), Some(project), Some(service), Some(region), Some(account), Some(rest)) =
        (next(), next(), next(), next(), next(), next())
    else {
        let (en, zh) = (
            "must be * or six segments qcs::<service>:<region>:<account>:<resource>",
            "必须为 * 或六段式 qcs::<服务>:<地域>:<账号>:<资源>",
        );
        return Err(wrong(ErrorCode::ResourceQcsError, en, zh));
    };
    if !project.is_empty() {
        let (en, zh) = ("the second segment, the project, must be empty", "第二段（项目）必须为空");
        return Err(wrong(ErrorCode::ResourceProjectError, en, zh));
    }
    if products::is_elsewhere(service) && !is_served(service, checks) {
        // Region, account and names are as that product has them.
        let formed = matches!(account, "" | "*") || ["uin/", "uid/"].iter().any(|form| account.starts_with(form));
        return if formed { Ok(None) } else { Err(wrong(ErrorCode::ResourceUinError, ACCOUNT.0, ACCOUNT.1)) };
    }
    if !variables::known(text) {
        let (en, zh) =
            ("the variables are ${uin}, ${owner_uin} and ${app_id}", "变量只有 ${uin}、${owner_uin} 和 ${app_id}");
        return Err(wrong(ErrorCode::ResourceError, en, zh));
    }
    let service = match service {
        "" | "*" => Service::Any,
        "kms" => Service::Kms,
        "cam" => Service::Cam,
        name => {
            if variables::any(name) || checks.strict && !is_served(name, checks) {
                return Err(wrong(ErrorCode::ResourceServiceNotExist, "the service is not served", "该服务不存在"));
            }
            Service::Other
        }
    };
    let region = self::region(region, place, checks)?;
    let account = self::account(account, place, reach)?;
    let six = Six { service, region, account, rest: rest.into() };
    if checks.strict && reach.is_foreign(&six.account) && !reach.lets_foreign(&six, actions) {
        let (en, zh) = (
            "the account must be empty, the own one or a member that it administers",
            "账号须为空、本账号或其管理的成员账号",
        );
        return Err(wrong(ErrorCode::ResourceUinError, en, zh));
    }
    Ok(Some(Pattern::Six(six)))
}

fn is_served(service: &str, checks: &Checks<'_>) -> bool {
    checks.vocabulary.actions().iter().any(|a| a.service == service)
}

fn region(text: &str, place: &str, checks: &Checks<'_>) -> Result<Option<Glob>, Invalid> {
    if text.bytes().all(|c| c == b'*') {
        return Ok(None);
    }
    let glob = Glob::new(text);
    let formed = text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'*'));
    if !formed || checks.strict && !checks.regions.iter().any(|r| glob.matches(r.as_str())) {
        return Err(refuse(ErrorCode::ResourceRegionError, place, "the region is not served", "该地域不存在"));
    }
    Ok(Some(glob))
}

fn account(text: &str, place: &str, reach: &Reach<'_>) -> Result<Account, Invalid> {
    match text.strip_prefix("uin/").unwrap_or(text) {
        "" => Ok(Account::Own),
        "*" => Ok(Account::Reachable(reach.members())),
        inner if inner.len() < text.len() => {
            let number = number(inner).map(|n| Account::Number(AccountId(n)));
            number.or_else(|| Variable::alone(inner).map(Account::Variable)).ok_or(())
        }
        _ => Err(()),
    }
    .map_err(|()| refuse(ErrorCode::ResourceUinError, place, ACCOUNT.0, ACCOUNT.1))
}

/// What an account has to be.
const ACCOUNT: (&str, &str) =
    ("the account must be empty, uin/<number>, uin/* or *", "账号须为空、uin/<数字>、uin/* 或 *");

/// A number in its one spelling.
pub(super) fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|c| c.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// A resource compiled for a principal.
#[derive(Debug)]
pub(super) enum Target {
    Everything,
    Six { service: Service, region: Option<Glob>, accounts: Accounts, rest: Glob },
}

#[derive(Debug)]
pub(super) enum Accounts {
    One(AccountId),
    Several(AccountId, Arc<[AccountId]>),
}

impl Accounts {
    fn has(&self, account: AccountId) -> bool {
        match self {
            Accounts::One(one) => *one == account,
            Accounts::Several(own, others) => *own == account || others.binary_search(&account).is_ok(),
        }
    }
}

impl Pattern {
    /// Puts in what variables stand for.
    pub fn compile(&self, binding: &Binding) -> Target {
        let Pattern::Six(six) = self else { return Target::Everything };
        let accounts = match &six.account {
            Account::Own => Accounts::One(binding.account),
            Account::Reachable(members) => Accounts::Several(binding.account, Arc::clone(members)),
            Account::Number(account) => Accounts::One(*account),
            Account::Variable(variable) => Accounts::One(AccountId(variable.value(binding))),
        };
        let rest = Glob::new(&variables::expand(&six.rest, binding));
        Target::Six { service: six.service, region: six.region.clone(), accounts, rest }
    }
}

/// What a request is about, written as resources write it.
pub(super) enum Subject<'a> {
    Everything,
    Key { region: &'a str, account: AccountId, text: KeyText<'a> },
    Identity { account: AccountId, spellings: &'a [String] },
}

impl Target {
    /// True when what the request is about is among these.
    pub fn matches(&self, subject: &Subject<'_>) -> Truth {
        let Target::Six { service, region, accounts, rest } = self else { return Truth::Yes };
        match subject {
            Subject::Everything => Truth::No,
            Subject::Key { region: at, account, text } => {
                let here = service.admits(Service::Kms)
                    && accounts.has(*account)
                    && region.as_ref().is_none_or(|region| region.matches(at));
                if here { text.fits(rest) } else { Truth::No }
            }
            Subject::Identity { account, spellings } => {
                let here = service.admits(Service::Cam) && accounts.has(*account) && region.is_none();
                (here && spellings.iter().any(|spelling| rest.matches(spelling))).into()
            }
        }
    }
}

/// What stands before the creator in the last segment of a key.
pub(super) const KEY_PREFIX: &str = "key/creatorUin/";
/// What stands for a creator that nobody has looked up: no pattern holds it, so only a wildcard takes it.
const UNKNOWN_CREATOR: &str = "\0";
const ID_LENGTH: usize = 36;

/// Room for the last segment of a key, so that a decision allocates nothing.
pub(super) type Room = [u8; KEY_PREFIX.len() + 20 + 1 + ID_LENGTH];

/// The last segment of a key, `key/creatorUin/<creator>/<id>`.
#[derive(Clone, Copy)]
pub(super) struct KeyText<'a> {
    /// Always there.
    text: Option<&'a str>,
    creator_known: bool,
}

impl<'a> KeyText<'a> {
    /// Of a key, and of its creator when it has been looked at.
    pub fn new(id: KeyId, creator: Option<u64>, room: &'a mut Room) -> Self {
        let (mut digits, mut hex) = ([0; 20], [0; ID_LENGTH]);
        id.write_text(&mut hex);
        let creator_text = creator.map_or(Some(UNKNOWN_CREATOR), |n| decimal(n, &mut digits));
        let text = creator_text.and_then(|creator| {
            let mut length = 0;
            for piece in [KEY_PREFIX.as_bytes(), creator.as_bytes(), b"/", &hex] {
                room[length..length + piece.len()].copy_from_slice(piece);
                length += piece.len();
            }
            std::str::from_utf8(&room[..length]).ok()
        });
        KeyText { text, creator_known: creator.is_some() }
    }

    /// Without a text nothing is decided: a statement that denies must not let a key through.
    fn fits(self, glob: &Glob) -> Truth {
        let Some(text) = self.text else { return Truth::Maybe };
        if glob.matches(text) {
            return Truth::Yes;
        }
        let behind = KEY_PREFIX.len() + UNKNOWN_CREATOR.len();
        if !self.creator_known && glob.touches(KEY_PREFIX, text.get(behind..).unwrap_or_default()) {
            return Truth::Maybe;
        }
        Truth::No
    }
}
