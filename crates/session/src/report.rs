//! What a person reads when a session is over: what changed, what was refused and the line that would
//! grant it, what was held and what became of it. One line when there is nothing to say. The ledger
//! keeps it as an entry, so that `tagout log` can show it again.
//!
//! What must stay true: everything an agent could have chosen is escaped here, once; a line has at most
//! [`COLUMNS`] characters, unless it is one to be copied.

pub(crate) mod files;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::{Value as Json, json};
use tagout_authority::approval::{escape_kept, escape_untrusted};
use tagout_catalog::Profile;
use tagout_core::{HostName, SessionId};
use tagout_ledger::Entries;
use tagout_store::{HoldState, Store};

use files::{Changes, Named};

/// The width that every terminal has, less `tagout: ` and a margin.
const COLUMNS: usize = 70;
/// Refusals that are told apart; the rest is in the log.
const MOST_REFUSALS: usize = 6;
/// Folders of package tools that are told apart.
const MOST_FOLDERS: usize = 4;
/// Holds that are told apart.
const MOST_HOLDS: usize = 8;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// What happened.
    Plain,
    /// What deserves a look.
    Warning,
    /// A line to be copied.
    Grant,
    /// Where there is more.
    Faint,
}

/// One line of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How it is meant.
    pub tone: Tone,
    /// Its text, without a line end.
    pub text: String,
}

/// The report of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Its lines, in order.
    pub lines: Vec<Line>,
}

/// What the ledger says about refusals, and about statements that were approved.
#[derive(Default)]
struct Recorded {
    refusals: BTreeMap<(String, String), Refused>,
    /// Holds whose statement did more than was shown.
    taken_back: HashSet<String>,
    /// Holds of which is kept what their statement took.
    kept: HashSet<String>,
}

#[derive(Default)]
struct Refused {
    times: usize,
    how_to_proceed: String,
    first: u64,
}

/// What a report is made of.
pub(crate) struct Sources<'a> {
    pub(crate) session: &'a SessionId,
    pub(crate) ledger: &'a Path,
    pub(crate) store: &'a Store,
    pub(crate) changes: &'a Changes,
    /// Sentences of other rooms: commits that were made unsigned, or hold decoys.
    pub(crate) remarks: Vec<String>,
    /// The agent's, which knows what it does without.
    pub(crate) profile: Option<&'static Profile>,
}

impl Report {
    pub(crate) fn of(sources: &Sources<'_>) -> Self {
        let mut report = Self::default();
        report.tell_changes(sources.changes);
        for remark in &sources.remarks {
            report.say(Tone::Warning, &escape_untrusted(remark));
        }
        let recorded = Recorded::read(sources.ledger, sources.profile);
        report.tell_refusals(&recorded.refusals);
        report.tell_holds(sources, &recorded);
        let log = format!("tagout log {}", sources.session);
        if report.lines.is_empty() {
            report.say(
                Tone::Plain,
                &format!("nothing changed, nothing was refused ({log})"),
            );
            return report;
        }
        let grants = report.lines.iter().any(|line| line.tone == Tone::Grant);
        report.say(
            Tone::Faint,
            &match grants {
                true => format!("[[...]] goes into tagout.toml; all of it: {log}"),
                false => format!("all of it: {log}"),
            },
        );
        report
    }

    /// As the ledger keeps it.
    pub(crate) fn to_json(&self) -> Json {
        let lines: Vec<Json> = self
            .lines
            .iter()
            .map(|line| json!({"tone": line.tone.as_str(), "text": line.text}))
            .collect();
        json!({ "lines": lines })
    }

    /// From an entry's fields. Lines that are none are left out.
    pub fn from_json(fields: &serde_json::Map<String, Json>) -> Self {
        let lines = fields.get("lines").and_then(Json::as_array);
        Self {
            lines: lines
                .into_iter()
                .flatten()
                .filter_map(|line| {
                    Some(Line {
                        tone: Tone::parse(line["tone"].as_str()?)?,
                        text: escape_kept(line["text"].as_str()?),
                    })
                })
                .collect(),
        }
    }

