//! The tag service, as far as it is about what is here: tags of CMKs and hosted data keys, over all regions of the account, and
//! of roles where they are named.

use super::{
    Account, Empty,
    listing::{TagFilter, tag_filters},
    role_tags,
};
use crate::{
    action::{Access, Action, Named, Spec, TAG, Target, family},
    cx::{CommitError, Cx},
    docs,
    schema::{Doc, answer, object, request},
    values::Bounded,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jadeseal_auth::params::Params;
use jadeseal_store::{Change, RoleRow, Tag, Taggable};
use jadeseal_types::{AccountId, ApiError, ErrorCode as E, KeyId, RoleId, error::Result, limits};
use md5::{Digest as _, Md5};
use std::collections::HashSet;

family![in TAG;
    DescribeResourceTagsByResourceIds,
    ModifyResourceTags,
    TagResources,
    UnTagResources,
    GetResources,
    GetTagKeys,
    GetTagValues,
];

/// Resources of one TagResources or UnTagResources.
const MAX_CHANGED: usize = 10;
/// Resources, ids or tag keys that one reading call may name.
const MAX_NAMED: usize = 50;
/// How often a change is tried when the tags change at the same time.
const MAX_TRIES: usize = 16;

const RESOURCE: Doc = Doc(
    "Resource, qcs::kms:<region>:uin/<uin>:key/creatorUin/<uin>/<id> or qcs::cam::uin/<uin>:role/<id>; an empty uin is the caller's account.",
    "资源六段式，qcs::kms:<region>:uin/<uin>:key/creatorUin/<uin>/<id> 或 qcs::cam::uin/<uin>:role/<id>；uin 为空表示调用者账号。",
);
const RESOURCES: Doc = Doc("Resources, at most 10.", "资源六段式列表，最多 10 个。");
const TAG_KEY: Doc = Doc("Key of the tag.", "标签键。");
const TAG_VALUE: Doc = Doc("Value of the tag.", "标签值。");
const TAG_KEYS: Doc = Doc("Keys of tags.", "标签键列表。");
const TAGS: Doc = Doc("Tags.", "标签列表。");
const TOKEN: Doc =
    Doc("Where the next page begins; empty for the first and behind the last.", "分页标识，首页与末页之后为空。");
const FAILED: Doc = Doc("Resources of which nothing was changed.", "操作失败的资源。");

object! {
    /// A tag to be set.
    TagParam as "Tag" {
        required key: Bounded<127> = "TagKey", TAG_KEY;
        required value: Bounded<255> = "TagValue", TAG_VALUE;
        optional _category: Bounded<255> = "Category", docs::UNUSED;
    }
}

object! {
    /// A tag to be deleted.
    TagKeyObject as "TagKeyObject" {
        required key: Bounded<127> = "TagKey", TAG_KEY;
    }
}

answer! {
    /// A tag.
    TagItem as "Tag" {
        key: String = "TagKey", TAG_KEY;
        value: String = "TagValue", TAG_VALUE;
        category: Option<&'static str> = "Category" nullable, docs::UNUSED;
    }
}

impl From<Tag> for TagItem {
    fn from(tag: Tag) -> Self {
        TagItem { key: tag.key, value: tag.value, category: None }
    }
}

/// A resource as its text says; whether there is one, and whether it is so, is seen later.
enum Resource {
    Key(Key),
    Role(RoleId),
}

/// A CMK or hosted data key.
struct Key {
    region: String,
    creator: u64,
    id: KeyId,
}

impl Resource {
    fn parse(text: &str, cx: &Cx<'_>) -> Result<Self, E> {
        let own = cx.scope.account().0.to_string();
        let segments: Vec<_> = text.split(':').collect();
        let ["qcs", "", service, region, account, name] = segments[..] else {
            return Err(E::ResourceDescriptionError);
        };
        if account.strip_prefix("uin/").is_none_or(|uin| !uin.is_empty() && uin != own) {
            return Err(E::ResourceDescriptionError);
        }
        match service {
            "kms" => Key::parse(region, name, cx).map(Resource::Key),
            "cam" => role_tags::parse(region, name).map(Resource::Role),
            _ => Err(E::ResourceDescriptionError),
        }
    }

    fn key(&self) -> Option<&Key> {
        match self {
            Resource::Key(key) => Some(key),
            Resource::Role(_) => None,
        }
    }
}

impl Key {
    fn parse(region: &str, name: &str, cx: &Cx<'_>) -> Result<Self, E> {
        let (creator, id) = name.strip_prefix("key/").and_then(parse_id).ok_or(E::ResourceDescriptionError)?;
        if cx.svc.regions.find(region).is_none() {
            return Err(E::RegionInvalid);
        }
        Ok(Key { region: region.to_owned(), creator, id })
    }

    /// The creator is compared too: the policy was asked about the resource as written.
    fn is(&self, found: &Taggable) -> bool {
        found.region.as_str() == self.region && found.creator.0 == self.creator
    }
}

/// `creatorUin/<uin>/<id>`.
fn parse_id(text: &str) -> Option<(u64, KeyId)> {
    let (creator, id) = text.strip_prefix("creatorUin/")?.split_once('/')?;
    // One way to write it: policies compare the text.
    let number = creator.parse::<u64>().ok().filter(|n| n.to_string() == creator)?;
    Some((number, KeyId::parse(id).filter(|parsed| parsed.to_string() == id)?))
}

fn written(account: AccountId, found: &Taggable) -> String {
    format!("qcs::kms:{}:uin/{account}:key/creatorUin/{}/{}", found.region, found.creator, found.id)
}

/// An action authorised on the resources that it names, as they are written.
pub struct Resources;

/// A request that names resources.
pub trait OnResources {
    /// The parameter that names them.
    const PARAMETER: &'static str;
}

impl<A: OnResources + Sync> Target<A> for Resources {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        Named::resources_in(params, A::PARAMETER)
    }

    async fn load(_: &A, _: &Cx<'_>) -> Result<Self> {
        Ok(Resources)
    }
}

