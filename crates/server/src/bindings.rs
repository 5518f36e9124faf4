//! Who is served with a client certificate only, by the configuration.

use crate::config::Config;
use jadeseal_auth::{Bindings, Bound};
use jadeseal_store::{Store, StoreError};
use jadeseal_types::{AccountId, Uin};
use std::collections::HashSet;

fn bound(config: &Config) -> impl Iterator<Item = &Bound> {
    let clients = config.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    clients.into_iter().flat_map(|clients| clients.bindings.iter()).map(|binding| &binding.bound)
}

/// What the pipeline asks.
pub fn of(config: &Config) -> Bindings {
    Bindings::new(bound(config).cloned())
}

/// Of whoever is bound, those that are not in a store: a slip in a number would leave somebody unbound.
pub async fn strangers(config: &Config, store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let mut principals = HashSet::new();
    let mut strangers = Vec::new();
    for bound in bound(config) {
        match bound {
            Bound::Principal(uin) if store.account(AccountId(uin.0)).await?.is_some() => {}
            Bound::Principal(uin) => drop(principals.insert(*uin)),
            Bound::AccessKey(id) if store.access_key(id).await?.is_some() => {}
            Bound::AccessKey(id) => strangers.push(id.to_string()),
        }
    }
    // All accounts are looked through only where somebody is not a main account.
    let accounts = if principals.is_empty() { Vec::new() } else { store.accounts().await? };
    for account in accounts {
        if principals.is_empty() {
            break;
        }
        let Some(identities) = store.identities(account.account).await? else { continue };
        let roles = identities.roles.iter().map(|role| Uin(role.id.0));
        for uin in identities.users.iter().map(|user| user.uin).chain(roles) {
            principals.remove(&uin);
        }
    }
    strangers.extend(principals.iter().map(ToString::to_string));
    strangers.sort();
    Ok(strangers)
}
