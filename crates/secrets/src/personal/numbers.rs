//! Numbers and addresses that have a shape: a pattern says where one could stand, arithmetic and the
//! words beside it say whether it is one. Patterns run over folded text.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

use super::checksum::{
    card_brand, digits, iban, iban_length, is_country, itin, luhn, routing, ssn,
};
use super::{Entity, EntityKind, Score};

/// How many bytes before and behind a number its words are looked for.
const BEFORE: usize = 80;
const BEHIND: usize = 40;

/// A candidate and the text around it.
struct Candidate<'a> {
    text: &'a str,
    span: Range<usize>,
}

/// How sure a match is, in percent; `None` where it is none after all.
type Judge = fn(&Candidate<'_>) -> Option<u8>;

/// What is looked for: the kind, where it could stand, and what it takes to believe it.
#[rustfmt::skip]
const RECOGNISERS: &[(EntityKind, &str, Judge)] = &[
    (EntityKind::EmailAddress, r"[A-Za-z0-9!#$%&*+/=?^_{|}~.-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}", email),
    (EntityKind::CreditCard, r"\d(?:[ .-]?\d){11,18}", card),
    (EntityKind::UsSsn, r"\d{3}[ .-]\d{2}[ .-]\d{4}|\d{9}", social),
    (EntityKind::UsItin, r"9\d{2}[ -]?\d{2}[ -]?\d{4}", taxpayer),
    (EntityKind::Iban, r"[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}", account_number_with_country),
    (EntityKind::BankRoutingNumber, r"\d{4}[ -]?\d{4}[ -]?\d", routing_number),
    (EntityKind::SwiftCode, r"[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?", swift),
    (EntityKind::UsBankAccount, r"\d(?:[ -]?\d){7,16}", bank_account),
    (EntityKind::BbanCode, r"[A-Z]{0,4}\d(?:[ -]?[A-Z0-9]){9,29}", bban),
    (EntityKind::UsPassport, r"[A-Za-z]?\d{8,9}", passport),
    (EntityKind::UsDriversLicense, r"[A-Za-z]{0,3}\d(?:[ -]?[0-9A-Za-z]){5,14}", licence),
    (EntityKind::DateOfBirth, r"\d{1,4}[/. -]\d{1,2}[/. -]\d{1,4}|(?:\d{1,2}(?:st|nd|rd|th)? (?:of )?)?(?i:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?(?: \d{1,2}(?:st|nd|rd|th)?)?,? ?\d{2,4}", birth),
    (EntityKind::IpAddress, r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\d{0,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})?", address),
    (EntityKind::PhoneNumber, r"(?:\+ ?)?\(?\d(?:[ ()./-]{0,2}\d){5,16}(?: ?(?i:x|ext\.?|extension) ?\d{1,6})?", phone),
];

/// Hands every entity of `text` to `report`.
pub(super) fn find(text: &str, report: &mut impl FnMut(Entity)) {
    static COMPILED: LazyLock<Vec<(EntityKind, Regex, Judge)>> = LazyLock::new(|| {
        let compiled =
            |&(kind, pattern, judge): &(_, &str, Judge)| Some((kind, compile(pattern)?, judge));
        RECOGNISERS.iter().filter_map(compiled).collect()
    });
    for (kind, regex, judge) in COMPILED.iter() {
        let mut from = 0;
        while let Some(found) = regex.find_at(text.as_bytes(), from) {
            // Patterns are over ASCII, so a match lies on character boundaries.
            let mut candidate = Candidate {
                text,
                span: found.range(),
            };
            if *kind == EntityKind::Iban {
                candidate.cut_to_country();
            }
            from = candidate.span.end;
            if let Some(percent) = judge(&candidate) {
                report(Entity {
                    kind: *kind,
                    span: candidate.trimmed(),
                    score: Score::percent(percent),
                });
            } else {
                // A number may begin within what was taken for another one.
                from = next_word(text.as_bytes(), found.start(), found.end());
            }
        }
    }
}

/// Where the next word within a rejected match begins, else its end.
fn next_word(bytes: &[u8], start: usize, end: usize) -> usize {
    let rejected = bytes.get(start..end).unwrap_or_default();
    let gap = rejected.iter().skip(1).position(|&byte| byte == b' ');
    gap.map_or(end, |gap| start + gap + 2)
}

fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .size_limit(4 << 20)
        .build()
        .ok()
}

