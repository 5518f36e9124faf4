//! Generated policies and requests, decided by the code and by the reference.

use super::{
    Conditions, Decision, Facts, Policy, PolicySet, Resource,
    fuzzing::{World, decided_alike, world},
    reference::{Question, decide},
};
use jadeseal_types::{AccountId, KeyId, Uin};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

const ID: &str = "f73b7a61-8ff9-11f0-9c5b-525400b3a4a6";
const OTHER: &str = "00000000-8ff9-11f0-9c5b-525400b3a4a6";

fn actions() -> impl Strategy<Value = Value> {
    let one = select(vec![
        "kms:Encrypt",
        "name/kms:Encrypt",
        "kms:*",
        "kms:Describe*",
        "*",
        "name/*",
        "*:*",
        "*:*e*Key*",
        "kms:ListKey",
        "kms:GetKeyAttributes",
        "kms:SetKeyAttributes",
        "kms:Get*",
        "sts:AssumeRole",
        "cam:*",
        "cam:Get*",
        "kms:Nothing",
        "cos:*",
        "name/cvm:Describe*",
    ]);
    one_or_more(one.prop_map(Value::from))
}

/// One value, or a list.
fn one_or_more(one: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    prop_oneof![one.clone(), prop::collection::vec(one, 1..4).prop_map(Value::from)]
}

fn resources() -> impl Strategy<Value = Value> {
    let six = (
        select(vec!["", "*", "kms", "kms", "cam", "sts"]),
        select(vec!["", "", "*", "**", "ap-guangzhou", "ap-*", "*-shanghai", "eu"]),
        select(vec!["", "uin/", "uin/*", "*", "uin/100", "uin/200", "uin/300", "uin/${owner_uin}", "uin/${uin}"]),
        select(vec![
            "*".to_owned(),
            "key/*".to_owned(),
            "key/creatorUin/*/*".to_owned(),
            "key/creatorUin/${uin}/*".to_owned(),
            "key/creatorUin/${owner_uin}/*".to_owned(),
            "key/creatorUin/101/*".to_owned(),
            format!("key/creatorUin/100/{ID}"),
            format!("key/creatorUin/*/{ID}"),
            format!("key/creatorUin/1*/{OTHER}"),
            format!("key/*/{ID}"),
            format!("key/{ID}"),
            "*1*00*".to_owned(),
            "*a6".to_owned(),
            "uin/*".to_owned(),
            "uin/${uin}".to_owned(),
            "role/*".to_owned(),
            "role*c*".to_owned(),
            "roleName/ci".to_owned(),
            "own/*".to_owned(),
            "own/uin/${uin}".to_owned(),
            "own/role*".to_owned(),
        ]),
    );
    let six = six.prop_map(|(service, region, account, rest)| format!("qcs::{service}:{region}:{account}:{rest}"));
    let elsewhere =
        select(vec!["qcs::cos:ap-x:uid/1250:b/*", "qcs::cos:::key/*", "qcs::cvm::uin/100:*", "qcs::cos::*:uin/*"]);
    let one = prop_oneof![2 => Just("*".to_owned()), 8 => six, 1 => elsewhere.prop_map(str::to_owned)];
    one_or_more(one.prop_map(Value::from))
}

fn texts(key: &'static str, base: &[&str], values: &[&str]) -> (&'static str, Vec<String>, Vec<Value>) {
    let values = values.iter().map(|v| json!(v)).collect();
    (key, base.iter().map(|s| (*s).to_owned()).collect(), values)
}

