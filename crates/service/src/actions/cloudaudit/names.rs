//! What principals are called in events, and which principals a name is that of. Both say the same of every record: whatever an
//! event shows can be looked up, and brings the events that show it and no others.
//!
//! | who | name |
//! |---|---|
//! | the account's own main account | `root` |
//! | a user | the name that he has today; by number if that could be taken for one of the others |
//! | a session of a role | name of the role, `:`, name of the session |
//! | a federated session | number of whoever began it, `:`, name of the session |
//! | the service itself, and its command line | `jadeseal` |
//! | a cloud product, whoever is of another account, has been removed or has no session name | the number |

use jadeseal_audit::{Facts, index::Condition, unescaped};
use jadeseal_store::{Identities, RoleRow, UserRow};
use std::collections::HashMap;

const ROOT: &str = "root";
const SERVICE: &str = "jadeseal";
/// What stands between a principal and his session; no name of a user or a role has it.
const OF_SESSION: char = ':';

/// What principals of the account are called today.
pub struct Names<'a> {
    account: String,
    users: HashMap<String, &'a str>,
    roles: HashMap<String, &'a str>,
}

impl<'a> Names<'a> {
    pub fn new(all: &'a Identities) -> Self {
        Names {
            account: all.account.account.to_string(),
            users: all.users.iter().filter_map(|user| Some((user.uin.to_string(), of_user(user)?))).collect(),
            roles: all.roles.iter().filter_map(|role| Some((role.id.to_string(), of_role(role)?))).collect(),
        }
    }

    /// The name of whoever asked.
    pub fn of(&self, facts: &Facts<'_>) -> String {
        let own = facts.account == self.account;
        let of_session = |principal: &str| match facts.session {
            // Foreign sessions have no name here.
            "" => principal.to_owned(),
            session => format!("{principal}{OF_SESSION}{}", unescaped(session)),
        };
        match facts.principal {
            "service" => SERVICE.to_owned(),
            "root" if own && facts.uin == self.account => ROOT.to_owned(),
            "user" if own => self.users.get(facts.uin).copied().unwrap_or(facts.uin).to_owned(),
            "role" if own && !facts.session.is_empty() => {
                of_session(self.roles.get(facts.uin).copied().unwrap_or(facts.uin))
            }
            "federated" => of_session(facts.uin),
            _ => facts.uin.to_owned(),
        }
    }

    /// Whom an event calls so: one of these.
    pub fn called(&self, name: &str) -> Vec<Condition> {
        if name == ROOT {
            return vec![Condition::who("root", &self.account, "")];
        }
        if name == SERVICE {
            return vec![Condition::who("service", "", "")];
        }
        if let Some((principal, session)) = name.split_once(OF_SESSION) {
            if session.is_empty() {
                return Vec::new();
            }
            let mut out: Vec<_> =
                holders(&self.roles, principal).map(|id| Condition::who("role", id, session)).collect();
            if is_number(principal) {
                out.push(Condition::who("federated", principal, session));
                if !self.roles.contains_key(principal) {
                    out.push(Condition::who("role", principal, session));
                }
            }
            return out;
        }
        if is_number(name) {
            let mut out: Vec<_> = ["product", "role", "federated"].map(|kind| Condition::who(kind, name, "")).into();
            if name != self.account {
                out.push(Condition::who("root", name, ""));
            }
            if !self.users.contains_key(name) {
                out.push(Condition::who("user", name, ""));
            }
            return out;
        }
        holders(&self.users, name).map(|uin| Condition::who("user", uin, "")).collect()
    }
}

fn holders<'a>(names: &'a HashMap<String, &str>, name: &'a str) -> impl Iterator<Item = &'a str> {
    names.iter().filter(move |(_, of)| **of == name).map(|(number, _)| number.as_str())
}

/// The name of a user, unless an event with it could be taken for one of somebody else.
fn of_user(user: &UserRow) -> Option<&str> {
    let name = user.name.as_str();
    (name != ROOT && name != SERVICE && !is_number(name)).then_some(name)
}

