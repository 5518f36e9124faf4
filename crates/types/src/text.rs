//! Messages in the two languages of the API.

use std::borrow::Cow;

/// Language of an error message, chosen by `X-TC-Language` (v1: `Language`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// `zh-CN`, the API's default.
    #[default]
    Zh,
    /// `en-US`.
    En,
}

impl Lang {
    /// Reads the header value; anything but `en-US` is the default language, as in the real API.
    pub fn from_wire(value: &str) -> Self {
        if value.eq_ignore_ascii_case("en-US") { Lang::En } else { Lang::Zh }
    }
}

/// One message in English and Chinese. It may name a parameter, never a value that could be secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: Cow<'static, str>,
    /// Simplified Chinese.
    pub zh: Cow<'static, str>,
}

impl Text {
    /// A message known when the program was built.
    pub const fn fixed(en: &'static str, zh: &'static str) -> Self {
        Text { en: Cow::Borrowed(en), zh: Cow::Borrowed(zh) }
    }

    /// A message made at run time.
    pub fn made(en: String, zh: String) -> Self {
        Text { en: Cow::Owned(en), zh: Cow::Owned(zh) }
    }

    /// The message in one language.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Zh => &self.zh,
        }
    }
}
