//! Signed notes, verifier keys, checkpoints and proofs of the audit log: what is read is written again as it was, and nothing
//! that was not signed checks.

use jadeseal_audit::{Checkpoint, Note, Proof, Trust, Verifier};

/// A key whose private half nobody has kept.
const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

/// Any bytes.
pub fn run(data: &[u8]) {
    let keys: Vec<Verifier> = Verifier::parse(KEY).into_iter().collect();
    if let Ok(note) = Note::parse(data) {
        let again = Note::parse(note.to_string().as_bytes()).expect("a note is read as it is written");
        assert_eq!(again, note);
        assert!(Checkpoint::of_note(&note, &keys).is_err(), "nobody has signed a checkpoint with this key");
    }
    if let Ok(proof) = Proof::parse(data) {
        let again = Proof::parse(proof.to_string().as_bytes()).expect("a proof is read as it is written");
        assert_eq!(again, proof);
        assert!(proof.check(&Trust { keys, ..Trust::default() }).is_err(), "nobody has signed its checkpoint");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = Verifier::parse(text) {
        assert_eq!(Verifier::parse(&key.to_string()).expect("a key is read as it is written"), key);
    }
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.to_string()).expect("as it is written"), checkpoint);
    }
}
