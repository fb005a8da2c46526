//! The verdict list as a decision matrix: every rule both ways, each step alone.

use super::*;

#[test]
fn invariant_8_our_own_policies_pass_strict_validation() {
    let policy = base();
    let compiled = policy.compiled().as_ref().unwrap();
    let schema = compiled.evaluator.schema();
    policy_file::validate("base.cedar", BASE, &compiled.rules, schema).unwrap();
}

#[test]
fn invariant_5_the_verdict_list_step_by_step() {
    use Effect::{Destructive, Irreversible, Read, Write};
    let resources = |effect| Case::new(effect, Scope::Resources);
    let account = |effect| Case::new(effect, Scope::Account);
    let plain = |effect| {
        Case::new(effect, Scope::None).with(|case| {
            case.has_pack = false;
            case.resources.clear();
            case.operation.resources.clear();
            case.environment = None;
            case.credential = None;
        })
    };
    let unknown = || resources(Destructive).with(|case| case.operation.known = false);
    let fault = |kind| Fault {
        kind,
        reason: "It went wrong.".to_owned(),
        how_to_proceed: "Do it right.".to_owned(),
    };
    let matrix = [
        // 6: nothing stands against it.
        (resources(Read), "allow"),
        (resources(Write), "allow"),
        (account(Read), "allow"),
        (plain(Read), "allow"),
        (plain(Write), "allow"),
        (
            resources(Write).flagged(Flag::Exec).flagged(Flag::Egress),
            "allow",
        ),
        // 1
        (
            resources(Read).with(|c| c.faults.push(fault(FaultKind::Unparsable))),
            "deny fault",
        ),
        (
            resources(Read).with(|c| c.faults.push(fault(FaultKind::ForeignCredential))),
            "deny fault",
        ),
        (
            plain(Read).with(|c| c.faults.push(fault(FaultKind::KnownSecret))),
            "deny fault",
        ),
        // 2
        (
            resources(Read).with(|c| c.granted = false),
            "deny request-not-granted",
        ),
        (
            plain(Read).with(|c| c.granted = false),
            "deny request-not-granted",
        ),
        (
            resources(Read).with(|c| c.operation_granted = false),
            "deny operation-not-granted",
        ),
        // 3
        (
            resources(Read).with(|c| c.unresolved = Some("no such volume".into())),
            "deny unresolved",
        ),
        (
            resources(Read).with(|c| c.operation.unresolved = Some("a wildcard".into())),
            "deny unresolved",
        ),
        (
            resources(Read).with(|c| c.environment = None),
            "deny unresolved",
        ),
        (
            resources(Read).with(|c| {
                c.environment = None;
                c.resources.clear();
            }),
            "deny unresolved",
        ),
        (
            resources(Read).with(|c| c.in_credential_environments = false),
            "deny outside-credential",
        ),
        (
            resources(Read).with(|c| c.in_task_environment = false),
            "allow",
        ),
        (
            resources(Write).with(|c| c.in_task_environment = false),
            "deny outside-task",
        ),
        (
            resources(Destructive).with(|c| c.in_task_environment = false),
            "deny outside-task",
        ),
        (
            account(Read).with(|c| c.manifest_has_protected = true),
            "allow",
        ),
        (
            account(Write).with(|c| c.manifest_has_protected = true),
            "deny account-change-beside-protected",
        ),
        // Where something is does not matter to hosts that have no places.
        (
            plain(Write).with(|c| c.in_task_environment = false),
            "allow",
        ),
        (
            plain(Write).with(|c| c.in_credential_environments = false),
            "allow",
        ),
        // A pinned host is somewhere.
        (
            plain(Read).with(|c| {
                c.environment = Some(EnvironmentName::production());
                c.in_task_environment = false;
            }),
            "allow",
        ),
        (
            plain(Write).with(|c| {
                c.environment = Some(EnvironmentName::production());
                c.in_task_environment = false;
            }),
            "deny outside-task",
        ),
        (
            plain(Read).with(|c| {
                c.environment = Some(EnvironmentName::production());
                c.in_credential_environments = false;
            }),
            "deny outside-credential",
        ),
        // 4
        (unknown(), "ask 1 unknown-asks destructive-asks"),
        (
            unknown().with(|c| c.disposable = true),
            "ask 1 unknown-asks",
        ),
        (
            unknown().with(|c| c.operation_granted = false),
            "ask 1 unknown-asks destructive-asks",
        ),
        (
            unknown().with(|c| {
                c.resources.clear();
                c.operation.resources.clear();
                c.environment = None;
                c.in_task_environment = false;
                c.in_credential_environments = false;
            }),
            "ask 1 unknown-asks destructive-asks",
        ),
        (
            unknown().with(|c| c.only_task_resources = false),
            "deny unknown-elsewhere",
        ),
        (
            plain(Destructive).with(|c| c.operation.known = false),
            "ask 1 unknown-asks destructive-asks",
        ),
        // 5
        (resources(Destructive), "ask 1 destructive-asks"),
        (
            resources(Destructive).with(|c| c.disposable = true),
            "allow",
        ),
        (resources(Irreversible), "ask 1 irreversible-asks"),
        (
            resources(Irreversible).with(|c| c.disposable = true),
            "ask 1 irreversible-asks",
        ),
        (plain(Destructive), "ask 1 destructive-asks"),
        // Unresolved is never disposable, whatever was filled in.
        (
            plain(Destructive).with(|c| c.disposable = true),
            "ask 1 destructive-asks",
        ),
        (
            resources(Destructive).with(|c| {
                c.disposable = true;
                c.protected = true;
            }),
            "ask 1 destructive-asks",
        ),
        (
            resources(Write).flagged(Flag::PermissionChange),
            "ask 1 permission-change-asks",
        ),
        (
            resources(Write).flagged(Flag::Billing),
            "ask 1 billing-asks",
        ),
        (account(Write), "ask 1 account-change-asks"),
        (
            resources(Read).flagged(Flag::SecretRead),
            "ask 1 secret-read-asks",
        ),
        (
            resources(Read)
                .flagged(Flag::SecretRead)
                .with(|c| c.fields_withheld = true),
            "allow",
        ),
        (
            resources(Write).flagged(Flag::CredentialMint),
            "ask 1 credential-mint-asks",
        ),
        // Two approvers.
        (
            resources(Destructive).with(|c| {
                c.protected = true;
                c.two_approvers_enrolled = true;
            }),
            "ask 2 destructive-asks protected-asks-two",
        ),
        (
            resources(Destructive).with(|c| c.protected = true),
            "ask 1 destructive-asks",
        ),
        (
            resources(Destructive).with(|c| c.two_approvers_enrolled = true),
            "ask 1 destructive-asks",
        ),
        (
            resources(Write).with(|c| {
                c.protected = true;
                c.two_approvers_enrolled = true;
            }),
            "allow",
        ),
        // What has resources and is unresolved counts as protected; what has none is nowhere.
        (
            unknown().with(|c| {
                c.resources.clear();
                c.operation.resources.clear();
                c.environment = None;
                c.two_approvers_enrolled = true;
            }),
            "ask 2 unknown-asks destructive-asks protected-asks-two",
        ),
        (
            plain(Destructive).with(|c| c.two_approvers_enrolled = true),
            "ask 1 destructive-asks",
        ),
        // The order of the list is the order of the reasons.
        (
            resources(Destructive).with(|c| {
                c.granted = false;
                c.in_task_environment = false;
                c.faults.push(fault(FaultKind::KnownSecret));
            }),
            "deny fault request-not-granted outside-task",
        ),
    ];
    let policy = base();
    for (index, (case, expected)) in matrix.iter().enumerate() {
        assert_eq!(summary(&case.decide(&policy)), *expected, "row {index}");
    }
}
