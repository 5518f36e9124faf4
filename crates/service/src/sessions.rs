//! Session tokens: stateless, sealed, and no longer good than what they go back to.
//!
//! A token is base64url of: format (1 byte), account (8, big-endian), version of its domain key (4), what it says, wrapped
//! under that domain key for the one SecretId that it goes with.

use crate::{
    principals::{Account, Current, Principals},
    vault::{Vault, session_place},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jadeseal_auth::{Authority, session::Claims};
use jadeseal_types::{AccountId, ApiError, AppId, RoleId, SecretId, error::Result};
use std::sync::Arc;

const FORMAT: u8 = 1;
const HEADER: usize = 13;
/// Longest token that is looked at, characters.
const MAX_CHARS: usize = 48 * 1024;

/// Seals what a session says for the SecretId of its temporary access key.
pub(crate) async fn seal(vault: &Vault, secret_id: &SecretId, claims: &Claims) -> Result<String> {
    let domain = vault.newest(claims.account).await?;
    let place = session_place(claims.account, secret_id.as_str());
    let sealed = domain.seal(&place, claims.encode().expose()).map_err(ApiError::internal)?;
    let mut token = Vec::with_capacity(HEADER + sealed.len());
    token.push(FORMAT);
    token.extend_from_slice(&claims.account.0.to_be_bytes());
    token.extend_from_slice(&domain.version().to_be_bytes());
    token.extend_from_slice(&sealed);
    Ok(URL_SAFE_NO_PAD.encode(token))
}

/// What a token says; none if it was not made here, for this SecretId.
pub(crate) async fn open(vault: &Vault, secret_id: &SecretId, token: &str) -> Result<Option<Claims>> {
    if token.len() > MAX_CHARS {
        return Ok(None);
    }
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else { return Ok(None) };
    let Some((header, sealed)) = bytes.split_at_checked(HEADER) else { return Ok(None) };
    let &[FORMAT, a, b, c, d, e, f, g, h, i, j, k, l] = header else { return Ok(None) };
    let account = AccountId(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
    let Some(domain) = vault.find_domain(account, u32::from_be_bytes([i, j, k, l])).await? else { return Ok(None) };
    let Ok(said) = domain.open(&session_place(account, secret_id.as_str()), sealed) else { return Ok(None) };
    Ok(Claims::decode(&said).filter(|claims| claims.account == account))
}

/// What a session that may go on acts with.
pub(crate) struct Alive {
    pub app_id: AppId,
    pub authority: Authority,
    /// What it depends on.
    pub made_of: Vec<Current>,
}

/// Looks whether all is there that a session goes back to: the access key it began with, and each role on the way.
pub(crate) async fn alive(principals: &Principals, claims: &Claims) -> Result<Option<Alive>> {
    let session = &claims.session;
    let mut accounts: Vec<Arc<Account>> = Vec::with_capacity(2);
    let wanted = [session.origin.account, claims.account].into_iter().chain(session.roles.iter().map(|(a, _)| *a));
    for number in wanted {
        if accounts.iter().all(|known| known.identities.account.account != number) {
            let Some(account) = principals.of(number).await? else { return Ok(None) };
            accounts.push(account);
        }
    }
    let of = |number: AccountId| accounts.iter().find(|known| known.identities.account.account == number);
    let origin = of(session.origin.account).is_some_and(|account| {
        let id = &session.origin.secret_id;
        account.identities.access_keys.iter().any(|key| key.secret_id == *id && key.enabled)
    });
    let roles = session
        .roles
        .iter()
        .all(|(number, role)| of(*number).is_some_and(|account| account.identities.role(RoleId(*role)).is_some()));
    let Some(account) = of(claims.account).filter(|_| origin && roles) else { return Ok(None) };
    let authority = match session.of_role {
        true => principals.authority_of_role(account, RoleId(claims.uin.0)),
        // The main account may everything, so what it hands on is what the session's policy allows.
        false if claims.uin.0 == claims.account.0 => Authority::everything(),
        false => principals.authority_of_user(account, claims.uin),
    };
    let authority = match &claims.policy {
        Some(document) => principals.narrowed(authority, account, claims.uin, document),
        None if session.of_role => authority,
        None => Authority::nothing(),
    };
    let made_of = accounts.iter().map(|account| account.current.clone()).collect();
    Ok(Some(Alive { app_id: account.identities.account.app_id, authority, made_of }))
}