/// What the tag actions change: these tags are set, those keys removed.
pub(super) struct Edit {
    pub set: Vec<Tag>,
    pub remove: Vec<String>,
}

impl Edit {
    /// Whether something with these tags would not have too many.
    pub fn fits(&self, tags: &[Tag]) -> bool {
        let keys: HashSet<_> = tags.iter().chain(&self.set).map(|t| t.key.as_str()).collect();
        keys.len() - self.remove.iter().filter(|k| keys.contains(k.as_str())).count() <= limits::MAX_TAGS
    }

    /// Changes every resource that can be changed, in one transaction; the outcome of each, in their order.
    async fn apply(&self, texts: &[String], cx: &Cx<'_>) -> Result<Vec<Result<()>>> {
        let resources: Vec<_> = texts.iter().map(|text| Resource::parse(text, cx)).collect();
        let own = cx.caller.account();
        // As all changes of principals, see `Cx::change_identities`.
        let turn = match resources.iter().flatten().any(|resource| resource.key().is_none()) {
            true => Some(cx.svc.principals.turn_to_change(own, cx.caller.uin())?),
            false => None,
        };
        let _come = match &turn {
            Some(turn) => Some(turn.come().await),
            None => None,
        };
        for _ in 0..MAX_TRIES {
            let named: Vec<KeyId> = resources.iter().flatten().filter_map(Resource::key).map(|key| key.id).collect();
            let mut found = cx.svc.store.taggables(&cx.scope, &named).await.map_err(ApiError::internal)?.into_iter();
            let account = cx.account().await?;
            if turn.is_some() && !cx.known.is_current() {
                cx.authorise_anew().await?;
            }
            let mut outcomes = Vec::with_capacity(texts.len());
            let (mut ids, mut roles, mut of_roles) = (Vec::new(), Vec::new(), Vec::new());
            for resource in &resources {
                outcomes.push(match resource {
                    Ok(Resource::Key(key)) => self.check(key, found.next().flatten()).map(|()| {
                        if !ids.contains(&key.id) {
                            ids.push(key.id);
                        }
                    }),
                    Ok(Resource::Role(id)) => role_tags::change(self, &account.identities, *id, cx).map(|change| {
                        if !roles.contains(id) {
                            roles.push(*id);
                            of_roles.extend(change);
                        }
                    }),
                    Err(code) => Err((*code).into()),
                });
            }
            let change = |id| {
                // The record of a success names what is changed and nothing else.
                cx.note(id);
                let (set, remove) = (self.set.clone(), self.remove.clone());
                Change::ModifyTags { id, set, remove, limit: limits::MAX_TAGS }
            };
            let mut changes: Vec<_> = ids.into_iter().map(change).collect();
            if !of_roles.is_empty() {
                changes.push(Change::Identities { revision: account.identities.revision, changes: of_roles });
            }
            if changes.is_empty() {
                return Ok(outcomes);
            }
            match cx.commit(changes).await {
                Ok(_) => return Ok(outcomes),
                // A key or its tags have changed in between, or something of the principals: look again.
                Err(CommitError::Conflict) => cx.svc.principals.changed(own),
                Err(CommitError::Api(e)) if matches!(e.code(), E::ResourceNotFound | E::ResourceAttachedTags) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Err(ApiError::internal("tags kept changing"))
    }

    /// Refuses what there is not, what is not the user's, and what would have too many tags.
    fn check(&self, key: &Key, found: Option<Taggable>) -> Result<()> {
        let found = found.filter(|found| key.is(found)).ok_or(E::ResourceNotFound)?;
        // Tags decide by which lists and policies a key is found: they are its owner's to set.
        if !found.owner.is_user() {
            return Err(E::UnauthorizedOperation.into());
        }
        if self.fits(&found.tags) { Ok(()) } else { Err(E::ResourceAttachedTags.into()) }
    }
}

fn tags_to_set(tags: Vec<TagParam>) -> Result<Vec<Tag>> {
    if tags.len() > limits::MAX_TAGS {
        return Err(E::TagNumPerRequest.into());
    }
    distinct(tags.iter().map(|t| t.key.0.as_str()))?;
    Ok(tags.into_iter().map(|t| Tag { key: t.key.0, value: t.value.0 }).collect())
}

/// Refuses an empty tag key, and one that is named twice.
fn distinct<'a>(keys: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    for key in keys {
        if key.is_empty() {
            return Err(E::TagKeyEmpty.into());
        }
        if !seen.insert(key) {
            return Err(E::TagKeyDuplicate.into());
        }
    }
    Ok(())
}

