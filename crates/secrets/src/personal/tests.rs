//! Each recogniser by what it must find and must leave alone.

use proptest::prelude::*;

use super::*;

fn labels(text: &str) -> Vec<(&'static str, &str)> {
    entities(text, Recognisers { names: false })
        .into_iter()
        .map(|entity| (entity.kind.label(), &text[entity.span]))
        .collect()
}

fn names(text: &str) -> Vec<(&'static str, &str)> {
    entities(text, Recognisers::default())
        .into_iter()
        .map(|entity| (entity.kind.label(), &text[entity.span]))
        .collect()
}

#[test]
fn numbers_are_told_by_their_arithmetic_and_the_words_beside_them() {
    for (text, found) in [
        ("SSN: 219-09-9999", vec![("us-ssn", "219-09-9999")]),
        (
            "his social security number is 219099999 ok",
            vec![("us-ssn", "219099999")],
        ),
        ("order 219099999 shipped", vec![]),
        (
            "666-12-3456, 000-12-3456, 219-00-9999, 219-09-0000, 123-45-6789, 078-05-1120",
            vec![],
        ),
        ("tax id 911-70-1234", vec![("us-itin", "911-70-1234")]),
        (
            "pay with 4111 1111 1111 1111 now",
            vec![("credit-card-number", "4111 1111 1111 1111")],
        ),
        ("4111111111111112", vec![]),
        ("0.4111111111111111", vec![]),
        (
            "IBAN DE89 3704 0044 0532 0130 00.",
            vec![("iban-code", "DE89 3704 0044 0532 0130 00")],
        ),
        ("IBAN DE88 3704 0044 0532 0130 00", vec![]),
        (
            "routing number 021000021",
            vec![("bank-routing-number", "021000021")],
        ),
        (
            "SWIFT code DEUTDEFF500",
            vec![("swift-code", "DEUTDEFF500")],
        ),
        ("the word DEUTDEFF alone", vec![]),
        (
            "passport number 912803456",
            vec![("us-passport-number", "912803456")],
        ),
        (
            "driver's license: D1234567",
            vec![("us-drivers-license", "D1234567")],
        ),
        (
            "my checking account 945456787654",
            vec![("us-bank-account-number", "945456787654")],
        ),
        (
            "born on 1980-02-29 in Rome",
            vec![("date-of-birth", "1980-02-29")],
        ),
        ("released on 1980-02-29", vec![]),
        (
            "DOB: March 5, 1971",
            vec![("date-of-birth", "March 5, 1971")],
        ),
        (
            "write to ann.lee+x@mail.example.co.uk.",
            vec![("email-address", "ann.lee+x@mail.example.co.uk")],
        ),
        (
            "host 10.20.30.40:8080 is up",
            vec![("ip-address", "10.20.30.40")],
        ),
        (
            "version 1.20.30.40, 127.0.0.1, 0.0.0.0, 999.1.1.1, 1.2.3.4.5",
            vec![],
        ),
        (
            "at 2001:db8::8a2e:370:7334 today",
            vec![("ip-address", "2001:db8::8a2e:370:7334")],
        ),
        ("at 12:30:45 today", vec![]),
        (
            "call (212) 555-0199 today",
            vec![("phone-number", "(212) 555-0199")],
        ),
        (
            "ring +44 20 7946 0958",
            vec![("phone-number", "+44 20 7946 0958")],
        ),
        ("on 2024-01-31 and 31.12.1999", vec![]),
    ] {
        assert_eq!(labels(text), found, "{text}");
    }
}

#[test]
fn other_digits_dashes_and_invisible_characters_change_nothing() {
    for spelled in [
        "２１９-０９-９９９９",
        "219\u{2011}09\u{2011}9999",
        "2\u{200B}19-09-99\u{2060}99",
        "٢١٩-٠٩-٩٩٩٩",
        "219\u{A0}09\u{A0}9999",
    ] {
        let text = format!("Grüße, SSN {spelled}!");
        assert_eq!(labels(&text), [("us-ssn", spelled)], "{spelled}");
    }
}

#[test]
fn credentials_keep_their_labels() {
    let token = "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";
    assert_eq!(labels(&format!("token {token}")), [("github-token", token)]);
    // A checksum that does not fit makes it less sure, not something else.
    let wrong = "ghp_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18";
    assert_eq!(
        labels(&format!("github token {wrong}")),
        [("github-token", wrong)]
    );
    assert_eq!(
        EntityKind::with_label("github-finergrained-token"),
        Some(EntityKind::GithubFinegrainedToken)
    );
    for kind in EntityKind::ALL {
        assert_eq!(EntityKind::with_label(kind.label()), Some(*kind));
    }
    assert_eq!(EntityKind::ALL.len(), 33);
}

