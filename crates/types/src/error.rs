//! The one table of error codes and the one error type that becomes an answer.

use crate::text::{Lang, Text};
use std::fmt;

macro_rules! error_codes {
    ($($variant:ident = $wire:literal, $en:literal, $zh:literal;)+) => {
        /// Every error code that an answer can carry. Handlers return these; nothing else builds an
        /// error answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ErrorCode { $(#[doc = $en] $variant),+ }

        impl ErrorCode {
            /// Every code, in the order of the enumeration.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The code as clients compare it.
            pub const fn wire(self) -> &'static str {
                match self { $(ErrorCode::$variant => $wire),+ }
            }

            /// The message when nothing more specific is known.
            pub const fn text(self) -> Text {
                match self { $(ErrorCode::$variant => Text::fixed($en, $zh)),+ }
            }
        }
    };
}

error_codes! {
    AccessKeyOverLimit = "OperationDenied.AccessKeyOverLimit", "A user may have two access keys.", "每个用户最多拥有两个访问密钥。";
    HaveKeys = "OperationDenied.HaveKeys", "The user still has access keys; delete them first or force the deletion.", "用户仍有访问密钥，请先删除或强制删除。";
    OperationDeniedSubUin = "OperationDenied.SubUin", "Only the main account itself may manage its access keys.", "仅主账号可以操作主账号密钥。";
    UinNotMatch = "OperationDenied.UinNotMatch", "The access key does not belong to the Uin.", "密钥与账号不匹配。";
    AccessKeyFailure = "FailedOperation.Accesskey", "The access key cannot be changed so.", "访问密钥操作失败。";
    PolicyFull = "FailedOperation.PolicyFull", "The account has as many policies as it may.", "策略数量已达上限。";
    PolicyNameInUse = "FailedOperation.PolicyNameInUse", "The name of the policy is in use.", "策略名已被使用。";
    TempKeyNotAllowed = "FailedOperation.TempKeyNotAllowed", "Temporary access keys of this kind may not call the action.", "不支持使用该类临时密钥调用。";
    Unmodifiable = "FailedOperation.Unmodifiable", "A preset policy cannot be changed.", "预设策略不可修改。";
    ActionError = "InvalidParameter.ActionError", "The policy names no valid action.", "策略语法中的 action 错误。";
    ActionNotExist = "InvalidParameter.ActionNotExist", "The policy names an action that does not exist.", "策略语法中的接口不存在。";
    ActionServiceNotExist = "InvalidParameter.ActionServiceNotExist", "The policy names a service that is not served.", "策略语法中的产品不存在。";
    AttachmentFull = "InvalidParameter.AttachmentFull", "The user, group or role has as many policies as it may.", "关联的策略数量已达上限。";
    ConditionContentError = "InvalidParameter.ConditionContentError", "A value in a condition of the policy is not valid.", "策略语法中 condition 的内容错误。";
    ConditionError = "InvalidParameter.ConditionError", "A condition of the policy is not valid.", "策略语法中的 condition 错误。";
    ConditionTypeError = "InvalidParameter.ConditionTypeError", "The policy names an unknown operator of conditions.", "策略语法中 condition 的类型错误。";
    DescriptionLengthOverlimit = "InvalidParameter.DescriptionLengthOverlimit", "The description is too long.", "描述过长。";
    EffectError = "InvalidParameter.EffectError", "The effect must be allow or deny.", "策略语法中的 effect 必须为 allow 或 deny。";
    EntityFilterError = "InvalidParameter.EntityFilterError", "EntityFilter must be All, User, Group or Role.", "EntityFilter 取值错误。";
    GroupFull = "InvalidParameter.GroupFull", "The account has as many groups as it may.", "用户组数量已达上限。";
    GroupNameInUse = "InvalidParameter.GroupNameInUse", "The name of the group is in use.", "用户组名已被使用。";
    GroupNotExist = "InvalidParameter.GroupNotExist", "The group does not exist.", "用户组不存在。";
    GroupUserFull = "InvalidParameter.GroupUserFull", "The group has as many users as it may.", "用户组内用户数量已达上限。";
    OverTimeError = "InvalidParameter.OverTimeError", "DurationSeconds is out of range.", "DurationSeconds 超出范围。";
    ParamError = "InvalidParameter.ParamError", "A parameter is not valid.", "参数错误。";
    PolicyDocumentError = "InvalidParameter.PolicyDocumentError", "The policy document is not valid.", "策略文档错误。";
    PolicyDocumentLengthOverLimit = "InvalidParameter.PolicyDocumentLengthOverLimit", "The policy document is longer than 6144 characters.", "策略文档超过 6144 个字符。";
    PolicyIdNotExist = "InvalidParameter.PolicyIdNotExist", "The policy does not exist.", "策略不存在。";
    PolicyNameError = "InvalidParameter.PolicyNameError", "The name of the policy must be 1 to 128 of letters, digits and +=,.@_-.", "策略名须为 1 到 128 个字母、数字或 +=,.@_-。";
    PrincipalError = "InvalidParameter.PrincipalError", "The principal of the policy is not valid.", "策略语法中的 principal 错误。";
    PrincipalQcsError = "InvalidParameter.PrincipalQcsError", "A principal must be qcs::cam::uin/<uin>:root, :uin/<uin>, :role/<id> or :roleName/<name>.", "principal 须为 qcs::cam::uin/<uin>:root、:uin/<uin>、:role/<id> 或 :roleName/<name>。";
    PrincipalQcsNotExist = "InvalidParameter.PrincipalQcsNotExist", "A principal of the policy does not exist.", "策略语法中的 principal 不存在。";
    PrincipalServiceNotExist = "InvalidParameter.PrincipalServiceNotExist", "No service can take a role here.", "策略语法中的 service 不存在。";
    ResourceContentError = "InvalidParameter.ResourceContentError", "A resource of the policy can match nothing.", "策略语法中 resource 的内容错误。";
    ResourceError = "InvalidParameter.ResourceError", "A resource of the policy is not valid.", "策略语法中的 resource 错误。";
    ResourceProjectError = "InvalidParameter.ResourceProjectError", "The second segment of a resource must be empty.", "六段式的项目段须为空。";
    ResourceQcsError = "InvalidParameter.ResourceQcsError", "A resource must be * or six segments that begin with qcs.", "resource 须为 * 或以 qcs 开头的六段式。";
    ResourceRegionError = "InvalidParameter.ResourceRegionError", "The region of a resource is not served.", "六段式的地域错误。";
    ResourceServiceNotExist = "InvalidParameter.ResourceServiceNotExist", "The service of a resource is not served.", "六段式的产品不存在。";
    ResourceUinError = "InvalidParameter.ResourceUinError", "The account of a resource is not valid.", "六段式的账号错误。";
    RoleFull = "InvalidParameter.RoleFull", "The account has as many roles as it may.", "角色数量已达上限。";
    RoleNameError = "InvalidParameter.RoleNameError", "The name of the role must be 1 to 128 of letters, digits and +=,.@_-.", "角色名须为 1 到 128 个字母、数字或 +=,.@_-。";
    RoleNameInUse = "InvalidParameter.RoleNameInUse", "The name of the role is in use.", "角色名已被使用。";
    RoleNotExist = "InvalidParameter.RoleNotExist", "The role does not exist.", "角色不存在。";
    ScopeError = "InvalidParameter.ScopeError", "Scope must be All, QCS or Local.", "Scope 取值错误。";
    SearchKeywordLengthError = "InvalidParameter.SearchKeywordLengthError", "A keyword to search for has at most 100 characters.", "搜索关键字最多 100 个字符。";
    StatementError = "InvalidParameter.StatementError", "The statements of the policy are not valid.", "策略语法中的 statement 错误。";
    StrategyFormatError = "InvalidParameter.StrategyFormatError", "The session policy is not valid.", "会话策略错误。";
    SubUserFull = "InvalidParameter.SubUserFull", "The account has as many users as it may.", "子用户数量已达上限。";
    SubUserNameInUse = "InvalidParameter.SubUserNameInUse", "The name of the user is in use.", "子用户名已被使用。";
    TagLimitExceeded = "InvalidParameter.TagLimitExceeded", "The role would have more than 50 tags.", "角色的标签超过 50 个。";
    TagParamError = "InvalidParameter.TagParamError", "A tag key is empty, or is named twice.", "标签键为空或重复。";
    UserGroupFull = "InvalidParameter.UserGroupFull", "The user is in as many groups as a user may be.", "用户加入的用户组数量已达上限。";
    UserNameIllegal = "InvalidParameter.UserNameIllegal", "The name of the user must be 1 to 64 of letters, digits and +=,.@_-.", "用户名须为 1 到 64 个字母、数字或 +=,.@_-。";
    UserNotExist = "InvalidParameter.UserNotExist", "The user does not exist.", "用户不存在。";
    UserUinAndUinNotAllNull = "InvalidParameter.UserUinAndUinNotAllNull", "Either the Uin or the Uid of the user must be given.", "用户的 Uin 和 Uid 不能都为空。";
    VersionError = "InvalidParameter.VersionError", "The version of the policy must be 2.0.", "策略语法的 version 须为 2.0。";
    ResourceGroupNotExist = "ResourceNotFound.GroupNotExist", "The group does not exist.", "用户组不存在。";
    PolicyIdNotFound = "ResourceNotFound.PolicyIdNotFound", "The policy does not exist.", "策略不存在。";
    RoleNotFound = "ResourceNotFound.RoleNotFound", "The role does not exist.", "角色不存在。";
    SecretNotExist = "ResourceNotFound.SecretNotExist", "The access key does not exist.", "密钥不存在。";
    ResourceUserNotExist = "ResourceNotFound.UserNotExist", "The user does not exist.", "用户不存在。";
    ActionOffline = "ActionOffline", "The action has been withdrawn.", "接口已下线。";
    AuthFailure = "AuthFailure", "Authentication failed.", "鉴权失败。";
    InvalidAuthorization = "AuthFailure.InvalidAuthorization", "The Authorization header is malformed.", "请求头 Authorization 不符合规范。";
    InvalidSecretId = "AuthFailure.InvalidSecretId", "The SecretId is not an API key.", "SecretId 不是云 API 密钥。";
    MfaFailure = "AuthFailure.MFAFailure", "Multi-factor authentication failed.", "MFA 校验失败。";
    SecretIdNotFound = "AuthFailure.SecretIdNotFound", "The SecretId does not exist; check it.", "SecretId 不存在，请检查。";
    SignatureExpire = "AuthFailure.SignatureExpire", "The signature has expired: the timestamp is more than five minutes away from the server's time.", "签名过期：时间戳与服务器时间相差超过五分钟。";
    SignatureFailure = "AuthFailure.SignatureFailure", "The provided credentials could not be validated; check the signature.", "签名校验失败，请检查签名计算。";
    TokenFailure = "AuthFailure.TokenFailure", "Token verification failed.", "Token verification failed：临时凭证 Token 校验失败。";
    AuthUnauthorizedOperation = "AuthFailure.UnauthorizedOperation", "The operation is not authorised by CAM.", "请求未经 CAM 授权。";
    DryRunOperation = "DryRunOperation", "The request would have succeeded.", "DryRun 操作，请求将会成功。";
    FailedOperation = "FailedOperation", "The operation failed.", "操作失败。";
    CmkUsedByCloudProduct = "FailedOperation.CmkUsedByCloudProduct", "The key is in use by a cloud product.", "密钥已被云产品使用。";
    DecryptError = "FailedOperation.DecryptError", "Decryption failed.", "解密失败。";
    EncryptionError = "FailedOperation.EncryptionError", "Encryption to the given public key failed.", "使用所给公钥加密失败。";
    RotateTaskRunning = "FailedOperation.RotateTaskRunning", "A rotation of the key is running.", "密钥轮换任务正在执行。";
    TaggingError = "FailedOperation.TaggingError", "Tagging failed.", "标签操作失败。";
    InternalError = "InternalError", "Internal error; try again later.", "内部错误，请稍后重试。";
    InvalidAction = "InvalidAction", "The action does not exist.", "接口不存在。";
    InvalidParameter = "InvalidParameter", "A parameter is invalid.", "参数错误。";
    DecryptMaterialError = "InvalidParameter.DecryptMaterialError", "EncryptedKeyMaterial could not be decrypted.", "EncryptedKeyMaterial 解密失败。";
    InvalidPendingWindowInDays = "InvalidParameter.InvalidPendingWindowInDays", "PendingWindowInDays must be 7 to 30.", "PendingWindowInDays 必须为 7 到 30。";
    PaginationTokenInvalid = "InvalidParameter.PaginationTokenInvalid", "The PaginationToken is not one that a page ended with.", "PaginationToken 不是合法的分页标识。";
    EventTimeMissing = "InvalidParameter.Time", "StartTime and EndTime must be Unix seconds.", "必须包含开始时间和结束时间，且须为秒级时间戳。";
    InvalidParameterValue = "InvalidParameterValue", "The value of a parameter is invalid.", "参数取值错误。";
    AliasAlreadyExists = "InvalidParameterValue.AliasAlreadyExists", "The alias already exists.", "别名已存在。";
    DataKeyNameAlreadyExists = "InvalidParameterValue.DataKeyNameAlreadyExists", "The data key name already exists.", "数据密钥名称已存在。";
    DuplicatedDataKeyId = "InvalidParameterValue.DuplicatedDataKeyId", "DataKeyIds names a data key twice.", "DataKeyIds 中存在重复的数据密钥。";
    DuplicatedKeyId = "InvalidParameterValue.DuplicatedKeyId", "KeyIds names a key twice.", "KeyIds 中存在重复的密钥。";
    InvalidAlias = "InvalidParameterValue.InvalidAlias", "The alias is not allowed: 1 to 60 of letters, digits, _ and -, the first a letter or digit, not starting with kms-.", "别名格式错误：1 到 60 个字母、数字、_、-，首字符为字母或数字，且不能以 kms- 开头。";
    InvalidCiphertext = "InvalidParameterValue.InvalidCiphertext", "The ciphertext or its encryption context is invalid.", "密文或其加密上下文无效。";
    InvalidDataKeyId = "InvalidParameterValue.InvalidDataKeyId", "The DataKeyId is malformed.", "DataKeyId 格式错误。";
    InvalidDataKeyName = "InvalidParameterValue.InvalidDataKeyName", "The data key name is not allowed: 1 to 60 of letters, digits, _ and -, the first a letter or digit, not starting with kms-.", "数据密钥名称格式错误：1 到 60 个字母、数字、_、-，首字符为字母或数字，且不能以 kms- 开头。";
    InvalidHsmClusterId = "InvalidParameterValue.InvalidHsmClusterId", "The HsmClusterId is unknown.", "HsmClusterId 无效。";
    InvalidImportKeyMaterial = "InvalidParameterValue.InvalidImportKeyMaterial", "The imported data key is invalid.", "导入的数据密钥无效。";
    InvalidKeyId = "InvalidParameterValue.InvalidKeyId", "The KeyId is malformed.", "KeyId 格式错误。";
    InvalidKeyUsage = "InvalidParameterValue.InvalidKeyUsage", "The usage of the key does not fit the call.", "密钥用途不支持该操作。";
    InvalidPlaintext = "InvalidParameterValue.InvalidPlaintext", "Plaintext must be base64 of 1 to 4096 bytes.", "Plaintext 必须是 1 到 4096 字节数据的 base64 编码。";
    InvalidType = "InvalidParameterValue.InvalidType", "The value of Type is not allowed.", "Type 参数错误。";
    MaterialNotMatch = "InvalidParameterValue.MaterialNotMatch", "The key material differs from the one first imported.", "密钥材料与首次导入的不一致。";
    TagKeysDuplicated = "InvalidParameterValue.TagKeysDuplicated", "Tags names a tag key twice.", "标签键重复。";
    TagKeyDuplicate = "InvalidParameterValue.TagKeyDuplicate", "A tag key is named twice.", "标签键重复。";
    TagKeyEmpty = "InvalidParameterValue.TagKeyEmpty", "A tag key is empty.", "标签键为空。";
    TagsNotExisted = "InvalidParameterValue.TagsNotExisted", "A tag does not exist.", "标签不存在。";
    EventAttributeKey = "InvalidParameterValue.attributeKey", "The AttributeKey is not one that events can be looked up by.", "不支持的 AttributeKey。";
    EventMaxResult = "InvalidParameterValue.MaxResult", "MaxResults must be 1 to 50.", "单次检索支持的最大返回条数是 50。";
    EventTimeOrder = "InvalidParameterValue.Time", "StartTime must not be after EndTime.", "开始时间不能大于结束时间。";
    InvalidRequest = "InvalidRequest", "The request body is malformed.", "请求体格式错误。";
    IpInBlacklist = "IpInBlacklist", "The source address is denied.", "来源 IP 在黑名单中。";
    IpNotInWhitelist = "IpNotInWhitelist", "The source address is not allowed.", "来源 IP 不在白名单中。";
    LimitExceeded = "LimitExceeded", "A quota is exhausted.", "超过配额限制。";
    EventOverTime = "LimitExceeded.OverTime", "The time range is too long.", "检索的时间范围过长。";
    CmkLimitExceeded = "LimitExceeded.CmkLimitExceeded", "The quota of keys is exhausted.", "密钥数量超过配额。";
    DataKeyLimitExceeded = "LimitExceeded.DataKeyLimitExceeded", "The quota of data keys is exhausted.", "数据密钥数量超过配额。";
    FingerprintsLimitExceeded = "LimitExceeded.FingerprintsLimitExceeded", "The quota of device fingerprints is exhausted.", "设备指纹数量超过配额。";
    KeyLimitExceeded = "LimitExceeded.KeyLimitExceeded", "The quota of white-box keys is exhausted.", "白盒密钥数量超过配额。";
    ResourceAttachedTags = "LimitExceeded.ResourceAttachedTags", "The resource would have more than 50 tags.", "资源绑定的标签超过 50 个。";
    DeleteTagsParamError = "InvalidParameterValue.DeleteTagsParamError", "A tag key is both to be set and to be deleted.", "同一标签键不可同时设置和删除。";
    RegionInvalid = "InvalidParameterValue.RegionInvalid", "The region of the resource is not served.", "资源所在地域无效。";
    ResourceDescriptionError = "InvalidParameterValue.ResourceDescriptionError", "The resource must be qcs::kms:<region>:uin/<uin>:key/creatorUin/<uin>/<id>, of the caller's own account.", "资源六段式描述错误，须为 qcs::kms:<region>:uin/<uin>:key/creatorUin/<uin>/<id>，且属于调用者账号。";
    ResourceNumPerRequest = "LimitExceeded.ResourceNumPerRequest", "At most 10 resources can be changed at once.", "单次最多操作 10 个资源。";
    TagNumPerRequest = "LimitExceeded.TagNumPerRequest", "At most 50 tags can be given at once.", "单次最多 50 个标签。";
    MissingParameter = "MissingParameter", "A required parameter is missing.", "缺少必填参数。";
    NoSuchProduct = "NoSuchProduct", "The product does not exist.", "产品不存在。";
    NoSuchVersion = "NoSuchVersion", "The API version does not exist.", "接口版本不存在。";
    RequestLimitExceeded = "RequestLimitExceeded", "Too many requests; slow down.", "请求频率超过限制。";
    UinLimitExceeded = "RequestLimitExceeded.UinLimitExceeded", "Too many requests of the account; slow down.", "账号请求频率超过限制。";
    RotateRateLimited = "RequestLimitExceeded.RotateRateLimited", "The key may be rotated on demand once in 24 hours.", "密钥 24 小时内只能手动轮换一次。";
    RequestSizeLimitExceeded = "RequestSizeLimitExceeded", "The request is too large.", "请求包超过大小限制。";
    ResponseSizeLimitExceeded = "ResponseSizeLimitExceeded", "The answer is too large.", "返回包超过大小限制。";
    ResourceInUse = "ResourceInUse", "The resource is in use.", "资源被占用。";
    ResourceInsufficient = "ResourceInsufficient", "Not enough resources.", "资源不足。";
    ResourceNotFound = "ResourceNotFound", "The resource does not exist.", "资源不存在。";
    ResourceUnavailable = "ResourceUnavailable", "The resource is not available.", "资源不可用。";
    CloudResourceBindingNotFound = "ResourceUnavailable.CloudResourceBindingNotFound", "The binding of the cloud resource does not exist.", "云资源绑定关系不存在。";
    CmkArchived = "ResourceUnavailable.CmkArchived", "The key is archived.", "密钥已归档。";
    CmkDisabled = "ResourceUnavailable.CmkDisabled", "The key is not enabled.", "密钥未启用。";
    CmkNotFound = "ResourceUnavailable.CmkNotFound", "The key does not exist.", "密钥不存在。";
    CmkNotPendingDelete = "ResourceUnavailable.CmkNotPendingDelete", "The key is not pending deletion.", "密钥不处于计划删除状态。";
    CmkShouldBeDisabled = "ResourceUnavailable.CmkShouldBeDisabled", "The key has to be disabled first.", "密钥必须先禁用。";
    CmkStateNotSupport = "ResourceUnavailable.CmkStateNotSupport", "The state of the key does not allow the call.", "密钥当前状态不支持该操作。";
    DataKeyDisabled = "ResourceUnavailable.DataKeyDisabled", "The data key is disabled.", "数据密钥已禁用。";
    DataKeyNotFound = "ResourceUnavailable.DataKeyNotFound", "The data key does not exist.", "数据密钥不存在。";
    DataKeyNotPendingDelete = "ResourceUnavailable.DataKeyNotPendingDelete", "The data key is not pending deletion.", "数据密钥不处于计划删除状态。";
    DataKeyPendingDelete = "ResourceUnavailable.DataKeyPendingDelete", "The data key is pending deletion.", "数据密钥处于计划删除状态。";
    DataKeyStateNotSupport = "ResourceUnavailable.DataKeyStateNotSupport", "The state of the data key does not allow the call.", "数据密钥当前状态不支持该操作。";
    KeyDisabled = "ResourceUnavailable.KeyDisabled", "The white-box key is disabled.", "白盒密钥已禁用。";
    KeyPendingDelete = "ResourceUnavailable.KeyPendingDelete", "The key is pending deletion.", "密钥处于计划删除状态。";
    NotPurchased = "ResourceUnavailable.NotPurchased", "The service has not been enabled.", "服务未开通。";
    TokenExpired = "ResourceUnavailable.TokenExpired", "The import token is not valid any more.", "导入令牌已失效。";
    ServiceUnavailable = "ServiceUnavailable", "The service is unavailable for the moment.", "服务暂时不可用。";
    UnauthorizedOperation = "UnauthorizedOperation", "The operation is not authorised.", "未授权操作。";
    UnknownParameter = "UnknownParameter", "A parameter is unknown.", "未知参数。";
    UnsupportedOperation = "UnsupportedOperation", "The operation is not supported.", "操作不支持。";
    ExternalCmkCanNotRotate = "UnsupportedOperation.ExternalCmkCanNotRotate", "A key with imported material cannot be rotated.", "外部导入的密钥不支持轮换。";
    NotExternalCmk = "UnsupportedOperation.NotExternalCmk", "The key is not of the EXTERNAL origin.", "密钥不是 EXTERNAL 类型。";
    NotRoleOperation = "UnsupportedOperation.NotRoleOperation", "The caller does not administer the named member account.", "调用者不是该成员账号的管理员。";
    NotUserCreatedCmk = "UnsupportedOperation.NotUserCreatedCmk", "The key was not created by the user.", "密钥不是用户创建的。";
    RotateNotSupported = "UnsupportedOperation.RotateNotSupported", "The key cannot be rotated.", "密钥不支持轮换。";
    ServiceTemporaryUnavailable = "UnsupportedOperation.ServiceTemporaryUnavailable", "The service is unavailable for the moment.", "服务暂时不可用。";
    UnsupportedKeyUsageInCurrentRegion = "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion", "The region does not support this KeyUsage.", "当前地域不支持该 KeyUsage。";
    UnsupportedProtocol = "UnsupportedProtocol", "Only GET and POST with the documented content types are supported.", "仅支持 GET 和 POST 以及文档所列的内容类型。";
    UnsupportedRegion = "UnsupportedRegion", "The region is not served.", "不支持该地域。";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire())
    }
}

