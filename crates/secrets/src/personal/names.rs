//! Names of people and organisations, and street addresses: what has no shape, only words of a certain
//! kind beside each other. A lexical model: each capitalised word is weighed by the lists it stands in,
//! neighbours are taken together, and the words around them (a title, "works at", "Apt.") tip the scale.
//!
//! It is weaker than a trained network on prose, and never as sure as a checksum: its labels are never
//! `HIGH` without a title or a company's ending. docs/pebblo.md states how often it is right.

use std::ops::Range;

use super::companies;
use super::lexicon::{GIVEN_NAMES, Lexicon, PROPER, SURNAMES, WORDS};
use super::{Entity, EntityKind, Score};

/// Titles that a name follows.
const TITLES: &[&str] = &[
    "mr",
    "mrs",
    "ms",
    "miss",
    "mx",
    "dr",
    "prof",
    "professor",
    "sir",
    "madam",
    "lady",
    "lord",
    "rev",
    "judge",
    "senator",
    "president",
    "captain",
    "sergeant",
    "officer",
    "sr",
    "sra",
    "herr",
    "frau",
    "mme",
    "monsieur",
    "messrs",
];

/// Small words within a name.
const PARTICLES: &[&str] = &[
    "de", "del", "der", "den", "van", "von", "da", "di", "la", "le", "du", "dos", "bin", "ibn",
    "al", "el", "af", "ten", "ter", "st", "y",
];

/// How streets are called.
const STREETS: &[&str] = &[
    "street",
    "st",
    "avenue",
    "ave",
    "road",
    "rd",
    "boulevard",
    "blvd",
    "lane",
    "ln",
    "drive",
    "dr",
    "court",
    "ct",
    "place",
    "pl",
    "square",
    "sq",
    "terrace",
    "way",
    "parkway",
    "pkwy",
    "highway",
    "hwy",
    "circle",
    "cir",
    "crescent",
    "alley",
    "plaza",
    "trail",
    "row",
    "close",
    "rue",
    "via",
    "calle",
    "avenida",
    "rua",
    "strasse",
    "straße",
    "platz",
    "weg",
    "allee",
    "gasse",
    "chaussee",
    "vej",
    "gade",
    "gata",
    "katu",
    "tie",
    "ulica",
    "ul",
    "utca",
    "corso",
    "piazza",
    "chemin",
    "impasse",
    "carrer",
    "paseo",
    "laan",
    "straat",
    "plein",
    "dreef",
    "walk",
    "mews",
    "grove",
    "hill",
    "park",
    "turnpike",
    "pike",
    "loop",
];

/// Endings of compound street names: Hauptstraße, Kerkstraat, Koskikatu, Storgatan.
const STREET_ENDINGS: &[&str] = &[
    "straße", "strasse", "straat", "gasse", "weg", "platz", "allee", "laan", "plein", "katu",
    "tie", "gata", "gatan", "vägen", "vegen", "veien", "vej", "gade", "stræde", "utca", "dreef",
    "kade", "gracht",
];

/// Parts of a building.
pub(super) const UNITS: &[&str] = &[
    "apt",
    "apt.",
    "suite",
    "unit",
    "floor",
    "room",
    "flat",
    "apartment",
    "ste",
    "ste.",
    "#",
    "bldg",
];

/// A word of the text.
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) lower: String,
    pub(super) span: Range<usize>,
    pub(super) capital: bool,
    /// Whether nothing but blanks stands between it and the word before.
    pub(super) joined: bool,
    /// Whether a sentence begins with it.
    pub(super) first: bool,
    pub(super) number: bool,
}

