//! Approvals against whoever can write the store (facts A3, A6, A9; invariant 7), and screens against
//! whoever writes the text.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tagout_core::{
    Action, CanonicalPath, CanonicalQuery, Effect, Flags, HostName, HttpBody, HttpRequest, Method,
    SessionId, Target, Transport,
};
use tagout_store::{HoldState, StoredApproval};

use super::*;
use crate::approver::tests::enroll_cheaply;

const NOW: Timestamp = Timestamp::from_millis(1_776_988_800_000);

fn hold() -> HoldRecord {
    let request = HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse("api.example.com").unwrap(),
            port: 443,
        },
        method: Method::parse("DELETE").unwrap(),
        path: CanonicalPath::parse("/v1/things/1").unwrap(),
        query: CanonicalQuery::parse("").unwrap(),
        headers: vec![],
        body: HttpBody::Empty,
    };
    HoldRecord {
        id: HoldId::random().unwrap(),
        session: SessionId::random().unwrap(),
        digest: Digest::of(b"action"),
        action: Action::new(request, vec![], vec![], vec![], false).widen(),
        environment: "staging".to_owned(),
        effect: Effect::Destructive,
        flags: Flags::NONE,
        resources: vec![],
        summary: "delete thing 1".to_owned(),
        preview: vec![],
        shown: "thing 1 will be gone".to_owned(),
        approvers: 1,
        created: NOW,
        decide_by: NOW.plus(Duration::from_secs(60)),
        use_by: NOW.plus(Duration::from_secs(120)),
        state: HoldState::Approved,
        answered: None,
        answered_by: None,
        reason: None,
    }
}

/// Ada and Bob, who are enrolled, and Eve, who enrolled elsewhere.
struct People {
    enrolled: EnrolledKeys,
    ada: Signer,
    bob: Signer,
    eve: Signer,
}

impl People {
    fn new() -> Self {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let ada = enroll_cheaply(home.path(), "ada");
        let bob = enroll_cheaply(home.path(), "bob");
        Self {
            enrolled: EnrolledKeys::load(home.path()).unwrap(),
            ada,
            bob,
            eve: enroll_cheaply(elsewhere.path(), "eve"),
        }
    }
}

fn stored(approval: &Approval) -> StoredApproval {
    StoredApproval {
        approver: approval.store_key(),
        record: serde_json::to_value(approval).unwrap(),
        given: NOW,
    }
}

#[test]
fn a9_a_signed_approval_counts_under_the_enrolled_name() {
    let people = People::new();
    let hold = hold();
    let approval = Approval::sign(Statement::about(&hold), &people.ada);
    let approver = approval.verify(&hold, &people.enrolled, NOW).unwrap();
    assert_eq!(approver.to_string(), "ada");
    // Also after it was kept in the store.
    let record = serde_json::to_string(&approval).unwrap();
    assert_eq!(serde_json::from_str::<Approval>(&record).unwrap(), approval);
}

#[test]
fn while_nobody_is_enrolled_the_same_user_counts_and_is_called_that() {
    let hold = hold();
    let nobody = EnrolledKeys::default();
    let unsigned = Approval::unauthenticated(Statement::about(&hold));
    let approver = unsigned.verify(&hold, &nobody, NOW).unwrap();
    assert_eq!(approver.to_string(), "unauthenticated, same user");
    // A name that nobody vouches for is not taken over.
    let signed = Approval::sign(Statement::about(&hold), &People::new().eve);
    assert_eq!(
        signed.verify(&hold, &nobody, NOW),
        Ok(Approver::Unauthenticated)
    );
}

#[test]
fn invariant_7_once_somebody_is_enrolled_nobody_else_counts() {
    let people = People::new();
    let hold = hold();
    let unsigned = Approval::unauthenticated(Statement::about(&hold));
    assert_eq!(
        unsigned.verify(&hold, &people.enrolled, NOW),
        Err(ApprovalError::Unsigned)
    );
    let foreign = Approval::sign(Statement::about(&hold), &people.eve);
    assert_eq!(
        foreign.verify(&hold, &people.enrolled, NOW),
        Err(ApprovalError::UnknownKey)
    );
}

