//! Conditions: each operator, its qualifiers, missing values, and what is refused.

use super::{
    AccountId, Conditions, Decision, Facts, Policy, PolicySet, Resource, Uin,
    conditions::{Condition, Item, Seen, Truth},
    fuzzing::world,
    operators::{Key, Operator},
    tests::{QUIET, action, document, refused},
};
use crate::params::Value;
use jadeseal_types::{ErrorCode, KeyId};

/// A request of the user 101 of the account 100.
#[derive(Default)]
struct Request<'a> {
    source: Option<&'a str>,
    now: u64,
    request_tags: &'a [&'a str],
    /// Creator and tags of the key that it is about; none for a request about none.
    key: Option<(u64, &'a [&'a str])>,
}

fn statement(condition: &str) -> String {
    document(&format!(r#""effect":"allow","action":"kms:*","resource":"*","condition":{condition}"#))
}

fn holds(condition: &str, request: &Request<'_>) -> bool {
    let world = world();
    let policy = Policy::parse(&statement(condition), &world.checks(true)).expect(condition);
    let owned = |tags: &[&str]| tags.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let request_tags = owned(request.request_tags);
    let source = request.source.map(|s| s.parse().unwrap());
    let conditions = Conditions { source, now: request.now, request_tags: &request_tags, ..QUIET };
    let tags = request.key.map(|(_, tags)| owned(tags)).unwrap_or_default();
    let resource = match request.key {
        None => Resource::Everything,
        Some((creator, _)) => Resource::Key {
            region: &world.regions[0],
            account: AccountId(100),
            id: KeyId::from_bytes([7; 16]),
            facts: Some(Facts { creator: Uin(creator), tags: &tags }),
        },
    };
    let set = PolicySet::new(world.binding, [("p", &policy)]);
    match set.evaluate(action(&world, "kms:Encrypt"), &resource, &conditions) {
        Decision::Allowed(_) => true,
        Decision::NotAllowed => false,
        other => panic!("{other:?}"),
    }
}

fn one(operator: &str, key: &str, values: &str) -> String {
    format!(r#"{{"{operator}":{{"{key}":{values}}}}}"#)
}

#[test]
fn texts_are_compared() {
    for (operator, values, tag, expected) in [
        ("string_equal", r#""env&prod""#, "env&prod", true),
        ("string_equal", r#"["x&y","env&prod"]"#, "env&prod", true),
        ("string_equal", r#""env&prod""#, "env&Prod", false),
        ("string_equal", r#""env&*""#, "env&prod", false),
        ("string_not_equal", r#"["x&y","env&prod"]"#, "env&prod", false),
        ("string_not_equal", r#"["x&y","env&test"]"#, "env&prod", true),
        ("string_equal_ignore_case", r#""ENV&prod""#, "env&Prod", true),
        ("string_not_equal_ignore_case", r#""ENV&É""#, "env&é", false),
        ("string_like", r#""env&*""#, "env&prod", true),
        ("string_like", r#""*prod""#, "env&prod", true),
        ("string_like", r#""team&*""#, "env&prod", false),
        ("string_not_like", r#""team&*""#, "env&prod", true),
        ("string_not_like", r#"["team&*","*&prod"]"#, "env&prod", false),
        ("string_equal", r#""owner&${uin}""#, "owner&101", true),
        ("string_like", r#""*&${owner_uin}-${app_id}""#, "a&100-1250", true),
    ] {
        let condition = one(operator, "qcs:resource_tag", values);
        let tagged = Request { key: Some((7, &[tag])), ..Request::default() };
        assert_eq!(holds(&condition, &tagged), expected, "{condition} {tag}");
    }
    assert!(holds(&one("string_like", "qcs:uin", r#""10*""#), &Request::default()));
    assert!(holds(&one("string_equal", "qcs:owner_uin", r#""100""#), &Request::default()));
}

#[test]
fn sets_are_compared_by_quantifier() {
    let request = |tags| Request { key: Some((7, tags)), ..Request::default() };
    let (none, both): (&[&str], &[&str]) = (&[], &["a&1", "b&2"]);
    for (operator, values, [empty, some, all]) in [
        ("string_equal", r#""a&1""#, [false, true, true]),
        ("string_not_equal", r#""a&1""#, [true, false, false]),
        ("for_any_value:string_equal", r#""a&1""#, [false, true, true]),
        ("for_all_value:string_equal", r#""a&1""#, [true, false, true]),
        ("for_all_value:string_equal", r#"["a&1","b&2"]"#, [true, true, true]),
        ("for_any_value:string_not_equal", r#""a&1""#, [false, true, false]),
        ("for_all_value:string_not_equal", r#""a&1""#, [true, false, false]),
        ("string_equal_if_exist", r#""a&1""#, [true, true, true]),
        ("string_equal_if_exist", r#""c&3""#, [true, false, false]),
        ("for_any_value:string_not_equal_if_exist", r#""a&1""#, [true, true, false]),
        ("null_equal", r#""true""#, [true, false, false]),
        ("null_equal", "false", [false, true, true]),
        ("null_equal", "[true,false]", [true, true, true]),
    ] {
        let condition = one(operator, "qcs:tag", values);
        let found = [none, both, &["a&1"]].map(|tags| holds(&condition, &request(tags)));
        assert_eq!(found, [empty, some, all], "{condition}");
    }
}

#[test]
fn tags_are_those_of_the_key_or_of_the_request() {
    let on_key = Request { key: Some((7, &["k&1"])), request_tags: &["r&1"], ..Request::default() };
    let on_nothing = Request { request_tags: &["r&1"], ..Request::default() };
    for (key, value, about_key, about_nothing) in [
        ("qcs:tag", "k&1", true, false),
        ("qcs:tag", "r&1", false, true),
        ("qcs:resource_tag", "k&1", true, false),
        ("qcs:resource_tag", "r&1", false, false),
        ("qcs:request_tag", "r&1", true, true),
    ] {
        let condition = one("string_equal", key, &format!("{value:?}"));
        assert_eq!(
            [holds(&condition, &on_key), holds(&condition, &on_nothing)],
            [about_key, about_nothing],
            "{condition}"
        );
    }
}

#[test]
fn numbers_are_compared() {
    let by = |creator| Request { key: Some((creator, &[])), ..Request::default() };
    for (operator, below, same, above) in [
        ("numeric_equal", false, true, false),
        ("numeric_not_equal", true, false, true),
        ("numeric_greater_than", false, false, true),
        ("numeric_greater_than_equal", false, true, true),
        ("numeric_less_than", true, false, false),
        ("numeric_less_than_equal", true, true, false),
    ] {
        for value in ["101", r#""101""#, r#""${uin}""#, r#"["0101"]"#] {
            let condition = one(operator, "qcs:create_uin", value);
            assert_eq!([100, 101, 102].map(|n| holds(&condition, &by(n))), [below, same, above], "{condition}");
        }
    }
    let missing = Request::default();
    assert!(!holds(&one("numeric_less_than", "qcs:create_uin", "5"), &missing));
    assert!(holds(&one("numeric_not_equal", "qcs:create_uin", "5"), &missing));
    assert!(holds(&one("numeric_less_than_if_exist", "qcs:create_uin", "5"), &missing));
    assert!(holds(&one("null_equal", "qcs:create_uin", "true"), &missing));
    assert!(holds(&one("numeric_equal", "qcs:uin", "[7,101]"), &missing));
}

#[test]
fn dates_are_compared() {
    let at = |now| Request { now, ..Request::default() };
    for (operator, before, same, after) in [
        ("date_equal", false, true, false),
        ("date_not_equal", true, false, true),
        ("date_greater_than", false, false, true),
        ("date_greater_than_equal", false, true, true),
        ("date_less_than", true, false, false),
        ("date_less_than_equal", true, true, false),
    ] {
        for text in [
            "2022-05-31T00:00:00Z",
            "2022-05-31 00:00:00",
            "2022-05-31T00:00:00",
            "2022-05-31T08:00:00+08:00",
            "2022-05-30t22:30:00.000-01:30",
        ] {
            let condition = one(operator, "qcs:current_time", &format!("{text:?}"));
            let found = [1_653_955_199, 1_653_955_200, 1_653_955_201].map(|now| holds(&condition, &at(now)));
            assert_eq!(found, [before, same, after], "{condition}");
        }
    }
}

#[test]
fn addresses_are_compared() {
    let from = |source| Request { source, ..Request::default() };
    for (net, source, expected) in [
        ("10.217.182.3/24", "10.217.182.200", true),
        ("10.217.182.3/24", "10.217.183.1", false),
        ("10.217.182.3", "10.217.182.3", true),
        ("10.217.182.3", "10.217.182.4", false),
        ("0.0.0.0/0", "255.1.2.3", true),
        ("0.0.0.0/0", "::1", false),
        ("2001:db8::/32", "2001:db8:1::7", true),
        ("2001:db8::/32", "2001:db9::7", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.1.2.3", "::ffff:10.1.2.3", true),
        ("::ffff:0:0/96", "1.2.3.4", true),
    ] {
        let equal = one("ip_equal", "qcs:ip", &format!(r#"["192.0.2.1","{net}"]"#));
        assert_eq!(holds(&equal, &from(Some(source))), expected, "{equal} {source}");
        let not = one("ip_not_equal", "qcs:ip", &format!(r#"["192.0.2.1","{net}"]"#));
        assert_eq!(holds(&not, &from(Some(source))), !expected, "{not} {source}");
    }
    for (operator, expected) in [
        ("ip_equal", false),
        ("ip_not_equal", true),
        ("ip_equal_if_exist", true),
        ("for_any_value:ip_not_equal", false),
        ("for_all_value:ip_equal", true),
    ] {
        assert_eq!(holds(&one(operator, "qcs:ip", r#""10.0.0.0/8""#), &from(None)), expected, "{operator}");
    }
}

#[test]
fn a_network_of_ipv6_that_seems_to_hold_ipv4_is_refused() {
    for (net, wide) in [
        ("::/0", true),
        ("::/1", true),
        ("::/80", true),
        ("::fffe:0:0/95", true),
        ("::ffff:1.2.3.4/64", true),
        ("::ffff:0:0/96", false),
        ("::ffff:10.0.0.0/104", false),
        ("2000::/3", false),
        ("::1", false),
        ("::/96", false),
        ("64:ff9b::/96", false),
    ] {
        for operator in ["ip_equal", "for_any_value:ip_not_equal"] {
            let written = statement(&one(operator, "qcs:ip", &format!(r#"["10.0.0.1","{net}"]"#)));
            if wide {
                let e = refused(&written);
                let place = format!("statement[0].condition.{operator}.qcs:ip[1]");
                assert_eq!((e.code, e.place), (ErrorCode::ConditionContentError, place), "{net}");
                assert!(e.en.contains("0.0.0.0/0") && e.zh.contains("2000::/3"));
            } else {
                assert!(Policy::parse(&written, &world().checks(true)).is_ok(), "{net}");
            }
            assert!(Policy::parse(&written, &world().checks(false)).is_ok(), "{net}");
        }
    }
    let everywhere = one("ip_equal", "qcs:ip", r#"["0.0.0.0/0","2000::/3"]"#);
    for (source, expected) in [("10.0.0.1", true), ("::ffff:10.0.0.1", true), ("2001:db8::1", true), ("fd00::1", false)]
    {
        assert_eq!(holds(&everywhere, &Request { source: Some(source), ..Request::default() }), expected, "{source}");
    }
}

#[test]
fn what_cannot_be_compared_is_neither_fulfilled_nor_not() {
    let binding = world().binding;
    let condition = |operator: &str, key, value: &str| {
        let value = Value::Str(value.into());
        Condition::of(Operator::parse(operator).unwrap(), key, &value, &world().checks(true)).compile(&binding)
    };
    let address = Item::Ip("10.0.0.1".parse().unwrap());
    for (operator, key, value, item) in [
        ("string_equal", Key::Uin, "1", address),
        ("string_not_equal", Key::Uin, "1", Item::Flag(true)),
        ("string_like_if_exist", Key::Uin, "*", Item::Date(1)),
        ("numeric_not_equal", Key::Uin, "1", Item::Text("2")),
        ("date_equal", Key::CurrentTime, "2022-05-31T00:00:00Z", Item::Number(1)),
        ("ip_equal", Key::Ip, "10.0.0.0/8", Item::Text("10.0.0.1")),
        ("bool_equal", Key::SecureTransport, "true", Item::Text("true")),
    ] {
        for quantifier in ["", "for_any_value:", "for_all_value:"] {
            let test = condition(&format!("{quantifier}{operator}"), key, value);
            assert_eq!(test.holds(Seen::One(item)), Truth::Maybe, "{quantifier}{operator}");
            assert_eq!(test.holds(Seen::Unknown), Truth::Maybe);
        }
    }
}

#[test]
fn all_of_several_conditions_must_hold() {
    let condition = r#"{"string_equal":{"qcs:uin":"101","qcs:tag":"a&1"},"ip_equal":{"qcs:ip":"10.0.0.0/8"}}"#;
    let good = Request { source: Some("10.1.1.1"), request_tags: &["a&1"], ..Request::default() };
    assert!(holds(condition, &good));
    assert!(!holds(condition, &Request { source: Some("11.1.1.1"), ..good }));
    assert!(!holds(condition, &Request { request_tags: &[], source: good.source, ..Request::default() }));
    for none in ["{}", "null"] {
        assert!(holds(none, &Request::default()));
    }
}

#[test]
fn conditions_are_checked() {
    use ErrorCode::*;
    for (condition, code, place) in [
        ("[]", ConditionError, ""),
        ("false", ConditionError, ""),
        (r#"{"string_equal":{}}"#, ConditionError, ".string_equal"),
        (r#"{"string_equal":1}"#, ConditionError, ".string_equal"),
        (r#"{"string_equals":{"qcs:tag":"a&b"}}"#, ConditionTypeError, ".string_equals"),
        (r#"{"StringEqual":{"qcs:tag":"a&b"}}"#, ConditionTypeError, ".StringEqual"),
        (r#"{"for_some_value:string_equal":{"qcs:tag":"a&b"}}"#, ConditionTypeError, ".for_some_value:string_equal"),
        (r#"{"null_equal_if_exist":{"qcs:tag":true}}"#, ConditionTypeError, ".null_equal_if_exist"),
        (r#"{"for_any_value:null_equal":{"qcs:tag":true}}"#, ConditionTypeError, ".for_any_value:null_equal"),
        (r#"{"string_equal":{"qcs:nothing":"a"}}"#, ConditionError, ".string_equal.qcs:nothing"),
        (r#"{"string_equal":{"sts:external_id":"a"}}"#, ConditionError, ".string_equal.sts:external_id"),
        (r#"{"bool_equal":{"qcs:mfa_present":true}}"#, ConditionError, ".bool_equal.qcs:mfa_present"),
        (r#"{"bool_equal":{"qcs:uin":true}}"#, ConditionError, ".bool_equal.qcs:uin"),
        (r#"{"bool_equal":{"kms:secure-transport":"yes"}}"#, ConditionContentError, ".bool_equal.kms:secure-transport"),
        (r#"{"string_equal":{"kms:secure-transport":"true"}}"#, ConditionError, ".string_equal.kms:secure-transport"),
        (r#"{"string_equal":{"qcs:ip":"10.0.0.1"}}"#, ConditionError, ".string_equal.qcs:ip"),
        (r#"{"ip_equal":{"qcs:uin":"10.0.0.1"}}"#, ConditionError, ".ip_equal.qcs:uin"),
        (r#"{"date_equal":{"qcs:uin":"2022-05-31T00:00:00Z"}}"#, ConditionError, ".date_equal.qcs:uin"),
        (r#"{"numeric_equal":{"qcs:tag":1}}"#, ConditionError, ".numeric_equal.qcs:tag"),
        (r#"{"string_equal":{"qcs:tag":[]}}"#, ConditionContentError, ".string_equal.qcs:tag"),
        (r#"{"string_equal":{"qcs:tag":["a&b",1]}}"#, ConditionContentError, ".string_equal.qcs:tag[1]"),
        (r#"{"string_equal":{"qcs:tag":["a&b","a"]}}"#, ConditionContentError, ".string_equal.qcs:tag[1]"),
        (r#"{"string_equal":{"qcs:tag":"a&${x}"}}"#, ConditionContentError, ".string_equal.qcs:tag"),
        (r#"{"string_like":{"qcs:tag":"a&${uin"}}"#, ConditionContentError, ".string_like.qcs:tag"),
        (r#"{"numeric_equal":{"qcs:uin":-1}}"#, ConditionContentError, ".numeric_equal.qcs:uin"),
        (r#"{"numeric_equal":{"qcs:uin":1.5}}"#, ConditionContentError, ".numeric_equal.qcs:uin"),
        (r#"{"numeric_equal":{"qcs:uin":"1${uin}"}}"#, ConditionContentError, ".numeric_equal.qcs:uin"),
        (r#"{"numeric_equal":{"qcs:uin":"18446744073709551616"}}"#, ConditionContentError, ".numeric_equal.qcs:uin"),
        (r#"{"null_equal":{"qcs:tag":"yes"}}"#, ConditionContentError, ".null_equal.qcs:tag"),
    ] {
        let e = refused(&statement(condition));
        assert_eq!((e.code, e.place), (code, format!("statement[0].condition{place}")), "{condition} {}", e.en);
    }
    for bad in
        ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.1/x", "${uin}", "10.0.0.1 ", "fe80::1%1"]
    {
        assert_eq!(refused(&statement(&one("ip_equal", "qcs:ip", &format!("{bad:?}")))).code, ConditionContentError);
    }
    for bad in [
        "",
        "2022-05-31",
        "2022-05-31T00:00Z",
        "2022-05-31T00:00+01",
        "2022-13-31T00:00:00Z",
        "2022-02-30T00:00:00Z",
        "2022-05-31T00:00:00+99:00",
        "2022-05-31T00:00:00Z[Asia/Shanghai]",
        "31-05-2022 00:00:00",
        "２022-05-31T00:00:00Z",
        "1653955200",
    ] {
        let condition = one("date_equal", "qcs:current_time", &format!("{bad:?}"));
        assert_eq!(refused(&statement(&condition)).code, ConditionContentError, "{bad}");
    }
}