/// Refuses a list with none or too many.
fn counted(name: &str, count: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(ApiError::invalid(name, &format!("must have 1 to {max} items"), &format!("须有 1 到 {max} 项")))
}

request! {
    /// Sets and deletes tags of a resource.
    ModifyResourceTags {
        required resource: Bounded<512> = "Resource", RESOURCE;
        optional replace: Vec<TagParam> = "ReplaceTags", Doc("Tags to set.", "要设置的标签。");
        optional delete: Vec<TagKeyObject> = "DeleteTags", Doc("Tags to delete.", "要删除的标签。");
    }
}

impl OnResources for ModifyResourceTags {
    const PARAMETER: &'static str = "Resource";
}

impl Action for ModifyResourceTags {
    const SPEC: Spec = Spec {
        name: "ModifyResourceTags",
        access: Access::Write,
        errors: &[
            E::ResourceDescriptionError,
            E::RegionInvalid,
            E::ResourceNotFound,
            E::ResourceAttachedTags,
            E::DeleteTagsParamError,
            E::TagKeyDuplicate,
            E::TagKeyEmpty,
            E::TagNumPerRequest,
            E::TempKeyNotAllowed,
        ],
        doc: Doc("Sets and deletes tags of a resource.", "修改资源关联的标签。"),
    };
    type On = Resources;
    type Response = Empty;

    async fn run(self, _: Resources, cx: &Cx<'_>) -> Result<Empty> {
        let set = tags_to_set(self.replace.unwrap_or_default())?;
        let remove: Vec<_> = self.delete.unwrap_or_default().into_iter().map(|t| t.key.0).collect();
        counted("ReplaceTags", set.len() + remove.len(), 2 * limits::MAX_TAGS)?;
        distinct(remove.iter().map(String::as_str))?;
        if set.iter().any(|t| remove.contains(&t.key)) {
            return Err(E::DeleteTagsParamError.into());
        }
        Edit { set, remove }.apply(&[self.resource.0], cx).await?.pop().unwrap_or(Ok(()))?;
        Ok(Empty {})
    }
}

