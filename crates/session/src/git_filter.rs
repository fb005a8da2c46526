//! git and twins: inside, a tracked file that has a twin shows as unchanged until it is changed, and no
//! commit carries a decoy where a value was. git is told so by a filter (gitattributes(5), `filter`),
//! which is this program again, in git's long-running protocol.
//!
//! Nothing secret is needed for that: what the filter puts where a decoy stands is what the repository
//! holds there, and the repository is readable inside. A line whose value the repository does not hold
//! is left out of what git sees, or, where a file cannot do without one, git sees the indexed version.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use aho_corasick::AhoCorasick;
use serde::{Deserialize, Serialize};
use tagout_sandbox::OverlayFile;
use tagout_secrets::Edits;

use crate::scan::{self, FoundFile};

/// First argument of the program that makes it the filter.
pub const GIT_FILTER_ARGUMENT: &str = "__git-filter";

/// What the filter knows, inside.
const FACTS: &str = "/run/tagout/git-twins.json";
/// Which files go through it, inside.
const ATTRIBUTES: &str = "/run/tagout/git-attributes";
/// Decoys that are shorter would be found by chance.
const SHORTEST_DECOY: usize = 8;
/// The longest pkt-line (gitprotocol-common(5)), less its four digits.
const LONGEST_PACKET: usize = 65_516;

/// What the filter knows of the session's twins. No value is in it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Facts {
    tracked: Vec<Tracked>,
    decoys: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Tracked {
    #[serde(with = "tagout_sandbox::path_octets")]
    path: PathBuf,
    /// The indexed blob at launch.
    blob: String,
    /// Whether the file held exactly that then.
    unchanged: bool,
    /// Nothing for one that is shown as zeros.
    twin: String,
    /// How many zeros are shown instead of an archive.
    zeros: Option<usize>,
}

impl Tracked {
    /// Whether this is what is shown of it.
    fn is_shown_as(&self, bytes: &[u8]) -> bool {
        match self.zeros {
            Some(length) => bytes.len() == length && bytes.iter().all(|&byte| byte == 0),
            None => self.twin.as_bytes() == bytes,
        }
    }
}

impl Facts {
    /// What the filter has to know; `None` where no tracked file has a twin that it can treat. `None` for
    /// a file that is not text, whose twin is never what git would store.
    pub(crate) fn of(workspace: &Path, twins: &[FoundFile]) -> Option<Self> {
        let visible: Vec<&FoundFile> = twins
            .iter()
            .filter(|file| !file.is_withheld() && !file.path.starts_with(".git"))
            .filter(|file| std::str::from_utf8(&file.twin).is_ok())
            .collect();
        if visible.is_empty() || !workspace.join(".git").exists() {
            return None;
        }
        let paths: Vec<&Path> = visible.iter().map(|file| file.path.as_path()).collect();
        let blobs = scan::indexed(workspace, &paths);
        let tracked: Vec<Tracked> = visible
            .iter()
            .filter_map(|file| {
                let blob = blobs.get(&file.path)?;
                Some(Tracked {
                    path: file.path.clone(),
                    blob: blob.clone(),
                    unchanged: is_blob(&std::fs::read(workspace.join(&file.path)).ok()?, blob),
                    twin: match file.zeros_for().is_some() {
                        true => String::new(),
                        false => String::from_utf8(file.twin.clone()).ok()?,
                    },
                    zeros: file.zeros_for().map(|_| file.twin.len()),
                })
            })
            .collect();
        let decoys = twins
            .iter()
            .flat_map(|file| &file.decoys)
            .filter(|decoy| decoy.len() >= SHORTEST_DECOY)
            .filter_map(|decoy| String::from_utf8(decoy.clone()).ok())
            .collect();
        (!tracked.is_empty()).then_some(Self { tracked, decoys })
    }

