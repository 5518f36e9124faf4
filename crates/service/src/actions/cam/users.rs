//! Sub-users of an account.

use super::{Remark, access_keys, flag, is_name, text};
use crate::{
    accounts::random_number,
    action::{Access, Action, CAM, Identity, Spec, family},
    actions::{Account, Empty, Himself, OnIdentities, Principals},
    authorise::Asked,
    cx::Cx,
    docs,
    schema::{Doc, FromValue, Type, answer, request},
    values::{Bounded, SecretText},
};
use jadeseal_auth::params::{Params, Value};
use jadeseal_store::{Identities, IdentityChange, UserRow};
use jadeseal_types::{ApiError, ErrorCode as E, SecretBytes, Uin, error::Result, limits};

family![in CAM;
    AddUser,
    GetUser,
    UpdateUser,
    ListUsers,
    DeleteUser,
    DescribeSubAccounts,
    GetUserAppId,
    GetAccountSummary,
];

/// Longest name of a user, characters.
const MAX_NAME: usize = 64;
/// Users that one DescribeSubAccounts may name.
const MAX_NAMED: usize = 50;
/// Numbers of users have twelve digits.
const FIRST_UIN: u64 = 200_000_000_000;
const UINS: u64 = 700_000_000_000;
/// What DescribeSubAccounts calls a sub-user.
const SUB_USER: u64 = 2;

const NAME: Doc =
    Doc("Name of the user: 1 to 64 of letters, digits and +=,.@_-.", "子用户用户名，1 到 64 个字母、数字或 +=,.@_-。");
pub(super) const USER_NAME: Doc = Doc("Name of the user.", "子用户用户名。");
pub(super) const UIN: Doc = Doc("Number of the user.", "子用户 UIN。");
pub(super) const UID: Doc = Doc("The same as the Uin.", "子用户 UID，与 UIN 相同。");
pub(super) const REMARK: Doc = Doc("Free text, at most 256 bytes.", "备注，最多 256 字节。");
pub(super) const PHONE: Doc = Doc("Phone number.", "手机号。");
pub(super) const COUNTRY: Doc = Doc("Country code of the phone number.", "手机号区号。");
pub(super) const EMAIL: Doc = Doc("E-mail address.", "邮箱。");
pub(super) const CREATED: Doc = Doc("Time of creation, Beijing time.", "创建时间，北京时间。");
const CONSOLE: Doc = Doc("1 for a user who may use a console, else 0.", "能否登录控制台，1 为能，0 为不能。");
const PASSWORD: Doc = Doc("Console passwords are not served; must be empty.", "不提供控制台密码，须为空。");
const RESET: Doc = Doc("0 or 1; has no effect.", "0 或 1，无效果。");
const NO_LOGIN: Doc = Doc("Always empty: nobody logs in with a password.", "恒为空，无密码登录。");

/// A console password: there are none, so whoever sets one has to learn that he did not.
pub struct NoPassword;

impl FromValue for NoPassword {
    const TYPE: Type = Type::String;
    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        match value {
            Value::Str(text) if text.is_empty() => Ok(NoPassword),
            _ => Err(ApiError::invalid(
                name,
                "must be empty: console passwords are not served",
                "须为空：不提供控制台密码",
            )),
        }
    }
}

/// A user of the caller's account by name; the audit record names him from then on.
fn user_named<'a>(all: &'a Identities, name: &str, cx: &Cx<'_>) -> Result<&'a UserRow> {
    let user = all.user_named(name).ok_or(E::ResourceUserNotExist)?;
    cx.note_subject(format!("uin/{}", user.uin));
    Ok(user)
}

request! {
    /// Makes a user.
    AddUser {
        required name: String = "Name", NAME;
        optional remark: Remark = "Remark", REMARK;
        optional console_login: u64 = "ConsoleLogin", CONSOLE;
        optional use_api: u64 = "UseApi", Doc("1 to make an access key for the user too; 0 by default.", "1 为同时生成访问密钥，默认 0。");
        optional _password: NoPassword = "Password", PASSWORD;
        optional need_reset: u64 = "NeedResetPassword", RESET;
        optional phone: Bounded<32> = "PhoneNum", PHONE;
        optional country_code: Bounded<16> = "CountryCode", COUNTRY;
        optional email: Bounded<128> = "Email", EMAIL;
    }
}

