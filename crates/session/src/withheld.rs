//! Files that a rule about content keeps from the agent: the same labels, the same rules and the same store
//! of labels as for documents that are retrieved. Costs nothing where the policy has no such rule.
//!
//! It is decided at launch, for the files that are there: docs/SECURITY.md says what that leaves open.

use std::fs;
use std::path::Path;

use ignore::WalkBuilder;
use tagout_core::Digest;
use tagout_policy::{Channel, Content, Disclosures, Reader};
use tagout_secrets::personal::{CLASSIFIER_VERSION, EntityKind, Recognisers, entities};
use tagout_store::{ContentLabels, Labels};

use crate::scan::{DEPENDENCIES, FoundFile, Scan};

/// Larger files are not read; a rule about content then counts as broken by them.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Puts a note in the place of every file of the workspace that `rules` keep from its person's agent.
pub(crate) fn withhold(
    scan: &mut Scan,
    workspace: &Path,
    rules: Option<&Disclosures>,
    home: &Path,
) {
    let Some(rules) = rules else {
        return;
    };
    // Without the store everything is classified anew, which is slow and right.
    let store = Labels::open(home).ok();
    let reader = person();
    let files = WalkBuilder::new(workspace)
        .standard_filters(false)
        .follow_links(false)
        // What package managers brought is everybody's, and hundreds of megabytes of it.
        .filter_entry(|entry| {
            let name = entry.file_name();
            name != ".git" && !DEPENDENCIES.iter().any(|folder| name == *folder)
        })
        .build();
    for entry in files.flatten() {
        let Ok(path) = entry.path().strip_prefix(workspace) else {
            continue;
        };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let content = content(entry.path(), path, store.as_ref());
        let ruling = rules.decide(&reader, Channel::Workspace, &content);
        if ruling.allowed {
            continue;
        }
        let note = format!(
            "Tagout keeps this file from the agent: policy {} ({}).\n",
            ruling.policies.join(", "),
            content.labels.unwrap_or_default().join(", "),
        );
        scan.twins.retain(|twin| twin.path != path);
        scan.twins.push(FoundFile {
            path: path.to_owned(),
            twin: note.into_bytes(),
            decoys: Vec::new(),
            kinds: vec!["withheld".to_owned()],
        });
    }
}

/// A file as policies speak of it.
fn content(file: &Path, path: &Path, store: Option<&Labels>) -> Content {
    let mut content = Content {
        id: path.display().to_string(),
        source: path.display().to_string(),
        ..Content::default()
    };
    let small = fs::metadata(file).is_ok_and(|found| found.len() <= LARGEST);
    let Some(bytes) = small.then(|| fs::read(file).ok()).flatten() else {
        content.faults.push("unreadable".to_owned());
        return content;
    };
    let hash = Digest::of(&bytes);
    content.id = hash.to_string();
    // Topics belong to documents; a version of its own, so that neither is taken for the other.
    let version = format!("{CLASSIFIER_VERSION}-files");
    let stored = store.and_then(|store| store.labels(&hash, &version).ok().flatten());
    let labels = stored.unwrap_or_else(|| {
        let labels = classify(&String::from_utf8_lossy(&bytes));
        // What is not remembered is classified again.
        let _ = store.map(|store| store.remember(&hash, &version, &labels));
        labels
    });
    content.labels = Some(
        labels
            .entities
            .into_iter()
            .map(|(label, _)| label)
            .collect(),
    );
    content
}

fn classify(text: &str) -> ContentLabels {
    let found = entities(text, Recognisers::default());
    let count =
        |kind: &EntityKind| found.iter().filter(|entity| entity.kind == *kind).count() as u64;
    ContentLabels {
        entities: EntityKind::ALL
            .iter()
            .map(|kind| (kind.label().to_owned(), count(kind)))
            .filter(|(_, count)| *count > 0)
            .collect(),
        topics: Vec::new(),
    }
}

/// Whose session it is, with the groups that the operating system gives.
fn person() -> Reader {
    let uid = rustix::process::geteuid().as_raw();
    let named = |file: &str, id: u32| {
        fs::read_to_string(file).ok().and_then(|text| {
            text.lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .find(|fields| fields.get(2) == Some(&id.to_string().as_str()))
                .and_then(|fields| fields.first().map(|&name| name.to_owned()))
        })
    };
    let mut groups = rustix::process::getgroups().unwrap_or_default();
    groups.push(rustix::process::getegid());
    Reader {
        user: named("/etc/passwd", uid).unwrap_or_else(|| uid.to_string()),
        groups: groups
            .into_iter()
            .filter_map(|group| named("/etc/group", group.as_raw()))
            .collect(),
        authenticated: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tagout_policy::Policy;

    #[test]
    fn a_rule_about_a_label_holds_for_files() {
        let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(
            folder.path().join("deep/people.csv"),
            "name,ssn\nAnn,219-09-9999\n",
        )
        .unwrap();
        fs::write(folder.path().join("readme.md"), "Nothing about anybody.\n").unwrap();
        let rule = "@id(\"no-ssn\")\nforbid (principal, action in Action::\"disclose\", resource)\n\
                    when { resource.labels.contains(\"us-ssn\") };\n";
        let policy = Policy::load(Some(rule)).unwrap();
        for _ in 0..2 {
            let mut scan = Scan::default();
            withhold(&mut scan, folder.path(), policy.content(), home.path());
            assert_eq!(scan.twins.len(), 1);
            assert_eq!(scan.twins[0].path, Path::new("deep/people.csv"));
            let note = String::from_utf8_lossy(&scan.twins[0].twin).into_owned();
            assert!(
                note.contains("no-ssn") && !note.contains("219-09-9999"),
                "{note}"
            );
        }
        let mut scan = Scan::default();
        withhold(
            &mut scan,
            folder.path(),
            Policy::load(None).unwrap().content(),
            home.path(),
        );
        assert!(scan.twins.is_empty());
    }
}
