//! Statements, actions and resources of products that are not served.

use super::{
    AccountId, Decision, Facts, Policy, PolicySet, Resource, Uin,
    fuzzing::world,
    tests::{QUIET, action, document, refused},
};
use jadeseal_types::{ErrorCode, KeyId};
use serde_json::{Value, json};

fn policy(statements: Value) -> String {
    json!({"version": "2.0", "statement": statements}).to_string()
}

/// What is decided about a key of the account 100 and about `*`; the same for what is new and for what was stored.
fn decides(document: &str, name: &str) -> [bool; 2] {
    let world = world();
    let read = |strict| Policy::parse(document, &world.checks(strict)).unwrap_or_else(|e| panic!("{document} {e:?}"));
    let (new, stored) = (read(true), read(false));
    let facts = Some(Facts { creator: Uin(7), tags: &[] });
    let (region, account, id) = (&world.regions[0], AccountId(100), KeyId::from_bytes([7; 16]));
    [Resource::Key { region, account, id, facts }, Resource::Everything].map(|resource| {
        let [new, stored] = [&new, &stored].map(|policy| {
            PolicySet::new(world.binding, [("p", policy)]).evaluate(action(&world, name), &resource, &QUIET)
        });
        assert_eq!(new, stored, "{document}");
        matches!(new, Decision::Allowed(_))
    })
}

#[test]
fn other_products_beside_served_ones_match_nothing() {
    for (actions, resources, expected) in [
        (json!(["cos:*", "kms:*"]), json!("*"), [true, true]),
        (json!(["name/cos:GetObject", "name/kms:Encrypt", "finance:*"]), json!("*"), [true, true]),
        (json!("kms:Encrypt"), json!(["qcs::kms:::key/*", "qcs::cos::uid/1250000000:bucket/*"]), [true, false]),
        (json!("kms:Encrypt"), json!(["qcs::cos:::key/*", "qcs::kms:ap-shanghai::key/*"]), [false, false]),
        (json!(["kms:Encrypt", "cvm:*"]), json!(["qcs::kms:::key/*", "qcs::cvm:xx-1:uin/9:${x}"]), [true, false]),
        (json!(["cos:PutObject", "kms:Encrypt"]), json!("qcs::kms:::key/*"), [true, false]),
    ] {
        let document = policy(json!([{"effect": "allow", "action": actions, "resource": resources}]));
        assert_eq!(decides(&document, "kms:Encrypt"), expected, "{document}");
    }
    let denied = |deny| policy(json!([{"effect": "allow", "action": "kms:*", "resource": "*"}, deny]));
    let deny = json!({"effect": "deny", "action": "cos:DeleteBucket", "resource": "qcs::cos::uid/1250000000:*"});
    assert_eq!(decides(&denied(deny), "kms:Encrypt"), [true, true]);
    let deny = json!({"effect": "deny", "action": ["cos:*", "kms:Encrypt"], "resource": "*"});
    assert_eq!(decides(&denied(deny), "kms:Encrypt"), [false, false]);
}

#[test]
fn a_statement_about_other_products_alone_is_passed_over() {
    let beside = |statement: Value| policy(json!([statement, {"effect": "allow", "action": "kms:*", "resource": "*"}]));
    for statement in [
        json!({"effect": "allow", "action": "cos:*", "resource": "*"}),
        json!({"effect": "deny", "action": ["cvm:*", "name/cos:Put*"], "resource": "qcs:id/7:what:ever"}),
        json!({"effect": "allow", "action": "cos:*", "resource": ["qcs::kms:::kex/*"], "condition": null}),
        json!({"effect": "deny", "action": "cos:*", "resource": "*",
               "condition": {"bool_equal": {"cos:secure-transport": "false"}, "strange": [1.5, null]}}),
    ] {
        assert_eq!(decides(&beside(statement), "kms:Encrypt"), [true, true]);
    }
    use ErrorCode::*;
    for (statement, code, place) in [
        (json!({"effect": "x", "action": "cos:*", "resource": "*"}), EffectError, "effect"),
        (json!({"effect": "deny", "action": "cos:*"}), ResourceError, "resource"),
        (json!({"effect": "deny", "action": "cos:*", "resource": [1]}), ResourceError, "resource[0]"),
        (json!({"effect": "deny", "action": "cos:*", "resource": "*", "condition": []}), ConditionError, "condition"),
        (json!({"effect": "deny", "action": "cos:*", "resource": "*", "principal": {}}), PrincipalError, "principal"),
        (json!({"effect": "deny", "action": ["cos:*", "coss:*"], "resource": "*"}), ActionServiceNotExist, "action[1]"),
        (
            json!({"effect": "deny", "action": ["cos:*", "kms:*"], "resource": "*",
                   "condition": {"bool_equal": {"cos:secure-transport": "false"}}}),
            ConditionError,
            "condition.bool_equal.cos:secure-transport",
        ),
    ] {
        let e = refused(&beside(statement.clone()));
        assert_eq!((e.code, e.place), (code, format!("statement[0].{place}")), "{statement}");
    }
}

#[test]
fn a_policy_about_other_products_alone_is_refused() {
    for (statements, place) in [
        (json!([{"effect": "allow", "action": "cos:*", "resource": "*"}]), "statement[0].action"),
        (
            json!([{"effect": "allow", "action": ["name/cos:*", "cvm:*"], "resource": "*"},
                   {"effect": "deny", "action": "finance:*", "resource": "*"}]),
            "statement[0].action[0]",
        ),
    ] {
        let document = policy(statements);
        let e = refused(&document);
        assert_eq!((e.code, e.place.as_str()), (ErrorCode::ActionServiceNotExist, place));
        assert!(e.en.contains("nothing"), "{}", e.en);
        assert!(Policy::parse(&document, &world().checks(false)).is_ok(), "of the store it is read");
    }
}

#[test]
fn a_stored_statement_about_what_is_no_more_is_passed_over() {
    let gone =
        document(r#""effect":"allow","action":"kms:Gone","resource":"x","condition":{"string_equal":{"kms:x":"y"}}"#);
    assert!(Policy::parse(&gone, &world().checks(false)).is_ok());
    assert_eq!(refused(&gone).code, ErrorCode::ActionNotExist);
}
