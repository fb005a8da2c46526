//! What changed between the manifest that a person accepted and the one that is there now, line by
//! line. The file comes from a repository, so what cannot be seen is made visible: a difference that
//! a terminal hides is a difference that nobody reviewed.

use std::fmt::Write as _;

/// Above this many pairs of lines the middle is shown as removed and added as a whole.
const MOST_PAIRS: usize = 4_000_000;

/// Lines of `old` and `new` marked with a space (the same), `-` (gone) and `+` (came). Whether the
/// last line ends is not shown: it means nothing in the files that are accepted.
pub(crate) fn lines(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.split_terminator('\n').collect();
    let new: Vec<&str> = new.split_terminator('\n').collect();
    let same_front = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let old_rest = old.get(same_front..).unwrap_or_default();
    let new_rest = new.get(same_front..).unwrap_or_default();
    let back = old_rest.iter().rev().zip(new_rest.iter().rev());
    let same_back = back.take_while(|(a, b)| a == b).count();
    let old_middle = old_rest
        .get(..old_rest.len() - same_back)
        .unwrap_or_default();
    let new_middle = new_rest
        .get(..new_rest.len() - same_back)
        .unwrap_or_default();

    let mut text = String::new();
    let mut add = |mark: char, line: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark}{}", visible(line));
    };
    old.iter().take(same_front).for_each(|line| add(' ', line));
    middle(old_middle, new_middle, &mut add);
    let tail = old_rest.get(old_middle.len()..).unwrap_or_default();
    tail.iter().for_each(|line| add(' ', line));
    text
}

/// The lines of [`lines`] that are gone or came.
pub fn changed_lines(old: &str, new: &str) -> Vec<String> {
    lines(old, new)
        .lines()
        .filter(|line| !line.starts_with(' '))
        .map(str::to_owned)
        .collect()
}

fn middle(old: &[&str], new: &[&str], add: &mut impl FnMut(char, &str)) {
    if old.len().saturating_mul(new.len()) > MOST_PAIRS {
        old.iter().for_each(|line| add('-', line));
        new.iter().for_each(|line| add('+', line));
        return;
    }
    // Longest common subsequence: `common[i][j]` of `old[i..]` and `new[j..]`.
    let mut common = vec![vec![0u32; new.len() + 1]; old.len() + 1];
    let at = |table: &Vec<Vec<u32>>, i: usize, j: usize| -> u32 {
        table
            .get(i)
            .and_then(|row| row.get(j))
            .copied()
            .unwrap_or(0)
    };
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let longest = if old.get(i) == new.get(j) {
                at(&common, i + 1, j + 1) + 1
            } else {
                at(&common, i + 1, j).max(at(&common, i, j + 1))
            };
            if let Some(place) = common.get_mut(i).and_then(|row| row.get_mut(j)) {
                *place = longest;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    loop {
        match (old.get(i), new.get(j)) {
            (Some(a), Some(b)) if a == b => {
                add(' ', a);
                i += 1;
                j += 1;
            }
            (Some(a), other)
                if other.is_none() || at(&common, i + 1, j) >= at(&common, i, j + 1) =>
            {
                add('-', a);
                i += 1;
            }
            (_, Some(b)) => {
                add('+', b);
                j += 1;
            }
            _ => return,
        }
    }
}

/// `line` with everything written out that a terminal would not show as it is: control characters,
/// direction marks, zero-width and other invisible ones.
pub(crate) fn visible(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in line.chars() {
        let hidden = character.is_control() && character != '\t'
            || matches!(character,
                '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
        if hidden {
            text.extend(character.escape_unicode());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shows_what_came_and_went() {
        let difference = lines("a\nb\nc\nd\n", "a\nx\nc\nd\ne\n");
        assert_eq!(difference, " a\n-b\n+x\n c\n d\n+e\n");
        assert_eq!(lines("a\n", "a\n"), " a\n");
    }

    #[test]
    fn hides_nothing() {
        let difference = lines("", "inspect = false\u{1b}[2K\r\u{202e}# \u{e0041}");
        assert!(difference.is_ascii(), "{difference:?}");
        assert!(
            difference.contains("\\u{1b}[2K\\u{d}\\u{202e}"),
            "{difference:?}"
        );
    }

    proptest! {
        #[test]
        fn both_files_can_be_read_back(old in "[ab\n]{0,30}", new in "[ab\n]{0,30}") {
            let difference = lines(&old, &new);
            let side = |mark: char| -> Vec<String> {
                let belongs = |line: &&str| line.starts_with(' ') || line.starts_with(mark);
                difference.lines().filter(belongs).map(|line| line[1..].to_owned()).collect()
            };
            let whole = |text: &str| -> Vec<String> {
                text.split_terminator('\n').map(str::to_owned).collect()
            };
            prop_assert_eq!(side('-'), whole(&old), "{}", difference);
            prop_assert_eq!(side('+'), whole(&new), "{}", difference);
        }
    }
}
