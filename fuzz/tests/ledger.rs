//! A finished ledger: no edit of it is genuine.

use serde_json::json;
use tagout_core::SessionId;
use tagout_ledger::{InstallKey, Known, Ledger, verify_bytes};

/// A small finished ledger, and what is known of it from elsewhere.
fn finished() -> (Vec<u8>, Known) {
    let home = tempfile::tempdir().expect("a folder");
    let install = InstallKey::load_or_create(home.path()).expect("an install key");
    let session = SessionId::random().expect("an id");
    let ledger =
        Ledger::create(home.path(), &session, &install, json!({}), |_| {}).expect("a ledger");
    for number in 0..5 {
        ledger
            .append("request", json!({"path": format!("/v1/items/{number}")}))
            .wait()
            .expect("a durable entry");
    }
    ledger.finish(json!({"status": 0})).wait().expect("the end");
    let bytes = std::fs::read(ledger.path()).expect("the ledger's file");
    let known = Known {
        install_key: Some(install.public()),
        session: Some(session),
        ..Known::default()
    };
    (bytes, known)
}

#[test]
fn no_edit_of_a_ledger_is_genuine() {
    let (ledger, known) = finished();
    let report = verify_bytes(&ledger, &known);
    assert!(report.is_genuine() && report.finished, "{report:?}");

    let text = String::from_utf8(ledger.clone()).expect("a ledger is text");
    let lines: Vec<&[u8]> = text.split_inclusive('\n').map(str::as_bytes).collect();
    let seeds: &[&[u8]] = &[&ledger];
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let bytes = tagout_fuzz::mutated(seeds, &lines, choices);
        let report = verify_bytes(&bytes, &known);
        // Cut at a checkpoint it is a ledger of a session that has not ended, which the mark that the
        // store keeps tells apart; a finished one is whole or not genuine.
        if bytes != ledger {
            assert!(!(report.is_genuine() && report.finished), "{report:?}");
        }
    });
}
