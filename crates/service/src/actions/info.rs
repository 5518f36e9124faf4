//! About the service itself.

use super::Account;
use crate::{
    action::{Access, Action, Spec, family},
    cx::Cx,
    docs,
    region::{Profile, RegionConf},
    schema::{Doc, answer, request},
};
use jadeseal_store::Counted;
use jadeseal_types::{ApiError, KeyUsage, Region, error::Result, limits};

family![GetServiceStatus, GetRegions, ListAlgorithms];

/// What "no limit" looks like in members that hold a count.
const UNLIMITED: u64 = i32::MAX as u64;

/// A quota as it is shown: one above all that the member is known to hold looks like none.
fn shown(quota: u64) -> u64 {
    quota.min(UNLIMITED)
}

request! {
    /// State, edition and quotas of the service.
    GetServiceStatus {}
}

answer! {
    /// An HSM cluster.
    ExclusiveHsm as "ExclusiveHSM" {
        id: String = "HsmClusterId", docs::HSM_CLUSTER;
        name: String = "HsmClusterName", Doc("Name of the cluster.", "集群名称。");
    }
}

answer! {
    /// A destination of region replication.
    SyncTask as "DestinationSyncConfig" {
        region: Option<String> = "DestinationRegion" nullable, docs::SYNC;
        cluster: Option<String> = "HsmClusterId" nullable, docs::SYNC;
    }
}

answer! {
    /// Rate limit of a region.
    RegionQps as "RegionQps" {
        region: Option<String> = "Region" nullable, Doc("Region.", "地域。");
        qps: Option<u64> = "Qps" nullable, Doc("Requests per second.", "每秒请求数。");
    }
}

answer! {
    /// State, edition and quotas.
    ServiceStatus {
        enabled: bool = "ServiceEnabled", Doc("Always true.", "恒为 true。");
        invalid_type: i64 = "InvalidType", Doc("1: normal.", "1：正常。");
        user_level: u64 = "UserLevel", Doc("1: every feature is open.", "1：全部功能可用。");
        pro_expire: u64 = "ProExpireTime", docs::UNUSED;
        pro_renew: u64 = "ProRenewFlag", docs::UNUSED;
        pro_resource: &'static str = "ProResourceId", docs::UNUSED;
        vsm: bool = "ExclusiveVSMEnabled", docs::UNUSED;
        hsm: bool = "ExclusiveHSMEnabled", Doc("True when keys can live in an HSM cluster.", "是否可使用 HSM 集群。");
        subscription: &'static str = "SubscriptionInfo", docs::UNUSED;
        cmk_count: u64 = "CmkUserCount" nullable, Doc("CMKs that count against the limit.", "已用主密钥数。");
        cmk_limit: u64 = "CmkLimit" nullable, Doc("Limit of CMKs; 2147483647 is none.", "主密钥上限，2147483647 表示无限制。");
        hsm_list: Vec<ExclusiveHsm> = "ExclusiveHSMList" nullable, Doc("HSM clusters.", "HSM 集群列表。");
        hosting: bool = "IsAllowedDataKeyHosted" nullable, Doc("True when data keys can be hosted.", "是否可托管数据密钥。");
        data_key_limit: u64 = "DataKeyLimit" nullable, Doc("Limit of hosted data keys; 2147483647 is none.", "托管数据密钥上限，2147483647 表示无限制。");
        free_data_keys: u64 = "FreeDataKeyLimit" nullable, Doc("As DataKeyLimit: none is paid for.", "与 DataKeyLimit 相同：均免费。");
        data_keys: u64 = "DataKeyUsedCount" nullable, Doc("Hosted data keys that count against the limit.", "已用托管数据密钥数。");
        sync_tasks: Vec<SyncTask> = "SyncTaskList" nullable, docs::SYNC;
        sync: bool = "IsAllowedSync" nullable, docs::SYNC;
        qps: u64 = "QpsLimit" nullable, Doc("Requests per second of an action that has no rate of its own; 2147483647 is no limit.", "未单独设置频率的接口每秒请求上限，2147483647 表示无限制。");
        qps_total: u64 = "QpsTotalLimit" nullable, Doc("Requests per second over all actions and regions; 2147483647 is no limit.", "所有接口和地域合计每秒请求上限，2147483647 表示无限制。");
        region_qps: Vec<RegionQps> = "RegionsQps" nullable, Doc("QpsLimit for each region, where there is one.", "各地域的 QpsLimit，无限制时为空。");
        zone: u64 = "ResourceZone" nullable, docs::UNUSED;
        resource_region: u64 = "ResourceRegion" nullable, docs::UNUSED;
        members_limit: u64 = "MultiAccountLimit" nullable, Doc("Limit of member accounts.", "成员账号上限。");
        members: u64 = "MultiAccountUsedCount" nullable, Doc("Member accounts.", "已用成员账号数。");
    }
}

