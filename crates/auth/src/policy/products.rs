//! Products of Tencent Cloud that documents name and this service does not serve.

/// Their names in policies, in order: the directories of tencentcloud-sdk-python 3.1 without `common` and without what is
/// served, and names that CAM has besides (such as `apigw`, `as`, `cos`, `finance`).
///
/// A name that is neither here nor served is refused, so that a slip in a statement that denies does not make it one that
/// never does. None may leave the list, unless it comes to be served: stored policies would have resources that can no
/// longer be read.
#[rustfmt::skip]
const PRODUCTS: &[&str] = &[
    "aai", "aca", "acp", "adp", "advisor", "af", "afc", "ags", "ai3d", "aiart", "alb", "ame", "ams", "anicloud",
    "antiddos", "ape", "api", "apigateway", "apigw", "apis", "apm", "as", "asr", "asw", "autoscaling", "ba", "batch",
    "bda", "bdrc", "bgpip", "bh", "bi", "billing", "bizlive", "bm", "bma", "bmeip", "bmlb", "bmvpc", "bpaas", "bri",
    "bsca", "btoe", "ca", "captcha", "car", "cas", "cat", "cbm", "cbs", "ccc", "ccr", "ccs", "cdb", "cdc", "cdn",
    "cds", "cdwch", "cdwdoris", "cdwpg", "cdz", "cetcd", "cfg", "cfs", "cfw", "chc", "chdfs", "ciam", "cii", "cim",
    "ckafka", "clb", "cloudapp", "cloudhsm", "cloudmate", "cloudrc", "cloudstudio", "cls", "cme", "cmq", "cmqqueue",
    "cmqtopic", "cngw", "cns", "config", "controlcenter", "coral", "cos", "cpdp", "csip", "csxg", "ctem",
    "ctsdb", "cvm", "cwp", "cws", "cynosdb", "dasb", "dataagent", "databuddy", "dayu", "dbbrain", "dbdc", "dbs", "dc",
    "dcdb", "dlc", "dnspod", "domain", "drm", "ds", "dsgc", "dts", "eb", "ecc", "ecdn", "ecm", "edgezone", "eiam",
    "eis", "emr", "es", "ess", "essbasic", "evt", "facefusion", "faceid", "finance", "fmu", "ft", "fwm", "ga2",
    "gaap", "gme", "goosefs", "gs", "gwlb", "habo", "hai", "hasim", "hcm", "hunyuan", "iai", "iap", "ic", "icr", "ie",
    "ig", "igtm", "ims", "ioa", "iot", "iotcloud", "iotexplorer", "iotvideo", "iotvideoindustry", "ipc", "irp", "iss",
    "ivld", "keewidb", "lcic", "lighthouse", "live", "lke", "lkeap", "lowcode", "mall", "mariadb", "market",
    "memcached", "mmps", "mna", "mongodb", "monitor", "mps", "mqtt", "mrs", "ms", "msp", "nlp", "npp", "oceanus",
    "ocr", "omics", "organization", "partners", "portal", "postgres", "privatedns", "pts", "rce", "redis", "region",
    "rum", "scf", "securitylake", "ses", "smh", "smop", "sms", "soe", "sqlserver", "ssa", "ssl", "sslpod", "ssm",
    "svcp", "svp", "taf", "tat", "tbaas", "tbp", "tcaplusdb", "tcb", "tcbr", "tccatalog", "tchd", "tcm", "tcr",
    "tcss", "tdai", "tdcpg", "tdid", "tdmq", "tdmysql", "tds", "tem", "teo", "thpc", "tia", "tiia", "tione", "tiw",
    "tke", "tkgdq", "tms", "tmt", "tokenhub", "tourism", "trabbit", "trocket", "trp", "trro", "trtc", "tse", "tsf",
    "tsi", "tsw", "tts", "vcg", "vclm", "vcube", "vdb", "vm", "vms", "vod", "vpc", "vrs", "vtc", "waf", "wav",
    "wedata", "weilingwith", "wimgs", "workbuddyenterprise", "wsa", "wss", "yinsuda", "yunjing", "yunsou",
];

/// True for the name of a product that is not served, in its own letters and without wildcards.
pub(super) fn is_elsewhere(service: &str) -> bool {
    PRODUCTS.binary_search(&service).is_ok()
}

/// The product whose name is this one but for the case of its letters.
pub(super) fn meant(service: &str) -> Option<&'static str> {
    PRODUCTS.iter().copied().find(|name| name.eq_ignore_ascii_case(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_in_order_and_none_of_them_is_served() {
        assert!(PRODUCTS.is_sorted_by(|a, b| a < b));
        assert!(PRODUCTS.iter().all(|name| name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())));
        for name in ["kms", "cam", "sts", "tag", "cloudaudit", "common", "coss", "c*", "", "COS"] {
            assert!(!is_elsewhere(name), "{name}");
        }
        for name in ["aai", "cos", "cvm", "finance", "yunsou"] {
            assert!(is_elsewhere(name), "{name}");
        }
        assert_eq!((meant("COS"), meant("coss")), (Some("cos"), None));
    }
}
