//! The one error type of every store.

/// Result of every call of a store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why a call of a store failed. After any of them nothing of the call has been stored, except that
/// after `Unavailable` from a call that writes the outcome may be unknown (the connection to a
/// shared database broke while it committed).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The row is not in the state that the call expects: another revision, an id in use already, a
    /// root key that is not the current one.
    #[error("the row has been changed by someone else")]
    Conflict,
    /// Another key of the same account and region has the alias.
    #[error("the alias is taken")]
    AliasTaken,
    /// Another data key of the same account and region has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The scope has as many of them as [`crate::Change::RequireRoom`] allows.
    #[error("no room for another of the {0:?}")]
    NoRoom(crate::Counted),
    /// A key would have more tags than a key may have.
    #[error("too many tags")]
    TooManyTags,
    /// No such row, or not in the caller's scope.
    #[error("no such row")]
    NotFound,
    /// The disk is full. Reads go on; writes work again when there is room.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The store cannot answer at the moment: overfull queue, locked or damaged file, input/output
    /// error, closed. The text is for the operator.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// What a call gets after `close`, or when the thread that should serve it is gone.
    pub(crate) fn closed() -> Self {
        StoreError::Unavailable("the store is closed".into())
    }
}
