//! Sizes and counts that the API fixes. Units are in the names or the comments.

/// Plaintext of Encrypt, bytes.
pub const MAX_PLAINTEXT_BYTES: usize = 4096;
/// Message of SignByAsymmetricKey and its like, bytes.
pub const MAX_MESSAGE_BYTES: usize = 4096;
/// Signature that is looked at, bytes; the longest true one is that of ML-DSA-87 with 4,627.
pub const MAX_SIGNATURE_BYTES: usize = 8192;
/// SM2 ciphertext of AsymmetricSm2Decrypt, bytes of ASN.1.
pub const MAX_SM2_CIPHERTEXT_BYTES: usize = 256;
/// Encryption context, characters of JSON text.
pub const MAX_CONTEXT_CHARS: usize = 1024;
/// CMK description, bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Description of a data key, bytes.
pub const MAX_DATA_KEY_DESCRIPTION_BYTES: usize = 100;
/// Keys named in one batch call.
pub const MAX_BATCH_KEYS: usize = 100;
/// `Limit` of a list call.
pub const MAX_PAGE: u64 = 200;
/// `Limit` of a list call when absent.
pub const DEFAULT_PAGE: u64 = 10;
/// Random bytes or data key bytes in one call.
pub const MAX_RANDOM_BYTES: u64 = 1024;
/// Rotation period, days, inclusive.
pub const ROTATE_DAYS: std::ops::RangeInclusive<u64> = 7..=365;
/// Deletion window, days, inclusive.
pub const PENDING_WINDOW_DAYS: std::ops::RangeInclusive<u64> = 7..=30;
/// Life of an import token, seconds.
pub const IMPORT_TOKEN_SECONDS: u64 = 24 * 3600;
/// Failed imports after which an import token dies, so that ImportKeyMaterial is no padding oracle.
pub const IMPORT_TOKEN_FAILURES: u32 = 10;
/// Largest `ValidTo` (Unix seconds).
pub const MAX_VALID_TO: u64 = 2_147_443_200;
/// Whole request: GET, bytes (request target).
pub const MAX_GET_BYTES: usize = 32 * 1024;
/// Whole request: POST signed by v1, bytes.
pub const MAX_POST_V1_BYTES: usize = 1024 * 1024;
/// Whole request: POST signed by TC3, bytes.
pub const MAX_POST_TC3_BYTES: usize = 10 * 1024 * 1024;
/// Signature time window to either side of the server's clock, seconds.
pub const SIGNATURE_WINDOW_SECONDS: u64 = 300;
/// Tags on one key.
pub const MAX_TAGS: usize = 50;
/// Ciphertext blob that is looked at, bytes: header (post-quantum: 1,672 bytes in all), 4,096 bytes and slack.
pub const MAX_BLOB_BYTES: usize = 6144;
/// Free-text names of cloud resources, bytes.
pub const MAX_RESOURCE_NAME_BYTES: usize = 256;
/// Seconds of a day.
pub const DAY: u64 = 86_400;
/// Member accounts of one organisation.
pub const MAX_MEMBERS: usize = 1000;
/// Member accounts that one list names.
pub const MAX_LISTED_MEMBERS: usize = 50;
/// Policy document, characters.
pub const MAX_POLICY_CHARS: usize = 6144;
/// Sub-users of an account.
pub const MAX_USERS: usize = 1000;
/// Groups of an account.
pub const MAX_GROUPS: usize = 300;
/// Users of a group.
pub const MAX_GROUP_USERS: usize = 1000;
/// Groups of a user.
pub const MAX_USER_GROUPS: usize = 10;
/// Policies that an account has made.
pub const MAX_POLICIES: usize = 500;
/// Roles of an account.
pub const MAX_ROLES: usize = 500;
/// Policies attached to one user, group or role.
pub const MAX_ATTACHED_POLICIES: usize = 50;
/// Access keys of one user.
pub const MAX_ACCESS_KEYS: usize = 2;
