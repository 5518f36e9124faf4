//! The headers that an audit export sends: any file is refused without a word of what it holds, or gives headers that
//! are kept out of debug output and are none of Jadeseal's own.
use jadeseal_export::parse_headers;

/// One input: the content of the file.
pub fn run(data: &[u8]) {
    if let Ok(headers) = parse_headers(data) {
        assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
        assert!(!headers.contains_key("host") && !headers.contains_key("x-jadeseal-first"));
    }
}
