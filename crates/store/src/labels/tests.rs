//! Labels, loads and their bounds.

use super::*;

fn document(path: &str, text: &str, readers: &[&str]) -> NewDocument {
    NewDocument {
        md5: [text.len() as u8; 16],
        told: [text.len() as u8; 16],
        content: Digest::of(text.as_bytes()),
        path: path.to_owned(),
        owner: "ann".to_owned(),
        size: 10,
        readers: readers.iter().map(|&reader| reader.to_owned()).collect(),
        loader: ("CSVLoader".into(), "/d".into(), "dir".into(), 0),
        entities: vec![("us-ssn".to_owned(), 2)],
        topics: Vec::new(),
        snippet: "&lt;US_SSN&gt;".to_owned(),
        details: ("{}".to_owned(), "{}".to_owned()),
    }
}

fn load() -> Load {
    Load {
        application: "../x".to_owned(),
        load: "one".to_owned(),
    }
}

#[test]
fn labels_are_those_of_one_classifier_version() {
    let home = tempfile::tempdir().unwrap();
    let labels = Labels::open(home.path()).unwrap();
    let content = Digest::of(b"text");
    let found = ContentLabels {
        entities: vec![("us-ssn".to_owned(), 1)],
        topics: Vec::new(),
    };
    labels.remember(&content, "1", &found).unwrap();
    let again = Labels::open(home.path()).unwrap();
    assert_eq!(again.labels(&content, "1").unwrap(), Some(found));
    assert_eq!(again.labels(&content, "2").unwrap(), None);
}

#[test]
fn a_thousand_batches_of_one_file_are_one_row_and_a_hundred_snippets() {
    let home = tempfile::tempdir().unwrap();
    let labels = Labels::open(home.path()).unwrap();
    for number in 0..1_000 {
        let text = format!("row {number}");
        labels
            .add_documents(&load(), &[document("a.csv", &text, &[])], number == 999)
            .unwrap();
    }
    let sources = labels.sources(&load(), 10).unwrap();
    assert_eq!(sources.len(), 1);
    assert_eq!(
        (sources[0].documents, sources[0].findings),
        (1_000, (2_000, 0))
    );
    assert_eq!(labels.snippets(&load()).unwrap().len(), 100);
    let loads = labels.loads("../x", 5).unwrap();
    assert_eq!(loads.len(), 1);
    assert!(loads[0].ended.is_some());
    assert_eq!(loads[0].files, (1, 1));
}

#[test]
fn readers_are_kept_by_place_and_follow_the_newest_load() {
    let home = tempfile::tempdir().unwrap();
    let labels = Labels::open(home.path()).unwrap();
    labels
        .add_documents(&load(), &[document("a", "same", &["ann"])], false)
        .unwrap();
    labels
        .add_documents(&load(), &[document("b", "same", &["bob"])], false)
        .unwrap();
    labels
        .add_documents(&load(), &[document("a", "same", &["eve"])], true)
        .unwrap();
    let known = labels.by_checksum(&[4; 16]).unwrap();
    assert_eq!(known.len(), 1);
    let place = |path: &str, reader: &str| Place {
        path: path.to_owned(),
        readers: vec![reader.to_owned()],
    };
    assert_eq!(known[0].places, [place("a", "eve"), place("b", "bob")]);
    assert!(labels.by_checksum(&[9; 16]).unwrap().is_empty());
}

#[test]
fn a_document_is_found_by_the_checksum_that_its_loader_was_told() {
    let home = tempfile::tempdir().unwrap();
    let labels = Labels::open(home.path()).unwrap();
    let told = NewDocument {
        told: [7; 16],
        ..document("a", "same", &["ann"])
    };
    labels.add_documents(&load(), &[told], true).unwrap();
    for checksum in [[4; 16], [7; 16]] {
        let known = labels.by_checksum(&checksum).unwrap();
        assert_eq!(known.len(), 1);
        assert_eq!(known[0].places[0].readers, ["ann"]);
    }
}

#[test]
fn what_is_forgotten_is_gone_with_everything_of_it() {
    let home = tempfile::tempdir().unwrap();
    let labels = Labels::open(home.path()).unwrap();
    labels
        .add_documents(&load(), &[document("a", "same", &["ann"])], true)
        .unwrap();
    assert!(labels.forget("../x").unwrap());
    assert!(!labels.forget("../x").unwrap());
    assert!(labels.by_checksum(&[4; 16]).unwrap().is_empty());
    assert!(labels.loads("../x", 5).unwrap().is_empty());
    assert!(labels.snippets(&load()).unwrap().is_empty());
}

#[test]
fn tables_keep_their_bounds() {
    let home = tempfile::tempdir().unwrap();
    let labels = Labels::open(home.path()).unwrap();
    for number in 0..50_u64 {
        labels
            .remember(
                &Digest::of(&number.to_be_bytes()),
                "1",
                &ContentLabels::default(),
            )
            .unwrap();
        labels
            .record(&[Release {
                channel: "check".to_owned(),
                user: "ann".to_owned(),
                content: Digest::of(b""),
                labels: Vec::new(),
                allowed: number % 2 == 0,
                policies: vec!["no-ssn".to_owned()],
            }])
            .unwrap();
    }
    assert_eq!(labels.denials(100).unwrap().len(), 25);
    labels.prune(10, 10).unwrap();
    assert_eq!(labels.denials(100).unwrap().len(), 5);
    let left: u64 = labels
        .connection
        .query_row("SELECT count(*) FROM labels", [], |row| row.get(0))
        .unwrap();
    assert!(left <= 10, "{left}");
}
