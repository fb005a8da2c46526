//! git outside, asked for the person's logins: `git credential fill`, `approve`, `reject`
//! (git-credential(1)).
//!
//! What must stay true: which helpers run is the person's word. The configuration is read once for each
//! question, refused where a file of it lies in a folder that an agent can write, and given to git as it
//! was read. No variable of git's is passed on, `PATH` has no folder of the workspace, and nobody is
//! prompted: the terminal is the agent's.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tagout_core::percent_decode;
use tagout_credentials::{Secret, find_program};
use zeroize::Zeroizing;

use crate::workspace::{Git, Workspace};

/// How long git and its helpers may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most of an answer that is read.
const MOST_ANSWER: u64 = 256 * 1024;
/// Variables of git's that name the person's configuration.
pub(crate) const CONFIGURATION: [&str; 3] = [
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
];

/// What a helper is asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    /// With its port, where that is not 443.
    pub(crate) host: String,
    /// As the remote's URL has it, without its first slash.
    pub(crate) path: String,
    pub(crate) user: Option<String>,
}

/// What a helper said.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) user: Secret,
    pub(crate) password: Secret,
    /// Seconds since 1970, UTC.
    expires: Option<u64>,
}

/// Why there is no login. Says nothing of what a helper printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("nobody is logged in outside (`git credential fill` found nothing)")]
    NoLogin,
    #[error("your user's credential helper did not answer within {} seconds", PATIENCE.as_secs())]
    Late,
    #[error("git was not found outside")]
    NoGit,
    #[error(
        "your user's git configuration comes from {0}, where an agent can change which programs it names"
    )]
    Configuration(String),
    #[error("the credential helper of your user lies in {0}, where an agent can change it")]
    Helper(String),
}

/// The git of the person.
pub(crate) struct Outside {
    /// Folders that an agent can write.
    folders: Vec<PathBuf>,
    /// Seen through every link.
    search_path: OsString,
}

impl Outside {
    /// For an agent in `workspace`.
    pub(crate) fn new(workspace: &Workspace) -> Self {
        let linked = match &workspace.git {
            Some(Git::Linked { private, common }) => vec![private.clone(), common.clone()],
            Some(Git::Folder) | None => Vec::new(),
        };
        let folders: Vec<PathBuf> = [workspace.path.clone()]
            .into_iter()
            .chain(linked)
            .flat_map(|folder| [folder.canonicalize().ok(), Some(folder)])
            .flatten()
            .collect();
        let searched = std::env::var_os("PATH").unwrap_or_default();
        let entries = std::env::split_paths(&searched)
            .filter(|entry| entry.is_absolute() && !is_below(entry, &folders));
        let search_path = std::env::join_paths(entries).unwrap_or_default();
        Self {
            folders,
            search_path,
        }
    }

    /// The person's login for a repository.
    pub(crate) fn fill(&self, asked: &Asked) -> Result<Pair, Unanswered> {
        let settings = self.settings()?;
        if let Some(pair) = extra_header(&settings, asked) {
            return Ok(pair);
        }
        let mut input = Zeroizing::new(asked.lines());
        input.push('\n');
        let answer = self.git(&["credential", "fill"], &settings, input)?;
        Pair::read(&answer).ok_or(Unanswered::NoLogin)
    }

    /// Tells the helpers that a login worked (`approve`), or did not (`reject`).
    pub(crate) fn tell(&self, word: &str, asked: &Asked, pair: &Pair) {
        let Ok(settings) = self.settings() else {
            return;
        };
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        let input = Zeroizing::new(format!(
            "{}username={}\npassword={}\n\n",
            asked.lines(),
            Zeroizing::new(text(&pair.user)).as_str(),
            Zeroizing::new(text(&pair.password)).as_str(),
        ));
        // Nobody waits for what a helper makes of it.
        let _ = self.git(&["credential", word], &settings, input);
    }

    /// The person's settings that say how to log in, as they are now.
    fn settings(&self) -> Result<Vec<(String, String)>, Unanswered> {
        let words = ["config", "--list", "--includes", "--show-origin", "-z"];
        let listing = self.git(&words, &[], Zeroizing::default())?;
        let mut parts = listing.split(|byte| *byte == 0);
        let (mut settings, mut files) = (Vec::new(), BTreeSet::new());
        while let (Some(origin), Some(entry)) = (parts.next(), parts.next()) {
            let origin = String::from_utf8_lossy(origin);
            if let Some(file) = origin.strip_prefix("file:") {
                files.insert(PathBuf::from(file));
            }
            let entry = String::from_utf8_lossy(entry);
            let (key, value) = entry.split_once('\n').unwrap_or((&entry, "true"));
            if key.starts_with("credential.") || key.starts_with("http.") {
                settings.push((key.to_owned(), value.to_owned()));
            }
        }
        if let Some(file) = files.iter().find(|file| is_below(file, &self.folders)) {
            return Err(Unanswered::Configuration(file.display().to_string()));
        }
        let helpers = settings
            .iter()
            .filter(|(key, _)| key.starts_with("credential.") && key.ends_with(".helper"));
        for (_, helper) in helpers {
            self.check(helper)?;
        }
        Ok(settings)
    }