impl Action for GetServiceStatus {
    const SPEC: Spec = Spec {
        name: "GetServiceStatus",
        access: Access::Read,
        errors: &[],
        doc: Doc("Returns the state, edition and quotas of the service.", "查询服务状态、版本和配额。"),
    };
    type On = Account;
    type Response = ServiceStatus;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<ServiceStatus> {
        // How many keys the user has is no product's business, and its own do not count.
        let counted = |found: jadeseal_store::Result<u64>| match cx.caller.product() {
            None => found.map_err(ApiError::internal),
            Some(_) => Ok(0),
        };
        let figures = cx.svc.quotas.of(cx.scope.account());
        let data_key_limit = figures.quota(Counted::DataKeys).map_or(UNLIMITED, shown);
        let qps = figures.default_rate().map(u64::from);
        // The rates hold over all regions, so each region has the whole of them.
        let of_region = |region: &RegionConf| RegionQps { region: Some(region.name.to_string()), qps };
        Ok(ServiceStatus {
            enabled: true,
            invalid_type: 1,
            user_level: 1,
            pro_expire: 0,
            pro_renew: 0,
            pro_resource: "",
            vsm: false,
            hsm: false,
            subscription: "",
            cmk_count: counted(cx.svc.store.count_own(&cx.scope).await)?,
            cmk_limit: figures.quota(Counted::Keys).map_or(UNLIMITED, shown),
            hsm_list: Vec::new(),
            hosting: true,
            data_key_limit,
            free_data_keys: data_key_limit,
            data_keys: counted(cx.svc.store.count_data_keys(&cx.scope).await)?,
            sync_tasks: Vec::new(),
            sync: false,
            qps: qps.unwrap_or(UNLIMITED),
            qps_total: figures.total_rate.map_or(UNLIMITED, u64::from),
            region_qps: if qps.is_some() { cx.svc.regions.iter().map(of_region).collect() } else { Vec::new() },
            zone: 0,
            resource_region: 0,
            members_limit: limits::MAX_MEMBERS as u64,
            members: cx.svc.directory.members_of(cx.caller) as u64,
        })
    }
}

request! {
    /// Regions that are served.
    GetRegions {}
}

answer! {
    /// Regions that are served.
    ServedRegions {
        regions: Vec<Region> = "Regions", Doc("Names of the regions.", "地域名称列表。");
    }
}

impl Action for GetRegions {
    const SPEC: Spec = Spec {
        name: "GetRegions",
        access: Access::Read,
        errors: &[],
        doc: Doc("Lists the served regions.", "查询支持的地域。"),
    };
    type On = Account;
    type Response = ServedRegions;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<ServedRegions> {
        Ok(ServedRegions { regions: cx.svc.regions.iter().map(|r| r.name.clone()).collect() })
    }
}

request! {
    /// Algorithms of the region.
    ListAlgorithms {}
}

answer! {
    /// A usage with its algorithm.
    AlgorithmInfo as "AlgorithmInfo" {
        usage: KeyUsage = "KeyUsage", docs::KEY_USAGE;
        algorithm: &'static str = "Algorithm", Doc("Algorithm.", "算法。");
    }
}

answer! {
    /// Algorithms of the region.
    Algorithms {
        symmetric: Vec<AlgorithmInfo> = "SymmetricAlgorithms", Doc("Symmetric encryption.", "对称加密算法。");
        asymmetric: Vec<AlgorithmInfo> = "AsymmetricAlgorithms", Doc("Asymmetric decryption.", "非对称加密算法。");
        signing: Vec<AlgorithmInfo> = "AsymmetricSignVerifyAlgorithms", Doc("Signatures.", "非对称签名算法。");
    }
}

impl Action for ListAlgorithms {
    const SPEC: Spec = Spec {
        name: "ListAlgorithms",
        access: Access::Read,
        errors: &[],
        doc: Doc("Lists the algorithms that keys of the region can have.", "查询当前地域支持的算法。"),
    };
    type On = Account;
    type Response = Algorithms;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Algorithms> {
        let profile: Profile = cx.region.profile;
        let among = |usages: &[(KeyUsage, &'static str)]| {
            let offered = usages.iter().filter(|(usage, _)| profile.offers(*usage));
            offered.map(|(usage, algorithm)| AlgorithmInfo { usage: *usage, algorithm }).collect()
        };
        Ok(Algorithms {
            symmetric: among(&[(KeyUsage::EncryptDecrypt, profile.suite().wire())]),
            asymmetric: among(&[
                (KeyUsage::DecryptRsa2048, "RSA_2048"),
                (KeyUsage::DecryptSm2, "SM2"),
                (KeyUsage::DecryptKyber, "Kyber_AES"),
            ]),
            signing: among(&[
                (KeyUsage::SignSm2, "SM2"),
                (KeyUsage::SignRsa2048, "RSA_2048"),
                (KeyUsage::SignP256, "ECC_P256_R1"),
                (KeyUsage::SignP384, "ECC_P384_R1"),
                (KeyUsage::SignDilithium, "Dilithium"),
            ]),
        })
    }
}
