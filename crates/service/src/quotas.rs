//! What accounts may have and how often they may call: the configured figures, checked, and those of one account.

use hashbrown::HashMap;
use jadeseal_store::{Change, Counted};
use jadeseal_types::AccountId;
use std::collections::BTreeMap;

/// Largest rate, requests per second.
pub const MAX_RATE: u32 = 1_000_000;
/// Most nodes that may share the rates.
pub const MAX_NODES: u32 = 1_000;
/// The entry of a table of rates for all actions that it does not name.
pub const DEFAULT_RATE: &str = "default";

/// Figures as they are configured. What is left out (`None`, no entry) has no limit, or in the figures of a single
/// account the general one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// CMKs of an account in a region.
    pub cmks: Option<u64>,
    /// Hosted data keys of an account in a region.
    pub data_keys: Option<u64>,
    /// Requests of an account per second, over all actions and regions.
    pub total_rate: Option<u32>,
    /// Requests of an account per second, over all regions, by action; [`DEFAULT_RATE`] for all others.
    pub rates: BTreeMap<String, u32>,
}

/// The published figures that differ from the rest's 100 requests per second.
const TENCENT_RATES: &[(&str, u32)] = &[
    (DEFAULT_RATE, 100),
    ("AsymmetricRsaDecrypt", 200),
    ("AsymmetricSm2Decrypt", 200),
    ("Decrypt", 300),
    ("DescribeEvents", 20),
    ("Encrypt", 300),
    ("GetDataKeyPlaintext", 300),
    ("LookUpEvents", 20),
    ("PostQuantumCryptoDecrypt", 20),
    ("PostQuantumCryptoEncrypt", 20),
    ("PostQuantumCryptoSign", 20),
    ("PostQuantumCryptoVerify", 20),
    ("RotateKey", 20),
];

impl Figures {
    /// Figures by the name of a preset: `unlimited`, or `tencent` for those that Tencent Cloud publishes. It publishes
    /// neither a rate over all actions nor a number of data keys.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "unlimited" => Some(Figures::default()),
            "tencent" => Some(Figures {
                cmks: Some(200),
                data_keys: None,
                total_rate: None,
                rates: TENCENT_RATES.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect(),
            }),
            _ => None,
        }
    }

    /// These, and where they say nothing the others.
    #[must_use]
    pub fn over(self, others: &Self) -> Self {
        let mut rates = others.rates.clone();
        rates.extend(self.rates);
        Figures {
            cmks: self.cmks.or(others.cmks),
            data_keys: self.data_keys.or(others.data_keys),
            total_rate: self.total_rate.or(others.total_rate),
            rates,
        }
    }

    /// What is wrong with them, in words for the operator.
    fn check(&self) -> Result<(), String> {
        let in_range = |what: &str, rate: u32| match rate {
            1..=MAX_RATE => Ok(()),
            _ => Err(format!("{what} must be 1 to {MAX_RATE} requests per second")),
        };
        self.total_rate.map_or(Ok(()), |rate| in_range("total_rate", rate))?;
        for (name, rate) in &self.rates {
            if name != DEFAULT_RATE && !crate::entries().any(|entry| entry.spec.name == name) {
                return Err(format!("rates: {name:?} is not an action that is served, nor {DEFAULT_RATE:?}"));
            }
            in_range(&format!("rates: {name}"), *rate)?;
        }
        Ok(())
    }

    /// Requests per second of an action, if they are limited.
    pub fn rate(&self, action: &str) -> Option<u32> {
        self.rates.get(action).or_else(|| self.rates.get(DEFAULT_RATE)).copied()
    }

    /// Requests per second of an action that has no rate of its own.
    pub fn default_rate(&self) -> Option<u32> {
        self.rates.get(DEFAULT_RATE).copied()
    }

    /// True where some call is counted.
    pub fn any_rate(&self) -> bool {
        self.total_rate.is_some() || !self.rates.is_empty()
    }

    /// How many of something an account may have in a region.
    pub fn quota(&self, of: Counted) -> Option<u64> {
        match of {
            Counted::Keys => self.cmks,
            Counted::DataKeys => self.data_keys,
        }
    }

    /// The condition that a commit which adds one of them begins with, where there is a quota.
    pub fn room(&self, of: Counted) -> Option<Change> {
        self.quota(of).map(|quota| Change::RequireRoom { of, quota })
    }
}