    /// Refuses a helper of which a word is a program or file that an agent can write.
    fn check(&self, helper: &str) -> Result<(), Unanswered> {
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .unwrap_or_default();
        let text = helper.strip_prefix('!').unwrap_or(helper);
        let separators = |it: char| it.is_whitespace() || "\"';&|()`=".contains(it);
        for (number, word) in text
            .split(separators)
            .filter(|it| !it.is_empty())
            .enumerate()
        {
            let path = match word.split_once('/') {
                Some(("~" | "$HOME" | "${HOME}", rest)) => home.join(rest),
                // It runs in `/`.
                Some(_) => Path::new("/").join(word),
                // Of a bare word git or the shell makes a program.
                _ if number == 0 => {
                    let name = match helper.starts_with('!') {
                        true => word.to_owned(),
                        false => format!("git-credential-{word}"),
                    };
                    let found = std::env::split_paths(&self.search_path)
                        .map(|folder| folder.join(&name))
                        .find(|path| path.exists());
                    match found {
                        Some(path) => path,
                        None => continue,
                    }
                }
                _ => continue,
            };
            if is_below(&path, &self.folders) {
                return Err(Unanswered::Helper(path.display().to_string()));
            }
        }
        Ok(())
    }

    /// Runs git in `/`, with these settings and no others where there are some.
    fn git(
        &self,
        words: &[&str],
        settings: &[(String, String)],
        input: Zeroizing<String>,
    ) -> Result<Zeroizing<Vec<u8>>, Unanswered> {
        let program = self
            .folders
            .first()
            .and_then(|folder| find_program("git", Some(&self.search_path), folder))
            .filter(|program| !is_below(program, &self.folders))
            .ok_or(Unanswered::NoGit)?;
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir("/")
            .env("PATH", &self.search_path)
            // An empty one is asked before those of configuration and is none.
            .env("GIT_ASKPASS", "")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GCM_INTERACTIVE", "never")
            .env_remove("SSH_ASKPASS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        for (name, value) in std::env::vars_os() {
            let Some(known) = name.to_str().filter(|name| name.starts_with("GIT_")) else {
                continue;
            };
            let is_ours = matches!(known, "GIT_ASKPASS" | "GIT_TERMINAL_PROMPT");
            let is_kept =
                CONFIGURATION.contains(&known) && !is_below(Path::new(&value), &self.folders);
            if !is_ours && !is_kept {
                command.env_remove(name);
            }
        }
        if words.first() == Some(&"credential") {
            command
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_CONFIG_COUNT", settings.len().to_string());
            for (number, (key, value)) in settings.iter().enumerate() {
                command
                    .env(format!("GIT_CONFIG_KEY_{number}"), key)
                    .env(format!("GIT_CONFIG_VALUE_{number}"), value);
            }
        }
        let answer = answer_of(&mut command, input, MOST_ANSWER).ok_or(Unanswered::Late)?;
        match answer.succeeded {
            true => Ok(answer.printed),
            false => Err(Unanswered::NoLogin),
        }
    }
}

/// git, as the person has it outside of the workspace, where an agent may have left another.
pub(crate) fn command(workspace: &Path) -> Command {
    let searched = std::env::var_os("PATH");
    let found = find_program("git", searched.as_deref(), workspace);
    Command::new(found.unwrap_or_else(|| PathBuf::from("/usr/bin/git")))
}

/// How a program ended, and what it printed.
pub(crate) struct Ended {
    pub(crate) succeeded: bool,
    pub(crate) printed: Zeroizing<Vec<u8>>,
}

