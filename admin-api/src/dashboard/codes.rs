//! What the documentation says about each error code, so that the dashboard explains an error where it is shown.
//!
//! It reads the tables of the pages that explain them; a test holds elsewhere that no code is missing there.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Serialize;

const PAGES: [&str; 2] = [
    include_str!("../../../docs/error-codes.md"),
    include_str!("../../../docs/operations.md"),
];

/// Every code with its explanation, as JSON.
pub static CODES: LazyLock<String> = LazyLock::new(|| {
    serde_json::to_string(&explained()).expect("explanations are plain text by plain keys")
});

/// One explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Explained {
    /// When the code is seen.
    what: String,
    /// What to do.
    cure: String,
}

fn explained() -> BTreeMap<String, Explained> {
    PAGES
        .iter()
        .flat_map(|page| page.lines())
        .filter_map(row)
        .flat_map(|(codes, explained)| codes.into_iter().map(move |code| (code, explained.clone())))
        .collect()
}

/// A line of a table that begins with codes: these, and its last two cells.
fn row(line: &str) -> Option<(Vec<String>, Explained)> {
    let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
    let codes: Vec<String> = cells.first()?.split(", ").map(str::to_owned).collect();
    let is_code = |code: &String| code.len() == 6 && code.starts_with("CL");
    // A line ends with a bar, after which there is nothing.
    let [.., what, cure, ""] = cells[..] else {
        return None;
    };
    let plain = |text: &str| text.replace('`', "").replace("**", "");
    let explained = Explained {
        what: plain(what),
        cure: plain(cure),
    };
    codes.iter().all(is_code).then_some((codes, explained))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_requests_and_of_restores_are_explained() {
        let explained = explained();
        for code in ["CL0201", "CL0202", "CL0219", "CL0314", "CL0150"] {
            assert!(explained.contains_key(code), "{code}");
        }
        assert_eq!(explained["CL0203"], explained["CL0202"]);
        assert!(explained["CL0314"].cure.contains("restore it too"));
        assert!(explained.keys().all(|code| code.starts_with("CL")));
    }
}
