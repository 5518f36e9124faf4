//! Principals of accounts and their policies.

use crate::error::{Result, StoreError};
use crate::model::*;
use jadeseal_types::AccountId;
use rusqlite::Connection;

pub(super) fn identities(_: &Connection, _: AccountId) -> Result<Option<Identities>> {
    unimplemented!()
}

pub(super) fn changed(_: &Connection, _: u64) -> Result<(u64, Vec<AccountId>)> {
    unimplemented!()
}

pub(super) fn change(_: &Connection, _: AccountId, _: u64, _: &[IdentityChange]) -> Result<()> {
    Err(StoreError::NotFound)
}
