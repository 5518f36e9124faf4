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
    // Actions are written out where a wildcard would hold one that is not served yet and does more than look.
    Preset {
        id: PolicyId(2),
        name: "ReadOnlyAccess",
        description: "Looks at keys, tags, principals and policies; neither uses nor changes anything",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:DescribeKey","kms:DescribeKeys","kms:DescribeDataKey","kms:DescribeDataKeys","#,
            r#""kms:List*","kms:GetKeyRotationStatus","kms:GetPublicKey","kms:GetRegions","kms:GetServiceStatus","#,
            r#""tag:Describe*","tag:Get*","cam:Get*","cam:List*","cam:Describe*"],"resource":"*"}]}"#
        ),
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
            r#""kms:DescribeKey","kms:DescribeKeys","kms:DescribeDataKey","kms:DescribeDataKeys","#,
            r#""kms:List*","kms:GetKeyRotationStatus","kms:GetPublicKey","kms:GetRegions","#,
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
    Preset {
        id: PolicyId(106),
        name: "JadesealSelfServiceAccess",
        description: "A user's own access keys: makes, lists, switches and removes them",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""cam:CreateAccessKey","cam:ListAccessKeys","cam:UpdateAccessKey","cam:DeleteAccessKey"],"#,
            r#""resource":["qcs::cam::uin/${owner_uin}:uin/${uin}"]}]}"#
        ),
    },
    Preset {
        id: PolicyId(107),
        name: "QcloudKMSCreaterFullAccess",
        description: "Makes keys, lists all of them, and may everything with those that the principal has made himself",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["kms:*"],"#,
            r#""resource":["qcs::kms:::key/creatorUin/${uin}/*"]},"#,
            r#"{"effect":"allow","action":["kms:CreateKey","kms:ListKeys","kms:ListKeyDetail","kms:ListDataKeys","#,
            r#""kms:ListDataKeyDetail","kms:ListAlgorithms","kms:GetRegions","kms:GetServiceStatus","#,
            r#""kms:GenerateRandom"],"resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(108),
        name: "QcloudCamFullAccess",
        description: "Everything with users, groups, roles and policies: whoever has it can give himself every right",
        document: r#"{"version":"2.0","statement":[{"effect":"allow","action":["cam:*"],"resource":"*"}]}"#,
    },
    Preset {
        id: PolicyId(109),
        name: "QcloudCamReadOnlyAccess",
        description: "Looks at users, groups, roles and policies",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["cam:Get*","cam:List*","cam:Describe*"],"#,
            r#""resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(110),
        name: "QcloudSTSFullAccess",
        description: "Begins sessions: takes every role that trusts the principal",
        document: r#"{"version":"2.0","statement":[{"effect":"allow","action":["sts:*"],"resource":"*"}]}"#,
    },
    Preset {
        id: PolicyId(111),
        name: "QcloudTagFullAccess",
        description: "Everything with tags",
        document: r#"{"version":"2.0","statement":[{"effect":"allow","action":["tag:*"],"resource":"*"}]}"#,
    },
    // Three roles, so that it takes two to get at keys. Who makes principals gives them no rights; who gives rights makes no
    // principals and no access keys, and cannot have them taken over, not even by another account; neither can give himself
    // any. What that needs besides is in docs/access-management.md.
    Preset {
        id: PolicyId(201),
        name: "JadesealSystemAdministratorAccess",
        description: "Makes users, groups and roles, and removes users and access keys; gives no rights and sees no key",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""cam:AddUser","cam:UpdateUser","cam:DeleteUser","cam:CreateGroup","cam:UpdateGroup","#,
            r#""cam:CreateRole","cam:GetRole","cam:DescribeRoleList","cam:UpdateRoleDescription","#,
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
        description: "Manages keys, policies and who has them; uses no key, makes no principal, and cannot give himself rights",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""kms:DescribeKey","kms:DescribeKeys","kms:DescribeDataKey","kms:DescribeDataKeys","#,
            r#""kms:List*","kms:GetKeyRotationStatus","kms:GetPublicKey","kms:GetRegions","#,
            r#""kms:GetServiceStatus","kms:CreateKey","kms:UpdateAlias","kms:UpdateKeyDescription","kms:Enable*","#,
            r#""kms:Disable*","kms:RotateKey","kms:ScheduleKeyDeletion","kms:CancelKeyDeletion","kms:ArchiveKey","#,
            r#""kms:CancelKeyArchive","kms:ScheduleDataKeyDeletion","kms:CancelDataKeyDeletion","#,
            r#""kms:UpdateDataKeyName","kms:UpdateDataKeyDescription","tag:*","#,
            r#""cam:CreatePolicy","cam:UpdatePolicy","cam:DeletePolicy","cam:GetPolicy","cam:ListPolicies","#,
            r#""cam:ListEntitiesForPolicy","cam:AttachUserPolicy","cam:DetachUserPolicy","cam:AttachGroupPolicy","#,
            r#""cam:DetachGroupPolicy","cam:AttachRolePolicy","cam:DetachRolePolicy","cam:ListAttached*","#,
            r#""cam:AddUserToGroup","cam:RemoveUserFromGroup","cam:DeleteGroup","cam:GetRole","cam:DeleteRole","#,
            r#""cam:UpdateRoleDescription","cam:DescribeRoleList","cam:GetUser","#,
            r#""cam:ListUsers","cam:DescribeSubAccounts","cam:GetGroup","cam:ListGroups","cam:ListGroupsForUser","#,
            r#""cam:ListUsersForGroup","cam:ListAccessKeys","cam:GetAccountSummary"],"resource":"*"},"#,
            // Neither himself nor a group that he is in, whichever way this policy came to him; nor what a policy of his says.
            r#"{"effect":"deny","action":["cam:AttachUserPolicy","cam:DetachUserPolicy","cam:AddUserToGroup","#,
            r#""cam:RemoveUserFromGroup","cam:AttachGroupPolicy","cam:DetachGroupPolicy","cam:DeleteGroup"],"#,
            r#""resource":["qcs::cam::uin/${owner_uin}:own/uin/*","qcs::cam::uin/${owner_uin}:own/groupid/*"]},"#,
            r#"{"effect":"deny","action":["cam:UpdatePolicy","cam:DeletePolicy"],"#,
            r#""resource":["qcs::cam::uin/${owner_uin}:own/policyid/*"]},"#,
            // Denied, not just not allowed: he may change policies, and one of them may be his own.
            r#"{"effect":"deny","action":["sts:*","cam:CreateAccessKey","cam:AddUser","cam:CreateRole","#,
            r#""cam:UpdateAssumeRolePolicy","cam:UpdateAccessKey","cam:DeleteAccessKey","cam:DeleteUser","#,
            r#""cam:UpdateUser","cam:CreateGroup","cam:UpdateGroup","#,
            r#""kms:DeleteImportedKeyMaterial","kms:BindCloudResource","kms:UnbindCloudResource","#,
            r#""kms:Encrypt","kms:Decrypt","kms:ReEncrypt","kms:GenerateDataKey","kms:GenerateRandom","#,
            r#""kms:SignByAsymmetricKey","kms:VerifyByAsymmetricKey","kms:AsymmetricRsaDecrypt","#,
            r#""kms:AsymmetricSm2Decrypt","kms:PostQuantumCrypto*","kms:GetDataKeyPlaintext","#,
            r#""kms:GetDataKeyCiphertextBlob","kms:ImportDataKey","kms:GetParametersForImport","#,
            r#""kms:ImportKeyMaterial"],"resource":"*"}]}"#
        ),
    },
    Preset {
        id: PolicyId(203),
        name: "JadesealAuditorAccess",
        description: "Looks at principals, policies and keys, and at the audit log where that is served; changes and uses nothing",
        document: concat!(
            r#"{"version":"2.0","statement":[{"effect":"allow","action":["#,
            r#""cloudaudit:*","cam:Get*","cam:List*","cam:Describe*","#,
            r#""kms:DescribeKey","kms:DescribeKeys","kms:DescribeDataKey","kms:DescribeDataKeys","#,
            r#""kms:List*","kms:GetKeyRotationStatus","kms:GetRegions","kms:GetServiceStatus","tag:Describe*","tag:Get*"],"#,
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
    // Asked in the cloud by a product that is to work under a role.
    ("cam", "PassRole", &["role/", "roleName/"]),
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

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_audit::Access;
    use jadeseal_auth::policy::{Binding, Checks, Conditions, Decision, Facts, Policy, PolicySet, Resource};
    use jadeseal_types::{AccountId, AppId, KeyId, Region, Uin};

    const ACCOUNT: AccountId = AccountId(100_000_000_001);
    const HIMSELF: Uin = Uin(100_000_000_002);
    const ANOTHER: &str = "uin/100000000003";
    /// A group that he is in.
    const HIS_GROUP: &str = "groupid/5";

    /// What a user with one preset may do.
    struct Holder(PolicySet);

    impl Holder {
        fn of(name: &str) -> Self {
            Self::of_all(&[name])
        }

        fn of_all(names: &[&str]) -> Self {
            let found = PRESETS.iter().filter(|p| names.contains(&p.name));
            let policies: Vec<_> = found.map(|p| (p.name, parse(p))).collect();
            assert_eq!(policies.len(), names.len());
            let binding = Binding { uin: HIMSELF, account: ACCOUNT, app_id: AppId(1_250_000_000) };
            Holder(PolicySet::new(binding, policies.iter().map(|(name, policy)| (*name, policy))))
        }

        fn may_on(&self, service: &str, action: &str, resource: &Resource<'_>) -> bool {
            let id = VOCABULARY.find(service, action).unwrap_or_else(|| panic!("{service}:{action}"));
            let conditions = Conditions { source: None, now: 1, secure: true, request_tags: &[], external_id: None };
            match self.0.evaluate(id, resource, &conditions) {
                Decision::Allowed(_) => true,
                Decision::NotAllowed | Decision::Denied(_) => false,
                Decision::Depends => panic!("{action} depends"),
            }
        }

        /// On a key that somebody else has made.
        fn may_use(&self, service: &str, action: &str) -> bool {
            let region = Region::parse("ap-guangzhou").unwrap();
            let id = KeyId::from_bytes([7; 16]);
            let facts = Some(Facts { creator: Uin(100_000_000_003), tags: &[] });
            self.may_on(service, action, &Resource::Key { region: &region, account: ACCOUNT, id, facts })
        }

        fn may(&self, service: &str, action: &str) -> bool {
            self.may_on(service, action, &Resource::Everything)
        }

        /// On a principal or policy.
        fn may_to(&self, action: &str, spelling: &str) -> bool {
            let own =
                (spelling == format!("uin/{HIMSELF}") || spelling == HIS_GROUP).then(|| format!("own/{spelling}"));
            let spellings: Vec<String> = std::iter::once(spelling.to_owned()).chain(own).collect();
            self.may_on("cam", action, &Resource::Identity { account: ACCOUNT, spellings: &spellings })
        }

        /// On anything that the action may be about.
        fn may_at_all(&self, service: &str, action: &str) -> bool {
            let himself = format!("uin/{HIMSELF}");
            let identities = [himself.as_str(), ANOTHER, "groupid/7", "policyid/1000007", "role/9", "roleName/ci"];
            self.may(service, action)
                || self.may_use(service, action)
                || identities.iter().any(|spelling| {
                    let spellings = [(*spelling).to_owned()];
                    self.may_on(service, action, &Resource::Identity { account: ACCOUNT, spellings: &spellings })
                })
        }

        /// The actions of some kinds that it lets through.
        fn of_access(&self, kinds: &[Access]) -> Vec<String> {
            let entries = entries().filter(|e| kinds.contains(&e.spec.access));
            let allowed = entries.filter(|e| self.may_at_all(e.api.service, e.spec.name));
            allowed.map(|e| format!("{}:{}", e.api.service, e.spec.name)).collect()
        }
    }

    fn parse(preset: &Preset) -> Policy {
        let region = Region::parse("ap-guangzhou").unwrap();
        let checks =
            Checks { vocabulary: &VOCABULARY, account: ACCOUNT, members: &[], regions: &[region], strict: true };
        Policy::parse(preset.document, &checks).unwrap_or_else(|invalid| panic!("{}: {invalid:?}", preset.name))
    }

    #[test]
    fn every_preset_is_a_policy_that_an_account_could_write() {
        for preset in PRESETS {
            parse(preset);
            assert!(preset.id.0 < FIRST_OWN_POLICY);
            assert_eq!(PRESETS.iter().filter(|p| p.id == preset.id || p.name == preset.name).count(), 1);
        }
    }

    #[test]
    fn the_administrator_may_everything() {
        let holder = Holder::of("AdministratorAccess");
        for entry in entries() {
            assert!(holder.may(entry.api.service, entry.spec.name), "{}", entry.spec.name);
            assert!(holder.may_at_all(entry.api.service, entry.spec.name), "{}", entry.spec.name);
        }
    }

    #[test]
    fn full_access_to_keys_is_no_access_to_principals() {
        let holder = Holder::of("QcloudKMSFullAccess");
        for entry in entries() {
            let is_about_keys = ["kms", "tag"].contains(&entry.api.service);
            assert_eq!(holder.may_at_all(entry.api.service, entry.spec.name), is_about_keys, "{}", entry.spec.name);
        }
    }

    /// The served actions that a preset lets through, all of which must read, and those of the others that it lets through.
    fn reads(name: &str) -> (Vec<String>, Vec<&'static str>) {
        let holder = Holder::of(name);
        assert_eq!(holder.of_access(&[Access::Write, Access::Use]), [""; 0], "{name}");
        let others = NOT_SERVED.iter().filter(|(service, action, _)| holder.may_at_all(service, action));
        (holder.of_access(&[Access::Read]), others.map(|(_, action, _)| *action).collect())
    }

    #[test]
    fn read_only_presets_read_what_is_theirs_and_nothing_that_is_not_served() {
        let reading = |services: &[&str]| {
            let found = entries().filter(|e| e.spec.access == Access::Read && services.contains(&e.api.service));
            found.map(|e| format!("{}:{}", e.api.service, e.spec.name)).collect::<Vec<_>>()
        };
        assert_eq!(reads("ReadOnlyAccess"), (reading(&["kms", "tag", "cam"]), vec![]));
        assert_eq!(reads("QcloudKMSReadOnlyAccess"), (reading(&["kms", "tag"]), vec![]));
        assert_eq!(reads("QcloudCamReadOnlyAccess"), (reading(&["cam"]), vec![]));
        let (of_auditor, others) = reads("JadesealAuditorAccess");
        let all = reading(&["kms", "tag", "cam", "cloudaudit"]);
        let all: Vec<_> = all.into_iter().filter(|a| a != "kms:GetPublicKey").collect();
        assert_eq!((of_auditor, others), (all, vec![]));
    }

    #[test]
    fn full_access_is_to_one_service() {
        for (name, service) in
            [("QcloudCamFullAccess", "cam"), ("QcloudSTSFullAccess", "sts"), ("QcloudTagFullAccess", "tag")]
        {
            let holder = Holder::of(name);
            for entry in entries() {
                let is_its = entry.api.service == service;
                assert_eq!(holder.may_at_all(entry.api.service, entry.spec.name), is_its, "{name} {}", entry.spec.name);
            }
        }
    }

    #[test]
    fn who_has_made_a_key_may_everything_with_it() {
        let holder = Holder::of("QcloudKMSCreaterFullAccess");
        let region = Region::parse("ap-guangzhou").unwrap();
        let facts = Some(Facts { creator: HIMSELF, tags: &[] });
        let own = Resource::Key { region: &region, account: ACCOUNT, id: KeyId::from_bytes([7; 16]), facts };
        for entry in entries().filter(|e| e.api.service == "kms" && e.resources.is_empty()) {
            assert!(holder.may("kms", entry.spec.name), "{}", entry.spec.name);
        }
        for entry in entries().filter(|e| e.api.service == "kms" && !e.resources.is_empty()) {
            assert!(holder.may_on("kms", entry.spec.name, &own), "{}", entry.spec.name);
            assert!(
                !holder.may_use("kms", entry.spec.name) && !holder.may("kms", entry.spec.name),
                "{}",
                entry.spec.name
            );
        }
        for entry in entries().filter(|e| e.api.service != "kms") {
            assert!(!holder.may_at_all(entry.api.service, entry.spec.name), "{}", entry.spec.name);
        }
    }

    #[test]
    fn who_reads_neither_uses_nor_changes() {
        let holder = Holder::of("QcloudKMSReadOnlyAccess");
        assert_eq!(holder.of_access(&[Access::Write, Access::Use]), [""; 0]);
        assert!(holder.may_use("kms", "DescribeKey") && holder.may_use("kms", "GetPublicKey"));
        assert!(holder.may("kms", "ListKeys") && holder.may("tag", "GetResources"));
        assert!(!holder.may_use("kms", "GetDataKeyPlaintext") && !holder.may_use("kms", "GetParametersForImport"));
        assert!(!holder.may_at_all("cam", "ListPolicies"));
    }

    #[test]
    fn who_encrypts_does_not_decrypt() {
        let holder = Holder::of("JadesealKMSEncryptOnlyAccess");
        let used = ["kms:Encrypt", "kms:GenerateDataKey", "kms:PostQuantumCryptoEncrypt"];
        let mut may = holder.of_access(&[Access::Write, Access::Use]);
        may.sort();
        assert_eq!(may, used);
        for action in ["Decrypt", "AsymmetricRsaDecrypt", "ReEncrypt", "GetDataKeyPlaintext", "SignByAsymmetricKey"] {
            assert!(!holder.may_use("kms", action), "{action}");
        }
    }

    #[test]
    fn who_decrypts_does_not_encrypt() {
        let holder = Holder::of("JadesealKMSDecryptOnlyAccess");
        let used = [
            "kms:AsymmetricRsaDecrypt",
            "kms:AsymmetricSm2Decrypt",
            "kms:Decrypt",
            "kms:GetDataKeyPlaintext",
            "kms:PostQuantumCryptoDecrypt",
        ];
        let mut may = holder.of_access(&[Access::Write, Access::Use]);
        may.sort();
        assert_eq!(may, used);
    }

    #[test]
    fn who_signs_does_nothing_else() {
        let holder = Holder::of("JadesealKMSSignOnlyAccess");
        let used = [
            "kms:PostQuantumCryptoSign",
            "kms:PostQuantumCryptoVerify",
            "kms:SignByAsymmetricKey",
            "kms:VerifyByAsymmetricKey",
        ];
        let mut may = holder.of_access(&[Access::Write, Access::Use]);
        may.sort();
        assert_eq!(may, used);
    }

    /// Actions with which somebody gets rights, or a user that has some.
    const GIVES_RIGHTS: &[&str] = &[
        "AttachUserPolicy",
        "DetachUserPolicy",
        "AttachGroupPolicy",
        "DetachGroupPolicy",
        "AttachRolePolicy",
        "DetachRolePolicy",
        "CreatePolicy",
        "UpdatePolicy",
        "DeletePolicy",
        "UpdateAssumeRolePolicy",
    ];

    #[test]
    fn the_system_administrator_gives_no_rights() {
        let holder = Holder::of("JadesealSystemAdministratorAccess");
        for action in GIVES_RIGHTS {
            assert!(!holder.may_at_all("cam", action), "{action}");
        }
        let about_keys: Vec<_> = entries().filter(|e| ["kms", "tag"].contains(&e.api.service)).collect();
        assert!(about_keys.iter().all(|e| !holder.may_at_all(e.api.service, e.spec.name)));
        assert_eq!(holder.of_access(&[Access::Use]), [""; 0]);
        assert!(holder.may_to("CreateAccessKey", &format!("uin/{HIMSELF}")));
        assert!(!holder.may_to("CreateAccessKey", ANOTHER) && !holder.may("cam", "CreateAccessKey"));
        assert!(!holder.may_to("CreateAccessKey", &format!("uin/{ACCOUNT}")));
        assert!(holder.may("cam", "AddUser") && holder.may_to("DeleteUser", ANOTHER));
        assert!(!holder.may_at_all("cam", "AddUserToGroup"), "a group has rights");
        // He makes roles, and cannot take over one that has been given rights.
        assert!(holder.may("cam", "CreateRole") && !holder.may_to("DeleteRole", "role/9"));
    }

    #[test]
    fn the_security_administrator_makes_nobody_and_gives_himself_nothing() {
        let holder = Holder::of("JadesealSecurityAdministratorAccess");
        let himself = format!("uin/{HIMSELF}");
        for action in ["AttachUserPolicy", "DetachUserPolicy"] {
            assert!(!holder.may_to(action, &himself), "{action}");
            assert!(holder.may_to(action, ANOTHER), "{action}");
        }
        assert_eq!(holder.of_access(&[Access::Use]), [""; 0]);
        for entry in entries().filter(|e| e.api.service == "sts") {
            assert!(!holder.may_at_all("sts", entry.spec.name), "{}", entry.spec.name);
        }
        for action in ["GetParametersForImport", "ImportKeyMaterial", "GenerateDataKey", "ImportDataKey"] {
            assert!(!holder.may_at_all("kms", action), "{action}");
        }
        for action in [
            "AddUser",
            "CreateAccessKey",
            "UpdateAccessKey",
            "DeleteAccessKey",
            "UpdateUser",
            "CreateGroup",
            "CreateRole",
            "UpdateAssumeRolePolicy",
        ] {
            assert!(!holder.may_at_all("cam", action), "{action}");
        }
        assert!(!holder.may_to("AddUserToGroup", &himself) && holder.may_to("AddUserToGroup", ANOTHER));
        assert!(holder.may_use("kms", "EnableKey") && holder.may_use("kms", "ScheduleKeyDeletion"));
        assert!(holder.may("cam", "CreatePolicy") && holder.may_to("AttachRolePolicy", "role/9"));
        for action in ["AttachGroupPolicy", "DetachGroupPolicy", "DeleteGroup", "AddUserToGroup"] {
            assert!(!holder.may_to(action, HIS_GROUP) && holder.may_to(action, "groupid/7"), "{action}");
        }
        let of_his = ["policyid/202".to_owned(), "own/policyid/202".to_owned()];
        for (action, may) in [("UpdatePolicy", false), ("DeletePolicy", false), ("AttachUserPolicy", true)] {
            let resource = Resource::Identity { account: ACCOUNT, spellings: &of_his };
            assert_eq!(holder.may_on("cam", action, &resource), may, "{action}");
        }
    }

    #[test]
    fn the_security_administrator_uses_no_key_whatever_other_policies_he_has() {
        let holder = Holder::of_all(&["JadesealSecurityAdministratorAccess", "AdministratorAccess"]);
        assert_eq!(holder.of_access(&[Access::Use]), [""; 0]);
        for action in ["AssumeRole", "GetFederationToken"] {
            assert!(!holder.may_at_all("sts", action), "{action}");
        }
        assert!(!holder.may_at_all("cam", "AddUser") && !holder.may_at_all("cam", "CreateAccessKey"));
        assert!(!holder.may_to("AttachUserPolicy", &format!("uin/{HIMSELF}")));
    }

    #[test]
    fn the_auditor_changes_and_uses_nothing() {
        let holder = Holder::of("JadesealAuditorAccess");
        assert_eq!(holder.of_access(&[Access::Write, Access::Use]), [""; 0]);
        assert!(holder.may("cloudaudit", "LookUpEvents") && holder.may_to("GetRole", "roleName/ci"));
        assert!(holder.may_to("GetPolicy", "policyid/1000007") && holder.may("kms", "ListKeys"));
    }

    #[test]
    fn self_service_is_about_oneself() {
        let holder = Holder::of("JadesealSelfServiceAccess");
        for action in ["CreateAccessKey", "ListAccessKeys", "UpdateAccessKey", "DeleteAccessKey"] {
            assert!(holder.may_to(action, &format!("uin/{HIMSELF}")), "{action}");
            assert!(!holder.may_to(action, ANOTHER) && !holder.may("cam", action), "{action}");
        }
        assert_eq!(holder.of_access(&[Access::Use]), [""; 0]);
    }
}
