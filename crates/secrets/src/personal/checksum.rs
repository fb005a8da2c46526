//! The arithmetic that tells a number from digits.

/// The digits of a text, as numbers.
pub(super) fn digits(text: &str) -> Vec<u8> {
    text.bytes()
        .filter(u8::is_ascii_digit)
        .map(|byte| byte - b'0')
        .collect()
}

/// Luhn's formula, ISO/IEC 7812-1 annex B.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, u32::from(digit) * 2) {
            (0, _) => u32::from(digit),
            (_, double) if double > 9 => double - 9,
            (_, double) => double,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Whether a card brand gives out numbers that begin and are as long as this one.
pub(super) fn card_brand(digits: &[u8]) -> bool {
    let head = |many: usize| {
        digits
            .iter()
            .take(many)
            .fold(0_u32, |number, &digit| number * 10 + u32::from(digit))
    };
    match digits.len() {
        // Visa's old length, and Maestro's.
        12 | 13 => head(1) == 4 || matches!(head(2), 50 | 56..=58 | 60 | 63 | 67 | 69),
        14 => matches!(head(3), 300..=305) || matches!(head(2), 30 | 36 | 38 | 39),
        15 => matches!(head(2), 34 | 37) || matches!(head(4), 2014 | 2149 | 2131 | 1800),
        16..=19 => {
            head(1) == 4
                || matches!(head(2), 30 | 35 | 36 | 50..=69)
                || matches!(head(4), 2200..=2204 | 2221..=2720)
                || matches!(head(2), 81)
        }
        _ => false,
    }
}

/// Whether nine digits can be a social security number: the area, group and serial numbers that the
/// Social Security Administration never gave out, and the ones that stood in advertisements.
pub(super) fn ssn(digits: &[u8]) -> bool {
    let &[a, b, c, d, e, f, g, h, i] = digits else {
        return false;
    };
    let area = [a, b, c];
    let printed = [0, 7, 8, 0, 5, 1, 1, 2, 0] == *digits || [1, 2, 3, 4, 5, 6, 7, 8, 9] == *digits;
    area != [0, 0, 0]
        && area != [6, 6, 6]
        && a != 9
        && [d, e] != [0, 0]
        && [f, g, h, i] != [0, 0, 0, 0]
        && digits.iter().any(|&digit| digit != a)
        && !printed
}

/// Whether nine digits can be an individual taxpayer identification number (IRS publication 1915).
pub(super) fn itin(digits: &[u8]) -> bool {
    let &[a, _, _, d, e, ..] = digits else {
        return false;
    };
    digits.len() == 9 && a == 9 && matches!(d * 10 + e, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// The American Bankers Association's routing number checksum and the ranges of the Federal Reserve.
pub(super) fn routing(digits: &[u8]) -> bool {
    let &[a, b, c, d, e, f, g, h, i] = digits else {
        return false;
    };
    let sum = |numbers: [u8; 3]| numbers.into_iter().map(u32::from).sum::<u32>();
    let total = 3 * sum([a, d, g]) + 7 * sum([b, e, h]) + sum([c, f, i]);
    total > 0 && total.is_multiple_of(10) && matches!(a * 10 + b, 1..=12 | 21..=32 | 61..=72 | 80)
}

/// How long an IBAN of each country is: the registry of ISO 13616 (release 99).
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// The length of the IBAN that begins with this country, where it has any.
pub(super) fn iban_length(country: &str) -> Option<usize> {
    IBAN_LENGTHS
        .iter()
        .find(|(code, _)| *code == country)
        .map(|(_, length)| *length)
}

/// ISO 7064 MOD 97-10 over an IBAN without spaces, upper case.
pub(super) fn iban(compact: &str) -> bool {
    let (Some(head), Some(tail)) = (compact.get(..4), compact.get(4..)) else {
        return false;
    };
    let mut rest: u32 = 0;
    for byte in tail.bytes().chain(head.bytes()) {
        rest = match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
            _ => return false,
        };
    }
    rest == 1
}

/// Whether two letters are a country of ISO 3166-1, as SWIFT codes carry it in the middle.
pub(super) fn is_country(code: &str) -> bool {
    const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL \
        BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK \
        DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU \
        GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ \
        LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY \
        MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU \
        RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO \
        TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";
    code.len() == 2 && COUNTRIES.split(' ').any(|country| country == code)
}
