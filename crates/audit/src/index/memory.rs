//! A part of the index in memory: of the newest records, and of others until it is written to a file.

use super::query::{Attribute, Hash, Lists, Zone};
use crate::facts::{Facts, Front};
use std::{
    borrow::Cow,
    collections::HashMap,
    convert::Infallible,
    hash::{BuildHasherDefault, Hasher},
};

/// How many records are remembered for the next ones like them: more than there are keys in use at a time, mostly.
const ALIKE: usize = if cfg!(test) { 4 } else { 2048 };

/// Most records of one part. A segment of the usual size makes one part; in tests small ones make several.
pub(super) const MAX_RECORDS: usize = if cfg!(test) { 12 } else { 1 << 18 };
/// Most bytes of a segment that one part is about; the last record may lie across.
pub(super) const MAX_BYTES: u64 = 128 << 20;
/// Records that share a [`Zone`].
pub(super) const ZONE: usize = if cfg!(test) { 4 } else { 128 };

/// Which records a part is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// First index of the segment that they are in.
    pub segment: u64,
    /// Index of the first of them.
    pub first: u64,
    /// Index behind the last of them.
    pub next: u64,
    /// Where the first begins in the segment, bytes.
    pub start: u64,
    /// Where the last ends.
    pub end: u64,
}

impl Extent {
    /// No records yet, behind others.
    pub fn empty(segment: u64, first: u64, start: u64) -> Self {
        Extent { segment, first, next: first, start, end: start }
    }

    pub fn records(&self) -> u64 {
        self.next - self.first
    }
}

/// Records under one entry.
pub(super) enum Postings {
    One(u32),
    /// Distances, each to the one before, as [`push_varint`] writes them.
    Many {
        last: u32,
        count: u32,
        distances: Vec<u8>,
    },
}

impl Postings {
    pub fn push(&mut self, n: u32) {
        match self {
            Postings::One(first) if *first != n => {
                let mut distances = Vec::with_capacity(8);
                push_varint(&mut distances, *first);
                push_varint(&mut distances, n - *first);
                *self = Postings::Many { last: n, count: 2, distances };
            }
            Postings::Many { last, count, distances } if *last != n => {
                push_varint(distances, n - *last);
                (*last, *count) = (n, *count + 1);
            }
            // A record that says something twice.
            Postings::One(_) | Postings::Many { .. } => {}
        }
    }
}

/// A number in groups of seven bits, the lowest first; the top bit says that more follow.
pub(super) fn push_varint(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Reads what [`push_varint`] wrote; the number and the rest. `None` for other bytes.
pub(super) fn read_varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut n = 0u32;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        let bits = u32::from(byte & 0x7f);
        n |= bits.checked_shl(7 * i as u32).filter(|shifted| shifted >> (7 * i) == bits)?;
        if byte & 0x80 == 0 {
            return Some((n, &bytes[i + 1..]));
        }
    }
    None
}

/// Reads a list of distances into numbers below `records`, ascending.
pub(super) fn read_list(mut bytes: &[u8], count: u32, records: u32) -> Option<Vec<u32>> {
    let mut out = Vec::with_capacity(count.min(records) as usize);
    let mut last = None;
    for _ in 0..count {
        let (distance, rest) = read_varint(bytes)?;
        let n = match last {
            None => distance,
            Some(last) if distance > 0 => distance.checked_add(last)?,
            Some(_) => return None,
        };
        if n >= records {
            return None;
        }
        out.push(n);
        (last, bytes) = (Some(n), rest);
    }
    bytes.is_empty().then_some(out)
}

/// Entries are hashes already.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// What a record says behind its request id, and where that leads. Records of one time are much alike: comparing one with
/// another costs a small part of reading it.
#[derive(Clone, Default)]
struct Alike {
    /// Version of the record and what is behind its [`Front`]; empty where there is none yet.
    version: u8,
    rest: Vec<u8>,
    /// The accounts that may see it.
    accounts: Vec<String>,
    /// Its lists, those of its request id left out.
    lists: Vec<usize>,
}

/// A part of the index in memory, to which records can be added.
pub(super) struct Memory {
    pub extent: Extent,
    pub hash: Hash,
    /// Where each record begins, bytes behind `extent.start`.
    pub offsets: Vec<u32>,
    /// Times of each [`ZONE`] records.
    pub zones: Vec<Zone>,
    /// Entries but those of request ids, with their places among the lists.
    pub entries: HashMap<u64, usize, BuildHasherDefault<Identity>>,
    pub lists: Vec<Postings>,
    /// Entries of request ids with their records, as the records came. They hardly ever come twice, and are seldom asked for
    /// while they are here: a map of them would cost more than all else.
    pub ids: Vec<(u64, u32)>,
    alike: Vec<Alike>,
    /// Records that cannot be read here: of a version that came later. Nothing finds them.
    pub unknown: u32,
    /// What the line of the last record begins with: its checksum.
    pub last_checksum: [u8; 8],
    scratch: Vec<u8>,
    who: String,
}

