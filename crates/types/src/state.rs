//! States, usages and origins of keys, with their spelling on the wire.

use crate::ids::Alias;
use std::fmt;

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal, $wire:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The API's spelling.
            pub const fn wire(self) -> &'static str {
                match self { $($name::$variant => $wire),+ }
            }

            /// Reads the API's spelling, case-sensitively.
            pub fn from_wire(text: &str) -> Option<Self> {
                match text { $($wire => Some($name::$variant),)+ _ => None }
            }

            /// The number that rows and headers carry. Never reused for another meaning.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Reads the number of a row.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.wire())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.wire())
            }
        }
    };
}

wire_enum!(
    /// State of a CMK; the numbers are those of `ListKeyDetail.KeyState`.
    KeyState {
        /// Usable.
        Enabled = 1, "Enabled";
        /// Switched off by its owner.
        Disabled = 2, "Disabled";
        /// Deleted for good at its deletion date.
        PendingDelete = 3, "PendingDelete";
        /// Has no key material (imported keys only).
        PendingImport = 4, "PendingImport";
        /// Decrypts, makes nothing new.
        Archived = 5, "Archived";
    }
);

wire_enum!(
    /// State of a hosted data key; the numbers are those of `ListDataKeyDetail.KeyState`.
    DataKeyState {
        /// Usable, as far as its CMK is.
        Enabled = 1, "Enabled";
        /// Switched off by its owner.
        Disabled = 2, "Disabled";
        /// Deleted for good at its deletion date.
        PendingDelete = 3, "PendingDelete";
    }
);

wire_enum!(
    /// What a CMK is for.
    KeyUsage {
        /// Symmetric encryption and decryption.
        EncryptDecrypt = 1, "ENCRYPT_DECRYPT";
        /// RSA-2048 decryption.
        DecryptRsa2048 = 2, "ASYMMETRIC_DECRYPT_RSA_2048";
        /// SM2 decryption.
        DecryptSm2 = 3, "ASYMMETRIC_DECRYPT_SM2";
        /// SM2 signatures.
        SignSm2 = 4, "ASYMMETRIC_SIGN_VERIFY_SM2";
        /// RSA-2048 signatures.
        SignRsa2048 = 5, "ASYMMETRIC_SIGN_VERIFY_RSA_2048";
        /// ECDSA P-256 signatures.
        SignP256 = 6, "ASYMMETRIC_SIGN_VERIFY_ECC";
        /// ECDSA P-384 signatures.
        SignP384 = 7, "ASYMMETRIC_SIGN_VERIFY_ECDSA384";
        /// ML-KEM-1024 with AES-256-GCM.
        DecryptKyber = 8, "ASYMMETRIC_DECRYPT_KYBER_AES";
        /// ML-DSA-87 signatures.
        SignDilithium = 9, "ASYMMETRIC_SIGN_VERIFY_DILITHIUM";
    }
);

wire_enum!(
    /// Where key material came from.
    Origin {
        /// Made by the KMS.
        Kms = 1, "TENCENT_KMS";
        /// Imported by the user.
        External = 2, "EXTERNAL";
    }
);

wire_enum!(
    /// Family of symmetric algorithms behind a key, a ciphertext or a wrapped secret.
    Suite {
        /// AES-256-GCM, key derivation by HMAC-SHA-256.
        Aes256 = 1, "AES_256";
        /// SM4-GCM, key derivation by HMAC-SM3.
        Sm4 = 2, "SM4";
    }
);

impl Suite {
    /// The cipher's usual name.
    pub const fn name(self) -> &'static str {
        match self {
            Suite::Aes256 => "AES-256-GCM",
            Suite::Sm4 => "SM4-GCM",
        }
    }

    /// Length of CMK material in bytes (behaviour of BYOK: 16 for SM regions, 32 for the others).
    pub const fn material_len(self) -> usize {
        match self {
            Suite::Aes256 => 32,
            Suite::Sm4 => 16,
        }
    }
}

/// Who had a CMK made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The account's own user.
    User,
    /// A cloud product, by its name.
    Product(Alias),
}

impl Owner {
    /// The API's spelling.
    pub fn wire(&self) -> &str {
        match self {
            Owner::User => "user",
            Owner::Product(name) => name.as_str(),
        }
    }

    /// Reads a row's spelling.
    pub fn from_wire(text: &str) -> Option<Self> {
        if text == "user" { Some(Owner::User) } else { Alias::parse(text).map(Owner::Product) }
    }

    /// True for the account's own keys.
    pub fn is_user(&self) -> bool {
        matches!(self, Owner::User)
    }
}
