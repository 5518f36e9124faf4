//! Ships audit records elsewhere.