impl Memory {
    /// About no record yet.
    pub fn new(extent: Extent) -> Self {
        Memory {
            extent,
            hash: Hash::new(),
            offsets: Vec::new(),
            zones: Vec::new(),
            entries: HashMap::default(),
            lists: Vec::new(),
            ids: Vec::new(),
            alike: vec![Alike::default(); ALIKE],
            unknown: 0,
            last_checksum: [0; 8],
            scratch: Vec::new(),
            who: String::new(),
        }
    }

    /// True when it takes no more.
    pub fn is_full(&self) -> bool {
        self.offsets.len() >= MAX_RECORDS || self.extent.end - self.extent.start >= MAX_BYTES
    }

    /// Adds the next record, which is not to be added when it [is full](Self::is_full). `line` is all of its line.
    pub fn push(&mut self, line: &[u8], json: &[u8]) {
        // Both are below 2^32 as long as it is not full.
        let number = self.offsets.len() as u32;
        self.offsets.push((self.extent.end - self.extent.start) as u32);
        self.extent.end += line.len() as u64;
        self.extent.next += 1;
        if let Some(checksum) = line.first_chunk() {
            self.last_checksum = *checksum;
        }
        if self.offsets.len() > ZONE * self.zones.len() {
            self.zones.push(Zone::EMPTY);
        }
        let read = Front::parse(json).and_then(|front| {
            let Memory { hash, entries, lists, alike, scratch, who, .. } = self;
            let alike = &mut alike[crc32c::crc32c(front.rest) as usize % ALIKE];
            if front.rest != alike.rest || front.version != alike.version {
                let facts = Facts::parse(json)?;
                alike.version = front.version;
                front.rest.clone_into(&mut alike.rest);
                alike.accounts.clear();
                alike.lists.clear();
                facts.for_each_entry(who, |account: &str, attribute: Attribute, value: &str| {
                    if attribute == Attribute::RequestId {
                        return alike.accounts.push(account.to_owned());
                    }
                    let entry = hash.of(account, attribute, value, scratch);
                    alike.lists.push(*entries.entry(entry).or_insert_with(|| {
                        lists.push(Postings::One(number));
                        lists.len() - 1
                    }));
                });
            }
            Some((front, alike))
        });
        let Some((front, alike)) = read else {
            self.unknown += 1;
            return;
        };
        if let Some(zone) = self.zones.last_mut() {
            zone.add(front.time_micros);
        }
        for list in &alike.lists {
            self.lists[*list].push(number);
        }
        for account in &alike.accounts {
            let entry = self.hash.of(account, Attribute::RequestId, front.request_id, &mut self.scratch);
            self.ids.push((entry, number));
        }
    }

    /// The times of all of its records.
    pub fn times(&self) -> Zone {
        let both = |a: Zone, b: &Zone| Zone { min: a.min.min(b.min), max: a.max.max(b.max) };
        self.zones.iter().fold(Zone::EMPTY, both)
    }
}

impl Lists for &Memory {
    type Error = Infallible;

    fn hash(&self) -> &Hash {
        &self.hash
    }

    fn list(&mut self, entry: u64) -> Result<Cow<'_, [u32]>, Infallible> {
        if Hash::is_of_request_id(entry) {
            let records = self.ids.iter().filter(|(hash, _)| *hash == entry).map(|(_, record)| *record);
            return Ok(Cow::Owned(records.collect()));
        }
        Ok(match self.entries.get(&entry).and_then(|list| self.lists.get(*list)) {
            None => Cow::Borrowed(&[]),
            Some(Postings::One(n)) => Cow::Owned(vec![*n]),
            Some(Postings::Many { count, distances, .. }) => {
                Cow::Owned(read_list(distances, *count, u32::MAX).unwrap_or_default())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_lists_come_back(list in proptest::collection::btree_set(any::<u32>(), 1..50)) {
            let list: Vec<u32> = list.into_iter().collect();
            let mut postings = Postings::One(list[0]);
            for n in &list {
                postings.push(*n);
                postings.push(*n);
            }
            match postings {
                Postings::One(n) => prop_assert_eq!(vec![n], list),
                Postings::Many { count, distances, .. } => {
                    let greatest = list[list.len() - 1];
                    if greatest < u32::MAX {
                        prop_assert_eq!(read_list(&distances, count, greatest + 1), Some(list));
                    }
                    prop_assert_eq!(read_list(&distances, count, greatest), None);
                    prop_assert_eq!(read_list(&distances, count - 1, u32::MAX), None);
                    prop_assert_eq!(read_list(&distances[..distances.len() - 1], count, u32::MAX), None);
                }
            }
        }

        #[test]
        fn no_bytes_confuse_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..20), count: u32) {
            if let Some((n, rest)) = read_varint(&bytes) {
                prop_assert!(rest.len() < bytes.len());
                let mut again = Vec::new();
                push_varint(&mut again, n);
                prop_assert!(again.len() <= bytes.len() - rest.len());
            }
            if let Some(list) = read_list(&bytes, count % 30, 1000) {
                prop_assert!(list.is_sorted() && list.iter().all(|n| *n < 1000));
            }
        }
    }

    #[test]
    fn a_list_goes_forward() {
        assert_eq!(read_list(&[5, 0], 2, 100), None, "twice the same");
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None, "more than 32 bits");
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some((u32::MAX, &[][..])));
    }
}
