//! What a task's policy.cedar may do, what errors come to, what an approval cannot override, and what
//! is said to whom.

use super::*;

#[test]
fn a_user_policy_denies_and_asks() {
    let case = Case::new(Effect::Write, Scope::Resources);
    let deny = user(
        "@id(\"no-things\") @reason(\"Not {operation} on {resource} in {environment}.\")\n\
         forbid (principal, action in Action::\"change\", resource in Environment::\"staging\")\n\
         when { context.operation == \"railway.volumeThing\" };",
    );
    let decision = case.decide(&deny);
    assert_eq!(summary(&decision), "deny no-things");
    let Decision::Deny { reason, .. } = decision else {
        unreachable!()
    };
    assert_eq!(
        reason,
        "Not railway.volumeThing on railway:volume/v-1 in staging."
    );
    let ask = user(&format!(
        "@id(\"ask-me\") @ask(\"two\") forbid (principal, action in Action::\"change\", resource) {APPROVED}"
    ));
    assert_eq!(summary(&case.decide(&ask)), "ask 2 ask-me");
    assert!(ask.decide(&case.question(), true).is_allow());
    let read = Case::new(Effect::Read, Scope::Resources);
    assert!(read.decide(&ask).is_allow());
    assert!(read.decide(&deny).is_allow());
}

#[test]
fn a_teams_policy_does_what_it_says() {
    let policy = user(include_str!("../../../corpus/policies/good-team.cedar"));
    let summary_of = |case: Case| summary(&case.decide(&policy));
    let staging = Case::new(Effect::Write, Scope::Resources);
    assert_eq!(summary_of(staging.clone()), "allow");
    let production = EnvironmentName::production();
    let elsewhere = staging
        .clone()
        .with(|case| case.environment = Some(production));
    assert_eq!(summary_of(elsewhere), "deny production-is-closed");
    let domain = OperationName::parse("railway.customDomainCreate").unwrap();
    let domain = staging.with(|case| case.operation.name = domain);
    assert_eq!(summary_of(domain), "ask 2 domains-need-two");
    let upload = Case::new(Effect::Write, Scope::None).with(|case| case.environment = None);
    let decision = upload.decide(&policy);
    assert_eq!(summary(&decision), "ask 1 uploads-are-asked-about");
    let Decision::Ask { reason, .. } = decision else {
        unreachable!()
    };
    assert_eq!(
        reason,
        "The task's policy `uploads-are-asked-about` asks for an approval of railway.volumeThing."
    );
    let mut pastebin = upload.target.clone();
    pastebin.host = HostName::parse("pastebin.com").unwrap();
    let connection = Connection {
        session: &upload.session,
        target: &pastebin,
        faults: &[],
        granted: true,
        environment: None,
    };
    assert_eq!(
        summary(&policy.decide_connection(&connection)),
        "deny no-pastebin"
    );
}

#[test]
fn invariant_5_unresolved_is_in_production_and_a_plain_host_is_nowhere() {
    let policy = user(
        "@id(\"hands-off\") @ask(\"one\")\n\
         forbid (principal, action in Action::\"request\", resource in Environment::\"production\")\n\
         unless { context has approval && context.approval.valid };",
    );
    let case = Case::new(Effect::Destructive, Scope::Resources).with(|case| {
        case.environment = None;
        case.operation.known = false;
        case.resources.clear();
    });
    assert_eq!(
        summary(&case.decide(&policy)),
        "ask 1 unknown-asks destructive-asks hands-off"
    );
    let plain = Case::new(Effect::Read, Scope::None).with(|case| case.environment = None);
    assert!(plain.decide(&policy).is_allow());
    let production = EnvironmentName::production();
    let pinned = plain.with(|case| case.environment = Some(production));
    assert_eq!(summary(&pinned.decide(&policy)), "ask 1 hands-off");
}

#[test]
fn two_chains_make_the_stricter_one_and_a_denial_beside_an_ask_denies() {
    let case = Case::new(Effect::Destructive, Scope::Resources);
    let two = user(&format!(
        "@id(\"a\") @ask(\"two\") forbid (principal, action in Action::\"destroy\", resource) {APPROVED}"
    ));
    assert_eq!(summary(&case.decide(&two)), "ask 2 destructive-asks a");
    let denied = user("@id(\"a\") forbid (principal, action in Action::\"destroy\", resource);");
    assert_eq!(summary(&case.decide(&denied)), "deny a");
    assert_eq!(summary(&denied.decide(&case.question(), true)), "deny a");
}

#[test]
fn nobody_is_asked_for_what_an_approval_would_not_release() {
    // Reads the approval, and stays against it.
    let policy = user(
        "@id(\"a\") @ask(\"one\") forbid (principal, action in Action::\"destroy\", resource)\n\
         unless { context has approval && context.approval.valid && context.port == 1 };",
    );
    let case = Case::new(Effect::Destructive, Scope::Resources);
    assert_eq!(summary(&case.decide(&policy)), "deny a");
}