/// Every field of a stored approval, changed by somebody who can write the store.
#[test]
fn invariant_7_an_approval_with_any_field_changed_counts_no_more() {
    let people = People::new();
    let hold = hold();
    let approval = Approval::sign(Statement::about(&hold), &people.ada);
    let other = Approval::sign(Statement::about(&hold), &people.bob);
    let original = serde_json::to_value(&approval).unwrap();
    let bob = serde_json::to_value(&other).unwrap();
    let later = hold.use_by.as_millis() + 1;
    let changes: [(&str, Value); 12] = [
        ("/hold", json!(HoldId::random().unwrap())),
        ("/digest", json!(Digest::of(b"another"))),
        ("/shown", json!(Digest::of(b"another"))),
        ("/expires", json!(hold.use_by.as_millis() - 1)),
        ("/expires", json!(later)),
        ("/approver", Value::Null),
        ("/approver/name", json!("bob")),
        ("/approver/key", bob["approver"]["key"].clone()),
        ("/approver/key", json!(people.eve.key())),
        ("/approver/signature", bob["approver"]["signature"].clone()),
        ("/approver/signature", json!("")),
        ("/approver", json!({"name": "ada"})),
    ];
    for (field, value) in changes {
        let mut changed = original.clone();
        *changed.pointer_mut(field).unwrap() = value;
        let counts = Approval::deserialize(&changed)
            .map_err(|_| ApprovalError::Unreadable)
            .and_then(|approval| approval.verify(&hold, &people.enrolled, NOW));
        assert!(counts.is_err(), "{field}");
    }
    let mut more = original.clone();
    more["policy"] = json!("any");
    assert!(Approval::deserialize(&more).is_err());
    assert!(Approval::deserialize(&original).is_ok());
}

#[test]
fn invariant_7_an_approval_covers_one_hold_one_action_and_one_text() {
    let people = People::new();
    let approved = hold();
    let approval = Approval::sign(Statement::about(&approved), &people.ada);
    type Change = fn(&mut HoldRecord);
    let others: [(Change, &str); 3] = [
        (|hold| hold.id = HoldId::random().unwrap(), "hold id"),
        (|hold| hold.digest = Digest::of(b"another"), "digest"),
        (|hold| hold.shown.push('.'), "text"),
    ];
    for (change, what) in others {
        let mut other = approved.clone();
        change(&mut other);
        assert_eq!(
            approval.verify(&other, &people.enrolled, NOW),
            Err(ApprovalError::SomethingElse(what))
        );
    }
}

#[test]
fn a3_an_approval_ends_with_its_time() {
    let people = People::new();
    let hold = hold();
    let approval = Approval::sign(Statement::about(&hold), &people.ada);
    let last = Timestamp::from_millis(hold.use_by.as_millis() - 1);
    assert!(approval.verify(&hold, &people.enrolled, last).is_ok());
    assert_eq!(
        approval.verify(&hold, &people.enrolled, hold.use_by),
        Err(ApprovalError::Expired)
    );
    // Nobody signs for longer than the hold allows.
    let longer = Statement {
        expires: hold.use_by.plus(Duration::from_millis(1)),
        ..Statement::about(&hold)
    };
    assert_eq!(
        Approval::sign(longer, &people.ada).verify(&hold, &people.enrolled, NOW),
        Err(ApprovalError::SomethingElse("expiry"))
    );
}