    /// The files that tell the filter and git.
    pub(crate) fn overlays(&self) -> Vec<OverlayFile> {
        let mut names: Vec<&str> = self
            .tracked
            .iter()
            .filter_map(|file| file.path.file_name()?.to_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        // By name alone: a folder can be moved.
        let attributes: String = names
            .into_iter()
            .map(|name| format!("{} filter=tagout\n", pattern(name)))
            .collect();
        let file = |path: &str, bytes: Vec<u8>| OverlayFile {
            path: path.into(),
            bytes,
            mode: 0o444,
        };
        vec![
            file(ATTRIBUTES, attributes.into_bytes()),
            file(FACTS, serde_json::to_vec(self).unwrap_or_default()),
        ]
    }

    /// This program, where the command may execute it.
    pub(crate) fn program() -> Option<PathBuf> {
        let program = std::env::current_exe().ok()?;
        let mode = std::fs::metadata(&program).ok()?.mode();
        // Started as root, the command is somebody else.
        let needed = if rustix::process::geteuid().is_root() {
            0o005
        } else {
            0o100
        };
        (mode & needed == needed).then_some(program)
    }

    /// What git's configuration inside says about it; `program` is where this program stands inside.
    pub(crate) fn configuration(program: &Path) -> String {
        let quoted = program.display().to_string().replace('\'', r"'\''");
        let line = format!("'{quoted}' {GIT_FILTER_ARGUMENT}")
            .replace('\\', r"\\")
            .replace('"', "\\\"");
        format!(
            "[core]\n\tattributesFile = {ATTRIBUTES}\n[filter \"tagout\"]\n\tprocess = \"{line}\"\n\trequired = true\n"
        )
    }
}

/// Whether git would store `bytes` under this name, line ends of Windows turned into its own or not.
fn is_blob(bytes: &[u8], name: &str) -> bool {
    use sha1::Digest as _;
    let stored = |bytes: &[u8]| {
        let header = format!("blob {}\0", bytes.len());
        let hex = |digest: &[u8]| {
            digest
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        match name.len() {
            64 => hex(&sha2::Sha256::new()
                .chain_update(header)
                .chain_update(bytes)
                .finalize()),
            _ => hex(&sha1::Sha1::new()
                .chain_update(header)
                .chain_update(bytes)
                .finalize()),
        }
    };
    stored(bytes) == name || stored(&without_returns(bytes)) == name
}

fn without_returns(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        if byte != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            text.push(byte);
        }
    }
    text
}

/// A pattern of gitattributes(5) that matches this name and no other.
fn pattern(name: &str) -> String {
    let mut text = String::from("\"");
    for character in name.chars() {
        match character {
            '*' | '?' | '[' | ']' => text.push_str(&format!("\\\\{character}")),
            '\\' => text.push_str("\\\\\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '!' | '#' if text.len() == 1 => text.push_str(&format!("\\\\{character}")),
            other => text.push(other),
        }
    }
    text + "\""
}

/// Is the filter: speaks with git on standard input and output until git ends it. The exit status.
pub fn git_filter_main() -> u8 {
    let facts = std::fs::read(FACTS)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok());
    let Some(facts) = facts else {
        eprintln!("tagout: {GIT_FILTER_ARGUMENT} is for git inside a session");
        return 1;
    };
    let mut filter = Filter::new(facts);
    let conversation = Conversation {
        input: BufReader::new(io::stdin().lock()),
        output: io::stdout().lock(),
    };
    match conversation.hold(|path, bytes| filter.clean(path, bytes)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("tagout: the filter of git failed: {error}");
            1
        }
    }
}

/// Turns what the agent sees into what git should store.
struct Filter {
    facts: Facts,
    decoys: Option<AhoCorasick>,
    /// What stands in the repository where twins have decoys; made when first needed.
    learned: Option<Learned>,
    blob: fn(&str) -> Option<Vec<u8>>,
}

#[derive(Default)]
struct Learned {
    edits: Edits,
    /// Lines, trimmed, of twins of files that were changed already: the line of the repository under the
    /// same name, where it has one.
    local: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Filter {
    fn new(facts: Facts) -> Self {
        let decoys = (!facts.decoys.is_empty())
            .then(|| AhoCorasick::new(&facts.decoys).ok())
            .flatten();
        Self {
            facts,
            decoys,
            learned: None,
            blob,
        }
    }

    fn has_decoy(&self, bytes: &[u8]) -> bool {
        self.decoys
            .as_ref()
            .is_some_and(|decoys| decoys.is_match(bytes))
    }

    /// What git should store for `bytes`, the content of `path` as it is seen inside.
    fn clean(&mut self, path: &Path, bytes: Vec<u8>) -> Vec<u8> {
        let tracked = &self.facts.tracked;
        let archive = tracked
            .iter()
            .find(|file| file.zeros.is_some() && file.path == path && file.is_shown_as(&bytes));
        if let Some(stored) = archive.and_then(|file| (self.blob)(&file.blob)) {
            return stored;
        }
        let known = tracked.iter().any(|file| file.is_shown_as(&bytes));
        if !known && !self.has_decoy(&bytes) {
            return bytes;
        }
        let learned = match self.learned.take() {
            Some(learned) => learned,
            None => self.learn(),
        };
        let mut local = Vec::with_capacity(bytes.len());
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match learned.local.get(line.trim_ascii()) {
                None => local.extend_from_slice(line),
                Some(None) => {}
                Some(Some(stored)) => {
                    let front = line.len() - line.trim_ascii_start().len();
                    let back = line.trim_ascii_end().len();
                    local.extend_from_slice(&line[..front]);
                    local.extend_from_slice(stored);
                    local.extend_from_slice(&line[back..]);
                }
            }
        }
        let clean = learned.edits.carry(path, &local).bytes;
        self.learned = Some(learned);
        if !self.has_decoy(&clean) {
            return clean;
        }
        match (self.blob)(&format!(":{}", path.display())) {
            Some(indexed) if !self.has_decoy(&indexed) => {
                eprintln!(
                    "tagout: {} has decoys where its values did not stand; git is shown the version that is in the index",
                    path.display()
                );
                indexed
            }
            // It is committed so already, or new.
            _ => clean,
        }
    }

