//! The life cycle of a CMK as a pure function: a row and a step give the next row or a refusal.
//!
//! Everything that changes a state goes through [`apply`]; the store commits its result by
//! compare-and-swap. The table is section 3.1 of the API's behaviour with decisions 7 to 12 and 16 to 18.

use jadeseal_store::Cmk;
use jadeseal_types::{ApiError, ErrorCode, KeyState, KeyUsage, Origin, limits::DAY};

/// What is to happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// EnableKey.
    Enable,
    /// DisableKey.
    Disable,
    /// ArchiveKey.
    Archive,
    /// CancelKeyArchive.
    Unarchive,
    /// ScheduleKeyDeletion with a window in days.
    ScheduleDeletion(u64),
    /// CancelKeyDeletion.
    CancelDeletion,
    /// UpdateAlias, UpdateKeyDescription: nothing changes here but the state is checked.
    Edit,
    /// EnableKeyRotation with a period in days.
    EnableRotation(u64),
    /// DisableKeyRotation.
    DisableRotation,
    /// RotateKey.
    RotateOnDemand,
    /// The rotation job.
    RotateScheduled,
    /// GetParametersForImport: checks only.
    PrepareImport,
    /// ImportKeyMaterial with its expiry (0 = never).
    Import(u64),
    /// DeleteImportedKeyMaterial.
    DropMaterial,
    /// The expiry job: `ValidTo` has passed.
    ExpireMaterial,
    /// BindCloudResource: a bound key must not lapse, so `ValidTo` is cleared.
    Bind,
}

/// The next row, or `None` when the step changes nothing.
pub fn apply(cmk: &Cmk, step: Step, now: u64) -> Result<Option<Cmk>, ErrorCode> {
    use ErrorCode as E;
    use KeyState as S;
    let state = effective_state(cmk, now);
    let mut next = cmk.clone();
    match step {
        Step::Enable => match state {
            S::Enabled => return Ok(None),
            S::Disabled => next.state = S::Enabled,
            _ => return Err(E::CmkStateNotSupport),
        },
        Step::Disable => match state {
            S::Enabled => {
                unused_by_products(cmk)?;
                next.state = S::Disabled;
            }
            S::Disabled => return Ok(None),
            _ => return Err(E::CmkStateNotSupport),
        },
        Step::Archive => match state {
            S::Enabled | S::Disabled => {
                unused_by_products(cmk)?;
                next.state = S::Archived;
            }
            S::Archived => return Ok(None),
            _ => return Err(E::CmkStateNotSupport),
        },
        Step::Unarchive => match state {
            S::Archived => next.state = S::Enabled,
            _ => return Err(E::CmkStateNotSupport),
        },
        Step::ScheduleDeletion(days) => match state {
            S::Disabled | S::PendingImport => {
                unused_by_products(cmk)?;
                next.state = S::PendingDelete;
                next.deletion_date = now + days * DAY;
            }
            S::Enabled | S::Archived => return Err(E::CmkShouldBeDisabled),
            S::PendingDelete => return Err(E::CmkStateNotSupport),
        },
        Step::CancelDeletion => match state {
            S::PendingDelete => {
                next.state = if has_material(cmk, now) { S::Disabled } else { S::PendingImport };
                next.deletion_date = 0;
            }
            _ => return Err(E::CmkNotPendingDelete),
        },
        Step::Edit => match state {
            S::PendingDelete => return Err(E::CmkStateNotSupport),
            _ => return Ok(None),
        },
        Step::EnableRotation(days) => {
            if cmk.usage != KeyUsage::EncryptDecrypt {
                return Err(E::RotateNotSupported);
            }
            if cmk.origin == Origin::External {
                return Err(E::ExternalCmkCanNotRotate);
            }
            // Terraform switches rotation on behind its DisableKey; a disabled key waits for its turn.
            if !matches!(state, S::Enabled | S::Disabled) {
                return Err(E::CmkStateNotSupport);
            }
            let old = cmk.rotation;
            if old.enabled && u64::from(old.days) == days {
                return Ok(None);
            }
            // A changed period counts from where the old one began, or a caller who makes sure of his
            // setting every day would put the rotation off for ever.
            let since = if old.enabled { old.next.saturating_sub(u64::from(old.days) * DAY).min(now) } else { now };
            next.rotation.enabled = true;
            next.rotation.days = u32::try_from(days).unwrap_or(365);
            next.rotation.next = (since + days * DAY).max(now);
        }
        Step::DisableRotation => {
            if !cmk.rotation.enabled {
                return Ok(None);
            }
            next.rotation.enabled = false;
        }
        Step::RotateOnDemand => {
            if cmk.usage != KeyUsage::EncryptDecrypt || cmk.origin == Origin::External {
                return Err(E::RotateNotSupported);
            }
            if state != S::Enabled {
                return Err(E::CmkStateNotSupport);
            }
            if !cmk.rotation.enabled {
                return Err(E::RotateNotSupported);
            }
            // A time in the future is of a clock that has been set back since: it must not lock the caller out
            // until then.
            let last = cmk.rotation.last_on_demand;
            if last != 0 && last <= now && now - last < DAY {
                return Err(E::RotateRateLimited);
            }
            rotate(&mut next, now);
            next.rotation.last_on_demand = now;
        }
        Step::RotateScheduled => {
            if state != S::Enabled || !cmk.rotation.enabled || cmk.rotation.next > now {
                return Ok(None);
            }
            rotate(&mut next, now);
        }
        Step::PrepareImport => {
            external(cmk)?;
            match state {
                S::Enabled | S::Disabled | S::PendingImport => return Ok(None),
                _ => return Err(E::CmkStateNotSupport),
            }
        }
        Step::Import(valid_to) => {
            external(cmk)?;
            match state {
                S::Enabled | S::PendingImport => {
                    next.state = S::Enabled;
                    next.current_version = 1;
                    next.valid_to = valid_to;
                }
                _ => return Err(E::CmkStateNotSupport),
            }
        }
        Step::DropMaterial => {
            external(cmk)?;
            match state {
                S::Enabled | S::Disabled => {
                    unused_by_products(cmk)?;
                    drop_material(&mut next);
                }
                _ => return Err(E::CmkStateNotSupport),
            }
        }
        Step::ExpireMaterial => {
            if cmk.valid_to == 0 || cmk.valid_to > now || cmk.current_version == 0 {
                return Ok(None);
            }
            drop_material(&mut next);
        }
        Step::Bind => {
            if state != S::Enabled {
                return Err(E::CmkStateNotSupport);
            }
            if cmk.valid_to == 0 {
                return Ok(None);
            }
            next.valid_to = 0;
        }
    }
    Ok(Some(next))
}