#[test]
fn a6_two_approvers_are_two_keys() {
    let people = People::new();
    let hold = HoldRecord {
        approvers: 2,
        ..hold()
    };
    let by = |signer: &Signer| stored(&Approval::sign(Statement::about(&hold), signer));
    let verify = |records: &[StoredApproval]| verify_all(&hold, records, &people.enrolled, NOW);
    let names: Vec<_> = verify(&[by(&people.ada), by(&people.bob)])
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["ada", "bob"]);
    let too_few = |found| ApprovalError::TooFew { needed: 2, found };
    assert_eq!(verify(&[]), Err(too_few(0)));
    assert_eq!(verify(&[by(&people.ada)]), Err(too_few(1)));
    // The same person twice, the second row under another name.
    let again = StoredApproval {
        approver: "bob".to_owned(),
        ..by(&people.ada)
    };
    assert_eq!(verify(&[by(&people.ada), again]), Err(too_few(1)));
    // One that does not count voids the others.
    assert_eq!(
        verify(&[by(&people.ada), by(&people.bob), by(&people.eve)]),
        Err(ApprovalError::UnknownKey)
    );
    let rubbish = StoredApproval {
        record: json!({"approver": "ada"}),
        ..by(&people.ada)
    };
    assert_eq!(
        verify(&[by(&people.ada), rubbish]),
        Err(ApprovalError::Unreadable)
    );
}

#[test]
fn a_hold_that_says_it_is_approved_without_a_record_is_not() {
    let hold = HoldRecord {
        approvers: 0,
        ..hold()
    };
    assert_eq!(
        verify_all(&hold, &[], &EnrolledKeys::default(), NOW),
        Err(ApprovalError::TooFew {
            needed: 1,
            found: 0
        })
    );
}

#[test]
fn what_an_agent_writes_cannot_play_with_the_screen() {
    for (text, shown) in [
        (
            "plain ASCII, Grüße, 日本語, 🙂",
            "plain ASCII, Grüße, 日本語, 🙂",
        ),
        ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
        ("\u{9b}31m", "\\u{9b}31m"),
        ("a\nb\r\tc\u{7f}", "a\\u{a}b\\u{d}\\u{9}c\\u{7f}"),
        ("\u{202e}evil\u{2066}", "\\u{202e}evil\\u{2066}"),
        ("a\u{200b}b\u{feff}c\u{ad}", "a\\u{200b}b\\u{feff}c\\u{ad}"),
        ("hi\u{e0041}\u{e007f}", "hi\\u{e0041}\\u{e007f}"),
        ("\u{3164}\u{2800}\u{a0}", "\\u{3164}\\u{2800}\\u{a0}"),
        ("\u{fe0f}\u{e0100}\u{f8ff}", "\\u{fe0f}\\u{e0100}\\u{f8ff}"),
        // What spells out an escape is told from one.
        ("\\u{1b}", "\\u{5c}u{1b}"),
        ("C:\\users", "C:\\users"),
        ("é e\u{301}\u{301}\u{301}", "é e\u{301}\u{301}\\u{301}"),
    ] {
        assert_eq!(escape_untrusted(text), shown, "{text:?}");
        assert_eq!(escape_kept(shown), shown, "{text:?}");
    }
}

#[test]
fn ten_thousand_lines_do_not_scroll_the_facts_away() {
    let shown = escape_untrusted(&"line\n".repeat(10_000));
    assert!(!shown.contains('\n'));
    assert!(shown.len() < 10 * LONGEST_SHOWN);
    assert!(
        shown.ends_with("… 46000 more characters"),
        "{}",
        shown.len()
    );
}

#[test]
fn the_tables_are_sorted_and_do_not_overlap() {
    for table in [MARKS, UNSEEN] {
        assert!(table.iter().all(|(first, last)| first <= last));
        assert!(table.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_visible_and_bounded(text in any::<String>()) {
        let shown = escape_untrusted(&text);
        prop_assert!(shown.chars().all(|c| !c.is_control() && !is_in(c, UNSEEN)));
        prop_assert!(shown.chars().count() <= LONGEST_SHOWN * 10 + 40);
        let kept = escape_kept(&text);
        prop_assert!(kept.chars().all(|c| !c.is_control() && !is_in(c, UNSEEN)));
        prop_assert_eq!(escape_kept(&kept), kept);
    }

    /// Two different texts never look the same.
    #[test]
    fn escaping_loses_nothing(
        one in "[a\\\\u{}0-9\u{1b}\u{200b}]{0,12}",
        other in "[a\\\\u{}0-9\u{1b}\u{200b}]{0,12}",
    ) {
        prop_assert_eq!(escape_untrusted(&one) == escape_untrusted(&other), one == other);
    }
}