answer! {
    /// A resource of which nothing was changed.
    FailedResource as "FailedResource" {
        resource: String = "Resource", RESOURCE;
        code: &'static str = "Code", Doc("Error code.", "错误码。");
        message: String = "Message", Doc("Error message.", "错误信息。");
    }
}

answer! {
    /// What was not changed.
    Failed {
        failed: Vec<FailedResource> = "FailedResources", FAILED;
    }
}

async fn edit_all(edit: Edit, list: Vec<Bounded<512>>, cx: &Cx<'_>) -> Result<Failed> {
    if list.len() > MAX_CHANGED {
        return Err(E::ResourceNumPerRequest.into());
    }
    counted("ResourceList", list.len(), MAX_CHANGED)?;
    let texts: Vec<_> = list.into_iter().map(|r| r.0).collect();
    let outcomes = edit.apply(&texts, cx).await?;
    let failed = texts.into_iter().zip(outcomes).filter_map(|(resource, outcome)| {
        let e = outcome.err()?;
        Some(FailedResource { resource, code: e.code().wire(), message: e.message(cx.lang) })
    });
    Ok(Failed { failed: failed.collect() })
}

request! {
    /// Sets tags of resources.
    TagResources {
        required resources: Vec<Bounded<512>> = "ResourceList", RESOURCES;
        required tags: Vec<TagParam> = "Tags", TAGS;
    }
}

request! {
    /// Deletes tags of resources.
    UnTagResources {
        required resources: Vec<Bounded<512>> = "ResourceList", RESOURCES;
        required keys: Vec<Bounded<127>> = "TagKeys", TAG_KEYS;
    }
}

impl OnResources for TagResources {
    const PARAMETER: &'static str = "ResourceList";
}

impl OnResources for UnTagResources {
    const PARAMETER: &'static str = "ResourceList";
}

impl Action for TagResources {
    const SPEC: Spec = Spec {
        name: "TagResources",
        access: Access::Write,
        errors: &[E::TagKeyDuplicate, E::TagKeyEmpty, E::TagNumPerRequest, E::ResourceNumPerRequest],
        doc: Doc(
            "Sets tags of up to 10 resources; each succeeds or fails alone.",
            "为最多 10 个资源设置标签，各自成功或失败。",
        ),
    };
    type On = Resources;
    type Response = Failed;

    async fn run(self, _: Resources, cx: &Cx<'_>) -> Result<Failed> {
        let set = tags_to_set(self.tags)?;
        counted("Tags", set.len(), limits::MAX_TAGS)?;
        edit_all(Edit { set, remove: Vec::new() }, self.resources, cx).await
    }
}

impl Action for UnTagResources {
    const SPEC: Spec = Spec {
        name: "UnTagResources",
        access: Access::Write,
        errors: &[],
        doc: Doc(
            "Deletes tags of up to 10 resources; each succeeds or fails alone.",
            "删除最多 10 个资源的标签，各自成功或失败。",
        ),
    };
    type On = Resources;
    type Response = Failed;

    async fn run(self, _: Resources, cx: &Cx<'_>) -> Result<Failed> {
        counted("TagKeys", self.keys.len(), limits::MAX_TAGS)?;
        let remove: HashSet<_> = self.keys.into_iter().map(|k| k.0).collect();
        edit_all(Edit { set: Vec::new(), remove: remove.into_iter().collect() }, self.resources, cx).await
    }
}

request! {
    /// Tags of named resources.
    DescribeResourceTagsByResourceIds {
        required service: Bounded<64> = "ServiceType", Doc("kms or cam; nothing is found of other products.", "kms 或 cam，其他产品无结果。");
        required prefix: Bounded<64> = "ResourcePrefix", Doc("key of kms, role of cam.", "kms 为 key，cam 为 role。");
        required ids: Vec<Bounded<256>> = "ResourceIds", Doc("creatorUin/<uin>/<id>, or the id alone; of roles the id; at most 50.", "creatorUin/<uin>/<id> 或仅 ID，角色为 ID，最多 50 个。");
        required region: Bounded<64> = "ResourceRegion", Doc("Region of the resources; of roles any.", "资源所在地域，角色为任意值。");
        optional offset: u64 = "Offset", docs::OFFSET;
        optional limit: u64 = "Limit", Doc("Tags to return, 200 at most; 20 by default.", "返回标签数量，最大 200，默认 20。");
        optional _category: Bounded<255> = "Category", docs::UNUSED;
    }
}

