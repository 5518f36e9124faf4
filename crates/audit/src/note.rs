//! Signed notes (C2SP signed-note): a text, and lines that sign it.
//!
//! ```text
//! <text, ends with a line end>
//! <empty line>
//! — <name> <base64 of: key id, 4 bytes; signature>
//! ```
//!
//! | type | key | signs |
//! |---|---|---|
//! | `0x01` | Ed25519, 32 bytes | the text |
//! | `0x04` | Ed25519, 32 bytes: a witness (C2SP tlog-cosignature) | `cosignature/v1\ntime <seconds>\n` and the text; the signature is behind the time, 8 bytes |
//! | `0xff` `jadeseal/sm2-sm3` | SM2, SubjectPublicKeyInfo | the text, with SM3 and the default user id; R ‖ S |
//!
//! The third is ours: C2SP gives SM2 no number, and says to put a name of one's own behind `0xff`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_crypto::{
    CryptoError, Ed25519Key, Sm2Key, Sm2PublicKey,
    asymmetric::Input,
    ed25519::{self, PUBLIC, SIGNATURE},
    sha256,
};
use std::fmt;

/// Largest note that is read, bytes.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// Most signature lines that are looked at.
const MAX_SIGNATURES: usize = 64;
/// Longest name of a key, bytes.
const MAX_NAME: usize = 200;
/// Longest signature, bytes: so that a note with all its signatures can be read again.
const MAX_SIGNATURE: usize = 128;

const ED25519: u8 = 0x01;
const COSIGNATURE: u8 = 0x04;
const NAMED: u8 = 0xff;
const SM2: &[u8] = b"jadeseal/sm2-sm3";

fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(bad)
}

/// What is wrong with a note or a key, in words for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoteError(pub(crate) &'static str);

/// A public key with the name of who signs with it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    key: PublicKey,
}

#[derive(Clone, PartialEq, Eq)]
enum PublicKey {
    Ed25519([u8; PUBLIC]),
    Cosigner([u8; PUBLIC]),
    Sm2(Box<Sm2PublicKey>),
}

impl PublicKey {
    /// The type and the key, as they are hashed and written.
    fn encode(&self) -> Vec<u8> {
        match self {
            PublicKey::Ed25519(key) => [&[ED25519][..], key].concat(),
            PublicKey::Cosigner(key) => [&[COSIGNATURE][..], key].concat(),
            PublicKey::Sm2(key) => [&[NAMED][..], SM2, key.spki()].concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&ED25519, key) => Some(PublicKey::Ed25519(key.try_into().ok()?)),
            (&COSIGNATURE, key) => Some(PublicKey::Cosigner(key.try_into().ok()?)),
            (&NAMED, rest) => Some(PublicKey::Sm2(Box::new(Sm2PublicKey::from_spki(rest.strip_prefix(SM2)?).ok()?))),
            _ => None,
        }
    }
}

impl Verifier {
    fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError("the name of a key is 1 to 200 characters without white space and +"));
        }
        let digest = sha256(&[name.as_bytes(), b"\n", &key.encode()].concat());
        let mut id = [0; 4];
        id.copy_from_slice(&digest[..4]);
        Ok(Verifier { name: name.to_owned(), id, key })
    }

    /// Reads `<name>+<key id, 8 hexadecimal digits>+<base64 of type and key>`.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = NoteError("a verifier key is <name>+<8 hexadecimal digits>+<base64>");
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(bad) };
        let key = STANDARD.decode(key).ok().and_then(|bytes| PublicKey::decode(&bytes));
        let verifier = Verifier::new(name, key.ok_or(NoteError("the verifier key is of no kind that is known here"))?)?;
        if verifier.id_text() == id {
            Ok(verifier)
        } else {
            Err(NoteError("the id of the verifier key is not its own"))
        }
    }

    /// True when both have the same key, whatever they are called.
    pub fn has_key_of(&self, other: &Verifier) -> bool {
        self.key == other.key
    }

    /// Name of the key: of a log its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// True for the key of a witness.
    pub fn is_witness(&self) -> bool {
        matches!(self.key, PublicKey::Cosigner(_))
    }

    fn id_text(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn verify(&self, text: &str, signature: &[u8]) -> bool {
        match &self.key {
            PublicKey::Ed25519(key) => ed25519::verify(key, text.as_bytes(), signature),
            PublicKey::Sm2(key) => signature.len() == SIGNATURE && key.verify(text.as_bytes(), signature),
            PublicKey::Cosigner(key) => match signature.split_first_chunk::<8>() {
                Some((time, signature)) => {
                    let message = cosigned_text(u64::from_be_bytes(*time), text);
                    ed25519::verify(key, message.as_bytes(), signature)
                }
                None => false,
            },
        }
    }
}

