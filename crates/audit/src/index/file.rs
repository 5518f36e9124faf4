//! A part of the index in a file: written once, checked block by block whenever it is read.
//!
//! Everything is little-endian. Header and sums of the blocks are one region with a sum of its own; behind it the content, of
//! which every block has a sum (CRC-32C). It is made anew wherever anything is wrong with it, so there is one version and no
//! care for others.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `JSAUDIDX` |
//! | 8 | 8 | version of the format, 3 |
//! | 16 | 16 | key of the hash |
//! | 32 | 40 | the [`Extent`]: segment, first, next, start, end |
//! | 72 | 16 | earliest and latest time of a record, microseconds |
//! | 88 | 12 | number of entries, bytes of lists, records of unknown versions |
//! | 100 | 8 | checksum of the last record, as it stands in its line |
//! | 108 | 4 | sum of bytes 0 to 108 and of the sums of the blocks |
//! | 112 | 4 each | sums of the blocks |
//! | | 4 each | where records begin, bytes behind `start` |
//! | | 16 each | earliest and latest time of each 128 records |
//! | | 12 each | entries, ascending by hash: the hash, and a record (top bit set) or the place of a list |
//! | | | lists: count and bytes, then distances |

use super::{
    memory::{Extent, MAX_BYTES, MAX_RECORDS, Memory, Postings, ZONE, push_varint, read_list, read_varint},
    query::{Hash, Lists, Zone},
};
use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"JSAUDIDX";
const VERSION: u64 = 3;
const HEADER: usize = 112;
const SUM_AT: usize = 108;
/// Bytes that share a sum.
const BLOCK: usize = 16 << 10;
const ENTRY: u64 = 12;
/// In the value of an entry: it is the one record, not the place of a list.
const INLINE: u32 = 1 << 31;
/// Steps of a search that guesses, before it goes by halves.
const GUESSES: usize = 12;

/// Why a part cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Bad {
    /// It is none, or it was damaged.
    #[error("{0}")]
    Content(&'static str),
    /// The operating system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Path of the part whose first record has this index.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("audit-{first:016}.idx"))
}

/// First indices of the parts that there are files of.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|n| n.strip_prefix("audit-")?.strip_suffix(".idx"));
        found.extend(digits.filter(|d| d.len() == 16).and_then(|d| d.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Writes a part, so that after a crash at any moment either all of it is there or nothing.
pub(super) fn write(dir: &Path, part: &Memory) -> io::Result<()> {
    let bytes = encode(part);
    let temporary = dir.join(format!("audit-{:016}.{}.tmp", part.extent.first, std::process::id()));
    let made = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path(dir, part.extent.first))
    })();
    if made.is_err() {
        // A rest of it is swept away later.
        let _ = fs::remove_file(&temporary);
    }
    made
}

fn encode(part: &Memory) -> Vec<u8> {
    let mut content = Vec::with_capacity(24 * part.offsets.len() + 12 * (part.entries.len() + part.ids.len()));
    part.offsets.iter().for_each(|offset| content.extend_from_slice(&offset.to_le_bytes()));
    for zone in &part.zones {
        content.extend_from_slice(&zone.min.to_le_bytes());
        content.extend_from_slice(&zone.max.to_le_bytes());
    }
    let mut lists = Vec::new();
    let entries = entries(part, &mut lists);
    for (hash, value) in &entries {
        content.extend_from_slice(&hash.to_le_bytes());
        content.extend_from_slice(&value.to_le_bytes());
    }
    let times = part.times();
    let mut out = Vec::with_capacity(HEADER + content.len() + lists.len() + 4 * (content.len() / BLOCK + 2));
    out.extend_from_slice(MAGIC);
    let Extent { segment, first, next, start, end } = part.extent;
    let [k0, k1] = part.hash.key;
    for n in [VERSION, k0, k1, segment, first, next, start, end, times.min, times.max] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for n in [entries.len() as u32, lists.len() as u32, part.unknown] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&part.last_checksum);
    content.append(&mut lists);
    let sums: Vec<u8> = content.chunks(BLOCK).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&out), &sums);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&sums);
    out.append(&mut content);
    out
}