/// The same of a role.
fn of_role(role: &RoleRow) -> Option<&str> {
    Some(role.name.as_str()).filter(|name| !is_number(name))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use jadeseal_audit::{List, index::Query};
    use jadeseal_types::{AccountId, AppId, RoleId, Uin};

    const OWN: &str = "100000000001";

    pub fn identities() -> Identities {
        let user = |uin, name: &str| UserRow {
            uin: Uin(uin),
            name: name.to_owned(),
            remark: String::new(),
            console_login: false,
            phone: String::new(),
            country_code: String::new(),
            email: String::new(),
            create_time: 0,
        };
        let role = |id, name: &str| RoleRow {
            id: RoleId(id),
            name: name.to_owned(),
            description: String::new(),
            document: String::new(),
            console_login: false,
            session_duration: 0,
            tags: Vec::new(),
            create_time: 0,
            update_time: 0,
        };
        Identities {
            account: jadeseal_store::AccountRow {
                account: AccountId(100_000_000_001),
                app_id: AppId(1),
                name: String::new(),
                create_time: 0,
            },
            revision: 1,
            users: vec![user(21, "alice"), user(22, "root"), user(23, "jadeseal"), user(24, "21"), user(25, "x")],
            groups: Vec::new(),
            members: Vec::new(),
            policies: Vec::new(),
            attachments: Vec::new(),
            access_keys: Vec::new(),
            roles: vec![role(41, "keys"), role(42, "21"), role(43, "root")],
        }
    }

    /// Whoever can be in a record that the account sees.
    fn everybody() -> Vec<Facts<'static>> {
        let mut out = Vec::new();
        let sessions = ["", "root", "keys", "s", "a:b"];
        for (principal, uins, sessions) in [
            ("root", &["100000000001", "100000000002"][..], &sessions[..1]),
            ("user", &["21", "22", "23", "24", "25", "29"], &sessions[..1]),
            ("role", &["41", "42", "43", "49"], &sessions[1..]),
            ("federated", &["21", "22", "100000000001"], &sessions[1..]),
            ("product", &["100000000001"], &sessions[..1]),
            ("service", &[""], &sessions[..1]),
        ] {
            for uin in uins {
                for session in sessions {
                    out.push(facts(if *uin == "100000000002" { "100000000002" } else { OWN }, principal, uin, session));
                }
            }
        }
        // Of another account, as it is seen: without names of sessions.
        for (principal, uin) in [("user", "91"), ("role", "92"), ("federated", "91"), ("federated", "100000000002")] {
            out.push(facts("100000000002", principal, uin, ""));
        }
        out
    }

    fn facts(
        account: &'static str,
        principal: &'static str,
        uin: &'static str,
        session: &'static str,
    ) -> Facts<'static> {
        let json = br#"{"v":1,"time":"2026-11-24T02:15:22.123456Z","request_id":"r","account":"1","uin":"1","principal":"user","secret_id":"","source":"","user_agent":"","service":"kms","version":"","action":"Encrypt","region":"","resources":[],"access":"use","code":""}"#;
        let base = Facts::parse(json).unwrap();
        assert_eq!(base.targets, List::EMPTY);
        Facts { account, principal, uin, session, ..base }
    }

    #[test]
    fn what_is_shown_finds_what_shows_it() {
        let all = identities();
        let names = Names::new(&all);
        let everybody = everybody();
        for one in &everybody {
            let called = names.called(&names.of(one));
            for other in &everybody {
                let query = Query {
                    all: vec![called.clone()],
                    ..Query::of(AccountId(other.account.parse().unwrap()), 0, u64::MAX, 1)
                };
                let found = query.wants(other, other.account);
                assert_eq!(found, names.of(one) == names.of(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn nobody_passes_for_somebody_else() {
        let all = identities();
        let names = Names::new(&all);
        let shown = |account, principal, uin, session| names.of(&facts(account, principal, uin, session));
        assert_eq!(shown(OWN, "root", OWN, ""), "root");
        assert_eq!(shown("100000000002", "root", "100000000002", ""), "100000000002");
        assert_eq!(shown(OWN, "user", "21", ""), "alice");
        assert_eq!(shown(OWN, "user", "22", ""), "22", "a user called root");
        assert_eq!(shown(OWN, "user", "23", ""), "23", "a user called jadeseal");
        assert_eq!(shown(OWN, "user", "24", ""), "24", "a user called by the number of another");
        assert_eq!(shown(OWN, "federated", "21", "root"), "21:root");
        assert_eq!(shown(OWN, "role", "41", "root"), "keys:root");
        assert_eq!(shown(OWN, "role", "42", "s"), "42:s", "a role called by the number of a user");
        assert_eq!(shown(OWN, "service", "", ""), "jadeseal");
        let everybody = everybody();
        let roots = everybody.iter().filter(|facts| names.of(facts) == "root").count();
        assert_eq!(roots, 1);
        for nobody in ["", "keys", "keys:", ":s", "nobody", "nobody:s", "007"] {
            assert!(everybody.iter().all(|facts| names.of(facts) != nobody), "{nobody}");
        }
        assert!(names.called("keys:").is_empty() && names.called("nobody").is_empty());
    }
}