answer! {
    /// A tag of a resource.
    TagResource as "TagResource" {
        key: String = "TagKey", TAG_KEY;
        value: String = "TagValue", TAG_VALUE;
        resource: String = "ResourceId", Doc("Id of the resource, as it was asked for.", "请求中的资源 ID。");
        key_md5: String = "TagKeyMd5", Doc("MD5 of the key.", "标签键的 MD5。");
        value_md5: String = "TagValueMd5", Doc("MD5 of the value.", "标签值的 MD5。");
        service: &'static str = "ServiceType", Doc("kms or cam.", "kms 或 cam。");
        category: Option<&'static str> = "Category" nullable, docs::UNUSED;
    }
}

answer! {
    /// A page of tags.
    ResourceTags {
        total: u64 = "TotalCount", docs::TOTAL;
        offset: u64 = "Offset", docs::OFFSET;
        limit: u64 = "Limit", docs::LIMIT;
        tags: Vec<TagResource> = "Tags", TAGS;
    }
}

impl TagResource {
    fn new(tag: Tag, resource: &str, service: &'static str) -> Self {
        TagResource {
            key_md5: md5(&tag.key),
            value_md5: md5(&tag.value),
            key: tag.key,
            value: tag.value,
            resource: resource.to_owned(),
            service,
            category: None,
        }
    }
}

/// The tags of those of the keys that are in a region.
async fn tags_of_keys(texts: impl Iterator<Item = String>, region: &str, cx: &Cx<'_>) -> Result<Vec<TagResource>> {
    let named = texts.filter_map(|text| match parse_id(&text) {
        Some((creator, id)) => Some((text, Some(creator), id)),
        None => KeyId::parse(&text).map(|id| (text, None, id)),
    });
    let named: Vec<_> = named.collect();
    let ids: Vec<KeyId> = named.iter().map(|(.., id)| *id).collect();
    let found = cx.svc.store.taggables(&cx.scope, &ids).await.map_err(ApiError::internal)?;
    let mut all = Vec::new();
    for ((text, creator, _), found) in named.into_iter().zip(found) {
        let found = found.filter(|f| f.region.as_str() == region && creator.is_none_or(|c| c == f.creator.0));
        all.extend(found.into_iter().flat_map(|f| f.tags).map(|tag| TagResource::new(tag, &text, "kms")));
    }
    Ok(all)
}

async fn tags_of_roles(texts: impl Iterator<Item = String>, cx: &Cx<'_>) -> Result<Vec<TagResource>> {
    role_tags::check_caller(cx)?;
    let account = cx.account().await?;
    let mut all = Vec::new();
    for text in texts {
        let role = role_tags::parse_id(&text).and_then(|id| account.identities.role(id));
        let tags = role.into_iter().flat_map(|role| role.tags.iter().cloned());
        all.extend(tags.map(|tag| TagResource::new(tag, &text, "cam")));
    }
    Ok(all)
}

impl Action for DescribeResourceTagsByResourceIds {
    const SPEC: Spec = Spec {
        name: "DescribeResourceTagsByResourceIds",
        access: Access::Read,
        errors: &[E::TempKeyNotAllowed],
        doc: Doc("Tags of named resources.", "按资源 ID 查询标签。"),
    };
    type On = Account;
    type Response = ResourceTags;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<ResourceTags> {
        counted("ResourceIds", self.ids.len(), MAX_NAMED)?;
        let (offset, limit) = (self.offset.unwrap_or(0), at_most(self.limit, "Limit", 20, limits::MAX_PAGE)?);
        let texts = self.ids.into_iter().map(|Bounded(text)| text);
        let all = match (self.service.0.as_str(), self.prefix.0.as_str()) {
            ("kms", "key") => tags_of_keys(texts, &self.region.0, cx).await?,
            ("cam", "role") => tags_of_roles(texts, cx).await?,
            _ => Vec::new(),
        };
        let total = all.len() as u64;
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let tags = all.into_iter().skip(skip).take(limit as usize).collect();
        Ok(ResourceTags { total, offset, limit, tags })
    }
}

/// An identifier, nothing more.
fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