impl Candidate<'_> {
    fn found(&self) -> &str {
        self.text.get(self.span.clone()).unwrap_or_default()
    }

    /// Of an IBAN that prose follows without a stop: as many characters as its country's have.
    fn cut_to_country(&mut self) {
        let country = self
            .found()
            .get(..2)
            .unwrap_or_default()
            .to_ascii_uppercase();
        let Some(length) = iban_length(&country) else {
            return;
        };
        let mut counted = self
            .found()
            .char_indices()
            .filter(|(_, c)| c.is_ascii_alphanumeric());
        if let Some((last, _)) = counted.nth(length - 1) {
            self.span.end = self.span.start + last + 1;
        }
    }

    /// Without brackets and blanks at its ends.
    fn trimmed(&self) -> Range<usize> {
        let found = self.found();
        let start = found.len() - found.trim_start_matches([' ', '(']).len();
        // A bracket that opens the number belongs to it when it closes inside.
        let start = match found.get(..start).and_then(|lead| lead.rfind('(')) {
            Some(bracket) if found.contains(')') => bracket,
            _ => start,
        };
        self.span.start + start..self.span.end
    }

    fn byte_before(&self) -> Option<u8> {
        self.text
            .as_bytes()
            .get(self.span.start.checked_sub(1)?)
            .copied()
    }

    fn byte_behind(&self) -> Option<u8> {
        self.text.as_bytes().get(self.span.end).copied()
    }

    /// Whether neither a letter nor a digit touches it, nor a decimal point with digits behind.
    fn alone(&self) -> bool {
        let word = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let digit_at = |at: Option<usize>| {
            at.and_then(|at| self.text.as_bytes().get(at))
                .is_some_and(u8::is_ascii_digit)
        };
        let fraction = self.byte_before() == Some(b'.') && digit_at(self.span.start.checked_sub(2));
        let more = matches!(self.byte_behind(), Some(b'.')) && digit_at(Some(self.span.end + 1));
        !word(self.byte_before()) && !word(self.byte_behind()) && !fraction && !more
    }

    /// Whether one of `words` stands before it, or shortly behind; each is lower case and whole.
    fn beside(&self, words: &[&str]) -> bool {
        let before = self.clip(self.span.start.saturating_sub(BEFORE), self.span.start);
        let behind = self.clip(self.span.end, self.span.end + BEHIND);
        [before, behind]
            .into_iter()
            .any(|around| has_word(&around, words))
    }

    /// Whether one of `words` stands before it.
    fn behind_word(&self, words: &[&str]) -> bool {
        has_word(
            &self.clip(self.span.start.saturating_sub(BEFORE), self.span.start),
            words,
        )
    }

    fn clip(&self, from: usize, to: usize) -> String {
        let (mut from, mut to) = (from, to.min(self.text.len()));
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        while !self.text.is_char_boundary(to) {
            to -= 1;
        }
        self.text
            .get(from..to)
            .unwrap_or_default()
            .to_ascii_lowercase()
    }
}

fn has_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
            let bytes = text.as_bytes();
            !letter(at.checked_sub(1).and_then(|before| bytes.get(before)))
                && !letter(bytes.get(at + word.len()))
        })
    })
}

fn email(candidate: &Candidate<'_>) -> Option<u8> {
    let found = candidate.found();
    let (local, _) = found.split_once('@')?;
    let fine = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    // `user:password@host` of an address of the web is a credential, not somebody's mail.
    let url = local.contains("//") || candidate.byte_before() == Some(b':');
    (fine && !url).then_some(95)
}

fn card(candidate: &Candidate<'_>) -> Option<u8> {
    let numbers = digits(candidate.found());
    let same = numbers.iter().all(|digit| Some(digit) == numbers.first());
    let separators = candidate
        .found()
        .bytes()
        .filter(|byte| !byte.is_ascii_digit())
        .count();
    if !candidate.alone() || same || separators > 5 || !card_brand(&numbers) || !luhn(&numbers) {
        return None;
    }
    const WORDS: &[&str] = &[
        "card",
        "credit",
        "debit",
        "visa",
        "mastercard",
        "amex",
        "discover",
        "diners",
        "jcb",
        "maestro",
        "cc",
        "pan",
        "cvv",
        "expiration",
        "expires",
    ];
    match (candidate.beside(WORDS), numbers.len()) {
        (true, _) => Some(100),
        // One number in ten passes the formula by chance: short ones need a word.
        (false, 12) => Some(45),
        (false, _) => Some(85),
    }
}

const SSN_WORDS: &[&str] = &[
    "ssn",
    "ssns",
    "ss#",
    "ssn#",
    "social security",
    "social",
    "ssid",
    "soc sec",
    "socialsecurity",
    "social_security",
    "taxpayer",
];

