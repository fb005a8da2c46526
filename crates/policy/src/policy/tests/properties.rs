//! What holds whatever the question and whatever the user's file.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static OURS: LazyLock<Policy> = LazyLock::new(base);

fn policy_text() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("permit"), Just("forbid")];
    let action = prop_oneof![
        Just("action"),
        Just("action in Action::\"change\""),
        Just("action == Action::\"destructive\""),
    ];
    let condition = prop_oneof![
        Just("when { true }"),
        Just("when { principal == Session::\"s-0123456789\" }"),
        Just("unless { context.granted }"),
        Just("when { context.port * 9223372036854775807 == 3 }"),
    ];
    let released = prop_oneof![Just(true), Just(false)];
    (kind, action, condition, released).prop_map(|(kind, action, condition, released)| {
        let released = released && action != "action" && kind == "forbid";
        let (ask, tail) = if released {
            ("@ask(\"one\")", APPROVED)
        } else {
            ("", ";")
        };
        format!("@id(\"theirs\") {ask} {kind} (principal, {action}, resource) {condition} {tail}")
    })
}

fn case() -> impl Strategy<Value = Case> {
    let effect = prop::sample::select(Effect::ALL.to_vec());
    let scope = prop::sample::select(vec![Scope::None, Scope::Account, Scope::Resources]);
    let flag = prop::option::of(prop::sample::select(Flag::ALL.to_vec()));
    (effect, scope, flag, any::<u16>()).prop_map(|(effect, scope, flag, bits)| {
        let bit = |index: u16| bits & (1 << index) != 0;
        let case = Case::new(effect, scope).with(|case| {
            case.granted = bit(0) || bit(1);
            case.operation_granted = bit(2) || bit(3);
            case.operation.known = bit(4) || bit(5);
            case.disposable = bit(6);
            case.protected = bit(7);
            case.in_task_environment = bit(8) || bit(9);
            case.in_credential_environments = bit(10) || bit(11);
            case.manifest_has_protected = bit(12);
            case.only_task_resources = bit(13);
            case.two_approvers_enrolled = bit(14);
            if bit(15) {
                case.environment = None;
            }
        });
        flag.into_iter().fold(case, Case::flagged)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_user_policy_only_ever_tightens(
        text in policy_text(),
        cases in proptest::collection::vec(case(), 24),
    ) {
        let theirs = user(&text);
        for (case, approved) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
            let before = OURS.decide(&case.question(), approved).strictness();
            let after = theirs.decide(&case.question(), approved).strictness();
            prop_assert!(after >= before, "{text}\n{case:?}");
        }
    }

    #[test]
    fn invariant_7_approved_is_allow_only_where_it_was_allow_or_ask(case in case()) {
        let policy = &*OURS;
        let without = policy.decide(&case.question(), false);
        let with = policy.decide(&case.question(), true);
        let asks = matches!(with, Decision::Ask { .. });
        prop_assert!(!asks);
        prop_assert_eq!(with.is_allow(), !matches!(without, Decision::Deny { .. }));
    }

    #[test]
    fn loading_never_panics(text in "(@id\\(\"a\"\\)|forbid|permit|[(){};\"/\\\\ \na-z=]|when|unless|context){0,60}") {
        let _ = read_only(&text);
    }
}

proptest! {
    /// A question that was asked before has the answer of one that was not, whatever was asked between.
    #[test]
    fn invariant_8_what_was_allowed_before_is_what_would_be_allowed(cases in prop::collection::vec(case(), 1..12)) {
        let policy = &*OURS;
        for case in cases.iter().chain(&cases) {
            let question = case.question();
            let evaluated = policy.decide_subject(Subject::Operation(&question), false);
            prop_assert_eq!(summary(&policy.decide(&question, false)), summary(&evaluated));
        }
    }
}

/// A policy that names operations or hosts first, behind `head`.
fn naming_policies(head: &'static str) -> impl Strategy<Value = (String, String)> {
    let action = prop_oneof![
        Just("action in Action::\"request\""),
        Just("action == Action::\"destructive\""),
    ];
    let named = prop_oneof![
        Just("context.operation == \"railway.volumeThing\""),
        Just("context.operation == \"railway.other\""),
        Just("[\"railway.other\", \"railway.volumeThing\"].contains(context.operation)"),
        Just("context.host == \"backboard.railway.com\""),
        Just("context.host == \"example.com\" || context.host == \"backboard.railway.com\""),
        Just("context.port * 9223372036854775807 == 3"),
    ];
    let rest = prop_oneof![
        Just(""),
        Just("unless { context.operation_granted }"),
        Just("when { context.port * 9223372036854775807 == 3 }"),
    ];
    let policy = (action, named, rest);
    prop::collection::vec(policy, 1..6).prop_map(move |policies| {
        let text = |head: &str| {
            let policies = policies.iter().enumerate();
            policies
                .map(|(number, (action, named, rest))| {
                    format!("@id(\"p{number}\") forbid (principal, {action}, resource) {head} when {{ {named} }} {rest};\n")
                })
                .collect::<String>()
        };
        (text(""), text(head))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The second of both begins with a condition that says nothing, so that every question meets it.
    #[test]
    fn invariant_8_sorted_policies_decide_as_if_every_question_met_all_of_them(
        (sorted, unsorted) in naming_policies("when { true }"),
        cases in prop::collection::vec(case(), 8),
    ) {
        let (sorted, unsorted) = (user(&sorted), user(&unsorted));
        for case in &cases {
            let (one, other) = (case.decide(&sorted), case.decide(&unsorted));
            prop_assert_eq!(one, other);
        }
    }
}

#[test]
fn invariant_8_a_question_that_differs_in_anything_is_another_one() {
    let key = |case: &Case| Exactly::of(&case.question()).map(Exactly::into_bytes);
    let plain = || Case::new(Effect::Read, Scope::Resources);
    let first = key(&plain()).expect("a read is kept");
    assert_eq!(key(&plain()).as_ref(), Some(&first));
    type Change = fn(&mut Case);
    let changes: &[Change] = &[
        |case| case.session = "s-9876543210".parse().unwrap(),
        |case| case.target.host = HostName::parse("backboard.railway.app").unwrap(),
        |case| case.target.port = 444,
        |case| case.target.transport = Transport::Plain,
        |case| case.method = Method::parse("PUT").unwrap(),
        |case| case.path = CanonicalPath::parse("/graphql/v3").unwrap(),
        |case| case.operation.name = OperationName::parse("railway.other").unwrap(),
        |case| case.operation.known = !case.operation.known,
        |case| case.operation.effect = Effect::Write,
        |case| case.operation.flags = Flags::NONE.with(Flag::Exec),
        |case| case.operation.scope = Scope::Account,
        |case| case.operation.resources.clear(),
        |case| case.operation.unresolved = Some(String::new()),
        |case| case.granted = !case.granted,
        |case| case.operation_granted = !case.operation_granted,
        |case| case.has_pack = !case.has_pack,
        |case| case.credential = Some("another".to_owned()),
        |case| case.resources.clear(),
        |case| case.unresolved = Some(String::new()),
        |case| case.environment = Some(EnvironmentName::production()),
        |case| case.protected = !case.protected,
        |case| case.disposable = !case.disposable,
        |case| case.task_environment = EnvironmentName::production(),
        |case| case.in_task_environment = !case.in_task_environment,
        |case| case.in_credential_environments = !case.in_credential_environments,
        |case| case.manifest_has_protected = !case.manifest_has_protected,
        |case| case.only_task_resources = !case.only_task_resources,
        |case| case.fields_withheld = !case.fields_withheld,
        |case| case.two_approvers_enrolled = !case.two_approvers_enrolled,
    ];
    for (number, change) in changes.iter().enumerate() {
        let other = plain().with(*change);
        let other = key(&other).expect("still a read or a write");
        assert_ne!(other, first, "change {number}");
    }
    for effect in [Effect::Destructive, Effect::Irreversible] {
        assert!(key(&Case::new(effect, Scope::Resources)).is_none());
    }
}