    fn tell_changes(&mut self, changes: &Changes) {
        if changes.too_many {
            self.say(Tone::Plain, "the workspace has too many files to compare");
        }
        let counts: Vec<String> = [
            (&changes.added, "added"),
            (&changes.changed, "changed"),
            (&changes.deleted, "deleted"),
        ]
        .iter()
        .filter(|(named, _)| named.count > 0)
        .map(|(named, word)| format!("{} {word}", named.count))
        .collect();
        if !counts.is_empty() {
            self.say(Tone::Plain, &format!("files: {}", counts.join(", ")));
        }
        // Deleted files cannot be looked at any more: they are named.
        self.name("deleted", &changes.deleted, Tone::Plain);
        self.name(
            "holds a decoy, where no secret stood",
            &changes.with_decoys,
            Tone::Warning,
        );
        for (folder, programs) in changes.programs.iter().take(MOST_FOLDERS) {
            let folder = escape_untrusted(&folder.display().to_string());
            let count = match programs.count {
                1 => "1 program".to_owned(),
                more => format!("{more} programs"),
            };
            let what = format!("{count} came into {}", shorten_front(&folder, 24));
            self.name(&what, programs, Tone::Plain);
        }
        if let more @ 1.. = changes.programs.len().saturating_sub(MOST_FOLDERS) {
            self.say(
                Tone::Plain,
                &format!("programs came into {more} more folders"),
            );
        }
        self.name(
            "set-id bits that came were taken away",
            &changes.set_id,
            Tone::Warning,
        );
    }

    fn name(&mut self, what: &str, named: &Named, tone: Tone) {
        if named.count == 0 {
            return;
        }
        let mut text = format!("{what}:");
        let mut left = named.count;
        for path in &named.names {
            let path = escape_untrusted(&path.display().to_string());
            let path = shorten_front(&path, 48);
            if text.chars().count() + path.chars().count() + 14 > COLUMNS {
                break;
            }
            text.push(' ');
            text.push_str(&path);
            left -= 1;
        }
        match left {
            0 => {}
            all if all == named.count => text.push_str(&format!(" {all} files")),
            more => text.push_str(&format!(" and {more} more")),
        }
        self.say(tone, &text);
    }

    fn tell_refusals(&mut self, refusals: &BTreeMap<(String, String), Refused>) {
        let total: usize = refusals.values().map(|refused| refused.times).sum();
        if total == 0 {
            return;
        }
        self.say(
            Tone::Plain,
            &match total {
                1 => "refused once:".to_owned(),
                total => format!("refused {total} times:"),
            },
        );
        let mut told: Vec<_> = refusals.iter().collect();
        told.sort_by_key(|(_, refused)| refused.first);
        for ((what, reason), refused) in told.iter().take(MOST_REFUSALS) {
            let times = match refused.times {
                1 => String::new(),
                times => format!(" ({times} times)"),
            };
            self.say(
                Tone::Plain,
                &format!("  {}{times}", shorten_back(&escape_untrusted(what), 60)),
            );
            let grant = grant_in(&refused.how_to_proceed);
            if grant.is_empty() {
                for line in wrapped(&escape_untrusted(reason), COLUMNS - 4) {
                    self.say(Tone::Faint, &format!("    {line}"));
                }
            }
            for line in grant {
                self.say(Tone::Grant, &format!("    {}", escape_untrusted(line)));
            }
        }
        if told.len() > MOST_REFUSALS {
            let more = told.len() - MOST_REFUSALS;
            self.say(Tone::Faint, &format!("  and {more} other kinds"));
        }
    }

    fn tell_holds(&mut self, sources: &Sources<'_>, recorded: &Recorded) {
        let Ok(holds) = sources.store.holds(Some(sources.session), &[]) else {
            self.say(Tone::Warning, "what was held cannot be read from the store");
            return;
        };
        for hold in holds.iter().take(MOST_HOLDS) {
            let outcome = match hold.state {
                HoldState::Used if recorded.taken_back.contains(hold.id.as_str()) => {
                    "approved, and taken back"
                }
                HoldState::Used => "approved, and done",
                HoldState::Approved => "approved, and not done",
                HoldState::Denied => "denied",
                HoldState::Expired => "not answered in time",
                HoldState::Pending => "not answered",
                other => other.as_str(),
            };
            let summary = escape_untrusted(&hold.summary);
            let room = COLUMNS - outcome.len() - 10;
            let tone = match hold.state {
                HoldState::Used => Tone::Warning,
                _ => Tone::Plain,
            };
            self.say(
                tone,
                &format!("held: {}: {outcome}", shorten_back(&summary, room)),
            );
        }
        if holds.len() > MOST_HOLDS {
            let more = holds.len() - MOST_HOLDS;
            self.say(Tone::Faint, &format!("  and {more} more were held"));
        }
        if !recorded.kept.is_empty() {
            let undo = format!("tagout undo {} --database", sources.session);
            let text = format!("what was taken from databases is kept: {undo}");
            self.say(Tone::Plain, &text);
        }
    }

