//! Search for a text in key ids as they are written, by the SQL function `id_matches(key_id, places)`.
//!
//! Hyphens make few places possible for a text, and at each of them it is a comparison of two numbers. Putting the
//! 36 characters together for every row takes several times as long as all the rest of a search.

use crate::error::Result;
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};

/// Hexadecimal digits of an id, by the groups that hyphens separate.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
const WRITTEN: usize = 36;
/// Bytes of a place: a mask and the value under it.
const PLACE: usize = 32;

/// Makes the function known to a connection.
pub(super) fn register(conn: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function("id_matches", 2, flags, |context| Ok(id_matches(context)))?;
    Ok(conn.create_scalar_function("in_rows", 2, flags, |context| Ok(in_rows(context)))?)
}

/// A set of row numbers, as the function takes it: the smallest one (64 bits, big-endian), then a bit for each from there on.
pub(super) struct Rows(Vec<u8>);

impl Rows {
    /// These.
    pub(super) fn of(ids: &[i64]) -> Self {
        let least = ids.iter().copied().min().unwrap_or(0);
        let mut rows = Rows(least.to_be_bytes().to_vec());
        let most = ids.iter().copied().max().and_then(|most| place_of(&rows.0, most));
        rows.0.resize(8 + most.map_or(0, |(byte, _)| byte + 1), 0);
        rows.set(ids);
        rows
    }

