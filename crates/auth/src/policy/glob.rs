//! Patterns in which `*` stands for any run of characters, the empty one too; no other character is special.

/// A pattern, cut at its wildcards.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    /// What stands before the first wildcard; the whole of a pattern without one.
    prefix: Box<str>,
    /// What stands behind it.
    rest: Option<Rest>,
}

#[derive(Clone, Debug)]
struct Rest {
    /// What stands between two wildcards, without the empty pieces.
    middle: Box<[Box<str>]>,
    /// What stands behind the last one.
    suffix: Box<str>,
}

impl Glob {
    /// Of a text; every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        let mut pieces = pattern.split('*');
        let prefix = pieces.next().unwrap_or_default().into();
        let mut pieces: Vec<&str> = pieces.collect();
        let rest = pieces.pop().map(|suffix| Rest {
            middle: pieces.into_iter().filter(|piece| !piece.is_empty()).map(Box::from).collect(),
            suffix: suffix.into(),
        });
        Glob { prefix, rest }
    }

    /// True when the text fits the pattern. The leftmost place of each piece leaves the most for those that follow, so
    /// nothing is ever tried twice.
    pub fn matches(&self, text: &str) -> bool {
        let Some(rest) = &self.rest else { return *self.prefix == *text };
        let inner = text.strip_prefix(&*self.prefix).and_then(|t| t.strip_suffix(&*rest.suffix));
        let Some(mut inner) = inner else { return false };
        rest.middle.iter().all(|piece| match inner.split_once(&**piece) {
            Some((_, behind)) => {
                inner = behind;
                true
            }
            None => false,
        })
    }

    /// True when some text that begins with `prefix` and ends with `suffix`, not overlapping, fits the pattern.
    pub fn touches(&self, prefix: &str, suffix: &str) -> bool {
        match &self.rest {
            None => self.prefix.strip_prefix(prefix).is_some_and(|t| t.ends_with(suffix)),
            // Whatever the wildcards between want can be put in one behind the other.
            Some(rest) => one_begins(&self.prefix, prefix) && one_ends(&rest.suffix, suffix),
        }
    }

    /// True when some text fits both patterns.
    pub fn intersects(&self, other: &Glob) -> bool {
        match &other.rest {
            None => self.matches(&other.prefix),
            Some(_) if self.rest.is_none() => other.matches(&self.prefix),
            Some(rest) => self.touches(&other.prefix, &rest.suffix),
        }
    }
}

/// True when one of the two is the beginning of the other.
fn one_begins(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// True when one of the two is the end of the other.
fn one_ends(a: &str, b: &str) -> bool {
    a.ends_with(b) || b.ends_with(a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reference::glob as slow;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_any_run() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "", true),
            ("key/*", "key/", true),
            ("key/*", "ke", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*b*c", "abcbc", true),
            ("*b*c", "acb", false),
            ("a?c", "abc", false),
            ("密*匙", "密钥之匙", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} {text}");
            assert_eq!(slow(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_long_pattern_takes_no_long_time() {
        let (pattern, text) = ("*a".repeat(250) + "b", "a".repeat(5000));
        let started = std::time::Instant::now();
        assert!(!Glob::new(&pattern).matches(&text));
        // One that tries places again would not be done this year.
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }

    /// Every text of at most six of two letters.
    fn texts() -> impl Iterator<Item = String> {
        (0..=6u32).flat_map(|n| {
            (0..1u32 << n).map(move |bits| (0..n).map(|i| if bits >> i & 1 == 0 { 'a' } else { 'b' }).collect())
        })
    }

    proptest! {
        #[test]
        fn matching_equals_the_slow_one(pattern in "[ab*]{0,7}", text in "[ab]{0,8}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&text), slow(&pattern, &text));
        }

        #[test]
        fn intersections_equal_a_search(a in "[ab*]{0,3}", b in "[ab*]{0,3}") {
            // A common text needs no more letters than both patterns have together.
            let found = texts().any(|t| slow(&a, &t) && slow(&b, &t));
            prop_assert_eq!(Glob::new(&a).intersects(&Glob::new(&b)), found);
            prop_assert_eq!(Glob::new(&b).intersects(&Glob::new(&a)), found);
            let (prefix, suffix) = b.split_once('*').unwrap_or((&b, ""));
            if !suffix.contains('*') {
                let between = format!("{prefix}*{suffix}");
                prop_assert_eq!(Glob::new(&a).touches(prefix, suffix), texts().any(|t| slow(&a, &t) && slow(&between, &t)));
            }
        }
    }
}
