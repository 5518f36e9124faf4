//! How a refusal is worded.

use super::Invalid;
use jadeseal_types::ErrorCode;

/// Characters of the document that a refusal repeats at once.
const ECHO: usize = 64;

/// A refusal at a place.
pub(super) fn refuse(
    code: ErrorCode,
    place: impl Into<String>,
    en: impl Into<String>,
    zh: impl Into<String>,
) -> Invalid {
    Invalid { code, place: place.into(), en: en.into(), zh: zh.into() }
}

/// What a refusal may repeat of the document: at most 64 characters, none of which steers a terminal or the direction
/// of text.
pub(super) fn echo(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let shown = |c: char| if steers(c) { '?' } else { c };
    match text.char_indices().nth(ECHO) {
        None => text.chars().map(shown).collect(),
        Some(_) => text.chars().take(ECHO - 1).map(shown).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoes_are_short_and_clean() {
        assert_eq!(echo("a\u{1b}[31m\n\u{202e}b"), "a?[31m??b");
        assert_eq!(echo(&"键".repeat(64)), "键".repeat(64));
        assert_eq!(echo(&"键".repeat(65)), "键".repeat(63) + "…");
    }
}
