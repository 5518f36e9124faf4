//! The log as static files (C2SP tlog-tiles), for monitors and object stores: `checkpoint`, `tile/<level>/<n>` and
//! `tile/entries/<n>`.

use crate::{
    checkpoint::{self, CHECKPOINT, Checkpoint},
    error::AuditError,
    levels::Levels,
    read,
    tree::{HASH, TILE},
    verify::Proved,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tlog_tiles::Tile;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishedTiles {
    /// Tiles of hashes.
    pub tiles: u64,
    /// Bundles of records.
    pub bundles: u64,
}

/// Writes the tree and the records up to the newest checkpoint of a log that was verified just now. Full tiles that are
/// there already are left as they are, so it can be repeated. The checkpoint is written last.
pub fn publish(dir: &Path, proved: &Proved, to: &Path) -> Result<PublishedTiles, AuditError> {
    let Some((checkpoint, note)) = &proved.newest else { return Err(AuditError::Proof("the log has no checkpoint")) };
    refuse_other(to, checkpoint)?;
    let levels = Levels::read_only(dir)?;
    let mut done = PublishedTiles::default();
    for tile in tiles(checkpoint.size) {
        let path = to.join(path_of(&tile, "tile/8/"));
        if tile.width() as usize == TILE && path.exists() {
            continue;
        }
        let first = tile.level_index() * TILE as u64;
        let hashes = levels.hashes(usize::from(tile.level()), first, tile.width() as usize)?;
        let mut bytes = Vec::with_capacity(hashes.len() * HASH);
        hashes.iter().for_each(|hash| bytes.extend_from_slice(hash));
        write(&path, &bytes)?;
        done.tiles += 1;
    }
    done.bundles = bundles(dir, proved.first, checkpoint.size, to)?;
    write(&to.join(CHECKPOINT), note.to_string().as_bytes())?;
    Ok(done)
}

/// Tiles of another log, or of a longer one, would lie under this one's checkpoint.
fn refuse_other(to: &Path, own: &Checkpoint) -> Result<(), AuditError> {
    let Some(there) = checkpoint::newest(to)? else { return Ok(()) };
    match Checkpoint::parse(there.text()) {
        Ok(there) if there.origin == own.origin && there.size <= own.size => Ok(()),
        _ => Err(AuditError::Note { file: to.join(CHECKPOINT), what: "is of another log, or of a longer one" }),
    }
}

/// All tiles of a tree, those that are not full in their present width.
fn tiles(size: u64) -> Vec<Tile> {
    let mut all = Vec::new();
    for level in 0..8u8 {
        let count = size >> (8 * level);
        for n in 0..count.div_ceil(TILE as u64) {
            let width = (count - n * TILE as u64).min(TILE as u64);
            all.push(Tile::new(8, level, n, u32::try_from(width).unwrap_or(0), false));
        }
    }
    all
}

fn path_of(tile: &Tile, height: &str) -> PathBuf {
    // The library's paths name the height, which is fixed here.
    let path = tile.path();
    PathBuf::from("tile").join(path.strip_prefix(height).unwrap_or(&path))
}

fn bundles(dir: &Path, first: u64, size: u64, to: &Path) -> Result<u64, AuditError> {
    let mut written = 0;
    // A bundle whose first records are retired cannot be made any more.
    let begin = first.next_multiple_of(TILE as u64);
    let mut bundle = Vec::new();
    let mut outcome = Ok(());
    let path = |n: u64, width: u64| {
        let mut tile = Tile::new(8, 0, n, u32::try_from(width).unwrap_or(0), false);
        tile.set_is_data();
        to.join("tile/entries").join(path_of(&tile, "tile/8/data/").strip_prefix("tile").unwrap_or(Path::new("")))
    };
    let mut record = |index: u64, json: &[u8]| -> Result<(), AuditError> {
        let len =
            u16::try_from(json.len()).map_err(|_| AuditError::BadRecord("too long for a bundle of tlog-tiles"))?;
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(json);
        let (n, behind) = (index / TILE as u64, index % TILE as u64 + 1);
        if behind == TILE as u64 || index + 1 == size {
            let path = path(n, behind);
            if behind < TILE as u64 || !path.exists() {
                write(&path, &bundle)?;
                written += 1;
            }
            bundle.clear();
        }
        Ok(())
    };
    read::from(dir, begin, |index, json| {
        if outcome.is_ok() && (begin..size).contains(&index) {
            outcome = record(index, json);
        }
    })?;
    outcome.map(|()| written)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AuditError> {
    let failed = |e: io::Error| AuditError::io("write", path, e);
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(failed)
}