answer! {
    /// A new user.
    NewUser {
        uin: u64 = "Uin", UIN;
        name: String = "Name", USER_NAME;
        password: &'static str = "Password", PASSWORD;
        secret_id: String = "SecretId", Doc("Id of the access key; empty without.", "访问密钥 ID，未生成时为空。");
        secret_key: SecretText = "SecretKey", Doc("The access key itself, shown this once; empty without.", "访问密钥 Key，仅此一次可见，未生成时为空。");
        uid: u64 = "Uid", UID;
        verify_link: Option<&'static str> = "PhoneNumVerifyLink" nullable, docs::UNUSED;
    }
}

impl Action for AddUser {
    const SPEC: Spec = Spec {
        name: "AddUser",
        access: Access::Write,
        errors: &[E::UserNameIllegal, E::SubUserNameInUse, E::SubUserFull],
        doc: Doc("Makes a user, with an access key if asked for.", "创建子用户，可同时生成访问密钥。"),
    };
    type On = Account;
    type Response = NewUser;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<NewUser> {
        if !is_name(&self.name, MAX_NAME) {
            return Err(E::UserNameIllegal.into());
        }
        let console_login = flag("ConsoleLogin", self.console_login)?.unwrap_or_default();
        flag("NeedResetPassword", self.need_reset)?;
        let domain = match flag("UseApi", self.use_api)? {
            Some(true) => {
                // It comes with making the user, but not past a policy that denies making any.
                if cx.is_denied("cam", "CreateAccessKey", Asked::Everything).await? {
                    return Err(jadeseal_auth::refusal("cam", "CreateAccessKey", Some("*"), None));
                }
                Some(cx.svc.vault.newest(cx.caller.account()).await?)
            }
            _ => None,
        };
        let row = UserRow {
            uin: Uin(0),
            name: self.name,
            remark: self.remark.map(|t| t.0).unwrap_or_default(),
            console_login,
            phone: self.phone.map(|t| t.0).unwrap_or_default(),
            country_code: self.country_code.map(|t| t.0).unwrap_or_default(),
            email: self.email.map(|t| t.0).unwrap_or_default(),
            create_time: cx.now,
        };
        let (uin, key) = cx
            .change_identities(|all| {
                if all.user_named(&row.name).is_some() {
                    return Err(E::SubUserNameInUse.into());
                }
                if all.users.len() >= limits::MAX_USERS {
                    return Err(E::SubUserFull.into());
                }
                let uin = Uin(random_number(FIRST_UIN, UINS)?);
                cx.note_subject(format!("uin/{uin}"));
                let mut changes = vec![IdentityChange::AddUser(UserRow { uin, ..row.clone() })];
                let key = match &domain {
                    Some(domain) => {
                        let (key, added) = access_keys::make(domain, all, uin, "", cx)?;
                        changes.push(added);
                        Some(key)
                    }
                    None => None,
                };
                Ok((changes, (uin, key)))
            })
            .await?;
        let (secret_id, secret_key) = match key {
            Some(key) => (key.secret_id.to_string(), key.secret_key),
            None => (String::new(), SecretBytes::new(Vec::new())),
        };
        let secret_key = SecretText(secret_key);
        Ok(NewUser { uin: uin.0, name: row.name, password: "", secret_id, secret_key, uid: uin.0, verify_link: None })
    }
}

request! {
    /// One user.
    GetUser {
        required name: String = "Name", USER_NAME;
    }
}

answer! {
    /// A user.
    UserAnswer {
        uin: u64 = "Uin", UIN;
        name: String = "Name", USER_NAME;
        uid: u64 = "Uid", UID;
        remark: String = "Remark", REMARK;
        console_login: u64 = "ConsoleLogin", CONSOLE;
        phone: String = "PhoneNum", PHONE;
        country_code: String = "CountryCode", COUNTRY;
        email: String = "Email", EMAIL;
        login_ip: &'static str = "RecentlyLoginIP", NO_LOGIN;
        login_time: &'static str = "RecentlyLoginTime", NO_LOGIN;
    }
}

/// Actions on the user under `Name`.
macro_rules! on_user {
    ($($request:ty),+ $(,)?) => { $(
        impl OnIdentities for $request {
            const RESOURCES: &'static [&'static str] = &["uin/"];
            fn identities(params: &Params<'_>) -> Vec<Identity> {
                vec![Identity::UserNamed(text(params, "Name"))]
            }
        }
    )+ };
}

on_user!(GetUser, UpdateUser, DeleteUser);

impl Action for GetUser {
    const SPEC: Spec = Spec {
        name: "GetUser",
        access: Access::Read,
        errors: &[E::ResourceUserNotExist],
        doc: Doc("One user.", "查询子用户。"),
    };
    type On = Principals;
    type Response = UserAnswer;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<UserAnswer> {
        let account = cx.account().await?;
        let user = user_named(&account.identities, &self.name, cx)?.clone();
        Ok(UserAnswer {
            uin: user.uin.0,
            name: user.name,
            uid: user.uin.0,
            remark: user.remark,
            console_login: user.console_login.into(),
            phone: user.phone,
            country_code: user.country_code,
            email: user.email,
            login_ip: "",
            login_time: "",
        })
    }
}

