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
    Gm,
}

impl Profile {
    /// Reads the configuration's spelling.
    pub fn from_wire(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Profile::All),
            "intl" => Some(Profile::Intl),
            "gm" => Some(Profile::Gm),
            _ => None,
        }
    }

    /// Suite of new symmetric keys.
    pub fn suite(self) -> Suite {
        match self {
            Profile::All | Profile::Intl => Suite::Aes256,
            Profile::Gm => Suite::Sm4,
        }
    }

    /// Usages that a key can be made with. Asymmetric usages are not built yet, in no profile.
    pub fn offers(self, usage: KeyUsage) -> bool {
        usage == KeyUsage::EncryptDecrypt
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

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &RegionConf> {
        self.0.iter()
    }
}