fn social(candidate: &Candidate<'_>) -> Option<u8> {
    let found = candidate.found();
    let separators: Vec<u8> = found
        .bytes()
        .filter(|byte| !byte.is_ascii_digit())
        .collect();
    if !candidate.alone() || !ssn(&digits(found)) {
        return None;
    }
    let word = candidate.beside(SSN_WORDS);
    match separators.as_slice() {
        [] => word.then_some(80),
        [one, other] if one != other => None,
        [b'-', _] => Some(if word { 95 } else { 85 }),
        _ => Some(if word { 90 } else { 50 }),
    }
}

fn taxpayer(candidate: &Candidate<'_>) -> Option<u8> {
    let found = candidate.found();
    if !candidate.alone() || !itin(&digits(found)) {
        return None;
    }
    let word = candidate.beside(&["itin", "taxpayer", "tax id", "individual", "tin", "tax"]);
    match (word, found.len()) {
        (true, _) => Some(90),
        (false, 11) => Some(60),
        (false, _) => None,
    }
}

fn account_number_with_country(candidate: &Candidate<'_>) -> Option<u8> {
    // The pattern is greedy: the country says how many of the characters belong to it.
    let compact: String = candidate
        .found()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_uppercase();
    let length = iban_length(compact.get(..2)?)?;
    let word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    (compact.len() == length
        && iban(&compact)
        && !word(candidate.byte_before())
        && !word(candidate.byte_behind()))
    .then_some(100)
}

fn routing_number(candidate: &Candidate<'_>) -> Option<u8> {
    let words = &["routing", "aba", "rtn", "transit", "fedwire", "ach"];
    (candidate.alone() && candidate.beside(words) && routing(&digits(candidate.found())))
        .then_some(90)
}

fn swift(candidate: &Candidate<'_>) -> Option<u8> {
    let words = &["swift", "bic", "bank identifier", "swift code", "wire"];
    (candidate.alone() && is_country(candidate.found().get(4..6)?) && candidate.beside(words))
        .then_some(85)
}

fn bank_account(candidate: &Candidate<'_>) -> Option<u8> {
    let words = &[
        "account",
        "acct",
        "acc",
        "checking",
        "savings",
        "bank account",
        "debit",
        "a/c",
        "bank",
    ];
    let spaced = candidate
        .found()
        .bytes()
        .filter(|byte| !byte.is_ascii_digit())
        .count();
    (candidate.alone() && spaced <= 4 && candidate.behind_word(words)).then_some(55)
}

fn bban(candidate: &Candidate<'_>) -> Option<u8> {
    (candidate.alone() && candidate.behind_word(&["bban", "basic bank account number"]))
        .then_some(80)
}

fn passport(candidate: &Candidate<'_>) -> Option<u8> {
    let words = &["passport", "passports", "passport#", "travel document"];
    (candidate.alone() && candidate.beside(words)).then_some(70)
}

fn licence(candidate: &Candidate<'_>) -> Option<u8> {
    let found = candidate.found();
    let many = digits(found).len();
    let length = found.bytes().filter(u8::is_ascii_alphanumeric).count();
    let words = &[
        "driver license",
        "drivers license",
        "driver's license",
        "driver licence",
        "driving licence",
        "driver's licence",
        "driving license",
        "dl",
        "dl#",
        "dln",
        "driver",
        "drivers",
        "driving permit",
        "lic#",
        "licence number",
        "license number",
        "driver_license",
        "drivers_license",
    ];
    (candidate.alone() && many >= 5 && length <= 16 && candidate.behind_word(words)).then_some(65)
}

fn birth(candidate: &Candidate<'_>) -> Option<u8> {
    let words = &[
        "dob",
        "d.o.b",
        "birth",
        "born",
        "birthday",
        "birthdate",
        "date of birth",
        "birth date",
        "date_of_birth",
        "birth_date",
    ];
    let plausible = digits(candidate.found()).len() >= 4;
    (candidate.alone() && plausible && candidate.behind_word(words)).then_some(85)
}

