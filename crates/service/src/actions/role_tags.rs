//! Roles in the tag service. Their tags are those that `cam` shows and changes: there is one set of them.

use super::tags::Edit;
use crate::cx::Cx;
use jadeseal_auth::Principal;
use jadeseal_store::{Identities, IdentityChange, RoleRow, Tag};
use jadeseal_types::{AccountId, ErrorCode as E, Region, RoleId, error::Result};

/// A role by the end of its six segments: `qcs::cam:<region>:uin/<uin>:role/<id>`. Roles are the same in every region, so any
/// or none may be named.
pub(super) fn parse(region: &str, name: &str) -> Result<RoleId, E> {
    let id = name.strip_prefix("role/").and_then(parse_id).ok_or(E::ResourceDescriptionError)?;
    if region.is_empty() || Region::parse(region).is_some() { Ok(id) } else { Err(E::RegionInvalid) }
}

/// A role's number, in the one way to write it.
pub(super) fn parse_id(text: &str) -> Option<RoleId> {
    text.parse().ok().map(RoleId).filter(|id| id.to_string() == text)
}

pub(super) fn written(account: AccountId, role: &RoleRow) -> String {
    format!("qcs::cam::uin/{account}:role/{}", role.id)
}

/// Refuses a federated session: principals are out of its reach, as they are in `cam`.
pub(super) fn check_caller(cx: &Cx<'_>) -> Result<()> {
    if cx.caller.principal() == Principal::Federated { Err(E::TempKeyNotAllowed.into()) } else { Ok(()) }
}

/// What an edit makes of a role; nothing if it stays as it is. The audit record names the role.
pub(super) fn change(edit: &Edit, all: &Identities, id: RoleId, cx: &Cx<'_>) -> Result<Option<IdentityChange>> {
    check_caller(cx)?;
    let role = all.role(id).ok_or(E::ResourceNotFound)?;
    if !edit.fits(&role.tags) {
        return Err(E::ResourceAttachedTags.into());
    }
    cx.note_subject(format!("role/{id}"));
    let mut next = role.clone();
    next.tags.retain(|tag| !edit.remove.contains(&tag.key) && edit.set.iter().all(|new| new.key != tag.key));
    next.tags.extend_from_slice(&edit.set);
    next.tags.sort_by(|a: &Tag, b| a.key.cmp(&b.key));
    if next == *role {
        return Ok(None);
    }
    next.update_time = cx.now;
    Ok(Some(IdentityChange::UpdateRole(next)))
}
