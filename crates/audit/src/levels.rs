//! The hashes of the tree in files: `tree-0` has the hash of each record, `tree-1` one of each 256 hashes of `tree-0`, and so
//! on. Each file is the tiles of its level (C2SP tlog-tiles) one behind the other, so tile *n* is its bytes from 8,192 *n*.
//!
//! The files hold hashes of flushed records alone. They can be made again from the records: `tree-head` says up to which
//! size they are on stable storage, and what is behind is made again at a start.

use crate::{
    disk,
    error::AuditError,
    tree::{HASH, Hash, LEVELS, TILE, Tree, over},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::RwLock;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tlog_tiles::tlog::{self, HashReader};

const HEAD: &str = "tree-head";

fn path(dir: &Path, level: usize) -> PathBuf {
    dir.join(format!("tree-{level}"))
}

/// The files of a log's tree. One writes, others may read what it has written.
pub(crate) struct Levels {
    dir: PathBuf,
    files: RwLock<[Option<Arc<File>>; LEVELS]>,
    /// Records whose hashes are in the files.
    size: AtomicU64,
    /// Records whose hashes are on stable storage.
    synced: AtomicU64,
    writable: bool,
}

impl Levels {
    /// Opens the files of a log for writing, of which the records `first` to `records` are there, cut to what is known to be
    /// on stable storage. Hashes of records that are gone cannot be made again: where they do not fit, nothing is touched.
    pub fn open(dir: &Path, first: u64, records: u64) -> Result<(Self, Tree), AuditError> {
        let levels = Levels { writable: true, ..Levels::closed(dir) };
        let tree = match Self::read_head(dir)? {
            None if first > 0 => return Err(AuditError::Missing { from: 0, to: first }),
            None => Tree::default(),
            Some((size, _)) if size > records => return Err(AuditError::Shorter { records, promised: size }),
            Some((size, root)) => match levels.tree_at(size) {
                Ok(tree) if tree.root() == root && size >= first => tree,
                _ if first > 0 => {
                    let what =
                        "does not fit the hashes of the tree, some of which are all that is left of retired records";
                    return Err(AuditError::Note { file: dir.join(HEAD), what });
                }
                _ => {
                    tracing::error!(
                        size,
                        "the hashes of the audit log's tree are damaged; they are made again from the records"
                    );
                    Tree::default()
                }
            },
        };
        levels.size.store(tree.size(), Ordering::Release);
        levels.synced.store(tree.size(), Ordering::Release);
        for level in 0..LEVELS {
            let len = (tree.size() >> (8 * level)) * HASH as u64;
            if let Some(file) = levels.file(level).map_err(|e| levels.failed("open", level, e))? {
                file.set_len(len).map_err(|e| levels.failed("cut", level, e))?;
            }
        }
        Ok((levels, tree))
    }

    /// Records that were on stable storage when the files were last made durable.
    pub fn promised(dir: &Path) -> Result<u64, AuditError> {
        Ok(Self::read_head(dir)?.map_or(0, |(size, _)| size))
    }

    /// Opens what is there for reading; a missing level is an empty one.
    pub fn read_only(dir: &Path) -> Result<Self, AuditError> {
        let levels = Levels::closed(dir);
        let len = match levels.file(0).map_err(|e| levels.failed("open", 0, e))? {
            Some(file) => file.metadata().map_err(|e| levels.failed("look at", 0, e))?.len(),
            None => 0,
        };
        levels.size.store(len / HASH as u64, Ordering::Release);
        Ok(levels)
    }

    fn closed(dir: &Path) -> Self {
        Levels {
            dir: dir.to_owned(),
            files: RwLock::default(),
            size: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            writable: false,
        }
    }

    /// Records whose hashes are on stable storage.
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Records whose hashes are here.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Appends the hashes of records to the tree and to the files. On an error both are as they were.
    pub fn append(&self, tree: &mut Tree, leaves: &[Hash]) -> Result<(), AuditError> {
        let mut next = tree.clone();
        let mut more: [Vec<u8>; LEVELS] = Default::default();
        for leaf in leaves {
            next.push(*leaf, |level, hash| more[level].extend_from_slice(hash));
        }
        for (level, bytes) in more.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
            let at = (tree.size() >> (8 * level)) * HASH as u64;
            let written = self.writable_file(level).and_then(|file| file.write_all_at(bytes, at));
            written.map_err(|e| self.failed("write", level, e))?;
        }
        *tree = next;
        self.size.store(tree.size(), Ordering::Release);
        Ok(())
    }

    /// Makes the files durable and notes up to where.
    pub fn sync(&self, tree: &Tree) -> Result<(), AuditError> {
        for level in 0..LEVELS {
            if let Some(file) = self.file(level).map_err(|e| self.failed("open", level, e))? {
                file.sync_data().map_err(|e| self.failed("flush", level, e))?;
            }
        }
        let head = format!("{}\n{}\n", tree.size(), STANDARD.encode(tree.root()));
        let replaced = disk::replace(&self.dir, HEAD, head.as_bytes(), true);
        replaced.map_err(|e| AuditError::io("write", self.dir.join(HEAD), e))?;
        self.synced.store(tree.size(), Ordering::Release);
        Ok(())
    }

    /// Where the tree was when its files were last made durable.
    fn read_head(dir: &Path) -> Result<Option<(u64, Hash)>, AuditError> {
        let path = dir.join(HEAD);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| AuditError::io("read", &path, e))?,
        };
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| {
            let (size, root) = text.strip_suffix('\n')?.split_once('\n')?;
            Some((size.parse().ok()?, Hash::try_from(STANDARD.decode(root).ok()?.as_slice()).ok()?))
        });
        parsed.map(Some).ok_or(AuditError::Note { file: path, what: "is not the head of a tree" })
    }

    /// The tree of the first `size` records.
    pub fn tree_at(&self, size: u64) -> Result<Tree, AuditError> {
        Tree::read(size, |level, first, count| self.hashes(level, first, count))
    }

    /// `count` hashes of a level from `first` on.
    pub fn hashes(&self, level: usize, first: u64, count: usize) -> Result<Vec<Hash>, AuditError> {
        let missing = || self.failed("read", level, io::ErrorKind::UnexpectedEof.into());
        let file = self.file(level).map_err(|e| self.failed("open", level, e))?.ok_or_else(missing)?;
        let mut bytes = vec![0; count * HASH];
        file.read_exact_at(&mut bytes, first * HASH as u64).map_err(|e| self.failed("read", level, e))?;
        Ok(bytes.as_chunks::<HASH>().0.to_vec())
    }

    /// Hashes that a level has.
    pub fn len(&self, level: usize) -> Result<u64, AuditError> {
        match self.file(level).map_err(|e| self.failed("open", level, e))? {
            Some(file) => Ok(file.metadata().map_err(|e| self.failed("look at", level, e))?.len() / HASH as u64),
            None => Ok(0),
        }
    }

    /// Proof that the tree of size `new` begins with that of size `old` (RFC 6962 section 2.1.2). Both must be at most
    /// [`Levels::size`].
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, AuditError> {
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        let proof = tlog::prove_tree(new, old, self);
        proof.map(plain).map_err(|_| AuditError::Proof("the hashes of the tree are not to be had"))
    }

    /// Proof that record `index` is in the tree of size `size` (RFC 6962 section 2.1.1).
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, AuditError> {
        let proof = tlog::prove_record(size, index, self);
        proof.map(plain).map_err(|_| AuditError::Proof("the hashes of the tree are not to be had"))
    }

    /// The file of a level, if there is one.
    fn file(&self, level: usize) -> io::Result<Option<Arc<File>>> {
        if let Some(file) = &self.files.read()[level] {
            return Ok(Some(file.clone()));
        }
        let path = path(&self.dir, level);
        let opened = if self.writable { disk::open(&path) } else { File::open(&path) };
        match opened {
            Ok(file) => Ok(Some(self.files.write()[level].insert(Arc::new(file)).clone())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn writable_file(&self, level: usize) -> io::Result<Arc<File>> {
        if let Some(file) = self.file(level)? {
            return Ok(file);
        }
        let file = disk::create(&path(&self.dir, level))?;
        Ok(self.files.write()[level].insert(Arc::new(file)).clone())
    }

    fn failed(&self, what: &'static str, level: usize, e: io::Error) -> AuditError {
        if crate::error::is_full(&e) { AuditError::Full } else { AuditError::io(what, path(&self.dir, level), e) }
    }
}

fn plain(hashes: Vec<tlog::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

/// The library asks for complete subtrees of any power of two.
impl HashReader for Levels {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog_tiles::Error> {
        let read = |&index: &u64| {
            let (height, n) = tlog::split_stored_hash_index(index);
            let (level, below) = (usize::from(height) / 8, u32::from(height) % 8);
            let count = TILE.min(1 << below);
            let hashes = self.hashes(level, n << below, count);
            hashes.map(|hashes| tlog::Hash(over(&hashes))).map_err(|_| tlog_tiles::Error::InvalidProof)
        };
        indexes.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf;

    fn grow(levels: &Levels, tree: &mut Tree, to: u64) {
        let leaves: Vec<Hash> = (tree.size()..to).map(|n| leaf(&n.to_be_bytes())).collect();
        levels.append(tree, &leaves).unwrap();
    }

    #[test]
    fn proofs_check_and_trees_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let (levels, mut tree) = Levels::open(dir.path(), 0, 0).unwrap();
        let mut roots = Vec::new();
        for size in [1, 2, 255, 256, 257, 511, 700, 70_000] {
            grow(&levels, &mut tree, size);
            roots.push((size, tree.root()));
        }
        let read = Levels::read_only(dir.path()).unwrap();
        assert_eq!(
            (read.size(), read.len(1).unwrap(), read.len(2).unwrap(), read.len(3).unwrap()),
            (70_000, 273, 1, 0)
        );
        for (size, root) in &roots {
            assert_eq!(read.tree_at(*size).unwrap().root(), *root);
            for index in [0, size / 3, size - 1] {
                let proof = read.inclusion(index, *size).unwrap().into_iter().map(tlog::Hash).collect();
                let leaf = tlog::Hash(leaf(&index.to_be_bytes()));
                tlog::check_record(&proof, *size, tlog::Hash(*root), index, leaf).unwrap();
            }
            for (old, old_root) in roots.iter().filter(|(old, _)| old < size) {
                let proof = read.consistency(*old, *size).unwrap().into_iter().map(tlog::Hash).collect();
                tlog::check_tree(&proof, *size, tlog::Hash(*root), *old, tlog::Hash(*old_root)).unwrap();
            }
        }
    }

    #[test]
    fn what_is_behind_the_head_is_cut_and_damage_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (levels, mut tree) = Levels::open(dir.path(), 0, 0).unwrap();
        grow(&levels, &mut tree, 300);
        levels.sync(&tree).unwrap();
        let at_300 = tree.clone();
        grow(&levels, &mut tree, 600);
        drop(levels);
        let (levels, tree) = Levels::open(dir.path(), 0, 600).unwrap();
        assert_eq!(tree, at_300);
        assert_eq!((levels.len(0).unwrap(), levels.len(1).unwrap()), (300, 1));
        drop(levels);
        assert!(matches!(Levels::open(dir.path(), 0, 299), Err(AuditError::Shorter { records: 299, promised: 300 })));
        let file = path(dir.path(), 0);
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
        let (levels, tree) = Levels::open(dir.path(), 0, 600).unwrap();
        assert_eq!((tree.size(), levels.len(0).unwrap()), (0, 0));
        drop(levels);
        // Where records are gone, nothing is touched.
        let (levels, mut tree) = Levels::open(dir.path(), 0, 600).unwrap();
        grow(&levels, &mut tree, 300);
        levels.sync(&tree).unwrap();
        drop(levels);
        let whole = fs::read(&file).unwrap();
        let head = fs::read(dir.path().join(HEAD)).unwrap();
        for bad in [None, Some(&b"300\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"[..])] {
            fs::remove_file(dir.path().join(HEAD)).unwrap();
            if let Some(bad) = bad {
                fs::write(dir.path().join(HEAD), bad).unwrap();
            }
            assert!(Levels::open(dir.path(), 10, 600).is_err());
            assert_eq!(fs::read(&file).unwrap(), whole);
            fs::write(dir.path().join(HEAD), &head).unwrap();
        }
        Levels::open(dir.path(), 10, 600).unwrap();
    }
}