/// An operator, a key and values that go together.
fn condition() -> impl Strategy<Value = (String, &'static str, Value)> {
    let strings = [
        "string_equal",
        "string_not_equal",
        "string_equal_ignore_case",
        "string_not_equal_ignore_case",
        "string_like",
        "string_not_like",
    ];
    let orders = ["equal", "not_equal", "greater_than", "greater_than_equal", "less_than", "less_than_equal"];
    let numeric: Vec<String> = orders.iter().map(|o| format!("numeric_{o}")).collect();
    let date: Vec<String> = orders.iter().map(|o| format!("date_{o}")).collect();
    let tags = ["env&prod", "env&test", "ENV&Prod", "team&*", "*&prod", "*", "owner&${uin}"];
    let dates =
        ["2022-05-31T00:00:00Z", "2022-05-31 00:00:00", "2022-05-31T08:00:00+08:00", "2024-02-29T23:59:59-01:30"];
    let nets = ["10.217.182.3/24", "10.0.0.1", "0.0.0.0/0", "2001:db8::/32", "::ffff:10.217.0.0/112", "::/0", "::1"];
    let mut all = vec![
        texts("qcs:ip", &["ip_equal", "ip_not_equal"], &nets),
        texts("qcs:current_time", &date.iter().map(String::as_str).collect::<Vec<_>>(), &dates),
    ];
    for key in ["qcs:uin", "qcs:owner_uin", "qcs:create_uin"] {
        all.push(texts(key, &strings, &["101", "100", "10*", "${uin}", "${owner_uin}", "x${app_id}"]));
        let values = vec![json!(100), json!("101"), json!("${uin}"), json!(0), json!(u64::MAX), json!("${app_id}")];
        all.push((key, numeric.clone(), values));
    }
    for key in ["qcs:tag", "qcs:resource_tag", "qcs:request_tag"] {
        all.push(texts(key, &strings, &tags));
    }
    let common = select(all).prop_flat_map(|(key, operators, values)| {
        let prefix = select(vec!["", "", "for_any_value:", "for_all_value:"]);
        let suffix = select(vec!["", "", "_if_exist"]);
        (prefix, select(operators), suffix, one_or_more(select(values)))
            .prop_map(move |(p, o, s, values)| (format!("{p}{o}{s}"), key, values))
    });
    let keys = select(vec!["qcs:ip", "qcs:create_uin", "qcs:tag", "qcs:resource_tag", "qcs:request_tag"]);
    let flags = || one_or_more(select(vec![json!(true), json!(false), json!("true"), json!("false")]));
    let null = (keys, flags()).prop_map(|(key, values)| ("null_equal".to_owned(), key, values));
    let operators = select(vec!["bool_equal", "bool_equal_if_exist", "for_all_value:bool_equal"]);
    let truth = (operators, flags()).prop_map(|(o, values)| (o.to_owned(), "kms:secure-transport", values));
    prop_oneof![8 => common, 1 => null, 1 => truth]
}

fn statement() -> impl Strategy<Value = Value> {
    let effect = select(vec!["allow", "allow", "Allow", "deny"]);
    let conditions = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(condition(), 0..3)];
    let capital = any::<bool>();
    (effect, actions(), resources(), conditions, capital).prop_map(|(effect, action, resource, conditions, capital)| {
        let mut condition = json!({});
        for (operator, key, values) in conditions {
            condition[operator][key] = values;
        }
        let of_others = |action: &Value| action.as_str().is_some_and(|a| a.contains("cos:") || a.contains("cvm:"));
        if action.as_array().map_or(of_others(&action), |all| all.iter().all(of_others)) {
            condition["bool_equal"]["cos:secure-transport"] = json!([1.5, null]);
        }
        let condition = if condition == json!({}) { Value::Null } else { condition };
        if capital {
            json!({"Effect": effect, "Action": action, "Resource": resource, "Condition": condition})
        } else {
            json!({"effect": effect, "action": action, "resource": resource, "condition": condition})
        }
    })
}

fn policies() -> impl Strategy<Value = Vec<(String, Value)>> {
    let policy = prop::collection::vec(statement(), 1..4).prop_map(|s| json!({"version": "2.0", "statement": s}));
    let numbered = |policies: Vec<Value>| policies.into_iter().enumerate().map(|(i, p)| (format!("p{i}"), p)).collect();
    prop::collection::vec(policy, 1..4).prop_map(numbered)
}

fn tags() -> impl Strategy<Value = Vec<String>> {
    let one = select(vec!["env&prod", "env&test", "team&core", "owner&101", "Env&PROD"]).prop_map(str::to_owned);
    prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(one, 0..3)]
}

