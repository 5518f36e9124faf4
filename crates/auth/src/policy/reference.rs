/// Recursive.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => glob(&pattern[1..], text) || first.is_some_and(|c| glob(pattern, &text[c.len_utf8()..])),
        (Some(p), Some(t)) => p == t && glob(&pattern[p.len_utf8()..], &text[t.len_utf8()..]),
        _ => false,
    }
}