    fn say(&mut self, tone: Tone, text: &str) {
        self.lines.push(Line {
            tone,
            text: text.to_owned(),
        });
    }
}

impl Tone {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Warning => "warning",
            Self::Grant => "grant",
            Self::Faint => "faint",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Plain, Self::Warning, Self::Grant, Self::Faint]
            .into_iter()
            .find(|tone| tone.as_str() == text)
    }
}

impl Recorded {
    fn read(ledger: &Path, profile: Option<&Profile>) -> Self {
        let mut recorded = Self::default();
        let Ok(entries) = Entries::open(ledger) else {
            return recorded;
        };
        let mut names = BTreeMap::new();
        for entry in entries.map_while(Result::ok) {
            let text = |name: &str| entry.fields.get(name).and_then(Json::as_str).unwrap_or("");
            match (entry.kind.as_str(), text("verdict")) {
                ("name_refused", _) => {
                    names.entry(text("host").to_owned()).or_insert(entry.seq);
                }
                ("connection", "deny") => {
                    let port = entry.fields.get("port").and_then(Json::as_u64);
                    let what = connection(text("host"), text("proxy_asked_for"), port);
                    recorded.add(what, text("reason"), text("how_to_proceed"), entry.seq);
                }
                ("verdict", "deny") => {
                    let path = text("path").split('?').next().unwrap_or("");
                    let host = HostName::parse(text("host")).ok();
                    let expected = profile.zip(host.as_ref());
                    if expected.is_some_and(|(profile, host)| profile.does_without(host, path)) {
                        names.remove(text("host"));
                        continue;
                    }
                    let operation = entry
                        .fields
                        .get("operations")
                        .and_then(|operations| operations.as_array()?.first()?["name"].as_str());
                    let what = match operation.filter(|name| !name.starts_with("http.")) {
                        Some(operation) => format!("{operation} at {}", text("host")),
                        None => format!("{} {}{}", text("method"), text("host"), text("path")),
                    };
                    recorded.add(what, text("reason"), text("how_to_proceed"), entry.seq);
                }
                ("taken_back", _) => {
                    recorded.taken_back.insert(text("hold").to_owned());
                }
                ("database_kept", _) => {
                    recorded.kept.insert(text("hold").to_owned());
                }
                _ => {}
            }
        }
        // A name that was asked for and never connected to.
        for (host, seq) in names {
            let told = recorded
                .refusals
                .keys()
                .any(|(what, _)| what.contains(&host));
            if !told {
                let grant = format!("[[host]]\nname = \"{host}\"");
                recorded.add(host, "the task does not grant this host", &grant, seq);
            }
        }
        recorded
    }

    fn add(&mut self, what: String, reason: &str, how_to_proceed: &str, seq: u64) {
        let refused = self
            .refusals
            .entry((what, reason.to_owned()))
            .or_insert(Refused {
                times: 0,
                how_to_proceed: how_to_proceed.to_owned(),
                first: seq,
            });
        refused.times += 1;
    }
}

/// A refused connection by its host; by what the proxy was asked for instead, or by its port alone, where
/// the agent named no host.
fn connection(host: &str, proxy_asked_for: &str, port: Option<u64>) -> String {
    match (host, proxy_asked_for, port) {
        ("", "", Some(port)) => format!("a connection to port {port} without a host's name"),
        ("", "", None) => "a connection without a host's name".to_owned(),
        ("", asked_for, _) => format!("{asked_for} through the proxy"),
        (host, _, Some(80 | 443) | None) => host.to_owned(),
        (host, _, Some(port)) => format!("{host}:{port}"),
    }
}