/// Adds names and addresses in `text` to `found`.
pub(super) fn find(text: &str, found: &mut Vec<Entity>) {
    let words = words(text);
    let mut at = 0;
    while at < words.len() {
        if let Some((end, span)) = street_address(text, &words, at) {
            found.push(Entity {
                kind: EntityKind::StreetAddress,
                span,
                score: Score::percent(70),
            });
            at = end;
            continue;
        }
        let Some(end) = run_of_capitals(&words, at) else {
            at += 1;
            continue;
        };
        if let Some((behind, company)) = companies::partnership(text, &words, at) {
            found.push(company);
            at = behind;
            continue;
        }
        let run = words.get(at..end).unwrap_or_default();
        let before = words.get(..at).unwrap_or_default();
        let after = words.get(end..).unwrap_or_default();
        let company = companies::company(run, before, after)
            .or_else(|| companies::in_address_block(text, run, found.last()));
        found.extend(company.or_else(|| person(run, before)));
        at = end;
    }
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut words: Vec<Word<'_>> = Vec::new();
    let mut characters = text.char_indices().peekable();
    let mut end_of_last = 0;
    while let Some((start, character)) = characters.next() {
        if !character.is_alphanumeric() && character != '#' {
            continue;
        }
        let mut end = start + character.len_utf8();
        while let Some(&(at, next)) = characters.peek() {
            let inner = matches!(next, '\'' | '’' | '-' | '.' | '&')
                && text
                    .get(at + next.len_utf8()..)
                    .and_then(|rest| rest.chars().next())
                    .is_some_and(char::is_alphanumeric);
            if !next.is_alphanumeric() && !inner {
                break;
            }
            end = at + next.len_utf8();
            characters.next();
        }
        let mut word = text.get(start..end).unwrap_or_default();
        for possessive in ["'s", "’s"] {
            word = word.strip_suffix(possessive).unwrap_or(word);
        }
        let between = text.get(end_of_last..start).unwrap_or_default();
        // `J.` and `Mr.` do not end a sentence.
        let abbreviation = words.last().is_some_and(|last| {
            last.text.chars().count() == 1 || TITLES.contains(&last.lower.as_str())
        });
        let stop = between.contains(['.', '!', '?', ':', ';', '\n', '"', '“', '(', '|', '>']);
        let dot_of_abbreviation = abbreviation && between.trim() == ".";
        words.push(Word {
            text: word,
            lower: word.to_lowercase(),
            span: start..start + word.len(),
            capital: word.chars().next().is_some_and(char::is_uppercase),
            joined: !words.is_empty()
                && (between.trim_matches(' ').is_empty() || dot_of_abbreviation),
            first: words.is_empty() || (stop && !dot_of_abbreviation),
            number: word.chars().next().is_some_and(|c| c.is_ascii_digit()),
        });
        end_of_last = end;
    }
    words
}