/// Runs a program in a process group of its own, gives it `input`, and reads up to `most` octets. `None`
/// when it does not start, or took too long and was killed.
pub(crate) fn answer_of(
    command: &mut Command,
    input: Zeroizing<String>,
    most: u64,
) -> Option<Ended> {
    let mut child = command.process_group(0).spawn().ok()?;
    let group = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let (sender, receiver) = mpsc::channel();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // Who does not read it answers without it.
            let _ = stdin.write_all(input.as_bytes());
        }
    });
    std::thread::spawn(move || {
        let mut printed = Zeroizing::new(Vec::new());
        if let Some(stdout) = stdout {
            let _ = stdout.take(most).read_to_end(&mut printed);
        }
        let succeeded = child.wait().is_ok_and(|status| status.success());
        let _ = sender.send(Ended { succeeded, printed });
    });
    let ended = receiver.recv_timeout(PATIENCE);
    if ended.is_err()
        && let Some(group) = group
    {
        use rustix::process::{Signal, kill_process_group};
        // It may have ended in this moment.
        let _ = kill_process_group(group, Signal::KILL);
    }
    ended.ok()
}

impl Asked {
    fn lines(&self) -> String {
        let user = self.user.as_ref();
        let user = user.map_or_else(String::new, |user| format!("username={user}\n"));
        format!(
            "protocol=https\nhost={}\npath={}\n{user}",
            self.host, self.path
        )
    }
}

impl Pair {
    /// From what `git credential fill` prints.
    fn read(answer: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(answer).ok()?;
        let value = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once('='));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let sendable = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
        Some(Self {
            user: Secret::new(value("username").unwrap_or_default().into()),
            password: Secret::new(value("password").filter(sendable)?.into()),
            expires: value("password_expiry_utc").and_then(|seconds| seconds.parse().ok()),
        })
    }

    /// Whether the helper said that it counts no more by now.
    pub(crate) fn has_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        self.expires.is_some_and(|expires| expires <= now)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.user.expose() == other.user.expose()
            && self.password.expose() == other.password.expose()
    }
}

/// The login that `http.extraHeader` or `http.URL.extraHeader` has for a repository (git-config(1)); of
/// several the one with the longest URL.
fn extra_header(settings: &[(String, String)], asked: &Asked) -> Option<Pair> {
    use base64::Engine as _;
    let url = format!("https://{}/{}", asked.host, asked.path);
    let header = settings
        .iter()
        .filter_map(|(key, value)| Some((covers(key, &url)?, value)))
        .max_by_key(|(length, _)| *length)?
        .1;
    let (name, value) = header.split_once(':')?;
    let (scheme, text) = value.trim().split_once(' ')?;
    if !name.trim().eq_ignore_ascii_case("authorization") || !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text.trim());
    let decoded = Zeroizing::new(decoded.ok()?);
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    let usable = !password.is_empty() && !decoded.iter().any(u8::is_ascii_control);
    usable.then(|| Pair {
        user: Secret::new(user.into()),
        password: Secret::new(password.into()),
        expires: None,
    })
}

/// Whether a name of a setting is that of an extra header for `url`; how long the URL in it is.
pub(crate) fn covers(key: &str, url: &str) -> Option<usize> {
    let rest = key.strip_prefix("http.")?;
    if rest.eq_ignore_ascii_case("extraheader") {
        return Some(0);
    }
    let (prefix, name) = rest.rsplit_once('.')?;
    let prefix = prefix.trim_end_matches('/');
    let rest = url.strip_prefix(prefix)?;
    let covers = name.eq_ignore_ascii_case("extraheader")
        && (rest.is_empty() || rest.starts_with('/') || rest == ".git");
    covers.then_some(prefix.len())
}

/// Whether a path leads into one of `folders`, as written or through its links.
fn is_below(path: &Path, folders: &[PathBuf]) -> bool {
    let mut seen = path.to_owned();
    // A link that leads nowhere now may lead somewhere later.
    for _ in 0..40 {
        if folders.iter().any(|folder| seen.starts_with(folder)) {
            return true;
        }
        match std::fs::read_link(&seen) {
            Ok(target) => seen = seen.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    [
        path.canonicalize().ok(),
        path.parent().and_then(|it| it.canonicalize().ok()),
    ]
    .iter()
    .flatten()
    .any(|path| folders.iter().any(|folder| path.starts_with(folder)))
}

/// User and password of a URL, decoded and as written.
pub(crate) fn userinfo(url: &str) -> (Option<String>, Option<Zeroizing<String>>) {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or("");
    let Some((info, _)) = authority.rsplit_once('@') else {
        return (None, None);
    };
    let (user, password) = match info.split_once(':') {
        Some((user, password)) => (user, Some(Zeroizing::new(password.to_owned()))),
        None => (info, None),
    };
    let user = String::from_utf8(percent_decode(user)).ok();
    let user = user.filter(|user| !user.is_empty() && !user.chars().any(char::is_control));
    (user, password)
}