request! {
    /// Changes a user.
    UpdateUser {
        required name: String = "Name", USER_NAME;
        optional remark: Remark = "Remark", REMARK;
        optional console_login: u64 = "ConsoleLogin", CONSOLE;
        optional _password: NoPassword = "Password", PASSWORD;
        optional need_reset: u64 = "NeedResetPassword", RESET;
        optional phone: Bounded<32> = "PhoneNum", PHONE;
        optional country_code: Bounded<16> = "CountryCode", COUNTRY;
        optional email: Bounded<128> = "Email", EMAIL;
    }
}

impl Action for UpdateUser {
    const SPEC: Spec = Spec {
        name: "UpdateUser",
        access: Access::Write,
        errors: &[E::ResourceUserNotExist],
        doc: Doc("Changes what is given of a user.", "更新子用户，未填的不变。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let console_login = flag("ConsoleLogin", self.console_login)?;
        flag("NeedResetPassword", self.need_reset)?;
        let set = |field: &mut String, given: &Option<String>| {
            if let Some(given) = given {
                field.clone_from(given);
            }
        };
        let (remark, phone) = (self.remark.map(|t| t.0), self.phone.map(|t| t.0));
        let (country_code, email) = (self.country_code.map(|t| t.0), self.email.map(|t| t.0));
        cx.change_identities(|all| {
            let before = user_named(all, &self.name, cx)?;
            let mut user = before.clone();
            user.console_login = console_login.unwrap_or(user.console_login);
            set(&mut user.remark, &remark);
            set(&mut user.phone, &phone);
            set(&mut user.country_code, &country_code);
            set(&mut user.email, &email);
            let changed = (user != *before).then_some(IdentityChange::UpdateUser(user));
            Ok((changed.into_iter().collect(), ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// All users.
    ListUsers {}
}

answer! {
    /// A user in a list.
    UserItem as "SubAccountInfo" {
        uin: u64 = "Uin", UIN;
        name: String = "Name", USER_NAME;
        uid: u64 = "Uid", UID;
        remark: String = "Remark", REMARK;
        console_login: u64 = "ConsoleLogin", CONSOLE;
        phone: String = "PhoneNum", PHONE;
        country_code: String = "CountryCode", COUNTRY;
        email: String = "Email", EMAIL;
        create_time: String = "CreateTime", CREATED;
        nick_name: &'static str = "NickName", docs::UNUSED;
    }
}

answer! {
    /// All users.
    Users {
        users: Vec<UserItem> = "Data", Doc("Users, the oldest first.", "子用户列表，按创建时间升序。");
    }
}

impl Action for ListUsers {
    const SPEC: Spec = Spec {
        name: "ListUsers",
        access: Access::Read,
        errors: &[],
        doc: Doc("All users of the account.", "拉取子用户列表。"),
    };
    type On = Account;
    type Response = Users;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Users> {
        let account = cx.account().await?;
        let users = account.identities.users.iter().cloned().map(|user| UserItem {
            uin: user.uin.0,
            name: user.name,
            uid: user.uin.0,
            remark: user.remark,
            console_login: user.console_login.into(),
            phone: user.phone,
            country_code: user.country_code,
            email: user.email,
            create_time: super::Stamp(user.create_time).to_string(),
            nick_name: "",
        });
        Ok(Users { users: users.collect() })
    }
}

request! {
    /// Removes a user.
    DeleteUser {
        required name: String = "Name", USER_NAME;
        optional force: u64 = "Force", Doc("1 to remove the access keys of the user too; 0 by default.", "1 为同时删除该用户的访问密钥，默认 0。");
    }
}

impl Action for DeleteUser {
    const SPEC: Spec = Spec {
        name: "DeleteUser",
        access: Access::Write,
        errors: &[E::ResourceUserNotExist, E::HaveKeys],
        doc: Doc(
            "Removes a user from the account, from its groups and policies.",
            "删除子用户，并将其从用户组和策略中移除。",
        ),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let force = flag("Force", self.force)?.unwrap_or_default();
        cx.change_identities(|all| {
            let uin = user_named(all, &self.name, cx)?.uin;
            for key in access_keys::of(all, uin) {
                if !force {
                    return Err(E::HaveKeys.into());
                }
                cx.note_subject(format!("accesskey/{}", key.secret_id));
            }
            Ok((vec![IdentityChange::DropUser(uin)], ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// Users by number.
    DescribeSubAccounts {
        required uins: Vec<u64> = "FilterSubAccountUin", Doc("Numbers of users, at most 50.", "子用户 UIN 列表，最多 50 个。");
    }
}

answer! {
    /// A user in a list.
    SubAccount as "SubAccountUser" {
        uin: u64 = "Uin", UIN;
        name: String = "Name", USER_NAME;
        uid: u64 = "Uid", UID;
        remark: String = "Remark", REMARK;
        create_time: String = "CreateTime", CREATED;
        user_type: u64 = "UserType", Doc("2: a sub-user.", "2：子用户。");
        login_ip: &'static str = "LastLoginIp", NO_LOGIN;
        login_time: &'static str = "LastLoginTime", NO_LOGIN;
    }
}

answer! {
    /// Users.
    SubAccounts {
        users: Vec<SubAccount> = "SubAccounts", Doc("Those of the account among them.", "其中属于该账号的子用户。");
    }
}

impl Action for DescribeSubAccounts {
    const SPEC: Spec = Spec {
        name: "DescribeSubAccounts",
        access: Access::Read,
        errors: &[],
        doc: Doc("Users by number.", "按 UIN 查询子用户。"),
    };
    type On = Account;
    type Response = SubAccounts;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<SubAccounts> {
        if self.uins.len() > MAX_NAMED {
            return Err(ApiError::invalid("FilterSubAccountUin", "must have at most 50 items", "最多 50 项"));
        }
        let account = cx.account().await?;
        let asked = account.identities.users.iter().filter(|user| self.uins.contains(&user.uin.0)).cloned();
        let users = asked.map(|user| SubAccount {
            uin: user.uin.0,
            name: user.name,
            uid: user.uin.0,
            remark: user.remark,
            create_time: super::Stamp(user.create_time).to_string(),
            user_type: SUB_USER,
            login_ip: "",
            login_time: "",
        });
        Ok(SubAccounts { users: users.collect() })
    }
}

request! {
    /// The caller's own numbers.
    GetUserAppId {}
}

answer! {
    /// The caller's own numbers.
    OwnNumbers {
        uin: String = "Uin", Doc("Number of the caller.", "当前账号 UIN。");
        owner_uin: String = "OwnerUin", Doc("Number of his account.", "当前账号所属主账号 UIN。");
        app_id: u64 = "AppId", Doc("AppId of his account.", "当前账号 AppId。");
    }
}

impl Action for GetUserAppId {
    const SPEC: Spec = Spec {
        name: "GetUserAppId",
        access: Access::Read,
        errors: &[],
        doc: Doc("Who the caller is; needs no policy.", "查询调用者的 UIN 与 AppId，无需授权。"),
    };
    type On = Himself;
    type Response = OwnNumbers;

    async fn run(self, _: Himself, cx: &Cx<'_>) -> Result<OwnNumbers> {
        Ok(OwnNumbers {
            uin: cx.caller.uin().to_string(),
            owner_uin: cx.caller.account().to_string(),
            app_id: cx.caller.app_id().0,
        })
    }
}

request! {
    /// How many of everything there are.
    GetAccountSummary {}
}

answer! {
    /// How many of everything there are.
    Summary {
        policies: u64 = "Policies", Doc("Policies that the account has made.", "自定义策略数。");
        roles: u64 = "Roles", Doc("Roles.", "角色数。");
        idps: u64 = "Idps", Doc("Identity providers; not offered, so always 0.", "身份提供商数，未提供，恒为 0。");
        users: u64 = "User", Doc("Users.", "子用户数。");
        groups: u64 = "Group", Doc("Groups.", "用户组数。");
        members: u64 = "Member", Doc("Users in groups, one for each group that he is in.", "各用户组的用户数之和。");
        identity_providers: u64 = "IdentityProviders", Doc("Identity providers; not offered, so always 0.", "身份提供商数，未提供，恒为 0。");
    }
}

impl Action for GetAccountSummary {
    const SPEC: Spec = Spec {
        name: "GetAccountSummary",
        access: Access::Read,
        errors: &[],
        doc: Doc("How many users, groups, roles and policies there are.", "查询子用户、用户组、角色和策略的数量。"),
    };
    type On = Account;
    type Response = Summary;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Summary> {
        let account = cx.account().await?;
        let all = &account.identities;
        Ok(Summary {
            policies: all.policies.len() as u64,
            roles: all.roles.len() as u64,
            idps: 0,
            users: all.users.len() as u64,
            groups: all.groups.len() as u64,
            members: all.members.len() as u64,
            identity_providers: 0,
        })
    }
}