/// All entries of a part, ascending by hash, with their values; the lists that these name go to `lists`.
fn entries(part: &Memory, lists: &mut Vec<u8>) -> Vec<(u64, u32)> {
    let mut value = |postings: &Postings| match postings {
        Postings::One(n) => INLINE | *n,
        Postings::Many { count, distances, .. } => {
            // Lists of a full part take some MiB, far below 2 GiB.
            let at = lists.len() as u32;
            push_varint(lists, *count);
            push_varint(lists, distances.len() as u32);
            lists.extend_from_slice(distances);
            at
        }
    };
    let mut entries = Vec::with_capacity(part.entries.len() + part.ids.len());
    for (hash, list) in &part.entries {
        entries.extend(part.lists.get(*list).map(|postings| (*hash, value(postings))));
    }
    let mut ids = part.ids.clone();
    ids.sort_unstable();
    for same in ids.chunk_by(|a, b| a.0 == b.0) {
        if let [(hash, first), rest @ ..] = same {
            let mut postings = Postings::One(*first);
            rest.iter().for_each(|(_, record)| postings.push(*record));
            entries.push((*hash, value(&postings)));
        }
    }
    entries.sort_unstable_by_key(|(hash, _)| *hash);
    entries
}

/// A part in a file: what its header says.
pub(super) struct Part {
    path: PathBuf,
    pub extent: Extent,
    pub times: Zone,
    pub unknown: u32,
    pub last_checksum: [u8; 8],
    hash: Hash,
    entries: u32,
    lists: u32,
    sums: Vec<u32>,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

fn short(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

impl Part {
    /// Reads and checks the header.
    pub fn open(dir: &Path, first: u64) -> Result<Self, Bad> {
        let path = path(dir, first);
        let file = File::open(&path)?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        if header[..8] != *MAGIC || long(&header, 8) != VERSION {
            return Err(Bad::Content("another format"));
        }
        let at = |i: usize| long(&header, 32 + 8 * i);
        let extent = Extent { segment: at(0), first: at(1), next: at(2), start: at(3), end: at(4) };
        let records = extent.next.checked_sub(extent.first).filter(|n| (1..=MAX_RECORDS as u64).contains(n));
        let span = extent.end.checked_sub(extent.start).filter(|span| *span <= 2 * MAX_BYTES);
        let (Some(records), Some(_)) = (records, span) else { return Err(Bad::Content("an impossible extent")) };
        let (entries, lists) = (short(&header, 88), short(&header, 92));
        let part = Part {
            path,
            extent,
            times: Zone { min: long(&header, 72), max: long(&header, 80) },
            unknown: short(&header, 96),
            last_checksum: number(&header, 100),
            hash: Hash { key: [long(&header, 16), long(&header, 24)] },
            entries,
            lists,
            sums: Vec::new(),
        };
        let content = part.lists_at() + u64::from(lists);
        let blocks = content.div_ceil(BLOCK as u64);
        // The length of the file bounds what is set aside for it.
        if file.metadata()?.len() != HEADER as u64 + 4 * blocks + content || extent.first != first {
            return Err(Bad::Content("not of its length"));
        }
        debug_assert!(records <= MAX_RECORDS as u64);
        let mut sums = vec![0; 4 * usize::try_from(blocks).map_err(io::Error::other)?];
        file.read_exact_at(&mut sums, HEADER as u64)?;
        if crc32c::crc32c_append(crc32c::crc32c(&header[..SUM_AT]), &sums) != short(&header, SUM_AT) {
            return Err(Bad::Content("a wrong sum of the header"));
        }
        let sums = sums.chunks_exact(4).map(|sum| short(sum, 0)).collect();
        Ok(Part { sums, ..part })
    }

    /// Removes the file.
    pub fn remove(&self) {
        // It is not trusted any more; a file that stays is found wrong again.
        let _ = fs::remove_file(&self.path);
    }

    /// Begins to read.
    pub fn read(&self) -> Result<Reader<'_>, Bad> {
        Ok(Reader { part: self, file: File::open(&self.path)?, blocks: HashMap::new() })
    }

    fn zones_at(&self) -> u64 {
        4 * self.extent.records()
    }

    fn entries_at(&self) -> u64 {
        self.zones_at() + 16 * self.extent.records().div_ceil(ZONE as u64)
    }

    fn lists_at(&self) -> u64 {
        self.entries_at() + ENTRY * u64::from(self.entries)
    }
}

/// Reads in a part.
pub(super) struct Reader<'a> {
    part: &'a Part,
    file: File,
    /// Blocks that have been checked.
    blocks: HashMap<usize, Vec<u8>>,
}

