//! Names of organisations: a legal form or another word that such names end with, a partnership of names, or the
//! words around one ("works for", "is a bank based in", the middle line of an address).
//!
//! Nothing here knows a company by its name: what stands alone in a sentence without such a word is not found.
//! docs/pebblo.md states how often that is.

use super::lexicon::{GIVEN_NAMES, PROPER, SURNAMES, WORDS};
use super::names::{UNITS, Word, has};
use super::{Entity, EntityKind, Score};

/// How much blank there is around a line of an address: looking further would take a long text's square.
const LONGEST_MARGIN: usize = 200;

/// How companies end.
const COMPANY_ENDINGS: &[&str] = &[
    "inc",
    "inc.",
    "ltd",
    "ltd.",
    "llc",
    "llp",
    "plc",
    "corp",
    "corp.",
    "corporation",
    "incorporated",
    "limited",
    "company",
    "co",
    "co.",
    "gmbh",
    "ag",
    "sa",
    "s.a.",
    "nv",
    "n.v.",
    "bv",
    "b.v.",
    "oy",
    "oyj",
    "ab",
    "asa",
    "as",
    "kg",
    "se",
    "spa",
    "s.p.a.",
    "srl",
    "group",
    "holdings",
    "holding",
    "bank",
    "university",
    "institute",
    "foundation",
    "association",
    "partners",
    "industries",
    "technologies",
    "systems",
    "solutions",
    "ventures",
    "capital",
    "enterprises",
    "hospital",
    "college",
    "laboratories",
    "labs",
    "insurance",
    "airlines",
    "motors",
    "pharmaceuticals",
    "energy",
    "media",
    "services",
    // Beside the legal forms, words that mostly end a name of a firm, a body or an institution.
    "academy",
    "agency",
    "analytics",
    "associates",
    "authority",
    "biotech",
    "brewery",
    "church",
    "clinic",
    "club",
    "commission",
    "committee",
    "communications",
    "consulting",
    "consultants",
    "council",
    "federation",
    "financial",
    "foods",
    "global",
    "hotels",
    "international",
    "league",
    "logistics",
    "markets",
    "ministry",
    "museum",
    "network",
    "networks",
    "orchestra",
    "pharma",
    "railways",
    "realty",
    "research",
    "resources",
    "restaurants",
    "robotics",
    "school",
    "society",
    "software",
    "stores",
    "studios",
    "trust",
];

/// Words right before a company's name, where work is spoken of near by.
const BEFORE_COMPANIES: &[&str] = &[
    "at",
    "for",
    "joined",
    "left",
    "of",
    "company",
    "employer",
    "corporation",
    "firm",
    "organization",
    "organisation",
    "by",
];

/// Pairs right before a company's name that say enough by themselves.
const PAIRS_BEFORE: &[(&str, &str)] = &[
    ("work", "for"),
    ("works", "for"),
    ("worked", "for"),
    ("working", "for"),
    ("acquired", "by"),
    ("bought", "by"),
    ("subsidiary", "of"),
    ("shares", "of"),
    ("shareholders", "of"),
    ("headquarters", "of"),
    ("customers", "of"),
    ("merged", "with"),
];

/// Words right behind a company's name.
const AFTER_COMPANIES: &[&str] = &[
    "ceo",
    "cfo",
    "cto",
    "employee",
    "employees",
    "headquarters",
    "management",
    "office",
    "offices",
    "resignation",
    "shareholders",
    "shares",
    "spokesman",
    "spokesperson",
    "spokeswoman",
    "stock",
    "subsidiary",
];

/// What a company is said to be: `X is a design agency`.
const KINDS: &[&str] = &[
    "501",
    "agency",
    "bank",
    "brand",
    "broker",
    "business",
    "charity",
    "company",
    "corporation",
    "distributor",
    "firm",
    "insurer",
    "maker",
    "manufacturer",
    "nonprofit",
    "non-profit",
    "organisation",
    "organization",
    "producer",
    "provider",
    "publisher",
    "retailer",
    "startup",
    "start-up",
    "subsidiary",
    "supplier",
    "vendor",
];