    fn learn(&self) -> Learned {
        let mut learned = Learned::default();
        for file in self
            .facts
            .tracked
            .iter()
            .filter(|file| file.zeros.is_none())
        {
            let Some(stored) = (self.blob)(&file.blob) else {
                continue;
            };
            let twin = file.twin.as_bytes();
            let shown = without_returns(twin);
            if file.unchanged
                && (learned.edits.learn(&file.path, &stored, twin)
                    || learned.edits.learn(&file.path, &stored, &shown))
            {
                continue;
            }
            for line in twin.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
                let Some(name) = name_of(line).filter(|_| self.has_decoy(line)) else {
                    continue;
                };
                let counterpart = stored
                    .split(|&byte| byte == b'\n')
                    .map(<[u8]>::trim_ascii)
                    .find(|stored| name_of(stored) == Some(name));
                learned
                    .local
                    .insert(line.to_vec(), counterpart.map(<[u8]>::to_vec));
            }
        }
        learned
    }
}

/// The name in a line `NAME=value`, which a file can do without.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(|&byte| byte == b'=')?;
    let name = line.get(..end)?.trim_ascii();
    let word = name.strip_prefix(b"export ").unwrap_or(name);
    let plain = !word.is_empty()
        && word
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    plain.then_some(name)
}

