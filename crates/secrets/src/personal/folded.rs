//! One plain spelling of a text: digits, dashes, spaces and letters that Unicode has in many forms become
//! those of ASCII, and characters that nobody sees are dropped. A number written in full-width digits
//! with invisible joiners between them is the same number.

use std::ops::Range;

use super::Entity;

/// A text in plain spelling, and where each byte of it stood.
pub(super) struct Folded<'a> {
    text: std::borrow::Cow<'a, str>,
    /// For each byte of the folded text the place in the original; empty when both are the same.
    places: Vec<u32>,
    original: usize,
}

impl<'a> Folded<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let original = text.len();
        if text.is_ascii() || u32::try_from(original).is_err() {
            return Self {
                text: text.into(),
                places: Vec::new(),
                original,
            };
        }
        let mut plain = String::with_capacity(original);
        let mut places = Vec::with_capacity(original);
        for (at, character) in text.char_indices() {
            let Some(character) = fold(character) else {
                continue;
            };
            plain.push(character);
            // Checked above: the whole text is shorter than 4 GiB.
            places.resize(plain.len(), u32::try_from(at).unwrap_or(u32::MAX));
        }
        Self {
            text: plain.into(),
            places,
            original,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The entity with its span in the original text. It ends where the next character of the folded
    /// text begins, so what was invisible inside or behind it belongs to it.
    pub(super) fn unfold(&self, entity: Entity) -> Entity {
        Entity {
            span: self.range(entity.span.clone()),
            ..entity
        }
    }

    fn range(&self, span: Range<usize>) -> Range<usize> {
        if self.places.is_empty() {
            return span;
        }
        let place = |at: usize| {
            self.places
                .get(at)
                .map_or(self.original, |&place| place as usize)
        };
        place(span.start)..place(span.end)
    }
}

/// The plain form of a character; `None` where nothing is seen of it.
fn fold(character: char) -> Option<char> {
    Some(match character {
        '\u{AD}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}'
        | '\u{180E}'
        | '\u{34F}' => return None,
        '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => {
            ' '
        }
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}' => '-',
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(character) - 0xFEE0)?,
        '\u{2024}' | '\u{FE52}' => '.',
        other => decimal(other).unwrap_or(other),
    })
}

/// Where each script's digit zero stands (Unicode 16, general category Nd, those in daily use, and the
/// mathematical ones).
const ZEROS: &[u32] = &[
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x17E0, 0x1810, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
    0x1FBF0,
];

fn decimal(character: char) -> Option<char> {
    let code = u32::from(character);
    ZEROS
        .iter()
        .find_map(|zero| code.checked_sub(*zero).filter(|digit| *digit < 10))
        .and_then(|digit| char::from_digit(digit, 10))
}
