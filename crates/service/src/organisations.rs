//! Member accounts that requests name, and the account rows behind them.

use crate::schema::uint;
use hashbrown::HashMap;
use jadeseal_auth::{
    Caller, Member, Organisations,
    params::{Params, Value},
};
use jadeseal_store::{AccountRow, Store};
use jadeseal_types::{AccountId, ApiError, error::Result};
use parking_lot::RwLock;
use std::sync::Arc;

/// A member account as a request names it. Both numbers together must be of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub uin: Option<u64>,
    pub app_id: Option<u64>,
}

impl Name {
    /// Nobody is named: the caller's own account is meant, as if the parameter were absent.
    pub fn is_empty(self) -> bool {
        self.uin.is_none() && self.app_id.is_none()
    }

    /// What a raw parameter names, before it is checked; none if it is absent or empty. What is ill-typed names an account
    /// that does not exist, so that nothing runs on the caller's own; the parser refuses it later.
    pub fn peek(params: &Params<'_>) -> Option<Name> {
        let number = |map: &Params<'_>, name| match map.get(name) {
            None | Some(Value::Null) => None,
            Some(value) => Some(uint(value).unwrap_or(0)),
        };
        let name = match params.get(PARAMETER)? {
            Value::Null => return None,
            Value::Map(map) => Name { uin: number(map, "MemberUin"), app_id: number(map, "MemberAppId") },
            _ => Name { uin: Some(0), app_id: None },
        };
        (!name.is_empty()).then_some(name)
    }
}

/// The parameter that names one member account.
pub(crate) const PARAMETER: &str = "MemberAccount";

/// An account that the caller was admitted to.
#[derive(Clone, Debug)]
pub(crate) struct Admitted {
    pub member: Member,
    pub row: Arc<AccountRow>,
}

/// For whom a request acts.
#[derive(Clone, Debug)]
pub(crate) enum Acting {
    /// For the caller's own account.
    Own,
    /// For a named account that he was admitted to.
    For(Admitted),
    /// He named one that he is not admitted to, or that does not exist. Refused once the parameters have been checked.
    Refused,
}

/// The organisations with the rows of their accounts.
pub(crate) struct Directory {
    organisations: Organisations,
    store: Arc<dyn Store>,
    /// Rows of callers and of accounts that they were admitted to. An account never changes and is never removed, so a row
    /// stays right; one that is missing is looked for again, as it may have been made since.
    rows: RwLock<HashMap<AccountId, Arc<AccountRow>>>,
}

impl Directory {
    pub fn new(organisations: Organisations, store: Arc<dyn Store>) -> Self {
        Directory { organisations, store, rows: RwLock::default() }
    }

    /// Number of accounts that the caller's account administers.
    pub fn members_of(&self, caller: &Caller) -> usize {
        self.organisations.members_of(caller).len()
    }

    /// The account that is named, if the caller may act for it and it exists.
    pub async fn admit(&self, caller: &Caller, name: Name) -> Result<Option<Admitted>> {
        if let Some(uin) = name.uin {
            let admitted = self.admit_account(caller, AccountId(uin)).await?;
            return Ok(admitted.filter(|a| name.app_id.is_none_or(|app_id| a.row.app_id.0 == app_id)));
        }
        let Some(app_id) = name.app_id else { return Ok(None) };
        // AppIds are random numbers that nothing keeps apart: one that two of them have names neither.
        let own = caller.account();
        let members = self.organisations.members_of(caller);
        let mut found = None;
        for account in members.iter().copied().chain((!members.contains(&own)).then_some(own)) {
            let Some(admitted) = self.admit_account(caller, account).await? else { continue };
            if admitted.row.app_id.0 == app_id && found.replace(admitted).is_some() {
                return Ok(None);
            }
        }
        Ok(found)
    }

    async fn admit_account(&self, caller: &Caller, account: AccountId) -> Result<Option<Admitted>> {
        let Some(member) = self.organisations.admit(caller, account) else { return Ok(None) };
        Ok(self.row(account).await?.map(|row| Admitted { member, row }))
    }

    /// The row of the caller's own account.
    pub async fn own(&self, caller: &Caller) -> Result<Arc<AccountRow>> {
        self.row(caller.account()).await?.ok_or_else(|| ApiError::internal("the caller has no account"))
    }

    async fn row(&self, account: AccountId) -> Result<Option<Arc<AccountRow>>> {
        if let Some(row) = self.rows.read().get(&account) {
            return Ok(Some(row.clone()));
        }
        let Some(row) = self.store.account(account).await.map_err(ApiError::internal)? else { return Ok(None) };
        let row = Arc::new(row);
        self.rows.write().insert(account, row.clone());
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_raw_parameter_names() {
        let peek =
            |json: &str| Name::peek(&jadeseal_auth::parse_json(json.as_bytes()).unwrap()).map(|n| (n.uin, n.app_id));
        for nobody in [r#"{}"#, r#"{"MemberAccount":null}"#, r#"{"MemberAccount":{}}"#] {
            assert_eq!(peek(nobody), None, "{nobody}");
        }
        assert_eq!(peek(r#"{"MemberAccount":{"MemberUin":null,"MemberAppId":null}}"#), None);
        assert_eq!(peek(r#"{"MemberAccount":{"MemberUin":7}}"#), Some((Some(7), None)));
        assert_eq!(peek(r#"{"MemberAccount":{"MemberUin":"7","MemberAppId":8}}"#), Some((Some(7), Some(8))));
        for odd in
            [r#"{"MemberAccount":7}"#, r#"{"MemberAccount":{"MemberUin":-1}}"#, r#"{"MemberAccount":{"MemberUin":[]}}"#]
        {
            assert_eq!(peek(odd), Some((Some(0), None)), "{odd}");
        }
    }
}