fn cosigned_text(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// As [`Verifier::parse`] reads it.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id_text(), STANDARD.encode(self.key.encode()))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A private key with its name.
pub struct Signer {
    verifier: Verifier,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519Key),
    Cosigner(Ed25519Key),
    Sm2(Sm2Key),
}

impl Signer {
    /// Signs with Ed25519.
    pub fn ed25519(name: &str, key: Ed25519Key) -> Result<Self, NoteError> {
        let verifier = Verifier::new(name, PublicKey::Ed25519(*key.public()))?;
        Ok(Signer { verifier, secret: Secret::Ed25519(key) })
    }

    /// Signs with SM2 and SM3.
    pub fn sm2(name: &str, key: Sm2Key) -> Result<Self, NoteError> {
        let verifier = Verifier::new(name, PublicKey::Sm2(Box::new(key.public().clone())))?;
        Ok(Signer { verifier, secret: Secret::Sm2(key) })
    }

    /// Signs as a witness does.
    pub fn witness(name: &str, key: Ed25519Key) -> Result<Self, NoteError> {
        let verifier = Verifier::new(name, PublicKey::Cosigner(*key.public()))?;
        Ok(Signer { verifier, secret: Secret::Cosigner(key) })
    }

    /// The public half.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signature line of a text at a time (Unix seconds; only witnesses sign it), with its line end.
    pub fn sign(&self, text: &str, time: u64) -> Result<String, CryptoError> {
        let mut bytes = self.verifier.id.to_vec();
        match &self.secret {
            Secret::Ed25519(key) => bytes.extend_from_slice(&key.sign(text.as_bytes())),
            Secret::Sm2(key) => bytes.extend_from_slice(&key.sign(Input::Message(text.as_bytes()))?.to_raw()),
            Secret::Cosigner(key) => {
                bytes.extend_from_slice(&time.to_be_bytes());
                bytes.extend_from_slice(&key.sign(cosigned_text(time, text).as_bytes()));
            }
        }
        Ok(format!("\u{2014} {} {}\n", self.verifier.name, STANDARD.encode(bytes)))
    }
}

/// A note whose signatures have not been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

impl Note {
    /// A note with one signature line, as [`Signer::sign`] gives it.
    pub fn new(text: String, line: &str) -> Result<Self, NoteError> {
        let mut note = Note { text, signatures: Vec::new() };
        note.add(line)?;
        Ok(note)
    }

    /// Reads a whole note of at most [`MAX_NOTE_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError("the note is larger than 64 KiB"));
        }
        let whole = std::str::from_utf8(bytes).map_err(|_| NoteError("the note is not UTF-8"))?;
        if whole.contains(|c: char| c.is_control() && c != '\n') {
            return Err(NoteError("the note holds control characters"));
        }
        let Some(at) = whole.rfind("\n\n") else { return Err(NoteError("the note has no signature")) };
        let (text, lines) = (&whole[..=at], &whole[at + 2..]);
        if !lines.ends_with('\n') {
            return Err(NoteError("the note does not end with a signature line"));
        }
        let mut note = Note { text: text.to_owned(), signatures: Vec::new() };
        lines.lines().try_for_each(|line| note.add(line))?;
        Ok(note)
    }

    /// Adds a signature line, with or without its line end; one that is there already changes nothing.
    pub fn add(&mut self, line: &str) -> Result<(), NoteError> {
        let bad = NoteError("a signature line is \u{2014}, a name and base64");
        let (name, signature) =
            line.trim_end_matches('\n').strip_prefix("\u{2014} ").and_then(|l| l.split_once(' ')).ok_or(bad)?;
        let bytes = STANDARD.decode(signature).map_err(|_| bad)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(bad)?;
        if !is_name(name) || signature.is_empty() || signature.len() > MAX_SIGNATURE {
            return Err(bad);
        }
        let line = Line { name: name.to_owned(), id: *id, signature: signature.to_vec() };
        if self.signatures.contains(&line) {
            return Ok(());
        }
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(NoteError("the note has too many signatures"));
        }
        self.signatures.push(line);
        Ok(())
    }

    /// The signed text, with its last line end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes over the signatures of one key from lines of a witness, and nothing else that stands there. False when none of
    /// them is good.
    pub fn add_signature_of(&mut self, key: &Verifier, lines: &str) -> bool {
        for line in lines.lines().take(MAX_SIGNATURES) {
            let mut alone = Note { text: self.text.clone(), signatures: Vec::new() };
            if alone.add(line).is_ok() && alone.signed_by(key).is_some() {
                return self.add(line).is_ok();
            }
        }
        false
    }

    /// The text, if this key has signed it.
    pub fn signed_by(&self, verifier: &Verifier) -> Option<&str> {
        let mut own = self.signatures.iter().filter(|s| s.name == verifier.name && s.id == verifier.id);
        own.any(|s| verifier.verify(&self.text, &s.signature)).then_some(self.text.as_str())
    }
}

