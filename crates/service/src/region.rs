//! Regions and their algorithm profiles.

use jadeseal_types::{KeyUsage, Region, Suite};

/// Which algorithms a region offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// AES-256 for symmetric keys and every asymmetric usage.
    All,
    /// AES-256, RSA, ECC and post-quantum usages, as Tencent's regions outside mainland China.
    Intl,
    /// SM4 and SM2.
    Gm {
        /// Nothing else anywhere: no RSA, ECC, SHA-1 or AES in a call or for a key that was made before, none to
        /// wrap imported material, and SM4 to wrap keys at rest.
        strict: bool,
    },
}

impl Profile {
    /// Reads the configuration's spelling.
    pub fn from_wire(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Profile::All),
            "intl" => Some(Profile::Intl),
            "gm" => Some(Profile::Gm { strict: false }),
            "gm-strict" => Some(Profile::Gm { strict: true }),
            _ => None,
        }
    }

    /// Suite of new symmetric keys.
    pub fn suite(self) -> Suite {
        match self {
            Profile::All | Profile::Intl => Suite::Aes256,
            Profile::Gm { .. } => Suite::Sm4,
        }
    }

    /// True where nothing but the GM algorithms may be used.
    pub fn is_strict(self) -> bool {
        self == Profile::Gm { strict: true }
    }

    /// Usages that a key can be made with.
    pub fn offers(self, usage: KeyUsage) -> bool {
        let gm = matches!(usage, KeyUsage::DecryptSm2 | KeyUsage::SignSm2);
        match self {
            Profile::All => true,
            Profile::Intl => !gm,
            Profile::Gm { .. } => gm || usage == KeyUsage::EncryptDecrypt,
        }
    }

    /// True for a key that may be used here. A region that has become strict keeps its other keys, unused.
    pub fn permits(self, usage: KeyUsage, suite: Suite) -> bool {
        match self {
            Profile::Gm { strict: true } if usage == KeyUsage::EncryptDecrypt => suite == Suite::Sm4,
            Profile::Gm { strict: true } => self.offers(usage),
            _ => true,
        }
    }
}

/// `KeyMetadata.Type` of a key: 4 for the SM edition, 2 for the FIPS one.
pub fn edition(suite: Suite) -> i64 {
    match suite {
        Suite::Aes256 => 2,
        Suite::Sm4 => 4,
    }
}

/// One served region.
#[derive(Clone, Debug)]
pub struct RegionConf {
    /// Its name.
    pub name: Region,
    /// Its algorithms.
    pub profile: Profile,
}

/// Every served region; never empty. The first is the default.
#[derive(Clone, Debug)]
pub struct Regions(Vec<RegionConf>);

impl Regions {
    /// At least one region, no name twice.
    pub fn new(list: Vec<RegionConf>) -> Option<Self> {
        let unique = list.iter().enumerate().all(|(i, r)| list[..i].iter().all(|other| other.name != r.name));
        (unique && !list.is_empty()).then_some(Regions(list))
    }

    /// The region served when a request names none.
    pub fn default_region(&self) -> &RegionConf {
        &self.0[0]
    }

    /// A region by name.
    pub fn find(&self, name: &str) -> Option<&RegionConf> {
        self.0.iter().find(|r| r.name.as_str() == name)
    }

    /// The suite that wraps keys at rest: SM4 as soon as one region may use nothing else, because the account's
    /// domain key serves all regions.
    pub fn hierarchy_suite(&self) -> Suite {
        if self.0.iter().any(|r| r.profile.is_strict()) { Suite::Sm4 } else { Suite::Aes256 }
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &RegionConf> {
        self.0.iter()
    }
}
