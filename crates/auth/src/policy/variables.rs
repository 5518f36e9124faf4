//! `${uin}`, `${owner_uin}` and `${app_id}` in resources and in values of conditions.

use super::Binding;

/// What a document may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// The principal.
    Uin,
    /// Its account.
    OwnerUin,
    /// The second number of its account.
    AppId,
}

impl Variable {
    /// What it stands for.
    pub fn value(self, binding: &Binding) -> u64 {
        match self {
            Variable::Uin => binding.uin.0,
            Variable::OwnerUin => binding.account.0,
            Variable::AppId => binding.app_id.0,
        }
    }

    /// The variable that a text consists of.
    pub fn alone(text: &str) -> Option<Self> {
        match text {
            "${uin}" => Some(Variable::Uin),
            "${owner_uin}" => Some(Variable::OwnerUin),
            "${app_id}" => Some(Variable::AppId),
            _ => None,
        }
    }
}

/// A piece of a text.
enum Piece<'a> {
    Text(&'a str),
    Variable(Variable),
    /// `${` that no variable follows.
    Unknown,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.find("${");
        if at == Some(0) {
            let (variable, behind) = match rest.find('}') {
                Some(end) => rest.split_at(end + 1),
                None => (rest, ""),
            };
            rest = behind;
            return Some(Variable::alone(variable).map_or(Piece::Unknown, Piece::Variable));
        }
        let (piece, behind) = rest.split_at(at.unwrap_or(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(Piece::Text(piece))
    })
}

/// True when a text asks for anything.
pub(super) fn any(text: &str) -> bool {
    text.contains("${")
}

/// True when every variable of a text is known.
pub(super) fn known(text: &str) -> bool {
    pieces(text).all(|piece| !matches!(piece, Piece::Unknown))
}

/// The text with what its variables stand for.
pub(super) fn expand(text: &str, binding: &Binding) -> String {
    replace(text, |v| v.value(binding).to_string())
}

/// The text with a wildcard for each variable: whatever the principal, the result matches what the text would.
pub(super) fn widen(text: &str) -> String {
    replace(text, |_| "*".to_owned())
}

fn replace(text: &str, with: impl Fn(Variable) -> String) -> String {
    pieces(text).fold(String::with_capacity(text.len()), |mut out, piece| {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(variable) => out.push_str(&with(variable)),
            Piece::Unknown => {}
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_types::{AccountId, AppId, Uin};

    #[test]
    fn variables_are_replaced_and_others_are_not_known() {
        let binding = Binding { uin: Uin(7), account: AccountId(1), app_id: AppId(9) };
        for (text, expected) in
            [("a", "a"), ("", ""), ("${uin}", "7"), ("x${owner_uin}/${app_id}*$", "x1/9*$"), ("${uin}${uin}", "77")]
        {
            assert!(known(text), "{text}");
            assert_eq!(expand(text, &binding), expected);
        }
        for bad in ["${", "${uin", "a${Uin}", "${}", "${uin}${x}", "${${uin}}", "${uin }"] {
            assert!(!known(bad) && any(bad), "{bad}");
        }
        assert_eq!(widen("a/${uin}/b"), "a/*/b");
        assert!(!any("$uin"));
    }
}
