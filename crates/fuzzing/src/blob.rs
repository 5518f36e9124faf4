//! Ciphertext blobs: as they come, and real ones with something changed. Only what was sealed opens.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_crypto::{BlobKey, Context, Header, blob};
use jadeseal_types::{KeyId, SecretBytes, Suite};
use std::sync::LazyLock;

static KEYS: LazyLock<[BlobKey; 2]> = LazyLock::new(|| {
    [Suite::Aes256, Suite::Sm4].map(|suite| {
        let material = SecretBytes::new(vec![7; suite.material_len()]);
        BlobKey::new(suite, &material).expect("a key")
    })
});

#[derive(Arbitrary, Debug)]
enum Given<'a> {
    Raw(&'a [u8]),
    Changed { plaintext: &'a [u8], sm4: bool, at: u16, xor: u8, cut: u8, more: &'a [u8], other_context: bool },
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    let context = Context::default();
    match given {
        Given::Raw(bytes) => {
            let header = Header::parse(bytes);
            for key in KEYS.iter() {
                assert!(blob::open(key, bytes, &context).is_err(), "bytes that nobody sealed were opened");
            }
            assert!(header.is_err() || bytes.len() >= blob::OVERHEAD);
        }
        Given::Changed { plaintext, sm4, at, xor, cut, more, other_context } => {
            let key = &KEYS[usize::from(sm4)];
            let id = KeyId::from_bytes([9; 16]);
            let sealed = blob::seal(key, id, 3, &context, plaintext).expect("sealing");
            assert_eq!(sealed.len(), plaintext.len() + blob::OVERHEAD);
            let mut bytes = sealed.clone();
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= xor;
            bytes.truncate(bytes.len() - usize::from(cut).min(bytes.len()));
            bytes.extend_from_slice(more);
            let other = Context::parse(r#"{"a":"b"}"#).expect("a context");
            let opened = blob::open(key, &bytes, if other_context { &other } else { &context });
            match bytes == sealed && !other_context {
                true => assert_eq!(opened.expect("what was sealed opens").expose(), plaintext),
                false => assert!(opened.is_err(), "a changed blob was opened"),
            }
            assert!(blob::open(&KEYS[usize::from(!sm4)], &bytes, &context).is_err());
        }
    }
}
