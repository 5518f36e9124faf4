//! The body of the fuzz target `policy`, and a small world for it and for the tests.

use super::{
    ActionId, ActionInfo, Binding, Checks, Conditions, Decision, Facts, Invalid, Policy, PolicySet, Resource, Taker,
    TrustPolicy, Vocabulary,
};
use jadeseal_types::{AccountId, AppId, KeyId, Region, Uin};
use std::{net::IpAddr, sync::LazyLock};

const KEY: &[&str] = &["key/"];
const ROLE: &[&str] = &["role/", "roleName/"];
const ACTIONS: &[(&str, &str, &[&str])] = &[
    ("kms", "Encrypt", KEY),
    ("kms", "Decrypt", KEY),
    ("kms", "DescribeKey", KEY),
    ("kms", "UpdateKeyDescription", KEY),
    ("kms", "ListKeys", &[]),
    ("kms", "CreateKey", &[]),
    ("cam", "GetUser", &["uin/"]),
    ("cam", "GetPolicy", &["policyid/"]),
    ("cam", "AddUserToGroup", &["groupid/", "uin/"]),
    ("cam", "GetRole", ROLE),
    ("cam", "ListUsers", &[]),
    ("sts", "AssumeRole", ROLE),
    ("tag", "TagResources", KEY),
];

/// A few actions of each kind.
pub(crate) fn vocabulary() -> Vocabulary {
    let action = |&(service, name, resources)| ActionInfo { service, name, resources };
    Vocabulary::new(ACTIONS.iter().map(action).collect())
}

/// What policies are checked against and asked about.
pub(crate) struct World {
    pub vocabulary: Vocabulary,
    pub regions: Vec<Region>,
    pub members: Vec<AccountId>,
    pub binding: Binding,
}

/// Account 100 with the user 101, that administers the account 200.
pub(crate) fn world() -> World {
    World {
        vocabulary: vocabulary(),
        regions: ["ap-guangzhou", "ap-shanghai"].into_iter().filter_map(Region::parse).collect(),
        members: vec![AccountId(200)],
        binding: Binding { uin: Uin(101), account: AccountId(100), app_id: AppId(1250) },
    }
}

impl World {
    /// The checks of its account.
    pub fn checks(&self, strict: bool) -> Checks<'_> {
        Checks {
            vocabulary: &self.vocabulary,
            account: self.binding.account,
            members: &self.members,
            regions: &self.regions,
            strict,
        }
    }
}

/// A document, read as a policy and as one of trust: what the strict reading takes, the other takes with the same
/// meaning; with facts nothing depends; what is decided without them is decided so with any.
pub fn policy(data: &[u8]) {
    static WORLD: LazyLock<World> = LazyLock::new(world);
    let Ok(document) = std::str::from_utf8(data) else { return };
    let (strict, lenient) = (WORLD.checks(true), WORLD.checks(false));
    let read = Policy::parse(document, &lenient);
    match Policy::parse(document, &strict) {
        Err(e) => presentable(&e),
        Ok(policy) => {
            let lenient = read.as_ref().expect("what the strict reading takes");
            assert!(policy.statements.iter().any(|s| !s.is_inert()), "something in it is asked about");
            evaluate(&WORLD, &[&policy, lenient]);
        }
    }
    match read {
        Err(e) => presentable(&e),
        Ok(policy) => evaluate(&WORLD, &[&policy]),
    }
    let read = TrustPolicy::parse(document, &lenient);
    match TrustPolicy::parse(document, &strict) {
        Err(e) => presentable(&e),
        Ok(policy) => assert_eq!(policy.named(), read.as_ref().expect("what the strict reading takes").named()),
    }
    match read {
        Err(e) => presentable(&e),
        Ok(policy) => {
            let named = policy.named();
            assert!(!named.is_empty());
            let is_strange = |account: &AccountId| named.iter().all(|t| t.account() != *account);
            let stranger = [100, 200].into_iter().chain(300..).map(AccountId).find(is_strange).expect("an account");
            for role_name in [None, Some("ci")] {
                let taker = Taker { account: AccountId(100), uin: Uin(101), role_name };
                policy.admits(&taker, &CONDITIONS);
                let stranger = Taker { account: stranger, ..taker };
                assert!(!policy.admits(&stranger, &CONDITIONS));
            }
        }
    }
}

const CONDITIONS: Conditions<'static> = Conditions {
    source: Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 217, 182, 3))),
    now: 1_790_000_000,
    secure: true,
    request_tags: &[],
    external_id: Some("x"),
};

fn presentable(e: &Invalid) {
    assert!(e.place.chars().count() < 300 && e.en.chars().count() < 300 && !e.zh.is_empty());
    assert!(!e.place.chars().chain(e.en.chars()).chain(e.zh.chars()).any(char::is_control));
}

fn evaluate(world: &World, policies: &[&Policy]) {
    let sets: Vec<_> = policies.iter().map(|p| PolicySet::new(world.binding, [("p", *p)])).collect();
    let decide = |action, resource: &Resource<'_>| {
        let mut decisions = sets.iter().map(|set| set.evaluate(action, resource, &CONDITIONS));
        let first = decisions.next().expect("a policy");
        assert!(decisions.all(|d| d == first));
        first
    };
    let tags = ["env&prod".to_owned()];
    let id = KeyId::from_bytes(*b"\xf7\x3b\x7a\x61\x8f\xf9\x11\xf0\x9c\x5b\x52\x54\x00\xb3\xa4\xa6");
    for at in 0..world.vocabulary.actions().len() {
        let action = ActionId(u16::try_from(at).expect("few actions"));
        assert_ne!(decide(action, &Resource::Everything), Decision::Depends);
        let spellings = ["role/4611686018427387905", "roleName/ci", "own/role/4611686018427387905"].map(str::to_owned);
        let role = Resource::Identity { account: AccountId(100), spellings: &spellings };
        assert_ne!(decide(action, &role), Decision::Depends);
        for (region, account) in world.regions.iter().zip([AccountId(100), AccountId(200)]) {
            let key = |facts| Resource::Key { region, account, id, facts };
            let unseen = decide(action, &key(None));
            for (creator, tags) in [(101, &tags[..]), (101, &[]), (7, &tags), (u64::MAX, &[])] {
                let seen = decide(action, &key(Some(Facts { creator: Uin(creator), tags })));
                assert!(decided_alike(&unseen, &seen), "{unseen:?} {seen:?}");
            }
        }
    }
}

/// True when the decision without facts holds for that with some, which never depends.
pub(crate) fn decided_alike(unseen: &Decision, seen: &Decision) -> bool {
    let allowed = matches!(seen, Decision::Allowed(_));
    *seen != Decision::Depends
        && match unseen {
            Decision::Allowed(_) => allowed,
            Decision::NotAllowed | Decision::Denied(_) => !allowed,
            Decision::Depends => true,
        }
}