/// The figures of every account.
#[derive(Clone, Debug)]
pub struct Quotas {
    general: Figures,
    accounts: HashMap<AccountId, Figures>,
    nodes: u32,
}

impl Default for Quotas {
    /// No limits.
    fn default() -> Self {
        Quotas { general: Figures::default(), accounts: HashMap::new(), nodes: 1 }
    }
}

impl Quotas {
    /// The figures of all accounts, of single ones by their number, which go before those, and the number of nodes
    /// that share the rates. An error says what is wrong, in words for the operator.
    pub fn new(general: Figures, accounts: Vec<(AccountId, Figures)>, nodes: u32) -> Result<Self, String> {
        general.check()?;
        if !(1..=MAX_NODES).contains(&nodes) {
            return Err(format!("nodes must be 1 to {MAX_NODES}"));
        }
        let mut own = HashMap::new();
        for (account, figures) in accounts {
            if account.0 == 0 {
                return Err("account: uin must be the number of an account".to_owned());
            }
            figures.check().map_err(|e| format!("account {account}: {e}"))?;
            if own.insert(account, figures.over(&general)).is_some() {
                return Err(format!("account {account} is named twice"));
            }
        }
        Ok(Quotas { general, accounts: own, nodes })
    }

    /// The figures of an account.
    pub fn of(&self, account: AccountId) -> &Figures {
        self.accounts.get(&account).unwrap_or(&self.general)
    }

    /// How many nodes share the rates.
    pub fn nodes(&self) -> u32 {
        self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(list: &[(&str, u32)]) -> Figures {
        let rates = list.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        Figures { rates, ..Figures::default() }
    }

    #[test]
    fn an_account_goes_before_the_general_figures() {
        let general = Figures { cmks: Some(5), ..Figures::preset("tencent").unwrap() };
        let own = Figures { total_rate: Some(9), ..rates(&[("Encrypt", 7)]) };
        let quotas = Quotas::new(general, vec![(AccountId(3), own)], 2).unwrap();
        let (other, own) = (quotas.of(AccountId(4)), quotas.of(AccountId(3)));
        assert_eq!((other.quota(Counted::Keys), other.total_rate, other.rate("Encrypt")), (Some(5), None, Some(300)));
        assert_eq!((own.quota(Counted::Keys), own.total_rate, own.rate("Encrypt")), (Some(5), Some(9), Some(7)));
        assert_eq!(
            (own.rate("Decrypt"), own.rate("CreateKey"), own.rate("RotateKey")),
            (Some(300), Some(100), Some(20))
        );
        assert!(Quotas::default().of(AccountId(3)).rate("Encrypt").is_none() && !Figures::default().any_rate());
    }

    #[test]
    fn mistakes_are_named() {
        let account = |uin, figures| Quotas::new(Figures::default(), vec![(AccountId(uin), figures)], 1);
        let general = |figures| Quotas::new(figures, vec![], 1);
        let twice = vec![(AccountId(1), Figures::default()), (AccountId(1), Figures::default())];
        for (wrong, words) in [
            (general(rates(&[("Encrypts", 1)])), "Encrypts"),
            (general(rates(&[("Encrypt", 0)])), "Encrypt must be 1 to"),
            (general(rates(&[("default", MAX_RATE + 1)])), "default must be 1 to"),
            (general(Figures { total_rate: Some(0), ..Figures::default() }), "total_rate"),
            (account(0, Figures::default()), "uin"),
            (account(5, rates(&[("Decrypt", 0)])), "account 5: rates: Decrypt"),
            (Quotas::new(Figures::default(), twice, 1), "twice"),
            (Quotas::new(Figures::default(), vec![], 0), "nodes"),
        ] {
            let text = wrong.unwrap_err();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn the_preset_names_actions_that_there_are() {
        assert_eq!(Figures::preset("tencent").unwrap().check(), Ok(()));
        assert!(Figures::preset("x").is_none());
    }
}
