//! The scan: one pass of an automaton over all keywords says where anything could be, and only there
//! a rule, a reader or the judge looks closer. Linear in the input; what stands in the file - an
//! allow comment, say - changes nothing.

mod by_kind;
pub(crate) mod encoded;
mod options;
mod tables;

use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::decoy::{crc_checksum_is_valid, is_uuid};
use crate::file_kind::{FileKind, file_kind};
use crate::finding::{Confidence, Finding};
use crate::judge::{Name, Setting, entropy, is_guessable, is_placeholder, judge, looks_random};
use crate::reader::{self, Field};
use crate::rules::{self, Rule};
use crate::twin::{Wide, decoded_base64};

/// Finds credentials. There is one, built in.
pub struct Detector {
    rules: &'static [Rule],
    keywords: AhoCorasick,
    /// What to do at each keyword of the automaton.
    leads: Vec<Lead>,
}

/// What a keyword leads to.
#[derive(Clone, Copy)]
enum Lead {
    Rule(usize),
    Name,
    Url,
    GoDsn,
    KeyBlock,
    Putty,
    UserOption,
    Base64,
    Percent,
    KubernetesSecret,
    Login,
    SecureString,
    Program,
    Front,
    Otp,
    Hex,
}

/// Parts of names under which credentials stand.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "pass", "pwd", "secret", "token", "key", "auth", "cred", "dsn", "cookie", "salt", "psk",
    "bearer", "otp", "mnemonic", "signature", "_pat",
];

const STRUCTURES: &[(&str, Lead)] = &[
    ("://", Lead::Url),
    ("@tcp(", Lead::GoDsn),
    ("-----begin ", Lead::KeyBlock),
    ("private-lines:", Lead::Putty),
    (" -u ", Lead::UserOption),
    (" --user ", Lead::UserOption),
    (" --proxy-user ", Lead::UserOption),
    ("%3a%2f%2f", Lead::Percent),
    ("%22%3a%22", Lead::Percent),
    ("kind: secret", Lead::KubernetesSecret),
    ("\"kind\": \"secret\"", Lead::KubernetesSecret),
    (".login(", Lead::Login),
    ("basicauth(", Lead::Login),
    ("usernamepasswordcredentials(", Lead::Login),
    ("networkcredential(", Lead::Login),
    ("passwordauthentication(", Lead::Login),
    ("convertto-securestring ", Lead::SecureString),
    ("otpauth://", Lead::Otp),
];

/// How far behind a keyword a match may reach before the window grows.
const WINDOW: usize = 256;
const WIDEST_WINDOW: usize = 64 * 1024;
/// This much of a file tells whether it is text.
const TELLING: usize = 8 * 1024;
/// How many encodings deep a value is looked for: one in another.
const DEEPEST: usize = 2;

/// Extensions of files whose values are literals.
#[rustfmt::skip]
const CONFIG_EXTENSIONS: &[&str] = &[
    "yaml", "yml", "json", "jsonc", "json5", "toml", "ini", "cfg", "conf", "cnf", "config",
    "properties", "xml", "tf", "tfvars", "hcl", "sh", "bash", "zsh", "fish", "ps1", "bat", "cmd",
    "service", "plist", "gradle", "env", "rc", "prefs", "reg", "sql", "dump", "http", "rest",
    "ovpn", "rdp", "inc",
];

