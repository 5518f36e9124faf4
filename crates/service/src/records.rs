//! Audit records of what no request asked for: what the service notes about itself, and what an operator does on the
//! command line beside it.
//!
//! The latter go into the outbox of the store, with the change where that is one transaction; a serving process copies
//! them to the log, or the next one that starts ([`crate::journal`]).

use crate::{action::KMS, clock::Clock};
use jadeseal_audit::{Access, Principal, Record};
use jadeseal_store::Store;
use jadeseal_types::{AccountId, ApiError, KeyId, error::Result};
use std::time::Duration;

/// What records of the command line name as their client.
const COMMAND_LINE: &str = concat!("jadeseal-cli/", env!("CARGO_PKG_VERSION"));

/// The record of something that was done on the command line, for the outbox. `subjects` are segments such as
/// `accesskey/<SecretId>` or `rootversion/<n>`.
pub fn of_command(
    clock: &dyn Clock,
    action: &str,
    subjects: &[String],
    resources: &[KeyId],
    account: Option<AccountId>,
) -> Vec<u8> {
    encode(clock.wall(), COMMAND_LINE, action, subjects, resources, account)
}

/// Puts the record of something that was done on the command line into the outbox, where the change was no single
/// transaction of the store.
pub async fn record(
    store: &dyn Store,
    clock: &dyn Clock,
    action: &str,
    subjects: &[String],
    resources: &[KeyId],
    account: Option<AccountId>,
) -> Result<()> {
    let record = of_command(clock, action, subjects, resources, account);
    store.add_outbox(record).await.map(drop).map_err(ApiError::internal)
}

/// The record of something that the service notes about itself.
pub(crate) fn of_service(wall: Duration, action: &str, subjects: &[String]) -> Vec<u8> {
    encode(wall, "", action, subjects, &[], None)
}

fn encode(
    wall: Duration,
    user_agent: &str,
    action: &str,
    subjects: &[String],
    resources: &[KeyId],
    account: Option<AccountId>,
) -> Vec<u8> {
    let mut out = Vec::new();
    Record {
        time_micros: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
        request_id: &crate::pipeline::request_id(),
        account,
        uin: None,
        targets: &[],
        principal: Principal::Service,
        secret_id: None,
        session: None,
        source: None,
        user_agent,
        service: KMS.service,
        version: "",
        action,
        region: "",
        resources,
        subjects,
        access: Access::Write,
        code: None,
    }
    .encode(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_record_of_the_command_line_is_this() {
        let clock = ManualClock::new(1_795_500_000);
        let subjects = ["account/7".to_owned(), "accesskey/AKID".to_owned()];
        let record = of_command(&clock, "CreateAccount", &subjects, &[], Some(AccountId(7)));
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(record["time"], "2026-11-24T06:00:00.000000Z");
        assert_eq!((&record["principal"], &record["account"]), (&"service".into(), &"7".into()));
        assert_eq!(record["user_agent"], format!("jadeseal-cli/{}", env!("CARGO_PKG_VERSION")));
        for empty in ["uin", "secret_id", "source", "region", "code"] {
            assert_eq!(record[empty], "", "{empty}");
        }
        assert_eq!((&record["action"], &record["access"]), (&"CreateAccount".into(), &"write".into()));
        assert_eq!(record["subjects"], serde_json::json!(subjects));
        let again = of_command(&clock, "CreateAccount", &subjects, &[], Some(AccountId(7)));
        let again: serde_json::Value = serde_json::from_slice(&again).unwrap();
        assert_ne!(record["request_id"], again["request_id"]);
    }
}