    /// Only those that are among `ids` too.
    pub(super) fn retain(&mut self, ids: &[i64]) {
        let mut others = Rows(vec![0; self.0.len()]);
        if let (Some(to), Some(from)) = (others.0.get_mut(..8), self.0.get(..8)) {
            to.copy_from_slice(from);
        }
        others.set(ids);
        for (bit, other) in self.0.iter_mut().zip(others.0).skip(8) {
            *bit &= other;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().skip(8).all(|bits| *bits == 0)
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn set(&mut self, ids: &[i64]) {
        for id in ids {
            if let Some((byte, bit)) = place_of(&self.0, *id)
                && let Some(bits) = self.0.get_mut(8 + byte)
            {
                *bits |= bit;
            }
        }
    }
}

/// Byte behind the smallest number, and bit in it, of a row number; none for one that is smaller.
fn place_of(rows: &[u8], id: i64) -> Option<(usize, u8)> {
    let least = i64::from_be_bytes(*rows.first_chunk()?);
    let at = usize::try_from(id.checked_sub(least)?).ok()?;
    Some((at / 8, 1 << (at % 8)))
}

/// False for arguments that are no row number and no rows.
fn in_rows(context: &Context<'_>) -> bool {
    let (Ok(id), Ok(rows)) = (context.get_raw(0).as_i64(), context.get_raw(1).as_blob()) else { return false };
    place_of(rows, id).is_some_and(|(byte, bit)| rows.get(8 + byte).is_some_and(|bits| bits & bit != 0))
}

/// False for arguments that are no id and no places.
fn id_matches(context: &Context<'_>) -> bool {
    let (Ok(id), Ok(places)) = (context.get_raw(0).as_blob(), context.get_raw(1).as_blob()) else { return false };
    <[u8; 16]>::try_from(id).is_ok_and(|id| matches(id, places))
}

fn matches(id: [u8; 16], places: &[u8]) -> bool {
    let id = u128::from_be_bytes(id);
    let number = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).map(u128::from_be_bytes);
    places.chunks_exact(PLACE).any(|place| {
        let (mask, value) = place.split_at(16);
        number(mask).is_ok_and(|mask| number(value).is_ok_and(|value| id & mask == value))
    })
}

/// The places at which a text may stand in an id, for the function; empty when it is part of no id.
pub(super) fn places(text: &str) -> Vec<u8> {
    let last = WRITTEN.checked_sub(text.len()).filter(|_| !text.is_empty());
    let at = |from| place(text.as_bytes(), from);
    last.into_iter().flat_map(|last| 0..=last).filter_map(at).flatten().collect()
}

/// Whole bytes of which an id must have one string to match; empty when that would tell nothing. There are at most
/// two, as a text begins with the first or the second digit of a byte. SQL looks for them by itself, which is
/// cheaper than to call the function for every row.
pub(super) fn hints(places: &[u8]) -> Vec<Vec<u8>> {
    let mut hints = Vec::new();
    for place in places.chunks_exact(PLACE) {
        let (mask, value) = place.split_at(16);
        let whole: Vec<u8> = mask.iter().zip(value).filter(|(m, _)| **m == 0xff).map(|(_, v)| *v).collect();
        if whole.is_empty() {
            return Vec::new();
        }
        if !hints.contains(&whole) {
            hints.push(whole);
        }
    }
    hints
}

/// The text at one place, if hyphens and digits fall where they must.
fn place(text: &[u8], from: usize) -> Option<[u8; PLACE]> {
    let written = GROUPS.iter().enumerate().flat_map(|(i, digits)| {
        let hyphen = (i > 0).then_some(false);
        hyphen.into_iter().chain(std::iter::repeat_n(true, *digits))
    });
    let (mut mask, mut value) = (0u128, 0u128);
    for (at, is_digit) in written.enumerate() {
        let c = at.checked_sub(from).and_then(|i| text.get(i));
        if !is_digit {
            if c.is_some_and(|c| *c != b'-') {
                return None;
            }
            continue;
        }
        (mask, value) = (mask << 4, value << 4);
        if let Some(c) = c {
            mask |= 15;
            value |= match c {
                b'0'..=b'9' => u128::from(c - b'0'),
                b'a'..=b'f' => u128::from(c - b'a' + 10),
                _ => return None,
            };
        }
    }
    let mut place = [0; PLACE];
    place[..16].copy_from_slice(&mask.to_be_bytes());
    place[16..].copy_from_slice(&value.to_be_bytes());
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_types::KeyId;

    #[test]
    fn sets_of_rows() {
        let among = |rows: Rows| {
            let bytes = rows.into_bytes();
            let there = |id: &i64| {
                place_of(&bytes, *id).is_some_and(|(byte, bit)| bytes.get(8 + byte).is_some_and(|b| b & bit != 0))
            };
            [-9, 0, 3, 4, 5, 11, 12, 13, 19, 20, 1_000, i64::MAX].into_iter().filter(there).collect::<Vec<i64>>()
        };
        assert!(Rows::of(&[]).is_empty() && among(Rows::of(&[])).is_empty());
        assert_eq!(among(Rows::of(&[12, 4, 1_000, 4, 5])), [4, 5, 12, 1_000]);
        let mut rows = Rows::of(&[4, 5, 12, 20]);
        rows.retain(&[3, 5, 20, 21, 1_000]);
        assert!(!rows.is_empty());
        assert_eq!(among(rows), [5, 20]);
        let mut rows = Rows::of(&[4, 5]);
        rows.retain(&[6]);
        assert!(rows.is_empty());
    }

    #[test]
    fn a_text_is_found_exactly_where_it_is_written() {
        let ids = [*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", [0xa5; 16], [0; 16]];
        let written: Vec<String> = ids.iter().map(|id| KeyId::from_bytes(*id).to_string()).collect();
        for text in &written {
            for from in 0..text.len() {
                for to in from + 1..=text.len() {
                    let part = &text[from..to];
                    let hints = hints(&places(part));
                    assert!(hints.len() <= 2, "{part}");
                    for (id, other) in ids.iter().zip(&written) {
                        let found = matches(*id, &places(part));
                        assert_eq!(found, other.contains(part), "{part} in {other}");
                        let hinted = hints.is_empty() || hints.iter().any(|h| id.windows(h.len()).any(|w| w == h));
                        assert!(hinted || !found, "{part} in {other}");
                    }
                }
            }
        }
        let digits = "00112233445566778899aabbccddeeff";
        for absent in ["", "0011a", "EE", "3344", "33-45", "--", "g", "%", "键", digits, &format!("{}0", written[0])] {
            assert!(!matches(ids[0], &places(absent)), "{absent}");
        }
        assert!(places("alias").is_empty() && places(digits).is_empty(), "costs nothing");
    }
}
