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