/// Where a run of capitalised words that begins at `at` ends.
fn run_of_capitals(words: &[Word<'_>], at: usize) -> Option<usize> {
    let first = words.get(at)?;
    if !first.capital || first.number {
        return None;
    }
    let mut end = at + 1;
    while let Some(word) = words.get(end) {
        let particle = word.joined
            && !word.capital
            && PARTICLES.contains(&word.lower.as_str())
            && words
                .get(end + 1)
                .is_some_and(|next| next.joined && next.capital);
        if !(word.joined && (word.capital || particle)) || end - at >= 8 {
            break;
        }
        end += 1;
    }
    Some(end)
}

fn person(run: &[Word<'_>], before: &[Word<'_>]) -> Option<Entity> {
    // A run may begin with a word that merely begins the sentence, or with a title.
    let mut run = run;
    let mut titled = before
        .last()
        .is_some_and(|word| TITLES.contains(&word.lower.as_str()) && word.capital);
    while let [first, rest @ ..] = run {
        let title = TITLES.contains(&first.lower.as_str());
        let opener = first.first && weight(first) < 0 && !rest.is_empty();
        if !title && !opener && weight(first) > -3 {
            break;
        }
        titled |= title;
        run = rest;
    }
    while let [rest @ .., last] = run {
        if weight(last) > -3 && !PARTICLES.contains(&last.lower.as_str()) {
            break;
        }
        run = rest;
    }
    let (first, last) = (run.first()?, run.last()?);
    if run.len() > 5 {
        return None;
    }
    let total: i32 = run.iter().map(weight).sum();
    let full: Vec<&Word<'_>> = run
        .iter()
        .filter(|word| word.text.chars().count() > 1)
        .collect();
    let known = full
        .iter()
        .any(|word| has(&GIVEN_NAMES, word) || has(&SURNAMES, word));
    let introduced = before.iter().rev().take(3).any(|word| {
        matches!(
            word.lower.as_str(),
            "name"
                | "named"
                | "called"
                | "dear"
                | "hi"
                | "hello"
                | "hey"
                | "am"
                | "i'm"
                | "from"
                | "with"
                | "to"
                | "by"
                | "for"
                | "meet"
                | "contact"
                | "regards"
                | "sincerely"
                | "thanks"
                | "signed"
                | "friend"
                | "who"
                | "is"
        )
    });
    let percent = match (titled, full.len()) {
        (true, 1..) => 85,
        (false, 2..) if total >= 4 => 75,
        (false, 2..) if total >= 2 && known => 65,
        (false, 2..) if total >= 2 && !first.first => 55,
        (false, 2..) if total >= 2 => 50,
        (false, 1) if total >= 3 => 60,
        (false, 1) if total >= 2 && (introduced || !first.first) => 50,
        (false, 1) if total >= 1 && introduced && !first.first => 45,
        _ => return None,
    };
    Some(Entity {
        kind: EntityKind::PersonName,
        span: first.span.start..last.span.end,
        score: Score::percent(percent),
    })
}

/// How much a word speaks for a name.
fn weight(word: &Word<'_>) -> i32 {
    if word.text.chars().count() == 1 || PARTICLES.contains(&word.lower.as_str()) {
        return 0;
    }
    // Letters only; several capitals in a row are an abbreviation.
    let capitals = word
        .text
        .chars()
        .filter(|character| character.is_uppercase())
        .count();
    if word
        .text
        .chars()
        .any(|character| character.is_ascii_digit())
        || capitals == word.text.chars().count()
    {
        return -3;
    }
    // "I'm", "She'll": what stands before the apostrophe says what it is.
    let stem = word.lower.split(['\'', '’']).next().unwrap_or_default();
    let contraction = stem.len() < word.lower.len() && (stem.len() == 1 || WORDS.has(stem));
    let common = WORDS.has(&word.lower) || (contraction && !matches!(stem, "o" | "d"));
    if PROPER.has(&word.lower) {
        return -3;
    }
    match (has(&GIVEN_NAMES, word), has(&SURNAMES, word), common) {
        (true, _, false) => 3,
        (true, _, true) => 1,
        (false, true, false) => 2,
        (false, true, true) => -1,
        (false, false, true) => -3,
        // Nobody knows the word: a name of another language as often as a brand.
        (false, false, false) => 1,
    }
}

/// Whether a list has the word, or each part of a double name.
pub(super) fn has(list: &Lexicon, word: &Word<'_>) -> bool {
    list.has(&word.lower)
        || (word.lower.contains('-') && word.lower.split('-').all(|part| list.has(part)))
}

/// The address that begins at `at`: where the words behind it begin, and its span.
fn street_address(text: &str, words: &[Word<'_>], at: usize) -> Option<(usize, Range<usize>)> {
    let first = words.get(at)?;
    if first.lower == "p.o" || first.lower == "po" || first.lower == "p.o." {
        return po_box(text, words, at);
    }
    let mut end = if first.number
        && first.text.len() <= 7
        && first.text.bytes().filter(u8::is_ascii_digit).count() <= 6
    {
        // A number, then a street: 14 Main Street, 6750 Koskikatu 25 Apt. 864.
        number_and_street(words, at)?
    } else if first.capital {
        // A street, then a number: Hauptstraße 7, Via Roma 12.
        street_and_number(words, at)?
    } else {
        return None;
    };
    // Units, towns, states and codes follow, until prose does.
    while let Some(word) = words.get(end) {
        let gap = text.get(words.get(end - 1)?.span.end..word.span.start)?;
        let plain = gap
            .chars()
            .all(|c| c.is_whitespace() || matches!(c, ',' | '.' | '-'));
        let breaks = gap.matches('\n').count();
        let unit = UNITS.contains(&word.lower.as_str());
        let sentence = gap.contains(". ")
            && !unit
            && !word.number
            && !UNITS.contains(&words.get(end - 1)?.lower.as_str());
        let direct = !gap.contains([',', '\n']) && !word.number && !unit;
        let prose = WORDS.has(&word.lower)
            && !word.number
            && !unit
            && !is_state(word.text)
            && !PROPER.has(&word.lower);
        if !plain
            || breaks > 2
            || sentence
            || !(word.capital || word.number || unit)
            || (direct && prose)
            || (prose && word.text.len() > 2 && !gap.contains([',', '\n']))
            || end - at > 16
        {
            break;
        }
        end += 1;
    }
    let span = first.span.start..words.get(end - 1)?.span.end;
    Some((end, span))
}

fn number_and_street(words: &[Word<'_>], at: usize) -> Option<usize> {
    let mut end = at + 1;
    let mut strong = false;
    while let Some(word) = words.get(end) {
        let unit = UNITS.contains(&word.lower.as_str());
        if (!word.joined && !unit) || end - at > 6 {
            break;
        }
        if unit {
            // The number of the unit belongs to it.
            let has_number = words
                .get(end + 1)
                .is_some_and(|next| next.number || next.text.len() == 1);
            return (has_number && end > at + 1).then_some(end + 2);
        }
        if !(word.capital || word.number || PARTICLES.contains(&word.lower.as_str())) {
            break;
        }
        let street =
            is_street(word) && (word.capital && end > at + 1 || has_street_ending(&word.lower));
        end += 1;
        if street {
            strong = true;
            if !words
                .get(end)
                .is_some_and(|next| UNITS.contains(&next.lower.as_str()) || next.number)
            {
                break;
            }
        }
    }
    let opening_street = words
        .get(at + 1)
        .is_some_and(|word| word.capital && is_foreign_street(word))
        && end > at + 2;
    (strong || opening_street).then_some(end)
}

fn street_and_number(words: &[Word<'_>], at: usize) -> Option<usize> {
    for end in at..(at + 4) {
        let word = words.get(end)?;
        if end > at && !(word.joined && (word.capital || PARTICLES.contains(&word.lower.as_str())))
        {
            return None;
        }
        let street = has_street_ending(&word.lower)
            || (end > at && words.get(at).is_some_and(is_foreign_street));
        let number = words.get(end + 1).filter(|next| {
            next.number
                && next.text.len() <= 6
                && (next.joined || next.span.start <= word.span.end + 2)
        });
        if street && number.is_some() {
            return Some(end + 2);
        }
    }
    None
}

fn po_box(text: &str, words: &[Word<'_>], at: usize) -> Option<(usize, Range<usize>)> {
    let box_at = words
        .get(at + 1..at + 3)?
        .iter()
        .position(|word| word.lower == "box")?
        + at
        + 1;
    let number = words.get(box_at + 1).filter(|word| word.number)?;
    let _ = text;
    Some((box_at + 2, words.get(at)?.span.start..number.span.end))
}

fn is_street(word: &Word<'_>) -> bool {
    STREETS.contains(&word.lower.as_str()) || has_street_ending(&word.lower)
}

/// Languages that put the kind of street first.
fn is_foreign_street(word: &Word<'_>) -> bool {
    matches!(
        word.lower.as_str(),
        "rue"
            | "via"
            | "calle"
            | "avenida"
            | "rua"
            | "ulica"
            | "ul"
            | "corso"
            | "piazza"
            | "chemin"
            | "carrer"
            | "paseo"
            | "viale"
            | "largo"
            | "av"
            | "c"
    )
}

fn has_street_ending(lower: &str) -> bool {
    STREET_ENDINGS
        .iter()
        .any(|ending| lower.len() > ending.len() + 2 && lower.ends_with(ending))
        && !WORDS.has(lower)
}

fn is_state(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}
