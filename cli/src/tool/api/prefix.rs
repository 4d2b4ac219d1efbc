//! Which one a beginning of an id means.

use crate::tool::{failure::Failure, text::escaped};

/// Ids that an error lists.
const LISTED: usize = 10;

/// What is looked through.
pub(super) struct Among<'a, T> {
    /// What one of them is called, for errors: `request`.
    pub(super) what: &'static str,
    /// The command that lists them.
    pub(super) command: &'static str,
    pub(super) all: &'a [T],
    /// There are more than these: what is not found may be among the others.
    pub(super) is_cut: bool,
}

impl<'a, T> Among<'a, T> {
    /// The only one that the beginning means. `ids` has the texts of one that may begin so; the first one is shown.
    pub(super) fn meant(&self, named: &str, ids: impl Fn(&T) -> Vec<String>) -> Result<&'a T, Failure> {
        let (what, command, shown) = (self.what, self.command, escaped(named));
        let wanted = digits(named);
        if wanted.is_empty() {
            return Err(Failure::Input(format!(
                "{what}: {shown:?} is not the beginning of an id (`{command}` lists them)"
            )));
        }
        let found: Vec<&'a T> =
            self.all.iter().filter(|one| ids(one).iter().any(|id| digits(id).starts_with(&wanted))).collect();
        match found[..] {
            [one] => Ok(one),
            [] if self.is_cut => Err(Failure::Input(format!(
                "{shown}: none of the {} that were looked at has an id that begins so; name the {what} by its whole id",
                self.all.len()
            ))),
            [] => Err(Failure::Input(format!("{shown}: no {what} has an id that begins so (`{command}` lists them)"))),
            _ => {
                let first = |one: &&'a T| ids(one).first().map(|id| format!("\n  {}", escaped(id))).unwrap_or_default();
                let listed: String = found.iter().take(LISTED).map(first).collect();
                let more = match found.len().saturating_sub(LISTED) {
                    0 => String::new(),
                    more => format!("\n  and {more} more"),
                };
                Err(Failure::Input(format!("{shown} means several, name one {what} by its whole id:{listed}{more}")))
            }
        }
    }
}

/// What ids are compared by: lower case, without `0x`, hyphens, and the mark of a shortened hash.
fn digits(id: &str) -> String {
    let lower = id.trim_end_matches('…').to_ascii_lowercase();
    lower.strip_prefix("0x").unwrap_or(&lower).replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(all: &[&str], named: &str, is_cut: bool) -> Result<String, String> {
        let among = Among { what: "request", command: "pvf requests", all, is_cut };
        among.meant(named, |id| vec![(*id).to_owned()]).map(|id| (*id).to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_beginning_means_the_only_one_that_has_it() {
        let all = ["0190aa-1", "0190ab", "0x02ff"];
        for (named, expected) in
            [("0190ab", "0190ab"), ("0190AB", "0190ab"), ("0190aa1", "0190aa-1"), ("02…", "0x02ff")]
        {
            assert_eq!(meant(&all, named, false).as_deref(), Ok(expected), "{named}");
        }
        let several = meant(&all, "01", false).unwrap_err();
        assert!(several.contains("\n  0190aa-1\n  0190ab"), "{several}");
    }

    #[test]
    fn what_is_not_found_is_said() {
        assert!(meant(&["a"], "3", false).unwrap_err().starts_with("3: no request has"));
        assert!(meant(&["a"], "3", true).unwrap_err().contains("by its whole id"));
        for empty in ["", "…", "0x", "-"] {
            assert!(meant(&["a"], empty, false).unwrap_err().contains("is not the beginning"), "{empty:?}");
        }
        let many: Vec<_> = (0..12).map(|n| format!("a{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(meant(&many, "a", false).unwrap_err().ends_with("and 2 more"));
    }
}
