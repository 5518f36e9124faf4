use crate::*;
use jadeseal_types::{SecretBytes, Suite};
use std::io::{Read, Write};

const PASSPHRASE: &str = "correct horse battery";

fn secret(text: &str) -> SecretBytes {
    SecretBytes::copy_from(text.as_bytes())
}

/// An archive of these bytes, and its content key: with it, a test that alters chunks derives nothing.
fn archive(suite: Suite, bytes: &[u8]) -> (Vec<u8>, SecretBytes) {
    let mut writer = Writer::new(Vec::new(), suite, &LockTo::Passphrase(&secret(PASSPHRASE))).unwrap();
    for part in bytes.chunks(300_000) {
        writer.write_all(part).unwrap();
    }
    let (out, opened) = writer.finish().unwrap();
    (out, SecretBytes::copy_from(opened.content_key().expose()))
}

fn read(archive: &[u8], with: &Unlock<'_>) -> Result<Vec<u8>, String> {
    let mut reader = Reader::new(archive, with).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    reader.read_to_end(&mut out).map_err(|e| e.to_string())?;
    reader.finish().map_err(|e| e.to_string())?;
    Ok(out)
}

fn numbers(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn what_was_written_is_read() {
    for suite in [Suite::Aes256, Suite::Sm4] {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5] {
            let bytes = numbers(len);
            let (made, key) = archive(suite, &bytes);
            assert_eq!(read(&made, &Unlock::ContentKey(&key)).unwrap(), bytes, "{len}");
            assert!(len < 100 || !made.windows(100).any(|w| w == &bytes[..100]));
        }
    }
    let (made, _) = archive(Suite::Aes256, b"hello");
    assert_eq!(read(&made, &Unlock::Passphrase(&secret(PASSPHRASE))).unwrap(), b"hello");
    let wrong = read(&made, &Unlock::Passphrase(&secret("correct horse batterY"))).unwrap_err();
    assert!(wrong.contains("passphrase is not the one"), "{wrong}");
    assert!(Writer::new(Vec::new(), Suite::Aes256, &LockTo::Passphrase(&secret("short"))).is_err());
}

#[test]
fn every_alteration_is_found() {
    let bytes = numbers(2 * CHUNK + 10);
    let (made, key) = archive(Suite::Aes256, &bytes);
    let with = Unlock::ContentKey(&key);
    let chunk = 5 + CHUNK + jadeseal_crypto::wrap::OVERHEAD;
    let body = made.len() - 2 * chunk - (5 + 10 + jadeseal_crypto::wrap::OVERHEAD);
    // A bit anywhere: in the header each, in the chunks here and there.
    for at in (0..body).chain((body..made.len()).step_by(40_009)).chain(body..body + 100).chain([made.len() - 1]) {
        let mut bad = made.clone();
        bad[at] ^= 1;
        assert!(read(&bad, &with).is_err(), "byte {at}");
    }
    // Cut off anywhere, also between chunks.
    for at in [0, 7, body - 1, body, body + 4, body + chunk - 1, body + chunk, body + 2 * chunk, made.len() - 1] {
        assert!(read(&made[..at], &with).is_err(), "cut at {at}");
    }
    assert!(read(&made[..body + chunk], &with).unwrap_err().contains("cut off"));
    // In another order, twice, left out, followed by something.
    let (head, first, second, end) =
        (&made[..body], &made[body..body + chunk], &made[body + chunk..body + 2 * chunk], &made[body + 2 * chunk..]);
    for parts in [
        [head, second, first, end],
        [head, first, first, end],
        [head, first, end, b""],
        [head, end, b"", b""],
        [head, first, second, b""],
    ] {
        assert!(read(&parts.concat(), &with).is_err());
    }
    assert!(read(&[&made[..], b"x"].concat(), &with).unwrap_err().contains("end where"));
    assert!(read(&[&made[..], end].concat(), &with).is_err());
    // Chunks of another archive of the same key would need the same header.
    let (other, _) = archive(Suite::Aes256, &bytes);
    assert!(read(&[head, &other[body..]].concat(), &with).is_err());
    // The end of a shorter one in its place.
    assert!(read(&[head, first, second, &other[other.len() - end.len()..]].concat(), &with).is_err());
}

#[test]
fn strange_files_are_told() {
    let (made, key) = archive(Suite::Aes256, b"hello");
    let with = Unlock::ContentKey(&key);
    assert!(read(b"", &with).unwrap_err().contains("not a backup"));
    assert!(read(b"SQLite format 3\0 and more", &with).unwrap_err().contains("not a backup"));
    let altered = |at: usize, to: u8| {
        let mut bad = made.clone();
        bad[at] = to;
        read(&bad, &with).unwrap_err()
    };
    assert!(altered(8, 2).contains("format 2"));
    assert!(altered(9, 9).contains("unknown suite"));
    assert!(altered(10, 7).contains("kind of lock"));
    assert!(altered(11, 0xff).contains("too long"));
    // Hostile costs of the derivation are refused before it.
    let mut costly = made;
    costly[18..22].copy_from_slice(&u32::MAX.to_be_bytes());
    let start = std::time::Instant::now();
    assert!(read(&costly, &Unlock::Passphrase(&secret(PASSPHRASE))).unwrap_err().contains("out of bounds"));
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn a_reader_that_stops_early_is_told() {
    let (made, key) = archive(Suite::Aes256, &numbers(CHUNK + 9));
    let mut reader = Reader::new(&made[..], &Unlock::ContentKey(&key)).unwrap();
    reader.read_exact(&mut [0; 9]).unwrap();
    assert!(matches!(reader.finish(), Err(ArchiveError::End)));
}
