//! Encryption contexts against a second reading of the same text.
use jadeseal_crypto::Context;
use std::collections::BTreeMap;

/// One input; bytes that are not UTF-8 are none.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(context) = Context::parse(text) else { return };
    assert!(text.chars().count() <= 1024);
    let pairs: BTreeMap<String, String> = match text {
        "" => BTreeMap::new(),
        text => serde_json::from_str(text).expect("an accepted context is an object of strings"),
    };
    let mut expected = Vec::new();
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        expected.extend_from_slice(&u32::try_from(part.len()).expect("a short text").to_be_bytes());
        expected.extend_from_slice(part.as_bytes());
    }
    // Also proves that no name stood twice: the map would have fewer pairs.
    assert_eq!(context.encoded(), expected);
    assert_eq!(context.is_empty(), pairs.is_empty());
    let again = serde_json::to_string(&pairs).expect("strings");
    if again.chars().count() <= 1024 {
        assert_eq!(Context::parse(&again).expect("canonical text").encoded(), context.encoded());
    }
}