impl Detector {
    /// The detector with the built-in rules.
    pub fn builtin() -> &'static Self {
        static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::new(rules::builtin()));
        &DETECTOR
    }

    fn new(rules: &'static [Rule]) -> Self {
        let mut texts: Vec<&str> = Vec::new();
        let mut leads = Vec::new();
        for name in NAMES {
            texts.push(name);
            leads.push(Lead::Name);
        }
        for (text, lead) in STRUCTURES {
            texts.push(text);
            leads.push(*lead);
        }
        let encoded = encoded::words();
        for word in &encoded {
            texts.push(word);
            leads.push(Lead::Base64);
        }
        for program in options::programs() {
            texts.push(program);
            leads.push(Lead::Program);
        }
        for front in options::FRONTS {
            texts.push(front);
            leads.push(Lead::Front);
        }
        let hexadecimal = encoded::hexadecimal_words();
        for word in &hexadecimal {
            texts.push(word);
            leads.push(Lead::Hex);
        }
        for (index, rule) in rules.iter().enumerate() {
            for keyword in &rule.keywords {
                texts.push(keyword);
                leads.push(Lead::Rule(index));
            }
        }
        let keywords = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(texts)
            // The texts are part of the program; a test builds them.
            .unwrap_or_else(|_| unreachable!("a few hundred short keywords make an automaton"));
        Self {
            rules,
            keywords,
            leads,
        }
    }

    /// The credentials in `bytes`, the content of a file at `path`, in order and without overlap. The
    /// path decides how strictly the content is read; nothing is opened. In what is no text, such as a
    /// database, a program or an image, only what is sure counts, unless the path promises credentials.
    pub fn scan(&self, path: &Path, bytes: &[u8]) -> Vec<Finding> {
        let wide = Wide::of(bytes);
        let mut findings = self.scan_as(path, bytes, wide);
        let is_text = wide.is_some() || !bytes.iter().take(TELLING).any(|&byte| byte == 0);
        if !is_text && file_kind(path) == FileKind::Plain {
            findings.retain(|finding| finding.confidence == Confidence::High);
        }
        findings
    }

    /// As [`Detector::scan`], for a part of a file whose beginning told that it is UTF-16, or not.
    pub(crate) fn scan_as(&self, path: &Path, bytes: &[u8], wide: Option<Wide>) -> Vec<Finding> {
        if let Some(wide) = wide {
            let mut findings = self.scan_narrow(path, &wide.narrowed(bytes));
            for finding in &mut findings {
                let end = (finding.span.end * wide.width()).min(bytes.len());
                finding.span = finding.span.start * wide.width()..end;
            }
            return findings;
        }
        // The mark of UTF-8 would be part of the first name.
        let mark = if bytes.starts_with(b"\xEF\xBB\xBF") {
            3
        } else {
            0
        };
        let mut findings = self.scan_narrow(path, bytes.get(mark..).unwrap_or_default());
        for finding in &mut findings {
            finding.span = finding.span.start + mark..finding.span.end + mark;
        }
        findings
    }

    fn scan_narrow(&self, path: &Path, bytes: &[u8]) -> Vec<Finding> {
        let mut scan = Scan {
            bytes,
            kind: file_kind(path),
            config: is_config(path),
            extension: extension(path),
            findings: Vec::new(),
            depth: DEEPEST,
        };
        self.follow_keywords(&mut scan);
        scan.read_by_kind();
        scan.finish()
    }

    /// What is in `bytes`, taken out of an encoding; looks into `depth` more.
    fn scan_within(&self, bytes: &[u8], kind: FileKind, depth: usize) -> Vec<Finding> {
        let mut scan = Scan {
            bytes,
            kind,
            config: true,
            extension: String::new(),
            findings: Vec::new(),
            depth,
        };
        self.follow_keywords(&mut scan);
        scan.finish()
    }

    fn follow_keywords(&self, scan: &mut Scan<'_>) {
        let mut name_end = 0;
        let mut key_end = 0;
        let (mut base64_end, mut percent_end, mut document_end, mut hex_end) = (0, 0, 0, 0);
        // Up to where each rule has looked, so that a run of keywords is looked at once.
        let mut looked = vec![0; self.rules.len()];
        for hit in self.keywords.find_overlapping_iter(scan.bytes) {
            match self.leads.get(hit.pattern().as_usize()) {
                Some(Lead::Rule(index)) => {
                    if let (Some(rule), Some(looked)) =
                        (self.rules.get(*index), looked.get_mut(*index))
                    {
                        scan.apply(rule, hit.range(), looked);
                    }
                }
                Some(Lead::Name) if hit.start() >= name_end => {
                    name_end = scan.named(hit.range()).unwrap_or(name_end);
                }
                Some(Lead::Name) | None => {}
                Some(Lead::Url) => scan.url(hit.start()),
                Some(Lead::GoDsn) => {
                    if let Some(span) = reader::go_dsn_password(scan.bytes, hit.start()) {
                        scan.password(span, "dsn-password");
                    }
                }
                Some(Lead::KeyBlock) if hit.start() >= key_end => {
                    if let Some(span) = reader::private_key_block(scan.bytes, hit.start()) {
                        key_end = span.end;
                        scan.add(span, "private-key", None, Confidence::High);
                    }
                }
                Some(Lead::KeyBlock) => {}
                Some(Lead::Putty) => {
                    if let Some(span) = reader::putty_private_lines(scan.bytes, hit.start()) {
                        scan.add(span, "private-key", None, Confidence::High);
                    }
                }
                Some(Lead::UserOption) => scan.user_option(hit.end()),
                Some(Lead::Base64) if hit.start() >= base64_end => {
                    base64_end = scan.base64_around(self, &hit.range(), base64_end);
                }
                Some(Lead::Percent) if hit.start() >= percent_end => {
                    percent_end = scan.percent_around(self, &hit.range(), percent_end);
                }
                Some(Lead::Base64 | Lead::Percent) => {}
                Some(Lead::KubernetesSecret) if hit.start() >= document_end => {
                    document_end = scan.kubernetes_secret(self, &hit.range());
                }
                Some(Lead::KubernetesSecret) => {}
                Some(Lead::Login) => scan.login(hit.end()),
                Some(Lead::SecureString) => scan.secure_string(hit.end()),
                Some(Lead::Program) => scan.command_line(&hit.range()),
                Some(Lead::Front) => scan.behind_front(hit.end()),
                Some(Lead::Otp) => scan.one_time_password(hit.end()),
                Some(Lead::Hex) if hit.start() >= hex_end => {
                    hex_end = scan.hexadecimal_around(self, &hit.range(), hex_end);
                }
                Some(Lead::Hex) => {}
            }
        }
    }
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Detector({} rules)", self.rules.len())
    }
}

