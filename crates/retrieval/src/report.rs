//! The report of a load, with the fields that Pebblo's reports have. Snippets are redacted: they were
//! before they were stored.

use serde_json::{Map, Value, json};
use tagout_core::Timestamp;
use tagout_store::{
    Application, ApplicationKind, FindingRow, Labels, LoadSummary, SourceRow, StoreError,
};

use crate::SERVER_VERSION;
use crate::pdf;

/// Loads that a report lists, files that it names first, and snippets that it shows.
const HISTORY: u32 = 5;
const TOP: usize = 5;
const MOST_SOURCES: u32 = 10_000;

/// Everything that a report says, read at once.
pub(crate) struct Report {
    pub(crate) application: Application,
    pub(crate) loads: Vec<LoadSummary>,
    pub(crate) sources: Vec<SourceRow>,
    pub(crate) findings: Vec<FindingRow>,
    pub(crate) snippets: Vec<tagout_store::SnippetRow>,
}

impl Report {
    /// The report of the newest load of an application; `None` where it never loaded anything.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn newest(labels: &Labels, application: &str) -> Result<Option<Self>, StoreError> {
        let Some(application) = labels.application(application, ApplicationKind::Loader)? else {
            return Ok(None);
        };
        let loads = labels.loads(&application.name, HISTORY)?;
        let Some(newest) = loads.first() else {
            return Ok(None);
        };
        Ok(Some(Self {
            sources: labels.sources(&newest.load, MOST_SOURCES)?,
            findings: labels.findings(&newest.load)?,
            snippets: labels.snippets(&newest.load)?,
            application,
            loads,
        }))
    }

    /// The report as JSON, field by field as Pebblo names them.
    pub(crate) fn json(&self) -> Value {
        let details: Map<String, Value> =
            serde_json::from_str(&self.application.details).unwrap_or_default();
        let member = |name: &str| details.get(name).cloned().unwrap_or(json!({}));
        let runtime = member("runtime");
        let about = |name: &str| runtime.get(name).and_then(Value::as_str).unwrap_or("");
        let (entities, topics) = self.totals();
        let created = self
            .loads
            .first()
            .map_or(self.application.created, |load| load.seen);
        json!({
            "name": self.application.name,
            "description": self.application.description,
            "framework": member("framework"),
            "pebbloServerVersion": SERVER_VERSION,
            "pebbloClientVersion": details.get("plugin_version").cloned().unwrap_or("".into()),
            "clientVersion": member("client_version"),
            "instanceDetails": {
                "type": about("type"), "host": about("host"), "path": about("path"),
                "runtime": about("runtime"), "ip": about("ip"), "language": about("language"),
                "languageVersion": about("language_version"), "platform": about("platform"),
                "os": about("os"), "osVersion": about("os_version"),
                "createdAt": date(self.application.created),
            },
            "reportSummary": {
                "findings": entities + topics, "findingsEntities": entities, "findingsTopics": topics,
                "totalFiles": self.sources.len(), "filesWithFindings": self.with_findings(),
                "dataSources": self.data_sources().len(), "owner": self.application.owner,
                "createdAt": date(created),
            },
            "topFindings": self.sources.iter().take(TOP).filter(|source| found(source) > 0).map(|source| json!({
                "fileName": source.path, "fileOwner": source.owner, "sourceSize": source.size,
                "findingsEntities": source.findings.0, "findingsTopics": source.findings.1,
                "findings": found(source), "authorizedIdentities": source.readers,
            })).collect::<Vec<_>>(),
            "loadHistory": {
                "history": self.loads.iter().map(|load| json!({
                    "loadId": load.load.load, "reportName": "report.json",
                    "findings": load.findings.0 + load.findings.1,
                    "filesWithFindings": load.files.1, "generatedOn": date(load.seen),
                })).collect::<Vec<_>>(),
                "moreReportsPath": "-",
            },
            "dataSources": self.data_sources(),
        })
    }

    /// The same as PDF.
    pub(crate) fn pdf(&self) -> Vec<u8> {
        let (entities, topics) = self.totals();
        let mut sections = vec![(
            "Summary".to_owned(),
            vec![
                format!("Owner: {}", self.application.owner),
                format!("Description: {}", self.application.description),
                format!(
                    "Findings: {} ({entities} entities, {topics} topics)",
                    entities + topics
                ),
                format!(
                    "Files: {}, with findings: {}",
                    self.sources.len(),
                    self.with_findings()
                ),
                format!("Server: {SERVER_VERSION}"),
            ],
        )];
        let files = self
            .sources
            .iter()
            .take(TOP)
            .filter(|source| found(source) > 0);
        let files = files.map(|source| {
            format!(
                "{} ({}): {} findings",
                source.path,
                source.owner,
                found(source)
            )
        });
        sections.push(("Top findings".to_owned(), files.collect()));
        let findings = self.findings.iter().map(|finding| {
            format!(
                "{} ({}): {} in {} snippets of {} files",
                finding.label, finding.kind, finding.count, finding.snippets, finding.files
            )
        });
        sections.push(("Findings".to_owned(), findings.collect()));
        let history = self.loads.iter().map(|load| {
            format!(
                "{}  {}  {} findings",
                date(load.seen),
                load.load.load,
                load.findings.0 + load.findings.1
            )
        });
        sections.push(("Load history".to_owned(), history.collect()));
        let instance: Map<String, Value> =
            serde_json::from_str(&self.application.details).unwrap_or_default();
        let instance = instance
            .get("runtime")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let instance =
            instance.filter_map(|(name, value)| Some(format!("{name}: {}", value.as_str()?)));
        sections.push(("Instance".to_owned(), instance.collect()));
        let mut lines = Vec::new();
        for snippet in &self.snippets {
            lines.push(format!("{} ({})", snippet.path, snippet.owner));
            lines.push(format!("    {}", unescaped(&snippet.text)));
        }
        sections.push(("Snippets".to_owned(), lines));
        pdf::document(
            &format!("Pebblo report: {}", self.application.name),
            &sections,
        )
    }

    fn totals(&self) -> (u64, u64) {
        let of = |kind: &str| {
            let findings = self.findings.iter().filter(|finding| finding.kind == kind);
            findings.map(|finding| finding.count).sum()
        };
        (of("entities"), of("topics"))
    }

    fn with_findings(&self) -> usize {
        self.sources
            .iter()
            .filter(|source| found(source) > 0)
            .count()
    }

    fn data_sources(&self) -> Vec<Value> {
        let Some(first) = self.sources.first() else {
            return Vec::new();
        };
        let (name, path, kind, size) = &first.loader;
        let total: u64 = self.findings.iter().map(|finding| finding.snippets).sum();
        let summary = |finding: &FindingRow| {
            json!({
                "labelName": finding.label, "findings": finding.count, "findingsType": finding.kind,
                "snippetCount": finding.snippets, "fileCount": finding.files,
            })
        };
        let details = self.findings.iter().map(|finding| {
            let mut detail = summary(finding);
            let place = if finding.kind == "entities" { 0 } else { 1 };
            let shown = self.snippets.iter().filter_map(|snippet| {
                let both: [Value; 2] = [&snippet.details.0, &snippet.details.1]
                    .map(|text| serde_json::from_str(text).unwrap_or(json!({})));
                both[place].get(&finding.label)?;
                let [entities, topics] = both;
                Some(json!({
                    "snippet": snippet.text, "entityDetails": entities, "topicDetails": topics,
                    "sourcePath": snippet.path, "fileOwner": snippet.owner,
                    "authorizedIdentities": snippet.readers,
                }))
            });
            detail["snippets"] = shown.collect();
            detail
        });
        vec![json!({
            "name": name, "sourcePath": path, "sourceType": kind, "sourceSize": size,
            "totalSnippetCount": total, "displayedSnippetCount": self.snippets.len(),
            "findingsSummary": self.findings.iter().map(summary).collect::<Vec<_>>(),
            "findingsDetails": details.collect::<Vec<_>>(),
        })]
    }
}

fn found(source: &SourceRow) -> u64 {
    source.findings.0 + source.findings.1
}

/// Masks stand escaped in stored text, because Pebblo's clients expect them so.
pub(crate) fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">")
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`, in UTC.
pub(crate) fn date(time: Timestamp) -> String {
    time.to_string().replace('T', " ").replace('Z', "000")
}