/// Words of work that make `at X` a company rather than a place.
const WORK: &[&str] = &[
    "work",
    "works",
    "worked",
    "working",
    "job",
    "employed",
    "employee",
    "ceo",
    "cto",
    "cfo",
    "engineer",
    "manager",
    "director",
    "consultant",
    "intern",
    "position",
    "hired",
    "company",
];

/// The company that a run of capitalised words is, with the words before and behind it.
pub(super) fn company(run: &[Word<'_>], before: &[Word<'_>], after: &[Word<'_>]) -> Option<Entity> {
    let (first, last) = (run.first()?, run.last()?);
    let ending = run
        .iter()
        .rposition(|word| COMPANY_ENDINGS.contains(&word.lower.as_str()))
        .filter(|place| *place > 0);
    if let Some(place) = ending {
        let end = run.get(place)?.span.end;
        // "The Group" and "Our Company" name nobody.
        let named = run.get(..place)?.iter().any(|word| !is_determiner(word));
        return named.then(|| entity(75, first.span.start..end));
    }
    // What begins a sentence may be any word; a name is not in the list of words, or does not stand alone.
    let opener = first.first && WORDS.has(&first.lower);
    let run = match run {
        [article, rest @ ..] if is_determiner(article) && !rest.is_empty() => rest,
        whole => whole,
    };
    let span = run.first()?.span.start..last.span.end;
    let given = run
        .first()
        .is_some_and(|first| has(&GIVEN_NAMES, first) && !WORDS.has(&first.lower));
    let person = given && (run.len() > 1 || before.is_empty());
    let place = run.iter().all(|word| PROPER.has(&word.lower));
    if person || place || (opener && run.len() == 1) {
        return None;
    }
    let introduced = first.joined && (works(before) || pair(before));
    let described = !given && (is_said_to_be(after) || is_followed(after));
    (introduced || described).then(|| entity(60, span))
}

/// `Barnes & Noble`, `Owens, Duran and Oneal`: where the words behind a partnership that begins at `at` begin.
pub(super) fn partnership(text: &str, words: &[Word<'_>], at: usize) -> Option<(usize, Entity)> {
    let name = |place: usize| {
        words
            .get(place)
            .filter(|word| word.capital && !word.number && !is_determiner(word))
    };
    let between =
        |place: usize| text.get(words.get(place)?.span.end..words.get(place + 1)?.span.start);
    let first = name(at)?;
    if between(at)? == " & " {
        let last = name(at + 1)?;
        // "Tom & Jerry", "Kids & Family".
        let people = has(&GIVEN_NAMES, first) && has(&GIVEN_NAMES, last);
        let common = |word: &Word<'_>| WORDS.has(&word.lower) && !has(&SURNAMES, word);
        let words = common(first) || (WORDS.has(&first.lower) && WORDS.has(&last.lower));
        return (!people && !words).then(|| (at + 2, entity(70, first.span.start..last.span.end)));
    }
    // Three names: also how people are listed, so the place has to be a company's.
    let (second, behind) = (name(at + 1)?, at + 4);
    let last = match between(at + 1)? {
        " & " => (name(at + 2)?, at + 3),
        " " if words.get(at + 2)?.lower == "and" && words.get(at + 2)?.joined => {
            (name(at + 3)?, behind)
        }
        _ => return None,
    };
    let known = [first, second, last.0]
        .iter()
        .filter(|word| has(&SURNAMES, word) || !WORDS.has(&word.lower))
        .count();
    if between(at)? != ", " || known < 3 {
        return None;
    }
    let span = first.span.start..last.0.span.end;
    let before = words.get(..at).unwrap_or_default();
    let after = words.get(last.1..).unwrap_or_default();
    let introduced = first.joined
        && before
            .last()
            .is_some_and(|word| matches!(word.lower.as_str(), "at" | "from" | "for" | "by" | "of"));
    let placed = introduced
        || is_alone(text, &span)
        || is_said_to_be(after)
        || is_followed(after)
        || last.1 == at + 3;
    placed.then(|| (last.1, entity(60, span)))
}

/// The line between a person's name and an address, as on an envelope or below a letter.
pub(super) fn in_address_block(
    text: &str,
    run: &[Word<'_>],
    last_found: Option<&Entity>,
) -> Option<Entity> {
    let span = run.first()?.span.start..run.last()?.span.end;
    let person = last_found.filter(|entity| entity.kind == EntityKind::PersonName)?;
    let breaks = text
        .get(person.span.end..span.start)
        .filter(|breaks| breaks.len() <= LONGEST_MARGIN)?;
    let given = run.first().is_some_and(|first| has(&GIVEN_NAMES, first)) && run.len() > 1;
    if given
        || breaks.matches('\n').count() != 1
        || breaks.chars().any(char::is_alphanumeric)
        || !is_alone(text, &person.span)
        || !is_alone(text, &span)
    {
        return None;
    }
    let next = text.get(span.end..)?.split('\n').nth(1)?;
    let next = next.trim_start_matches(|character: char| !character.is_alphanumeric());
    let word: String = next
        .chars()
        .take_while(|character| character.is_alphanumeric())
        .collect::<String>()
        .to_lowercase();
    let address = next.starts_with(|character: char| character.is_ascii_digit())
        || UNITS.contains(&word.as_str())
        || matches!(word.as_str(), "po" | "p" | "psc" | "box");
    (address && next.bytes().any(|byte| byte.is_ascii_digit())).then(|| entity(55, span))
}

fn entity(percent: u8, span: std::ops::Range<usize>) -> Entity {
    Entity {
        kind: EntityKind::Organization,
        span,
        score: Score::percent(percent),
    }
}

fn is_determiner(word: &Word<'_>) -> bool {
    matches!(
        word.lower.as_str(),
        "the" | "our" | "a" | "an" | "this" | "your" | "my" | "their" | "his" | "her"
    )
}

/// Whether the words before speak of work, and the last of them leads to a name.
fn works(before: &[Word<'_>]) -> bool {
    let leads = before
        .last()
        .is_some_and(|word| BEFORE_COMPANIES.contains(&word.lower.as_str()));
    // "of" and "for" lead to anything: the work has to stand right before.
    let near = match before.last().map(|word| word.lower.as_str()) {
        Some("of" | "for" | "left") => 2,
        _ => 6,
    };
    leads
        && before
            .iter()
            .rev()
            .take(near)
            .any(|word| WORK.contains(&word.lower.as_str()))
}

fn pair(before: &[Word<'_>]) -> bool {
    match before {
        [.., one, other] => PAIRS_BEFORE.contains(&(one.lower.as_str(), other.lower.as_str())),
        _ => false,
    }
}

/// `is a design agency`, `was an investment bank`: within the next words of the sentence.
fn is_said_to_be(after: &[Word<'_>]) -> bool {
    let mut words = after
        .iter()
        .take_while(|word| word.joined)
        .map(|word| word.lower.as_str());
    let is = words.next();
    let article = words.next();
    matches!(is, Some("is" | "was" | "became" | "remains"))
        && matches!(article, Some("a" | "an" | "the"))
        && words.take(6).any(|word| KINDS.contains(&word))
}

fn is_followed(after: &[Word<'_>]) -> bool {
    after
        .first()
        .is_some_and(|word| word.joined && AFTER_COMPANIES.contains(&word.lower.as_str()))
}

/// Whether a span has its lines to itself, as in an address; a text of one line is none.
fn is_alone(text: &str, span: &std::ops::Range<usize>) -> bool {
    // Whether the line ends, with nothing before that: at a break, or where the text does.
    let ends = |characters: &mut dyn Iterator<Item = char>| -> Option<bool> {
        for character in characters.take(LONGEST_MARGIN) {
            match character {
                '\n' => return Some(true),
                other if other.is_alphanumeric() => return None,
                _ => {}
            }
        }
        Some(false)
    };
    let before = text.get(..span.start).unwrap_or_default();
    let after = text.get(span.end..).unwrap_or_default();
    match (ends(&mut before.chars().rev()), ends(&mut after.chars())) {
        (Some(above), Some(below)) => above || below,
        _ => false,
    }
}
