//! Who is shown what, and that a plan and a decision never disagree.

use proptest::prelude::*;

use super::*;

const RULES: &str = r#"
@id("no-ssn")
forbid (principal, action in Action::"disclose", resource)
when { resource.labels.contains("us-ssn") };

@id("finance-only")
forbid (principal, action in Action::"disclose", resource)
when { resource.labels.contains("financial-report") }
unless { principal in Group::"finance" };

@id("not-from-drafts")
forbid (principal, action == Action::"retrieve", resource)
when { resource.source == "/drafts" || resource.labels.containsAny(["iban-code", "swift-code"]) };
"#;

fn ann(groups: &[&str]) -> Reader {
    Reader {
        user: "ann".to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        authenticated: true,
    }
}

fn content(labels: Option<&[&str]>, readers: &[&str], source: &str) -> Content {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    Content {
        id: "c".to_owned(),
        labels: labels.map(owned),
        readers: owned(readers),
        source: source.to_owned(),
        faults: Vec::new(),
    }
}

#[test]
fn invariant_8_without_identity_labels_or_readers_nothing_is_shown() {
    let policy = Disclosures::load(None).unwrap();
    let plain = content(Some(&[]), &["ann"], "/a");
    let decide =
        |reader: &Reader, content: &Content| policy.decide(reader, Channel::Check, content);
    assert!(decide(&ann(&[]), &plain).allowed);
    assert!(decide(&ann(&[]), &content(Some(&[]), &["everyone"], "/a")).allowed);
    assert_eq!(
        decide(&Reader::nobody(), &plain).policies,
        ["no-identity", "not-a-reader"]
    );
    assert_eq!(
        decide(&ann(&[]), &content(None, &["ann"], "/a")).policies,
        ["no-labels"]
    );
    assert_eq!(
        decide(&ann(&[]), &content(Some(&[]), &[], "/a")).policies,
        ["not-a-reader"]
    );
    let mut faulty = plain.clone();
    faulty.faults.push("unreadable".to_owned());
    assert_eq!(decide(&ann(&[]), &faulty).policies, ["disclosure-fault"]);
    // A user who is called "everyone" without a token is nobody as well.
    let mut impostor = Reader::nobody();
    impostor.user = "ann".to_owned();
    assert!(!decide(&impostor, &plain).allowed);
    assert_eq!(policy.plan(&impostor, Channel::Check), Plan::None);
    assert!(!policy.concerns_files());
}

#[test]
fn one_rule_about_a_label_holds_for_documents_and_files() {
    let policy = Disclosures::load(Some(RULES)).unwrap();
    assert!(policy.concerns_files());
    let ssn = content(Some(&["us-ssn"]), &["ann"], "/a");
    for channel in [Channel::Check, Channel::Qdrant, Channel::Workspace] {
        assert_eq!(policy.decide(&ann(&[]), channel, &ssn).policies, ["no-ssn"]);
    }
    let report = content(Some(&["financial-report"]), &["ann"], "/a");
    assert!(
        !policy
            .decide(&ann(&["sales"]), Channel::Workspace, &report)
            .allowed
    );
    assert!(
        policy
            .decide(&ann(&["finance"]), Channel::Workspace, &report)
            .allowed
    );
    // Files need no readers: the person's own rights count there.
    assert!(
        policy
            .decide(
                &ann(&[]),
                Channel::Workspace,
                &content(Some(&[]), &[], "/a")
            )
            .allowed
    );
}

#[test]
fn what_is_wrong_with_a_rule_is_said_and_nothing_is_loaded() {
    for wrong in [
        r#"@id("x") forbid (principal, action in Action::"disclose", resource) when { resource.label == "a" };"#,
        r#"@id("no-labels") forbid (principal, action in Action::"disclose", resource);"#,
        r#"@id("fault") forbid (principal, action in Action::"disclose", resource);"#,
    ] {
        assert!(Disclosures::load(Some(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn a_plan_is_a_condition_that_stores_understand() {
    let policy = Disclosures::load(Some(RULES)).unwrap();
    let Plan::Some { condition, .. } = policy.plan(&ann(&["finance"]), Channel::Qdrant) else {
        panic!("there is something to ask the store");
    };
    let text = format!("{condition:?}");
    assert!(
        text.contains("HasAny(Readers, {\"ann\", \"everyone\", \"finance\"})"),
        "{text}"
    );
    assert!(text.contains("us-ssn"), "{text}");
    assert!(!text.contains("financial-report"), "{text}");
}

fn texts(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(from, 0..=from.len())
        .prop_map(|list| list.into_iter().map(ToOwned::to_owned).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn invariant_8_a_plan_admits_whatever_a_decision_allows(
        labels in texts(&["us-ssn", "financial-report", "iban-code", "email-address"]),
        readers in texts(&["ann", "bob", "finance", "everyone"]),
        groups in texts(&["finance", "sales"]),
        drafts in any::<bool>(),
    ) {
        let policy = Disclosures::load(Some(RULES)).unwrap();
        let reader = Reader { user: "ann".to_owned(), groups, authenticated: true };
        let source = if drafts { "/drafts" } else { "/a" };
        let content = Content {
            id: "c".to_owned(), labels: Some(labels.clone()), readers: readers.clone(),
            source: source.to_owned(), faults: Vec::new(),
        };
        let decided = policy.decide(&reader, Channel::Qdrant, &content).allowed;
        let fields = BTreeMap::from([
            ("labels", labels), ("readers", readers), ("source", vec![source.to_owned()]),
        ]);
        let planned = match policy.plan(&reader, Channel::Qdrant) {
            Plan::All => true,
            Plan::None => false,
            Plan::Some { condition, .. } => condition.fits(&fields),
        };
        prop_assert_eq!(decided, planned);
    }
}