/// An object of the repository that git asks for. The hooks and filters of the repository have no part
/// in that.
fn blob(name: &str) -> Option<Vec<u8>> {
    let output = Command::new("git")
        .args(["cat-file", "blob", name])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

/// git's side of the pipe (gitattributes(5), "Long Running Filter Process").
struct Conversation<R, W> {
    input: R,
    output: W,
}

impl<R: BufRead, W: Write> Conversation<R, W> {
    fn hold(mut self, mut clean: impl FnMut(&Path, Vec<u8>) -> Vec<u8>) -> io::Result<()> {
        let welcome = self.texts()?;
        if welcome.first().map(Vec::as_slice) != Some(b"git-filter-client")
            || !welcome.contains(&b"version=2".to_vec())
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.say(&["git-filter-server", "version=2"])?;
        self.texts()?;
        self.say(&["capability=clean", "capability=smudge"])?;
        while !self.input.fill_buf()?.is_empty() {
            let request = self.texts()?;
            let value = |key: &[u8]| {
                request
                    .iter()
                    .find_map(|text| text.strip_prefix(key))
                    .unwrap_or_default()
                    .to_vec()
            };
            let path = {
                use std::os::unix::ffi::OsStringExt;
                PathBuf::from(std::ffi::OsString::from_vec(value(b"pathname=")))
            };
            let mut bytes = Vec::new();
            while let Some(packet) = self.packet()? {
                bytes.extend_from_slice(&packet);
            }
            // What git takes out of the repository stays as it is.
            if value(b"command=") == b"clean" {
                bytes = clean(&path, bytes);
            }
            self.say(&["status=success"])?;
            for part in bytes.chunks(LONGEST_PACKET) {
                self.send(part)?;
            }
            // The end of the content, and of a second list of which nothing has changed.
            self.output.write_all(b"00000000")?;
            self.output.flush()?;
        }
        Ok(())
    }

    /// Packets up to the next flush, each without its line feed.
    fn texts(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut texts = Vec::new();
        while let Some(mut packet) = self.packet()? {
            if packet.last() == Some(&b'\n') {
                packet.pop();
            }
            texts.push(packet);
        }
        Ok(texts)
    }

    /// `None` is a flush packet.
    fn packet(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = std::str::from_utf8(&length)
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        match length {
            0 => Ok(None),
            4.. => {
                let mut bytes = vec![0; length - 4];
                self.input.read_exact(&mut bytes)?;
                Ok(Some(bytes))
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn say(&mut self, texts: &[&str]) -> io::Result<()> {
        for text in texts {
            self.send(format!("{text}\n").as_bytes())?;
        }
        self.output.write_all(b"0000")?;
        self.output.flush()
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        write!(self.output, "{:04x}", packet.len() + 4)?;
        self.output.write_all(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED: &str = "A=1\nTOKEN=real-value-of-the-token\nB=2\n";
    const TWIN: &str = "A=1\nTOKEN=fake-value-of-the-token\nB=2\n";

    fn filter(unchanged: bool, twin: &str) -> Filter {
        let tracked = vec![Tracked {
            path: ".env".into(),
            blob: "stored".to_owned(),
            unchanged,
            twin: twin.to_owned(),
            zeros: None,
        }];
        let decoys = vec![
            "fake-value-of-the-token".to_owned(),
            "fake-value-of-the-local".to_owned(),
        ];
        let mut filter = Filter::new(Facts { tracked, decoys });
        filter.blob = |name| matches!(name, "stored" | ":.env").then(|| STORED.into());
        filter
    }

    fn clean(filter: &mut Filter, text: &str) -> String {
        String::from_utf8(filter.clean(Path::new(".env"), text.into())).unwrap()
    }

    #[test]
    fn a_twin_is_its_blob_and_an_edit_keeps_what_is_stored() {
        let mut filter = filter(true, TWIN);
        assert_eq!(clean(&mut filter, TWIN), STORED);
        assert_eq!(
            clean(&mut filter, &format!("{TWIN}PORT=1\n")),
            format!("{STORED}PORT=1\n")
        );
        assert_eq!(clean(&mut filter, "A=2\n"), "A=2\n");
        assert_eq!(
            clean(&mut filter, &TWIN.replace('\n', "\r\n")),
            STORED.replace('\n', "\r\n")
        );
    }

    #[test]
    fn a_decoy_elsewhere_is_not_stored() {
        let mut filter = filter(true, TWIN);
        let moved = TWIN.replace("TOKEN=", "PUBLIC_TOKEN=");
        assert_eq!(clean(&mut filter, &moved), STORED);
    }

    #[test]
    fn a_value_that_the_repository_does_not_hold_stays_out_of_it() {
        let twin = "A=1\nTOKEN=fake-value-of-the-local\nLOCAL=fake-value-of-the-token\nB=2\n";
        let mut filter = filter(false, twin);
        assert_eq!(clean(&mut filter, twin), STORED);
        assert_eq!(
            clean(&mut filter, &format!("{twin}PORT=1\n")),
            format!("{STORED}PORT=1\n")
        );
    }

    #[test]
    fn names_are_only_names() {
        assert_eq!(pattern(".env"), "\".env\"");
        assert_eq!(pattern("a*[b]?\\\""), r#""a\\*\\[b\\]\\?\\\\\"""#);
        assert_eq!(pattern("!x#"), r#""\\!x#""#);
        let text = Facts::configuration(Path::new("/a b/it's \"x\""));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, text).unwrap();
        let told = Command::new("git")
            .args(["config", "--file"])
            .arg(&file)
            .args(["--get", "filter.tagout.process"])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(told.stdout).unwrap(),
            "'/a b/it'\\''s \"x\"' __git-filter\n"
        );
    }

    #[test]
    fn blobs_are_recognised_by_name() {
        let name = "5626abf0f72e58d7a153368ba57db4c673c0e171";
        assert!(is_blob(b"one\n", name) && is_blob(b"one\r\n", name) && !is_blob(b"two\n", name));
    }

    #[test]
    fn git_is_answered_and_nonsense_ends_it() {
        let packet = |text: &str| format!("{:04x}{text}", text.len() + 4);
        let hello = packet("git-filter-client\n") + &packet("version=2\n") + "0000";
        let capabilities = packet("capability=clean\n") + "0000";
        let request =
            packet("command=clean\n") + &packet("pathname=a\n") + "0000" + &packet("x") + "0000";
        let smudge = request.replace("0012command=clean", "0013command=smudge");
        let hold = |input: &str| {
            let mut output = Vec::new();
            let conversation = Conversation {
                input: input.as_bytes(),
                output: &mut output,
            };
            let outcome = conversation.hold(|_, bytes| [b"clean ", bytes.as_slice()].concat());
            (outcome.is_ok(), String::from_utf8(output).unwrap())
        };
        let (fine, said) = hold(&(hello.clone() + &capabilities + &request + &smudge));
        assert!(fine, "{said}");
        let success = packet("status=success\n");
        assert!(
            said.ends_with(&format!(
                "{success}0000{}00000000{success}0000{}00000000",
                packet("clean x"),
                packet("x")
            )),
            "{said}"
        );
        assert!(!hold("").0 && !hold("zzzz").0 && !hold("0003").0 && !hold(&packet("hello\n")).0);
        assert!(!hold(&(hello + &capabilities + &packet("command=clean\n"))).0);
    }
}