/// The state that callers see: a key whose material has expired is `PendingImport` from that second on,
/// whether or not the expiry job has come by yet.
pub fn effective_state(cmk: &Cmk, now: u64) -> KeyState {
    if cmk.state != KeyState::PendingDelete && expired(cmk, now) { KeyState::PendingImport } else { cmk.state }
}

fn expired(cmk: &Cmk, now: u64) -> bool {
    cmk.valid_to != 0 && cmk.valid_to <= now
}

fn has_material(cmk: &Cmk, now: u64) -> bool {
    cmk.current_version != 0 && !expired(cmk, now)
}

/// A key that cloud resources use stays as it is. What may be done with a key that a product had made depends on who
/// asks: see `products`.
fn unused_by_products(cmk: &Cmk) -> Result<(), ErrorCode> {
    if cmk.bindings > 0 { Err(ErrorCode::CmkUsedByCloudProduct) } else { Ok(()) }
}

fn external(cmk: &Cmk) -> Result<(), ErrorCode> {
    if cmk.origin == Origin::External { Ok(()) } else { Err(ErrorCode::NotExternalCmk) }
}

fn rotate(next: &mut Cmk, now: u64) {
    next.current_version += 1;
    next.rotation.last = now;
    next.rotation.next = now + u64::from(next.rotation.days) * DAY;
}

fn drop_material(next: &mut Cmk) {
    if next.state != KeyState::PendingDelete {
        next.state = KeyState::PendingImport;
    }
    next.current_version = 0;
    next.valid_to = 0;
}

/// What a key must allow for a cryptographic call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Encrypt, destination of ReEncrypt.
    Encrypt,
    /// GenerateDataKey.
    MakeDataKey,
    /// ImportDataKey.
    ImportDataKey,
    /// GetDataKeyPlaintext.
    ReadDataKey,
    /// Decrypt, source of ReEncrypt.
    Decrypt,
    /// GetPublicKey.
    ShowPublicKey,
    /// AsymmetricRsaDecrypt.
    DecryptRsa,
    /// AsymmetricSm2Decrypt.
    DecryptSm2,
    /// SignByAsymmetricKey.
    Sign,
    /// VerifyByAsymmetricKey.
    Verify,
    /// PostQuantumCryptoEncrypt.
    EncryptPostQuantum,
    /// PostQuantumCryptoDecrypt.
    DecryptPostQuantum,
    /// PostQuantumCryptoSign.
    SignPostQuantum,
    /// PostQuantumCryptoVerify.
    VerifyPostQuantum,
}