#[test]
fn invariant_8_a_policy_that_errors_denies() {
    // Overflows while evaluating; Cedar would skip it and allow.
    let policy = user(
        "@id(\"overflows\") forbid (principal, action in Action::\"request\", resource)\n\
         when { context.port * 9223372036854775807 == 3 };",
    );
    for effect in Effect::ALL {
        let case = Case::new(effect, Scope::Resources);
        assert_eq!(summary(&case.decide(&policy)), "deny overflows");
        assert_eq!(
            summary(&policy.decide(&case.question(), true)),
            "deny overflows"
        );
    }
}

#[test]
fn invariant_8_an_error_that_only_an_approval_brings_denies() {
    let policy = user(
        "@id(\"overflows\") forbid (principal, action in Action::\"request\", resource)\n\
         when { context has approval && context.port * 9223372036854775807 == 3 };",
    );
    let case = Case::new(Effect::Destructive, Scope::Resources);
    assert_eq!(summary(&case.decide(&policy)), "deny overflows");
}

#[test]
fn invariant_7_an_approval_never_overrides_a_denial() {
    let policy = base();
    let denials: [fn(&mut Case); 5] = [
        |case| case.granted = false,
        |case| case.operation_granted = false,
        |case| case.in_task_environment = false,
        |case| case.in_credential_environments = false,
        |case| case.unresolved = Some("gone".to_owned()),
    ];
    for (index, change) in denials.into_iter().enumerate() {
        let case = Case::new(Effect::Destructive, Scope::Resources).with(change);
        let decision = policy.decide(&case.question(), true);
        assert!(
            matches!(decision, Decision::Deny { .. }),
            "denial {index}: {decision:?}"
        );
    }
    let held = Case::new(Effect::Destructive, Scope::Resources);
    assert!(policy.decide(&held.question(), true).is_allow());
}

#[test]
fn connections_are_granted_or_denied_and_never_asked_about() {
    let case = Case::new(Effect::Read, Scope::None);
    let fault = Fault {
        kind: FaultKind::AuthorityMismatch,
        reason: "The names differ.".to_owned(),
        how_to_proceed: "Send one name.".to_owned(),
    };
    let ask = |policy: &Policy, granted, faults: &[Fault]| {
        summary(&policy.decide_connection(&Connection {
            session: &case.session,
            target: &case.target,
            faults,
            granted,
            environment: case.environment.as_ref(),
        }))
    };
    let policy = base();
    assert_eq!(ask(&policy, true, &[]), "allow");
    assert_eq!(ask(&policy, false, &[]), "deny host-not-granted");
    assert_eq!(ask(&policy, true, &[fault]), "deny fault");
    let theirs =
        user("@id(\"a\") forbid (principal, action, resource == Host::\"backboard.railway.com\");");
    assert_eq!(ask(&theirs, true, &[]), "deny a");
}

#[test]
fn a_refusal_prints_the_lines_that_would_grant_it() {
    let policy = base();
    let mut case = Case::new(Effect::Write, Scope::None).with(|case| case.granted = false);
    case.target.port = 8443;
    let Decision::Deny {
        reason,
        how_to_proceed,
        ..
    } = case.decide(&policy)
    else {
        panic!("not denied");
    };
    assert_eq!(
        reason,
        "This task was not given POST /graphql/v2 on backboard.railway.com, port 8443."
    );
    let entry = how_to_proceed.split_once('\n').unwrap().1;
    let task = crate::Manifest::parse(entry, "tagout.toml")
        .unwrap()
        .into_task();
    assert!(
        task.grants_request(&case.target, &case.method, &case.path),
        "{entry}"
    );
    let connection = Connection {
        session: &case.session,
        target: &case.target,
        faults: &[],
        granted: false,
        environment: None,
    };
    let Decision::Deny { how_to_proceed, .. } = policy.decide_connection(&connection) else {
        panic!("not denied");
    };
    let entry = how_to_proceed.split_once('\n').unwrap().1;
    let task = crate::Manifest::parse(entry, "tagout.toml")
        .unwrap()
        .into_task();
    assert!(task.grants_connection(&case.target.host, 8443), "{entry}");
}

#[test]
fn every_sentence_of_ours_can_be_filled_in() {
    let policy = base();
    let case = Case::new(Effect::Write, Scope::Resources);
    let question = case.question();
    let compiled = policy.compiled().as_ref().unwrap();
    for rule in compiled.rules.iter().filter(|rule| rule.id != "base") {
        let reason = rule
            .reason
            .as_deref()
            .unwrap_or_else(|| panic!("{} has no reason", rule.id));
        let advice = rule.how_to_proceed.as_deref().unwrap_or_default();
        assert!(
            rule.ask.is_some() || !advice.is_empty(),
            "{} gives no advice",
            rule.id
        );
        for template in [reason, advice] {
            let text = wording::fill(template, Subject::Operation(&question));
            assert!(!text.contains(['{', '}']), "{}: {text}", rule.id);
        }
    }
}