impl Reader<'_> {
    fn block(&mut self, number: usize) -> Result<&[u8], Bad> {
        let content = self.part.lists_at() + u64::from(self.part.lists);
        let at = number as u64 * BLOCK as u64;
        let (Some(sum), Some(rest)) = (self.part.sums.get(number), content.checked_sub(at)) else {
            return Err(Bad::Content("a place outside"));
        };
        if !self.blocks.contains_key(&number) {
            let mut block = vec![0; usize::try_from(rest).map_or(BLOCK, |rest| rest.min(BLOCK))];
            self.file.read_exact_at(&mut block, HEADER as u64 + 4 * self.part.sums.len() as u64 + at)?;
            if crc32c::crc32c(&block) != *sum {
                return Err(Bad::Content("a wrong sum of a block"));
            }
            self.blocks.insert(number, block);
        }
        Ok(self.blocks.get(&number).map_or(&[], Vec::as_slice))
    }

    /// Bytes of the content.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Vec<u8>, Bad> {
        if at + len as u64 > self.part.lists_at() + u64::from(self.part.lists) {
            return Err(Bad::Content("a place outside"));
        }
        let mut out = Vec::with_capacity(len);
        let (mut number, mut from) = ((at / BLOCK as u64) as usize, (at % BLOCK as u64) as usize);
        while out.len() < len {
            let block = self.block(number)?;
            let to = block.len().min(from + len - out.len());
            out.extend_from_slice(block.get(from..to).ok_or(Bad::Content("a place outside"))?);
            (number, from) = (number + 1, 0);
        }
        Ok(out)
    }

    /// The times around a record.
    pub fn zone(&mut self, record: u32) -> Result<Zone, Bad> {
        let at = self.part.zones_at() + 16 * (u64::from(record) / ZONE as u64);
        let bytes = self.bytes(at, 16)?;
        Ok(Zone { min: long(&bytes, 0), max: long(&bytes, 8) })
    }

    /// Where the line of a record begins and ends in its segment.
    pub fn place(&mut self, record: u32) -> Result<(u64, u64), Bad> {
        let Extent { start, end, .. } = self.part.extent;
        let at = 4 * u64::from(record);
        let is_last = u64::from(record) + 1 == self.part.extent.records();
        let bytes = self.bytes(at, if is_last { 4 } else { 8 })?;
        let from = start + u64::from(short(&bytes, 0));
        let to = if is_last { end } else { start + u64::from(short(&bytes, 4)) };
        if from < to && to <= end { Ok((from, to)) } else { Err(Bad::Content("an impossible place of a record")) }
    }

    fn entry(&mut self, number: u64) -> Result<(u64, u32), Bad> {
        let bytes = self.bytes(self.part.entries_at() + ENTRY * number, ENTRY as usize)?;
        Ok((long(&bytes, 0), short(&bytes, 8)))
    }

    /// Looks an entry up. Hashes are even, so that guessing finds the block in a step or two.
    fn find(&mut self, wanted: u64) -> Result<Option<u32>, Bad> {
        let (mut low, mut high) = (0, u64::from(self.part.entries));
        let (mut least, mut most) = (0u64, u64::MAX);
        let mut steps = 0;
        while low < high {
            let middle = if steps < GUESSES {
                let span = u128::from(most - least) + 1;
                let guess = u128::from(wanted.saturating_sub(least)) * u128::from(high - low) / span;
                low + u64::try_from(guess).map_err(io::Error::other)?.min(high - low - 1)
            } else {
                low + (high - low) / 2
            };
            steps += 1;
            let (hash, value) = self.entry(middle)?;
            if hash == wanted {
                return Ok(Some(value));
            }
            if hash < wanted {
                (low, least) = (middle + 1, hash)
            } else {
                (high, most) = (middle, hash)
            }
            if most < least {
                return Err(Bad::Content("entries out of order"));
            }
        }
        Ok(None)
    }
}

impl Lists for Reader<'_> {
    type Error = Bad;

    fn hash(&self) -> &Hash {
        &self.part.hash
    }

    fn list(&mut self, entry: u64) -> Result<Cow<'_, [u32]>, Bad> {
        let records = u32::try_from(self.part.extent.records()).map_err(io::Error::other)?;
        let Some(value) = self.find(entry)? else { return Ok(Cow::Borrowed(&[])) };
        if value & INLINE != 0 {
            let n = value & !INLINE;
            return if n < records { Ok(Cow::Owned(vec![n])) } else { Err(Bad::Content("an impossible record")) };
        }
        let wrong = || Bad::Content("an impossible list");
        let rest = self.part.lists.checked_sub(value).ok_or_else(wrong)?;
        let at = self.part.lists_at() + u64::from(value);
        let head = self.bytes(at, rest.min(10) as usize)?;
        let (count, behind) = read_varint(&head).ok_or_else(wrong)?;
        let (len, behind) = read_varint(behind).ok_or_else(wrong)?;
        let skip = (head.len() - behind.len()) as u32;
        if count > records || len > rest - skip {
            return Err(wrong());
        }
        let bytes = self.bytes(at + u64::from(skip), len as usize)?;
        read_list(&bytes, count, records).map(Cow::Owned).ok_or_else(wrong)
    }
}