impl Use {
    /// True for a key of the right usage.
    fn fits(self, usage: KeyUsage) -> bool {
        match self {
            Use::Encrypt | Use::MakeDataKey | Use::ImportDataKey | Use::ReadDataKey | Use::Decrypt => {
                usage == KeyUsage::EncryptDecrypt
            }
            Use::ShowPublicKey => usage != KeyUsage::EncryptDecrypt,
            Use::DecryptRsa => usage == KeyUsage::DecryptRsa2048,
            Use::DecryptSm2 => usage == KeyUsage::DecryptSm2,
            Use::Sign | Use::Verify => {
                matches!(usage, KeyUsage::SignRsa2048 | KeyUsage::SignSm2 | KeyUsage::SignP256 | KeyUsage::SignP384)
            }
            Use::EncryptPostQuantum | Use::DecryptPostQuantum => usage == KeyUsage::DecryptKyber,
            Use::SignPostQuantum | Use::VerifyPostQuantum => usage == KeyUsage::SignDilithium,
        }
    }

    /// The refusal of a key of another usage: the code that the action's page lists. A ciphertext that names such a
    /// key is a wrong ciphertext like any other.
    fn wrong_usage(self) -> ApiError {
        match self {
            Use::Decrypt => ErrorCode::InvalidCiphertext.into(),
            Use::DecryptPostQuantum => {
                ApiError::with_text(ErrorCode::InvalidCiphertext, "The ciphertext is invalid.", "密文无效。")
            }
            Use::MakeDataKey | Use::ImportDataKey | Use::ReadDataKey | Use::DecryptRsa | Use::DecryptSm2 => {
                ErrorCode::InvalidKeyUsage.into()
            }
            _ => ApiError::invalid("KeyId", "names a key of another usage", "所指密钥的用途不支持该操作"),
        }
    }

    /// True for what makes nothing new, which an archived key still does (decision 8).
    fn works_archived(self) -> bool {
        match self {
            Use::Decrypt
            | Use::ReadDataKey
            | Use::ShowPublicKey
            | Use::DecryptRsa
            | Use::DecryptSm2
            | Use::Verify
            | Use::DecryptPostQuantum
            | Use::VerifyPostQuantum => true,
            Use::Encrypt
            | Use::MakeDataKey
            | Use::ImportDataKey
            | Use::Sign
            | Use::EncryptPostQuantum
            | Use::SignPostQuantum => false,
        }
    }

    /// The refusal in a state in which the key does not work (decision 7): the code that the action's page lists.
    fn wrong_state(self, state: KeyState) -> ErrorCode {
        use ErrorCode as E;
        match (self, state) {
            (Use::MakeDataKey | Use::ImportDataKey, KeyState::PendingDelete) => E::KeyPendingDelete,
            (Use::Encrypt | Use::MakeDataKey | Use::ImportDataKey | Use::EncryptPostQuantum, KeyState::Archived) => {
                E::CmkArchived
            }
            (Use::ImportDataKey, KeyState::Disabled)
            | (Use::ReadDataKey, KeyState::Disabled | KeyState::PendingDelete) => E::CmkDisabled,
            (Use::Encrypt | Use::MakeDataKey | Use::Decrypt | Use::EncryptPostQuantum | Use::DecryptPostQuantum, _) => {
                E::CmkDisabled
            }
            _ => E::CmkStateNotSupport,
        }
    }
}

/// Refuses a use that the key's state or usage does not allow, in this order (decision 1). Behind a ciphertext it is
/// the other way round: it must not tell the state of a key that cannot have made it.
pub fn allow(cmk: &Cmk, purpose: Use, now: u64) -> Result<(), ApiError> {
    let fits = purpose.fits(cmk.usage);
    if !fits && matches!(purpose, Use::Decrypt | Use::DecryptPostQuantum) {
        return Err(purpose.wrong_usage());
    }
    match effective_state(cmk, now) {
        KeyState::Enabled => {}
        KeyState::Archived if purpose.works_archived() => {}
        state => return Err(purpose.wrong_state(state).into()),
    }
    if fits { Ok(()) } else { Err(purpose.wrong_usage()) }
}