#[test]
fn mistakes_in_a_policy_name_their_line() {
    let head = "// A comment with a ; in it.\n\n";
    let cases = [
        (
            "@id(\"a\")\nforbid (principal, action, resource) when { true ;",
            4,
            "unexpected",
        ),
        (
            "@id(\"a\")\npermit (principal, action, resource)",
            4,
            "unexpected end",
        ),
        ("forbid (principal, action, resource);", 3, "@id"),
        (
            "@id(\"a b\") forbid (principal, action, resource);",
            3,
            "@id",
        ),
        (
            "@id(\"fault\") forbid (principal, action, resource);",
            3,
            "Tagout's own",
        ),
        (
            "@id(\"a\") forbid (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
            4,
            "a second policy",
        ),
        (
            "@id(\"a\") @mood(\"bad\") forbid (principal, action, resource);",
            3,
            "@mood",
        ),
        (
            "@id(\"a\") @reason(\"{secret}\") forbid (principal, action, resource);",
            3,
            "{secret}",
        ),
        (
            "@id(\"a\") @ask(\"one\") permit (principal, action, resource);",
            3,
            "never asks",
        ),
        (
            "@id(\"a\") @ask(\"one\") forbid (principal, action, resource);",
            3,
            "no approval could",
        ),
        (
            "@id(\"a\") @ask(\"dual:x\") forbid (principal, action, resource) unless { context has approval && context.approval.valid };",
            3,
            "\"one\" or \"two\"",
        ),
        (
            "@id(\"a\") forbid (principal, action in Action::\"request\", resource)\nwhen { context.operaton == \"x\" };",
            4,
            "operaton",
        ),
        (
            "@id(\"a\") forbid (principal, action in Action::\"request\", resource)\nunless { context.approval.valid };",
            4,
            "approval",
        ),
        (
            "@id(\"a\") forbid (principal, action, resource)\nwhen { context.operation == \"x\" };",
            4,
            "Action::\"request\"",
        ),
        (
            "@id(\"a\") forbid (principal, action == Action::\"delete\", resource);",
            3,
            "delete",
        ),
        (
            "@id(\"a\") forbid (principal, action, resource) when { 1 == 2 };",
            3,
            "impossible",
        ),
        (
            "@id(\"a\") forbid (principal == ?principal, action, resource);",
            3,
            "template",
        ),
    ];
    for (text, line, part) in cases {
        let text = format!("{head}{text}\n");
        let errors = Policy::load(Some(&text)).unwrap_err();
        let found = errors.errors();
        assert!(
            found
                .iter()
                .any(|error| error.line == line && error.message.contains(part)),
            "{text}\nexpected line {line}: {part}\n{errors}"
        );
    }
}

#[test]
fn one_mistake_is_one_line_however_many_effects_it_concerns() {
    for text in [
        "@id(\"a\") forbid (principal, action in Action::\"request\", resource)\nwhen { context.operaton == \"x\" };",
        "@id(\"a\") forbid (principal, action == Action::\"delete\", resource);",
    ] {
        let errors = Policy::load(Some(text)).unwrap_err();
        assert_eq!(errors.errors().len(), 1, "{errors}");
    }
}

#[test]
fn the_digest_is_of_everything_that_decides() {
    let digests = [
        Policy::load(None).unwrap().digest(),
        Policy::load(Some("")).unwrap().digest(),
        Policy::load(Some("// nothing\n")).unwrap().digest(),
    ];
    assert_ne!(digests[0], digests[1]);
    assert_ne!(digests[1], digests[2]);
    assert_eq!(digests[0], Policy::load(None).unwrap().digest());
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let forms = [
        ("(", "true", ")"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("[", "true", "]"),
        ("{a:", "true", "}"),
        ("if true then true else ", "true", ""),
        ("if ", "true", " then true else true"),
        ("true&&", "true", ""),
        ("true||", "true", ""),
        ("1+", "1", ""),
        ("1*", "1", ""),
        ("", "context", ".a"),
        ("", "context", "[\"a\"]"),
        ("", "context has a", ".a"),
        ("", "true", ".isEmpty()"),
        ("", "true", "} when {true"),
        // A carriage return ends a comment, too.
        ("//\r(", "true", "//\r)"),
        ("(\")\" == ", "\")\"", ")"),
    ];
    for (open, middle, close) in forms {
        let longest = 1_000_000 / (open.len() + close.len());
        for depth in [10, 300, 2_000, longest] {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let text = format!(
                "@id(\"a\") forbid (principal, action, resource) when {{ {open}{middle}{close} }};"
            );
            let _ = read_only(&text);
        }
    }
}