#[derive(Clone, Debug)]
enum Of {
    Everything,
    Key { region: usize, account: u64, id: &'static str, creator: u64, tags: Vec<String> },
    Identity { account: u64, spellings: Vec<String> },
}

fn asked_of() -> impl Strategy<Value = Of> {
    let account = || select(vec![100, 100, 200, 300]);
    let key = (0..2usize, account(), select(vec![ID, OTHER]), select(vec![100, 101, 102, 7]), tags())
        .prop_map(|(region, account, id, creator, tags)| Of::Key { region, account, id, creator, tags });
    let role = vec!["role/4611686018427387905", "roleName/ci"];
    let own = [&role[..], &["own/role/4611686018427387905"]].concat();
    let spellings =
        select(vec![vec!["uin/101", "own/uin/101"], vec!["uin/102"], role, own, vec!["policyid/7", "own/policyid/7"]])
            .prop_map(|all: Vec<&str>| all.into_iter().map(str::to_owned).collect());
    let identity = (account(), spellings).prop_map(|(account, spellings)| Of::Identity { account, spellings });
    prop_oneof![1 => Just(Of::Everything), 5 => key, 2 => identity]
}

#[derive(Clone, Debug)]
struct Request {
    action: usize,
    of: Of,
    source: Option<&'static str>,
    now: u64,
    secure: bool,
    request_tags: Vec<String>,
}

fn request() -> impl Strategy<Value = Request> {
    let source =
        select(vec![None, Some("10.217.182.77"), Some("10.0.0.1"), Some("::ffff:10.217.182.1"), Some("2001:db8::7")]);
    // About the dates of the conditions: 2022-05-31T00:00:00Z and 2024-03-01T01:29:59Z.
    let now = select(vec![0, 1_653_955_199, 1_653_955_200, 1_653_955_201, 1_709_256_599, 1_900_000_000]);
    // Half of them ask for Encrypt, so that many meet a statement.
    let action = prop_oneof![Just(0usize), 0..13usize];
    (action, asked_of(), source, now, any::<bool>(), tags()).prop_map(
        |(action, of, source, now, secure, request_tags)| Request { action, of, source, now, secure, request_tags },
    )
}

/// True when nothing in the policies is about what a key is.
fn indifferent(policies: &[(String, Value)]) -> bool {
    let text = serde_json::to_string(&policies.iter().map(|(_, p)| p).collect::<Vec<_>>()).unwrap();
    !["create_uin", "qcs:tag", "resource_tag", "creatorUin/1", "creatorUin/$", "*1*00*", &format!("key/{ID}")]
        .iter()
        .any(|word| text.contains(word))
}

fn check(world: &World, policies: &[(String, Value)], request: &Request) -> Result<(), TestCaseError> {
    let checks = world.checks(false);
    let parsed: Vec<Policy> = policies.iter().map(|(_, p)| Policy::parse(&p.to_string(), &checks).unwrap()).collect();
    let set = PolicySet::new(world.binding, policies.iter().map(|(name, _)| name.as_str()).zip(&parsed));
    let info = world.vocabulary.actions()[request.action];
    let action = world.vocabulary.find(info.service, info.name).unwrap();
    let conditions = Conditions {
        source: request.source.map(|s| s.parse().unwrap()),
        now: request.now,
        secure: request.secure,
        request_tags: &request.request_tags,
        external_id: None,
    };
    let others = [vec![], vec!["env&prod".to_owned(), "team&core".to_owned()], vec!["env&test".to_owned()]];
    let expected = |resource| {
        let (service, action) = (info.service, info.name);
        let question = Question { checks: &checks, binding: world.binding, service, action, resource, conditions };
        decide(&question, policies)
    };
    let resource = match &request.of {
        Of::Everything => Resource::Everything,
        Of::Identity { account, spellings } => Resource::Identity { account: AccountId(*account), spellings },
        Of::Key { region, account, id, creator, tags } => {
            let (region, account, id) = (&world.regions[*region], AccountId(*account), KeyId::parse(id).unwrap());
            let key = |facts| Resource::Key { region, account, id, facts };
            let unseen = set.evaluate(action, &key(None), &conditions);
            prop_assert!(unseen != Decision::Depends || !indifferent(policies));
            for creator in [7, 100, 101, 102] {
                for tags in others.iter().chain([tags]) {
                    let seen = expected(key(Some(Facts { creator: Uin(creator), tags })));
                    prop_assert!(decided_alike(&unseen, &seen), "{:?} {:?}", unseen, seen);
                }
            }
            key(Some(Facts { creator: Uin(*creator), tags }))
        }
    };
    prop_assert_eq!(set.evaluate(action, &resource, &conditions), expected(resource));
    // What is accepted for a new policy means the same when it is read from the store.
    let strict = world.checks(true);
    for ((name, policy), stored) in policies.iter().zip(&parsed) {
        if let Ok(new) = Policy::parse(&policy.to_string(), &strict) {
            let decide =
                |p| PolicySet::new(world.binding, [(name.as_str(), p)]).evaluate(action, &resource, &conditions);
            prop_assert_eq!(decide(&new), decide(stored));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn decisions_equal_those_of_the_reference(policies in policies(), requests in prop::collection::vec(request(), 4)) {
        let world = world();
        for request in &requests {
            check(&world, &policies, request)?;
        }
    }
}

/// The generator is worth its time only if it meets every outcome.
#[test]
fn generated_policies_meet_every_outcome() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let (world, mut runner) = (world(), TestRunner::deterministic());
    let mut counts = [0usize; 4];
    for _ in 0..1000 {
        let policies = policies().new_tree(&mut runner).unwrap().current();
        let checks = world.checks(false);
        let parsed: Vec<_> = policies.iter().map(|(_, p)| Policy::parse(&p.to_string(), &checks).unwrap()).collect();
        let set = PolicySet::new(world.binding, policies.iter().map(|(n, _)| n.as_str()).zip(&parsed));
        let action = world.vocabulary.find("kms", "Encrypt").unwrap();
        let conditions = Conditions { source: None, now: 0, secure: false, request_tags: &[], external_id: None };
        let (region, account, id) = (&world.regions[0], AccountId(100), KeyId::parse(ID).unwrap());
        let key = Resource::Key { region, account, id, facts: None };
        match set.evaluate(action, &key, &conditions) {
            Decision::Allowed(_) => counts[0] += 1,
            Decision::NotAllowed => counts[1] += 1,
            Decision::Denied(_) => counts[2] += 1,
            Decision::Depends => counts[3] += 1,
        }
    }
    assert!(counts.iter().all(|&n| n > 30), "{counts:?}");
}
