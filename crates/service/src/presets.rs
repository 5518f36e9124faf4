//! Policies that every account has, and the actions that policies can name.

use crate::entries;
use jadeseal_auth::policy::{ActionInfo, Vocabulary};
use jadeseal_types::PolicyId;
use std::sync::LazyLock;

/// A policy that the service brings along.
pub struct Preset {
    /// Its number: below those of the accounts' own.
    pub id: PolicyId,
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// The text in the policy language.
    pub document: &'static str,
}

/// The smallest number of a policy that an account makes.
pub const FIRST_OWN_POLICY: u64 = 1_000_000;

/// All presets, by number.
pub static PRESETS: &[Preset] = &[
    Preset {
        id: PolicyId(1),
        name: "AdministratorAccess",
        description: "Everything that the main account may do",
        document: r#"{"version":"2.0","statement":[{"effect":"allow","action":"*","resource":"*"}]}"#,
    },
    Preset {
        id: PolicyId(101),
        name: "QcloudKMSFullAccess",
        description: "Everything with keys and their tags",
        document: r#"{"version":"2.0","statement":[{"effect":"allow","action":["kms:*","tag:*"],"resource":"*"}]}"#,
    },
    Preset {
        id: PolicyId(102),
        name: "QcloudKMSReadOnlyAccess",
        description: "Looks at keys and their tags; neither uses nor changes them",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:Describe*","kms:List*","kms:GetKeyRotationStatus","kms:GetPublicKey","kms:GetRegions","#,
            r#""kms:GetServiceStatus","tag:Describe*","tag:Get*"],"resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(103),
        name: "JadesealKMSEncryptOnlyAccess",
        description: "Encrypts, and makes data keys without seeing them again; decrypts nothing",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:Encrypt","kms:GenerateDataKey","kms:PostQuantumCryptoEncrypt","kms:GetPublicKey","#,
            r#""kms:DescribeKey","kms:GetRegions"],"resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(104),
        name: "JadesealKMSDecryptOnlyAccess",
        description: "Decrypts; encrypts nothing",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:Decrypt","kms:AsymmetricRsaDecrypt","kms:AsymmetricSm2Decrypt","kms:PostQuantumCryptoDecrypt","#,
            r#""kms:GetDataKeyPlaintext","kms:DescribeKey","kms:GetRegions"],"resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(105),
        name: "JadesealKMSSignOnlyAccess",
        description: "Signs and verifies",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:SignByAsymmetricKey","kms:VerifyByAsymmetricKey","kms:PostQuantumCryptoSign","#,
            r#""kms:PostQuantumCryptoVerify","kms:GetPublicKey","kms:DescribeKey","kms:GetRegions"],"resource":"*"}]}"#
        ),
    },
    // The three roles of which no one can do harm alone. Who makes principals gives them no rights, who gives rights makes no
    // principals and no access keys, and neither can give himself any.
    Preset {
        id: PolicyId(201),
        name: "JadesealSystemAdministratorAccess",
        description: "Makes, changes and removes users, groups and their access keys; gives no rights and sees no key",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""cam:AddUser","cam:UpdateUser","cam:DeleteUser","cam:CreateGroup","cam:UpdateGroup","#,
            r#""cam:UpdateAccessKey","cam:DeleteAccessKey","cam:ListAccessKeys","cam:GetSecurityLastUsed","#,
            r#""cam:GetUser","cam:ListUsers","cam:DescribeSubAccounts","cam:GetGroup","cam:ListGroups","#,
            r#""cam:ListGroupsForUser","cam:ListUsersForGroup","cam:GetAccountSummary"],"resource":"*"},"#,
            r#"{"effect":"allow","action":["cam:CreateAccessKey"],"#,
            r#""resource":["qcs::cam::uin/${owner_uin}:uin/${uin}"]}]}"#
        ),
    },
    Preset {
        id: PolicyId(202),
        name: "JadesealSecurityAdministratorAccess",
        description: "Manages keys, policies, roles and who has them; uses no key, makes no user, and cannot give himself rights",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:Describe*","kms:List*","kms:GetKeyRotationStatus","kms:GetPublicKey","kms:GetRegions","#,
            r#""kms:GetServiceStatus","kms:CreateKey","kms:UpdateAlias","kms:UpdateKeyDescription","kms:Enable*","#,
            r#""kms:Disable*","kms:RotateKey","kms:ScheduleKeyDeletion","kms:CancelKeyDeletion","kms:ArchiveKey","#,
            r#""kms:CancelKeyArchive","kms:ScheduleDataKeyDeletion","kms:CancelDataKeyDeletion","#,
            r#""kms:UpdateDataKeyName","kms:UpdateDataKeyDescription","tag:*","#,
            r#""cam:CreatePolicy","cam:UpdatePolicy","cam:DeletePolicy","cam:GetPolicy","cam:ListPolicies","#,
            r#""cam:ListEntitiesForPolicy","cam:AttachUserPolicy","cam:DetachUserPolicy","cam:AttachGroupPolicy","#,
            r#""cam:DetachGroupPolicy","cam:AttachRolePolicy","cam:DetachRolePolicy","cam:ListAttached*","#,
            r#""cam:AddUserToGroup","cam:RemoveUserFromGroup","cam:DeleteGroup","cam:CreateRole","cam:GetRole","cam:DeleteRole","#,
            r#""cam:UpdateAssumeRolePolicy","cam:UpdateRoleDescription","cam:DescribeRoleList","cam:GetUser","#,
            r#""cam:ListUsers","cam:DescribeSubAccounts","cam:GetGroup","cam:ListGroups","cam:ListGroupsForUser","#,
            r#""cam:ListUsersForGroup","cam:GetAccountSummary"],"resource":"*"},"#,
            r#"{"effect":"deny","action":["cam:AttachUserPolicy","cam:DetachUserPolicy","cam:AddUserToGroup","#,
            r#""cam:RemoveUserFromGroup"],"resource":["qcs::cam::uin/${owner_uin}:uin/${uin}"]},"#,
            r#"{"effect":"deny","action":["sts:*","cam:CreateAccessKey","cam:AddUser"],"resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(203),
        name: "JadesealAuditorAccess",
        description: "Reads the audit log, and looks at principals, policies and keys; changes and uses nothing",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""cloudaudit:*","cam:Get*","cam:List*","cam:Describe*","kms:Describe*","kms:List*","#,
            r#""kms:GetKeyRotationStatus","kms:GetRegions","kms:GetServiceStatus","tag:Describe*","tag:Get*"],"#,
            r#""resource":"*"}]}"#
        ),
    },
];