fn at_most(value: Option<u64>, name: &str, default: u64, max: u64) -> Result<u64> {
    match value {
        None | Some(0) => Ok(default),
        Some(n) if n <= max => Ok(n),
        Some(_) => Err(ApiError::invalid(name, &format!("must be at most {max}"), &format!("最大为 {max}"))),
    }
}

/// A pagination token: where the last page ended.
fn token(parts: &[&str]) -> Result<String> {
    Ok(URL_SAFE_NO_PAD.encode(serde_json::to_vec(parts).map_err(ApiError::internal)?))
}

fn from_token<const N: usize>(text: Option<Bounded<4096>>) -> Result<Option<[String; N]>> {
    let Some(Bounded(text)) = text.filter(|t| !t.0.is_empty()) else { return Ok(None) };
    let parts = URL_SAFE_NO_PAD.decode(text).ok().and_then(|json| serde_json::from_slice::<Vec<String>>(&json).ok());
    parts.and_then(|p| p.try_into().ok()).map(Some).ok_or(E::PaginationTokenInvalid.into())
}

/// Cuts what was read beyond a page off; the last item of the page when there is more.
fn cut<T>(items: &mut Vec<T>, max: u64) -> Option<&T> {
    let more = items.len() as u64 > max;
    items.truncate(max as usize);
    if more { items.last() } else { None }
}

request! {
    /// Tagged resources.
    GetResources {
        optional resources: Vec<Bounded<512>> = "ResourceList", Doc("Resources, at most 50; not beside TagFilters.", "资源六段式列表，最多 50 个，不可与 TagFilters 同用。");
        optional filters: Vec<TagFilter> = "TagFilters", Doc("Tags that must match, all of them.", "须全部匹配的标签条件。");
        optional token: Bounded<4096> = "PaginationToken", TOKEN;
        optional max: u64 = "MaxResults", Doc("Resources of a page, 200 at most; 50 by default.", "每页资源数，最大 200，默认 50。");
    }
}

answer! {
    /// A resource with its tags.
    ResourceTagMapping as "ResourceTagMapping" {
        resource: String = "Resource", RESOURCE;
        tags: Vec<TagItem> = "Tags", TAGS;
    }
}

impl ResourceTagMapping {
    fn new(resource: String, tags: Vec<Tag>) -> Self {
        ResourceTagMapping { resource, tags: tags.into_iter().map(TagItem::from).collect() }
    }
}

answer! {
    /// A page of resources.
    ResourcePage {
        token: String = "PaginationToken", TOKEN;
        resources: Vec<ResourceTagMapping> = "ResourceTagMappingList", Doc("Resources with their tags.", "资源及其标签。");
    }
}

impl Action for GetResources {
    const SPEC: Spec = Spec {
        name: "GetResources",
        access: Access::Read,
        errors: &[E::ResourceDescriptionError, E::RegionInvalid, E::PaginationTokenInvalid, E::TempKeyNotAllowed],
        doc: Doc("Resources by name or by their tags, in every region.", "按资源或标签查询所有地域的资源。"),
    };
    type On = Account;
    type Response = ResourcePage;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<ResourcePage> {
        let max = at_most(self.max, "MaxResults", 50, limits::MAX_PAGE)?;
        let named = self.resources.unwrap_or_default();
        let filters = tag_filters(self.filters)?;
        let after =
            from_token::<1>(self.token)?.map(|[id]| KeyId::parse(&id).ok_or(E::PaginationTokenInvalid)).transpose()?;
        let own = cx.scope.account();
        if named.is_empty() {
            let mut found =
                cx.svc.store.tagged(&cx.scope, &filters, after, max + 1).await.map_err(ApiError::internal)?;
            let next = cut(&mut found, max).map(|last| token(&[&last.id.to_string()])).transpose()?;
            let served = found.into_iter().filter(|f| cx.svc.regions.find(f.region.as_str()).is_some());
            let resources = served.map(|f| ResourceTagMapping::new(written(own, &f), f.tags)).collect();
            return Ok(ResourcePage { token: next.unwrap_or_default(), resources });
        }
        if !filters.is_empty() {
            return Err(ApiError::invalid(
                "TagFilters",
                "cannot be given beside ResourceList",
                "不可与 ResourceList 同用",
            ));
        }
        counted("ResourceList", named.len(), MAX_NAMED)?;
        let wanted = named.iter().map(|Bounded(text)| Resource::parse(text, cx));
        let wanted = wanted.collect::<Result<Vec<_>, E>>()?;
        let ids: Vec<KeyId> = wanted.iter().filter_map(Resource::key).map(|key| key.id).collect();
        ids.iter().for_each(|id| cx.note(*id));
        let mut rows = cx.svc.store.taggables(&cx.scope, &ids).await.map_err(ApiError::internal)?.into_iter();
        let account = cx.account().await?;
        let mut resources = Vec::with_capacity(wanted.len());
        for wanted in &wanted {
            match wanted {
                Resource::Key(key) => {
                    let row = rows.next().flatten().filter(|row| key.is(row));
                    resources.extend(row.map(|row| ResourceTagMapping::new(written(own, &row), row.tags)));
                }
                Resource::Role(id) => {
                    role_tags::check_caller(cx)?;
                    cx.note_subject(format!("role/{id}"));
                    let role = account.identities.role(*id);
                    let of = |role: &RoleRow| ResourceTagMapping::new(role_tags::written(own, role), role.tags.clone());
                    resources.extend(role.map(of));
                }
            }
        }
        Ok(ResourcePage { token: String::new(), resources })
    }
}

