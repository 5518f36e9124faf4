//! The Merkle tree over the records (RFC 6962 section 2.1), as far as memory needs it: its right edge.
//!
//! Level 0 has a hash for each record, level 1 one for each 256 of them, and so on: the levels of C2SP tlog-tiles. Of each
//! level only the hashes behind its last full tile are kept here; all of them are in files ([`crate::levels`]).

use jadeseal_crypto::sha256;
use std::cell::RefCell;
use tlog_tiles::tlog;

/// A SHA-256 hash of the tree.
pub type Hash = [u8; 32];

/// Hashes in a full tile.
pub(crate) const TILE: usize = 256;
/// Bytes of a hash.
pub(crate) const HASH: usize = 32;
/// Levels of a tree of 2^64 records.
pub(crate) const LEVELS: usize = 8;

/// The hash of a record.
pub fn leaf(record: &[u8]) -> Hash {
    thread_local! {
        static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    // A copy costs less than a hash in steps, which allocates its state.
    BYTES.with_borrow_mut(|bytes| {
        bytes.clear();
        bytes.push(0);
        bytes.extend_from_slice(record);
        sha256(bytes)
    })
}

/// The hash over two others.
pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 1 + 2 * HASH];
    bytes[1..=HASH].copy_from_slice(left);
    bytes[1 + HASH..].copy_from_slice(right);
    sha256(&bytes)
}

/// The hash over a list of subtrees of one size, of which only the last may be incomplete.
pub(crate) fn over(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => tlog::EMPTY_HASH.0,
        [one] => *one,
        _ => {
            // The largest power of two below the length.
            let (left, right) = hashes.split_at(1 << (hashes.len() - 1).ilog2());
            node(&over(left), &over(right))
        }
    }
}

/// The right edge of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Of each level, the hashes behind its last full tile.
    edge: [Vec<Hash>; LEVELS],
}

impl Tree {
    /// The edge of a tree with `size` records, whose hashes `read(level, first, count)` gives.
    pub(crate) fn read<E>(
        size: u64,
        mut read: impl FnMut(usize, u64, usize) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut tree = Tree { size, ..Tree::default() };
        for (level, edge) in tree.edge.iter_mut().enumerate() {
            let count = size >> (8 * level);
            let behind = (count % TILE as u64) as usize;
            if behind > 0 {
                *edge = read(level, count - behind as u64, behind)?;
            }
        }
        Ok(tree)
    }

    /// Number of records.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a record by its hash. `stored` is told each hash that a level gets, with the level.
    pub fn push(&mut self, leaf: Hash, mut stored: impl FnMut(usize, &Hash)) {
        self.size += 1;
        let mut hash = leaf;
        for (level, edge) in self.edge.iter_mut().enumerate() {
            stored(level, &hash);
            edge.push(hash);
            if edge.len() < TILE {
                return;
            }
            hash = over(edge);
            edge.clear();
        }
    }

    /// The root hash.
    pub fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        for edge in &self.edge {
            below = match (below, edge.as_slice()) {
                (below, []) => below,
                (None, edge) => Some(over(edge)),
                (Some(incomplete), edge) => {
                    let mut all = edge.to_vec();
                    all.push(incomplete);
                    Some(over(&all))
                }
            };
        }
        below.unwrap_or(tlog::EMPTY_HASH.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tlog_tiles::tlog::HashReader;

    /// RFC 6962 by the letter.
    fn naive(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => sha256(b""),
            1 => leaves[0],
            n => {
                let k = (1..).map(|p| 1 << p).take_while(|k| *k < n).last().unwrap_or(1);
                node(&naive(&leaves[..k]), &naive(&leaves[k..]))
            }
        }
    }

    struct Stored(RefCell<Vec<tlog::Hash>>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog_tiles::Error> {
            Ok(indexes.iter().map(|&i| self.0.borrow()[usize::try_from(i).unwrap()]).collect())
        }
    }

    #[test]
    fn roots_are_those_of_the_standard_and_of_the_library() {
        let stored = Stored(RefCell::default());
        let mut tree = Tree::default();
        let mut leaves = Vec::new();
        let mut levels = vec![Vec::new(); LEVELS];
        assert_eq!(tree.root(), naive(&[]));
        for n in 0..1500u64 {
            let record = n.to_be_bytes();
            assert_eq!(leaf(&record), tlog::record_hash(&record).0);
            let more = tlog::stored_hashes(n, &record, &stored).unwrap();
            stored.0.borrow_mut().extend(more);
            leaves.push(leaf(&record));
            tree.push(leaf(&record), |level, hash| levels[level].push(*hash));
            if n % 97 == 0 || n > 1490 || (n + 1) % 256 < 2 {
                assert_eq!(tree.root(), tlog::tree_hash(n + 1, &stored).unwrap().0, "{n}");
                assert_eq!(tree.root(), naive(&leaves), "{n}");
            }
        }
        assert_eq!((levels[0].len(), levels[1].len(), levels[2].len()), (1500, 5, 0));
        for size in [0, 1, 255, 256, 257, 1024, 1500] {
            let read = |level: usize, first: u64, count: usize| {
                let first = usize::try_from(first).unwrap();
                Ok::<_, ()>(levels[level][first..first + count].to_vec())
            };
            let part = Tree::read(size, read).unwrap();
            assert_eq!(part.root(), naive(&leaves[..usize::try_from(size).unwrap()]), "{size}");
        }
    }

    #[test]
    fn a_tree_with_three_levels_has_the_root_of_the_library() {
        let mut tree = Tree::default();
        let mut reference: Vec<(u32, Hash)> = Vec::new();
        // A binary counter of complete subtrees.
        for n in 0..70_000u64 {
            let mut entry = (0, leaf(&n.to_le_bytes()));
            tree.push(entry.1, |_, _| {});
            while let Some(last) = reference.pop_if(|last| last.0 == entry.0) {
                entry = (entry.0 + 1, node(&last.1, &entry.1));
            }
            reference.push(entry);
        }
        let root = reference.iter().rev().map(|e| e.1).reduce(|right, left| node(&left, &right)).unwrap();
        assert_eq!(tree.root(), root);
        assert_eq!(tree.edge.iter().map(Vec::len).collect::<Vec<_>>(), [112, 17, 1, 0, 0, 0, 0, 0]);
    }
}