#[test]
fn names_are_told_by_lists_and_neighbours() {
    for (text, found) in [
        (
            "Yesterday Maria Gonzalez called.",
            vec![("person-name", "Maria Gonzalez")],
        ),
        (
            "Dr. Szöllösy will see you",
            vec![("person-name", "Szöllösy")],
        ),
        ("The meeting is on Monday in London.", vec![]),
        (
            "She works at Globex Corporation in Texas",
            vec![("organization", "Globex Corporation")],
        ),
        (
            "I live at 14 Main Street, Springfield",
            vec![("street-address", "14 Main Street, Springfield")],
        ),
        ("The Quick Brown Fox Jumps", vec![]),
    ] {
        assert_eq!(names(text), found, "{text}");
    }
}

#[test]
fn organisations_are_told_by_their_endings_and_by_what_is_said_of_them() {
    for (text, company) in [
        ("He moved to Barnes & Noble last year", "Barnes & Noble"),
        (
            "She is with Owens, Duran & Oneal now",
            "Owens, Duran & Oneal",
        ),
        (
            "Tom is a clerk at Owens, Duran and Oneal",
            "Owens, Duran and Oneal",
        ),
        ("Flightaware is a provider of flight data", "Flightaware"),
        ("I work for Socrata", "Socrata"),
        ("The company was acquired by Zynerba in May", "Zynerba"),
        ("the Verdafero headquarters moved", "Verdafero"),
        (
            "Ann Lee\nOpencounter\n12 Main Street\nSpringfield",
            "Opencounter",
        ),
        ("It went to the Walden Research people", "Walden Research"),
    ] {
        assert!(
            names(text).contains(&("organization", company)),
            "{text}: {:?}",
            names(text)
        );
    }
    for text in [
        "Tom & Jerry is a cartoon",
        "The guests were Eklund, Michael and Hodge",
        "He is a manager of the bank",
        "This is a company",
        "Monday is a day for the company",
        "I work for Ann Lee",
        "She lives in Springfield\n12 Main Street",
        "Ann Lee\nOpencounter",
        "The office is closed. It is a bank.",
        "Research & development",
    ] {
        assert!(
            names(text)
                .iter()
                .all(|(label, _)| *label != "organization"),
            "{text}: {:?}",
            names(text)
        );
    }
}

#[test]
fn anonymised_text_holds_none_of_it() {
    let text = "SSN 219-09-9999 of ann@example.com";
    let found = entities(text, Recognisers { names: false });
    let (shown, moved) = anonymized(text, &found);
    assert_eq!(shown, "SSN &lt;US_SSN&gt; of &lt;EMAIL_ADDRESS&gt;");
    assert_eq!(&shown[moved[0].span.clone()], "&lt;US_SSN&gt;");
}

#[test]
fn much_of_anything_is_read_in_linear_time() {
    let small = std::time::Duration::from_secs(60);
    for piece in [
        "1", "1 ", "a@", "1.", ":", "A ", "+1 (", "-", "\u{200B}", "DE89 ", "219-09-", "Ann ",
    ] {
        let text = piece.repeat(20_000 / piece.len());
        let before = processor_time();
        let _ = entities(&text, Recognisers::default());
        let took = processor_time() - before;
        // Quadratic would be minutes, on any machine.
        assert!(took < small, "{piece:?} took {took:?}");
    }
}

/// The processor time that this thread has used (proc_pid_stat(5): `utime` and `stime`, in hundredths of a second). Time on the wall says
/// what else the machine does.
fn processor_time() -> std::time::Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    std::time::Duration::from_millis(ticks * 10)
}

proptest! {
    #[test]
    fn spans_lie_in_the_text_in_order(text in "(\\PC|[0-9 .+@-]|[\u{FF10}-\u{FF19}\u{200B}\u{2011}]){0,80}") {
        let found = entities(&text, Recognisers::default());
        let mut end = 0;
        for entity in &found {
            prop_assert!(entity.span.start >= end);
            prop_assert!(text.get(entity.span.clone()).is_some_and(|piece| !piece.is_empty()));
            end = entity.span.end;
        }
        let (shown, moved) = anonymized(&text, &found);
        for entity in moved {
            prop_assert!(shown.get(entity.span).is_some());
        }
    }
}