/// The lines of a refusal's advice that go into `tagout.toml` as they are.
fn grant_in(how_to_proceed: &str) -> Vec<&str> {
    how_to_proceed
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("[["))
        .map_while(|line| {
            let line = line.trim();
            (line.starts_with("[[") || line.contains(" = ")).then_some(line)
        })
        .collect()
}

/// A text in lines of at most so many characters, broken at blanks.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = shorten_back(word, columns);
        let last = lines.last_mut().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > columns {
            lines.push(word);
        } else if let Some(line) = lines.last_mut() {
            if last > 0 {
                line.push(' ');
            }
            line.push_str(&word);
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn shorten_back(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Beginning and end of a text, with a mark between them where something is left out.
pub(crate) fn shorten_middle(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    let front = text.chars().take(kept / 2);
    let back = text.chars().skip(length - (kept - kept / 2));
    front.chain(['…']).chain(back).collect()
}

fn shorten_front(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = text.chars().skip(length - most.saturating_sub(1));
    ['…'].into_iter().chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;

    #[test]
    fn the_lines_to_copy_are_found_in_the_advice() {
        let advice = "Ask your user to add this to tagout.toml and start again:\n\
                      [[host]]\nname = \"example.org\"\nmethods = [\"POST\"]\nNothing else helps.";
        assert_eq!(
            grant_in(advice),
            ["[[host]]", "name = \"example.org\"", "methods = [\"POST\"]"]
        );
        assert!(grant_in("Use the decoy of the task.").is_empty());
    }

    #[test]
    fn a_refused_connection_is_named_by_what_was_asked_for() {
        assert_eq!(connection("a.example", "", Some(443)), "a.example");
        assert_eq!(connection("a.example", "", Some(5432)), "a.example:5432");
        assert_eq!(
            connection("", "10.0.0.1:443", Some(3128)),
            "10.0.0.1:443 through the proxy"
        );
        assert_eq!(
            connection("", "", Some(3128)),
            "a connection to port 3128 without a host's name"
        );
    }

    #[test]
    fn a_report_is_read_back_and_nothing_else() {
        let mut report = Report::default();
        report.say(Tone::Warning, "files: 1 added");
        report.say(Tone::Grant, "[[host]]");
        let fields = report.to_json();
        assert_eq!(Report::from_json(fields.as_object().unwrap()), report);
        let odd = json!({"lines": [{"tone": "loud", "text": "x"}, {"text": "y"}, 1,
            {"tone": "plain", "text": "a\u{1b}[2Jb"}]});
        let read = Report::from_json(odd.as_object().unwrap());
        assert_eq!(read.lines.len(), 1);
        assert!(!read.lines[0].text.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn names_of_an_agents_choice_fit_and_are_only_text(
            names in prop::collection::vec("\\PC{1,120}|[\u{1b}\n\r\u{202e}a]{1,9}", 1..5),
            more in 0usize..3,
        ) {
            let mut report = Report::default();
            let named = Named {
                count: names.len() + more,
                names: names.iter().map(PathBuf::from).collect(),
            };
            report.name("deleted", &named, Tone::Plain);
            let text = &report.lines[0].text;
            prop_assert!(text.chars().count() <= COLUMNS, "{}", text);
            let controls = ['\u{1b}', '\n', '\r', '\u{202e}'];
            prop_assert!(!text.contains(controls));
        }

        #[test]
        fn what_is_shortened_fits_and_keeps_both_ends(text in "\\PC{0,120}", most in 1usize..60) {
            let short = shorten_middle(&text, most);
            prop_assert!(short.chars().count() <= most);
            prop_assert_eq!(text.chars().count() <= most, short == text);
            if most > 2 {
                prop_assert_eq!(short.chars().next(), text.chars().next());
                prop_assert_eq!(short.chars().last(), text.chars().last());
            }
        }

        #[test]
        fn wrapping_keeps_the_width(text in "\\PC{0,300}", columns in 10usize..80) {
            for line in wrapped(&text, columns) {
                prop_assert!(line.chars().count() <= columns);
            }
        }
    }
}