/// A preset by its number.
pub fn preset(id: PolicyId) -> Option<&'static Preset> {
    PRESETS.iter().find(|p| p.id == id)
}

/// Published actions that are not served yet. Policies can name them, so that one written for the whole API is taken as it is.
const NOT_SERVED: &[(&str, &str, &[&str])] = &[
    ("kms", "CreateWhiteBoxKey", &[]),
    ("kms", "DescribeWhiteBoxKeyDetails", &[]),
    ("kms", "DescribeWhiteBoxServiceStatus", &[]),
    ("kms", "DeleteWhiteBoxKey", &["key/"]),
    ("kms", "DescribeWhiteBoxDecryptKey", &["key/"]),
    ("kms", "DescribeWhiteBoxDeviceFingerprints", &["key/"]),
    ("kms", "DescribeWhiteBoxKey", &["key/"]),
    ("kms", "DisableWhiteBoxKey", &["key/"]),
    ("kms", "DisableWhiteBoxKeys", &["key/"]),
    ("kms", "EnableWhiteBoxKey", &["key/"]),
    ("kms", "EnableWhiteBoxKeys", &["key/"]),
    ("kms", "EncryptByWhiteBox", &["key/"]),
    ("kms", "OverwriteWhiteBoxDeviceFingerprints", &["key/"]),
    ("cloudaudit", "DescribeEvents", &[]),
    ("cloudaudit", "LookUpEvents", &[]),
];

/// The actions that policies can name: those that are served under the numbers of [`entries`], then the others.
pub static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| {
    let served = entries().map(|e| ActionInfo { service: e.api.service, name: e.spec.name, resources: e.resources });
    let others = NOT_SERVED.iter().map(|&(service, name, resources)| ActionInfo { service, name, resources });
    let mut all: Vec<ActionInfo> = served.collect();
    for other in others {
        if all.iter().all(|a| a.service != other.service || a.name != other.name) {
            all.push(other);
        }
    }
    Vocabulary::new(all)
});
