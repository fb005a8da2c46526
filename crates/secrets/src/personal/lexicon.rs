//! Word lists that ship in the binary, searched where they lie: sorted lines and a binary search cost
//! nothing at start.
//!
//! Given names and surnames are those of the United States census of 1990 (a work of the government, in
//! the public domain; the twenty thousand most frequent surnames). Words are SCOWL's small American list
//! (notice in NOTICE); `proper.txt` has SCOWL's capitalised words that are no names, and places,
//! languages, weekdays and brands written down here.

/// A sorted list of lower-case words, one a line.
pub(super) struct Lexicon(&'static str);

pub(super) static WORDS: Lexicon = Lexicon(include_str!("data/words.txt"));
pub(super) static GIVEN_NAMES: Lexicon = Lexicon(include_str!("data/given_names.txt"));
pub(super) static SURNAMES: Lexicon = Lexicon(include_str!("data/surnames.txt"));
pub(super) static PROPER: Lexicon = Lexicon(include_str!("data/proper.txt"));

impl Lexicon {
    /// Whether `word`, in lower case, is in the list.
    pub(super) fn has(&self, word: &str) -> bool {
        let bytes = self.0.as_bytes();
        let line_start = |at: usize| {
            bytes
                .get(..at)
                .and_then(|before| before.iter().rposition(|&byte| byte == b'\n'))
                .map_or(0, |newline| newline + 1)
        };
        let (mut low, mut high) = (0, bytes.len());
        while low < high {
            let start = line_start(low + (high - low) / 2);
            let end = bytes
                .get(start..)
                .and_then(|rest| rest.iter().position(|&byte| byte == b'\n'))
                .map_or(bytes.len(), |newline| start + newline);
            match bytes
                .get(start..end)
                .unwrap_or_default()
                .cmp(word.as_bytes())
            {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => low = end + 1,
                std::cmp::Ordering::Greater => high = start,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_every_list_is_found_and_others_are_not() {
        for list in [&WORDS, &GIVEN_NAMES, &SURNAMES, &PROPER] {
            let lines: Vec<&str> = list.0.lines().collect();
            assert!(lines.is_sorted());
            for line in &lines {
                assert!(list.has(line), "{line}");
            }
            for other in ["", "zzzzzz", "a-b", "\n", "ab\ncd"] {
                assert!(!list.has(other), "{other:?}");
            }
        }
    }
}