/// As [`Note::parse`] reads it.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.signatures {
            let bytes = [&line.id[..], &line.signature].concat();
            writeln!(f, "\u{2014} {} {}", line.name, STANDARD.encode(bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signers() -> Vec<Signer> {
        vec![
            Signer::ed25519("log.example/a", Ed25519Key::generate().unwrap()).unwrap(),
            Signer::sm2("log.example/a", Sm2Key::generate().unwrap()).unwrap(),
            Signer::witness("witness.example/w", Ed25519Key::generate().unwrap()).unwrap(),
        ]
    }

    /// The example of C2SP signed-note, which is that of Go's golang.org/x/mod/sumdb/note.
    #[test]
    fn the_published_note_verifies() {
        let key = Verifier::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let note = format!(
            "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        let parsed = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.signed_by(&key), Some(text));
        assert_eq!(parsed.to_string(), note);
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    }

    #[test]
    fn each_kind_signs_and_only_its_own_key_verifies() {
        let signers = signers();
        for signer in &signers {
            let note = Note::new("a\n".to_owned(), &signer.sign("a\n", 7).unwrap()).unwrap();
            for other in &signers {
                let expected = std::ptr::eq(signer, other);
                assert_eq!(note.signed_by(other.verifier()).is_some(), expected);
                let read = Verifier::parse(&other.verifier().to_string()).unwrap();
                assert_eq!(note.signed_by(&read).is_some(), expected);
            }
            let text = note.to_string();
            assert_eq!(Note::parse(text.as_bytes()).unwrap(), note);
            let forged = text.replacen('a', "b", 1);
            assert!(Note::parse(forged.as_bytes()).unwrap().signed_by(signer.verifier()).is_none());
        }
    }

    #[test]
    fn a_signature_does_not_count_under_another_name() {
        let key = || Ed25519Key::from_seed(&[7; 32]).unwrap();
        let (a, b) = (Signer::ed25519("a", key()).unwrap(), Signer::ed25519("b", key()).unwrap());
        let note = Note::new("x\n".to_owned(), &a.sign("x\n", 0).unwrap()).unwrap();
        assert!(note.signed_by(a.verifier()).is_some() && note.signed_by(b.verifier()).is_none());
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let good = "a\n\n\u{2014} n AAAAAAA=\n";
        assert!(Note::parse(good.as_bytes()).is_ok());
        for end in 0..good.len() {
            assert!(Note::parse(&good.as_bytes()[..end]).is_err(), "{end}");
        }
        for bad in [
            "a\n\n- n AAAAAAA=\n",
            "a\n\n\u{2014} n AAAA\n",
            "a\n\n\u{2014}  AAAAAAA=\n",
            "a\0\n\n\u{2014} n AAAAAAA=\n",
        ] {
            assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        let mut many = "a\n\n".to_owned();
        (0..100).for_each(|n| many.push_str(&format!("\u{2014} n{n} AAAAAAA=\n")));
        assert!(Note::parse(many.as_bytes()).is_err());
        for bad in ["", "a", "a+b+c", "a+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", " +00000000+AA=="] {
            assert!(Verifier::parse(bad).is_err(), "{bad:?}");
        }
    }
}