const MAX_RESULTS: Doc = Doc("Items of a page, 1000 at most; 50 by default.", "每页数量，最大 1000，默认 50。");

request! {
    /// Tag keys in use.
    GetTagKeys {
        optional token: Bounded<4096> = "PaginationToken", TOKEN;
        optional max: u64 = "MaxResults", MAX_RESULTS;
        optional _category: Bounded<255> = "Category", docs::UNUSED;
    }
}

request! {
    /// Tag values in use.
    GetTagValues {
        required keys: Vec<Bounded<127>> = "TagKeys", TAG_KEYS;
        optional token: Bounded<4096> = "PaginationToken", TOKEN;
        optional max: u64 = "MaxResults", MAX_RESULTS;
        optional _category: Bounded<255> = "Category", docs::UNUSED;
    }
}

answer! {
    /// A page of tag keys.
    KeyPage {
        token: String = "PaginationToken", TOKEN;
        keys: Vec<String> = "TagKeys", TAG_KEYS;
    }
}

answer! {
    /// A page of tags.
    ValuePage {
        token: String = "PaginationToken", TOKEN;
        tags: Vec<TagItem> = "Tags", TAGS;
    }
}

impl Action for GetTagKeys {
    const SPEC: Spec = Spec {
        name: "GetTagKeys",
        access: Access::Read,
        errors: &[],
        doc: Doc("Tag keys in use, sorted.", "查询已使用的标签键，按序返回。"),
    };
    type On = Account;
    type Response = KeyPage;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<KeyPage> {
        let max = at_most(self.max, "MaxResults", 50, 1000)?;
        let [after] = from_token::<1>(self.token)?.unwrap_or_default();
        let mut keys = cx.svc.store.tag_keys(&cx.scope, &after, max + 1).await.map_err(ApiError::internal)?;
        let token = cut(&mut keys, max).map(|last| token(&[last])).transpose()?.unwrap_or_default();
        Ok(KeyPage { token, keys })
    }
}

impl Action for GetTagValues {
    const SPEC: Spec = Spec {
        name: "GetTagValues",
        access: Access::Read,
        errors: &[],
        doc: Doc("Tags in use with the given keys, sorted.", "查询指定标签键下已使用的标签值，按序返回。"),
    };
    type On = Account;
    type Response = ValuePage;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<ValuePage> {
        let max = at_most(self.max, "MaxResults", 50, 1000)?;
        counted("TagKeys", self.keys.len(), MAX_NAMED)?;
        let keys: Vec<_> = self.keys.into_iter().map(|k| k.0).collect();
        let after = from_token::<2>(self.token)?.map(|[key, value]| Tag { key, value });
        let mut tags = cx.svc.store.tag_values(&cx.scope, &keys, after, max + 1).await.map_err(ApiError::internal)?;
        let token = cut(&mut tags, max).map(|last| token(&[&last.key, &last.value])).transpose()?.unwrap_or_default();
        Ok(ValuePage { token, tags: tags.into_iter().map(TagItem::from).collect() })
    }
}