/// One file under scan.
struct Scan<'a> {
    bytes: &'a [u8],
    kind: FileKind,
    config: bool,
    /// Of its name, in lower case.
    extension: String,
    findings: Vec<Finding>,
    /// How many encodings more are looked into.
    depth: usize,
}

impl<'a> Scan<'a> {
    fn slice(&self, range: Range<usize>) -> &'a [u8] {
        self.bytes.get(range).unwrap_or_default()
    }

    fn add(
        &mut self,
        span: Range<usize>,
        kind: &str,
        key: Option<Range<usize>>,
        confidence: Confidence,
    ) {
        if span.is_empty() || span.end > self.bytes.len() {
            return;
        }
        let guessable = is_guessable(self.slice(span.clone()));
        let key = key.map(|key| String::from_utf8_lossy(self.slice(key)).into_owned());
        self.findings.push(Finding {
            span,
            kind: kind.to_owned(),
            key,
            confidence,
            guessable,
        });
    }

    fn setting(&self, by_line: bool) -> Setting {
        match self.kind {
            FileKind::Dotenv | FileKind::CredentialStore => Setting::Store,
            FileKind::Template | FileKind::Key => Setting::Config,
            FileKind::Plain if self.config || by_line => Setting::Config,
            FileKind::Plain => Setting::Code,
        }
    }

    fn apply(&mut self, rule: &Rule, keyword: Range<usize>, looked: &mut usize) {
        if !rule.extensions.is_empty() && !rule.extensions.contains(&self.extension) {
            return;
        }
        let Some(regex) = rule.regex() else { return };
        let mut start = keyword.start.saturating_sub(rule.before).max(*looked);
        let mut reach = WINDOW;
        while start < self.bytes.len() {
            let end = (keyword.end + reach).min(self.bytes.len());
            let Some(window) = self.bytes.get(start..end) else {
                return;
            };
            let Some(groups) = regex.captures(window) else {
                break;
            };
            let Some(whole) = groups.get(0) else { break };
            if start + whole.end() == end && end < self.bytes.len() && reach < WIDEST_WINDOW {
                // Cut by the window's border: the rest may belong to it.
                reach *= 4;
                continue;
            }
            let secret = groups.iter().skip(1).flatten().next().unwrap_or(whole);
            let span = start + secret.start()..start + secret.end();
            start += whole.end().max(1);
            *looked = start;
            let value = self.slice(span.clone());
            let plain = rule.random && !looks_random(value)
                || rule.entropy.is_some_and(|least| entropy(value) <= least);
            if plain || is_placeholder(value) {
                continue;
            }
            let confidence = match crc_checksum_is_valid(value) {
                Some(false) => Confidence::Medium,
                _ => rule.confidence,
            };
            self.add(span, &rule.id, None, confidence);
        }
    }

    /// Looks at the field whose name has `hit` in it; answers where that name ends.
    fn named(&mut self, hit: Range<usize>) -> Option<usize> {
        let by_line = self.begins_line(hit.start);
        let literal = by_line && (self.config || self.kind != FileKind::Plain);
        let field = reader::field_at(self.bytes, hit, literal)?;
        // Within a long run without blanks nothing is a name of its own.
        let run = !field.quoted && field.value.len() > 1024;
        let end = if run { field.value.end } else { field.name.end };
        // In a program a line such as `password = other` is an expression; only in capitals is it
        // the shell's or make's.
        let shell = by_line
            && self
                .slice(field.name.clone())
                .iter()
                .all(|b| !b.is_ascii_lowercase())
            && self.bytes.get(field.name.end) == Some(&b'=');
        let setting = self.setting(shell);
        self.consider(field, setting);
        Some(end)
    }

    /// Whether nothing but blanks and the words of an assignment stand before `at` on its line.
    fn begins_line(&self, at: usize) -> bool {
        let from = at.saturating_sub(160);
        let front = self.slice(from..at);
        let line = front
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(front, |nl| front.get(nl + 1..).unwrap_or_default());
        let line = line.trim_ascii_start();
        let words = [&b"export "[..], b"set ", b"- ", b"ENV ", b"ARG "];
        let line = words
            .iter()
            .find_map(|word| line.strip_prefix(*word))
            .unwrap_or(line);
        line.iter()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.$\"'".contains(b))
    }

    fn consider(&mut self, field: Field, setting: Setting) {
        let value = self.slice(field.value.clone());
        let name_text = self.slice(field.name.clone());
        let mut name = if field.argument {
            Name::of_call(name_text)
        } else {
            Name::of(name_text)
        };
        if field.scheme.is_some() {
            name = name.max(Name::Secret);
        }
        // `${NAME:-default}`: the default is the value.
        if value.starts_with(b"${")
            && let Some(at) = value
                .windows(2)
                .position(|pair| matches!(pair, [b':', b'-' | b'=']))
        {
            let close = value.iter().position(|&b| b == b'}').unwrap_or(value.len());
            let span = field.value.start + at + 2..field.value.start + close.max(at + 2);
            let field = Field {
                value: span,
                ..field
            };
            if !self.slice(field.value.clone()).starts_with(b"$") {
                self.consider(field, setting);
            }
            return;
        }
        if let Some(separator) = value.windows(3).position(|window| window == b"://") {
            self.url(field.value.start + separator);
            return;
        }
        if value.windows(11).any(|window| window == b"-----BEGIN ") {
            return;
        }
        if field.scheme == Some("basic") {
            let decoded = decoded_base64(value).filter(|decoded| decoded.contains(&b':'));
            if decoded.is_some_and(|decoded| !decoded.ends_with(b":")) {
                self.add(
                    field.value,
                    "basic-authorization",
                    Some(field.name),
                    Confidence::High,
                );
            }
            return;
        }
        // A file full of UUIDs: those under secret names are tokens, the others are ids.
        if is_uuid(value) && name < Name::Secret {
            return;
        }
        let mut span = field.value;
        let mut judged = judge(value, name, setting, field.quoted);
        if judged.is_none() && !field.quoted && setting == Setting::Config {
            // `NAME=value command …`: in a shell the value is the first word.
            let word = value.iter().position(u8::is_ascii_whitespace);
            span.end = span.start + word.unwrap_or(0);
            judged = judge(self.slice(span.clone()), name, setting, false);
        }
        let Some(confidence) = judged else {
            return;
        };
        let confidence = match self.kind {
            FileKind::Template if confidence > Confidence::Low => Confidence::Medium,
            _ => confidence,
        };
        let kind = match name {
            Name::Password => "password",
            _ => "secret",
        };
        self.add(span, kind, Some(field.name), confidence);
    }

    fn url(&mut self, separator: usize) {
        let Some((span, password)) = reader::userinfo(self.bytes, separator) else {
            return;
        };
        if password {
            self.password(span, "dsn-password");
        } else if looks_random(self.slice(span.clone()))
            && !is_placeholder(self.slice(span.clone()))
        {
            self.add(span, "url-token", None, Confidence::Medium);
        }
    }

    /// A password that a notation, not a name, marks as one.
    fn password(&mut self, span: Range<usize>, kind: &str) {
        let setting = self.setting(false);
        let value = self.slice(span.clone());
        let documentation = [
            &b"password"[..],
            b"pass",
            b"pwd",
            b"pw",
            b"secret",
            b"user",
            b"username",
            b"postgres",
            b"root",
            b"admin",
            b"test",
            b"p",
        ];
        let usual = documentation.contains(&value.to_ascii_lowercase().as_slice());
        if setting == Setting::Code && usual {
            return;
        }
        let setting = if setting == Setting::Code {
            Setting::Config
        } else {
            setting
        };
        if let Some(confidence) = judge(value, Name::Password, setting, true) {
            self.add(span, kind, None, confidence);
        }
    }

    /// Findings in order; those that overlap become one that spans them all and says the surest.
    fn finish(mut self) -> Vec<Finding> {
        self.findings
            .sort_by_key(|finding| (finding.span.start, usize::MAX - finding.span.end));
        let mut merged: Vec<Finding> = Vec::with_capacity(self.findings.len());
        for finding in self.findings {
            let Some(last) = merged
                .last_mut()
                .filter(|last| finding.span.start < last.span.end)
            else {
                merged.push(finding);
                continue;
            };
            last.span.end = last.span.end.max(finding.span.end);
            let generic = matches!(
                last.kind.as_str(),
                "secret" | "password" | "unknown" | "url-token"
            );
            if finding.confidence > last.confidence
                || (generic
                    && finding.confidence >= last.confidence
                    && finding.kind != "secret"
                    && finding.kind != "password")
            {
                last.kind = finding.kind;
            }
            last.confidence = last.confidence.max(finding.confidence);
            last.key = last.key.take().or(finding.key);
            last.guessable &= finding.guessable;
        }
        merged
    }
}

fn is_config(path: &Path) -> bool {
    match extension(path) {
        // `Dockerfile`, `Procfile`, `.bashrc`, `config`.
        extension if extension.is_empty() => true,
        extension => CONFIG_EXTENSIONS.contains(&extension.as_str()),
    }
}

fn extension(path: &Path) -> String {
    path.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