/// An error on its way to the caller: a code, perhaps a more specific message, and perhaps a cause
/// that is for the operator's log alone and never leaves in an answer.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: ErrorCode,
    public: Option<Text>,
    internal: Option<String>,
}

/// Result of everything that can end in an error answer.
pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// The code with its own message.
    pub fn new(code: ErrorCode) -> Self {
        ApiError(Box::new(Inner { code, public: None, internal: None }))
    }

    /// The code with a message of its own in both languages. The text must not hold a value that
    /// could be secret.
    pub fn with_text(code: ErrorCode, en: impl Into<String>, zh: impl Into<String>) -> Self {
        ApiError(Box::new(Inner { code, public: Some(Text::made(en.into(), zh.into())), internal: None }))
    }

    /// `InternalError` with a cause for the operator.
    pub fn internal(cause: impl fmt::Display) -> Self {
        ApiError(Box::new(Inner { code: ErrorCode::InternalError, public: None, internal: Some(cause.to_string()) }))
    }

    /// `MissingParameter`, naming it.
    pub fn missing(name: &str) -> Self {
        Self::with_text(
            ErrorCode::MissingParameter,
            format!("The request is missing the required parameter `{name}`."),
            format!("缺少必填参数 `{name}`。"),
        )
    }

    /// `UnknownParameter`, naming it.
    pub fn unknown(name: &str) -> Self {
        let name = printable(name);
        Self::with_text(
            ErrorCode::UnknownParameter,
            format!("The parameter `{name}` is not recognized."),
            format!("未知参数 `{name}`。"),
        )
    }

    /// `InvalidParameter` about one parameter.
    pub fn invalid(name: &str, en: &str, zh: &str) -> Self {
        Self::about(ErrorCode::InvalidParameter, name, en, zh)
    }

    /// Any code about one parameter: the message names it and says what is wrong.
    pub fn about(code: ErrorCode, name: &str, en: &str, zh: &str) -> Self {
        Self::with_text(code, format!("The parameter `{name}` {en}."), format!("参数 `{name}` {zh}。"))
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The message for the caller.
    pub fn message(&self, lang: Lang) -> String {
        match &self.0.public {
            Some(text) => text.get(lang).to_owned(),
            None => self.0.code.text().get(lang).to_owned(),
        }
    }

    /// The cause for the operator's log.
    pub fn internal_cause(&self) -> Option<&str> {
        self.0.internal.as_deref()
    }
}

impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        ApiError::new(code)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.message(Lang::En))
    }
}

impl std::error::Error for ApiError {}

/// A caller's own name for something, cut and cleaned before it is echoed: a parameter name is not
/// secret, but it may be long or hold control characters.
fn printable(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() || c == '`' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn wire_codes_are_unique_and_messages_end_with_a_stop() {
        let codes: HashSet<_> = ErrorCode::ALL.iter().map(|c| c.wire()).collect();
        assert_eq!(codes.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!(code.text().en.ends_with('.'), "{code}");
            assert!(code.text().zh.ends_with('。'), "{code}");
        }
    }

    #[test]
    fn names_are_cleaned_before_they_are_echoed() {
        let e = ApiError::unknown(&format!("a`\n{}", "b".repeat(200)));
        let m = e.message(Lang::En);
        assert!(m.contains("`a??bbb") && m.len() < 140, "{m}");
    }

    #[test]
    fn internal_causes_stay_inside() {
        let e = ApiError::internal("disk /dev/sdz is on fire");
        assert!(!e.message(Lang::En).contains("fire") && !e.message(Lang::Zh).contains("fire"));
        assert_eq!(e.internal_cause(), Some("disk /dev/sdz is on fire"));
    }
}