fn address(candidate: &Candidate<'_>) -> Option<u8> {
    let found = candidate.found();
    let joined = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_.:".contains(&byte))
    };
    let parsed: IpAddr = found.parse().ok()?;
    // A colon behind an address of version 4 is a port.
    let behind = candidate
        .byte_behind()
        .filter(|byte| !(parsed.is_ipv4() && *byte == b':'));
    let sentence_end = behind == Some(b'.')
        && !candidate
            .text
            .as_bytes()
            .get(candidate.span.end + 1)
            .is_some_and(u8::is_ascii_alphanumeric);
    if joined(candidate.byte_before()) || (joined(behind) && !sentence_end) {
        return None;
    }
    match parsed {
        IpAddr::V4(address)
            if address.is_loopback() || address.is_unspecified() || address.is_broadcast() =>
        {
            None
        }
        IpAddr::V4(_) if candidate.behind_word(&["version", "v", "ver", "release"]) => None,
        IpAddr::V4(_) => Some(75),
        // `::`, `::1`, and times such as 12:30:45 that also parse when short.
        IpAddr::V6(address) => {
            let short = found.matches(':').count() < 3 && !found.contains("::");
            (address != Ipv6Addr::LOCALHOST
                && address != Ipv6Addr::UNSPECIFIED
                && !short
                && digits(found).len() > 1)
                .then_some(75)
        }
    }
}

fn phone(candidate: &Candidate<'_>) -> Option<u8> {
    let found = candidate.found().trim_matches([' ', '(']);
    let number = found
        .split_once(['x', 'e', 'X', 'E'])
        .map_or(found, |(number, _)| number);
    let many = digits(number).len();
    let word = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_$#".contains(&byte))
    };
    let decimal = matches!(candidate.byte_before(), Some(b'.' | b','));
    if word(candidate.byte_before())
        || word(candidate.byte_behind())
        || decimal
        || looks_like_date(number)
    {
        return None;
    }
    let words = candidate.beside(&[
        "phone",
        "telephone",
        "tel",
        "cell",
        "cellphone",
        "mobile",
        "fax",
        "call",
        "dial",
        "sms",
        "text",
        "contact",
        "number",
        "landline",
        "whatsapp",
        "reach",
        "phones",
    ]);
    let other = candidate.behind_word(&[
        "account", "acct", "card", "order", "invoice", "ssn", "passport", "license", "serial",
        "version", "isbn", "id", "iban", "routing",
    ]);
    let international =
        number.starts_with('+') || (number.starts_with("00") && !number.starts_with("000"));
    let american = is_american(number);
    match () {
        () if (other && !words) || three_two_four(number) => None,
        () if international && (8..=15).contains(&many) => Some(85),
        () if american => Some(if words { 90 } else { 75 }),
        () if words && (7..=15).contains(&many) => Some(65),
        () if (9..=12).contains(&many) && groups(number) >= 3 => Some(50),
        () => None,
    }
}

/// `(212) 555-0199`, `212-555-0199`, `1.212.555.0199`: ten digits in threes, area and exchange from 2
/// up (North American Numbering Plan).
fn is_american(number: &str) -> bool {
    let numbers = digits(number);
    let ten = match numbers.as_slice() {
        [1, ten @ ..] if ten.len() == 10 => ten,
        ten if ten.len() == 10 => ten,
        _ => return false,
    };
    let shape = number.bytes().any(|byte| !byte.is_ascii_digit());
    ten.first() > Some(&1) && ten.get(3) > Some(&1) && shape
}

/// The shape of a social security number that cannot be one.
fn three_two_four(number: &str) -> bool {
    let mut lengths = number
        .split(|character: char| !character.is_ascii_digit())
        .map(str::len);
    [3, 2, 4]
        .into_iter()
        .all(|length| lengths.next() == Some(length))
        && lengths.next().is_none()
}

fn groups(number: &str) -> usize {
    number
        .split(|character: char| !character.is_ascii_digit())
        .filter(|group| group.len() >= 2)
        .count()
}

/// `2024-01-31`, `31.12.1999`, `12/31/99`.
fn looks_like_date(number: &str) -> bool {
    // A time may follow.
    let number = number.split_once(' ').map_or(number, |(date, _)| date);
    let parts: Vec<&str> = number.split(['-', '/', '.']).collect();
    let numbers: Option<Vec<u32>> = parts.iter().map(|part| part.trim().parse().ok()).collect();
    match (numbers.as_deref(), parts.as_slice()) {
        (Some(&[year, month, day]), [first, ..]) if first.trim().len() == 4 => {
            (1000..3000).contains(&year) && month <= 12 && day <= 31
        }
        (Some(&[one, two, _]), [first, second, third])
            if first.trim().len() <= 2 && second.trim().len() <= 2 =>
        {
            one <= 31 && two <= 31 && matches!(third.trim().len(), 2 | 4)
        }
        _ => false,
    }
}
