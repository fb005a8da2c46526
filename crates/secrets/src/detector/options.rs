//! Passwords that are handed over: behind the options of programs that take one, in scripts, histories and prose,
//! and as arguments of calls that log in.

use std::ops::Range;

use super::Scan;
use crate::judge::{Name, Setting, judge};
use crate::reader;

/// A program and how it is given a password.
struct Program {
    names: &'static [&'static str],
    /// Options that a password follows, as the next word or joined to a short one.
    next: &'static [&'static str],
    /// Short options whose password is joined to them; alone they ask for it.
    joined: &'static [&'static str],
    /// A word that has to stand on the command line.
    with: Option<&'static str>,
}

/// From the programs' manuals.
const PROGRAMS: &[Program] = &[
    Program {
        names: &[
            "mysql",
            "mysqldump",
            "mysqladmin",
            "mysqlimport",
            "mysqlcheck",
            "mysqlsh",
            "mysqlshow",
            "mysqlbinlog",
            "mysqlslap",
            "mysqlpump",
            "mydumper",
            "myloader",
            "mariadb",
            "mariadb-dump",
            "mariadb-admin",
            "mariadb-import",
            "mycli",
            "xtrabackup",
            "mariabackup",
            "7z",
            "7za",
            "7zz",
            "rar",
            "unrar",
        ],
        next: &[],
        joined: &["-p"],
        with: None,
    },
    Program {
        names: &[
            "redis-cli",
            "valkey-cli",
            "keydb-cli",
            "redis-benchmark",
            "valkey-benchmark",
        ],
        next: &["-a", "--pass"],
        joined: &[],
        with: None,
    },
    Program {
        names: &[
            "mongo",
            "mongosh",
            "mongodump",
            "mongorestore",
            "mongoexport",
            "mongoimport",
            "mongostat",
            "mongotop",
            "cqlsh",
            "sshpass",
            "rabbitmqadmin",
            "ipa",
            "kinit",
            "pgcli",
            "arangosh",
            "couchbase-cli",
            "cbbackupmgr",
            "cypher-shell",
            "influx",
            "sqlplus",
            "iredis",
            "az",
            "mc",
        ],
        next: &["-p", "-password", "-P"],
        joined: &["-p"],
        with: None,
    },
    Program {
        names: &[
            "docker", "podman", "buildah", "skopeo", "nerdctl", "helm", "oras", "crane", "oc",
            "cf", "argocd", "vault",
        ],
        next: &["-p"],
        joined: &["-p"],
        with: Some("login"),
    },
    Program {
        names: &[
            "ldapsearch",
            "ldapadd",
            "ldapmodify",
            "ldapdelete",
            "ldappasswd",
            "ldapwhoami",
            "ldapmodrdn",
        ],
        next: &["-w", "-s"],
        joined: &["-w"],
        with: None,
    },
    Program {
        names: &[
            "zip",
            "unzip",
            "zipcloak",
            "sqlcmd",
            "bcp",
            "ipmitool",
            "mosquitto_pub",
            "mosquitto_sub",
            "tsql",
            "isql",
        ],
        next: &["-P"],
        joined: &["-P"],
        with: None,
    },
];

/// Fronts of a word behind which a password stands, whatever the program (`openssl -passin pass:…`).
pub(super) const FRONTS: &[&str] = &[" pass:", "/p:"];

/// How far a command line is read, in bytes.
const LONGEST: usize = 2048;

/// The names of the programs.
pub(super) fn programs() -> impl Iterator<Item = &'static str> {
    PROGRAMS.iter().flat_map(|program| program.names).copied()
}

impl Scan<'_> {
    /// The options of the program whose name is at `hit`.
    pub(super) fn command_line(&mut self, hit: &Range<usize>) {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let before = hit.start.checked_sub(1).and_then(|at| self.bytes.get(at));
        if before.copied().is_some_and(is_part) {
            return;
        }
        if !matches!(
            self.bytes.get(hit.end),
            Some(b' ' | b'\t' | b'"' | b'\'' | b'.')
        ) {
            return;
        }
        let name = String::from_utf8_lossy(self.slice(hit.clone())).to_ascii_lowercase();
        let words = self.words(hit.end);
        let text = |word: &Range<usize>| self.slice(word.clone());
        let mut found = Vec::new();
        for program in PROGRAMS {
            let is_meant = program.names.contains(&name.as_str())
                && program
                    .with
                    .is_none_or(|with| words.iter().any(|word| text(word) == with.as_bytes()));
            if !is_meant {
                continue;
            }
            for (at, word) in words.iter().enumerate() {
                let next = words
                    .get(at + 1)
                    .filter(|next| !text(next).starts_with(b"-"));
                let is =
                    |options: &[&str]| options.iter().any(|option| text(word) == option.as_bytes());
                if is(program.next) {
                    found.extend(next.cloned());
                } else if let Some(option) = program
                    .joined
                    .iter()
                    .find(|option| text(word).starts_with(option.as_bytes()))
                {
                    found.push(word.start + option.len()..word.end);
                }
            }
        }
        for span in found {
            let value = self.slice(span.clone());
            // A port, or the letters of other options.
            let is_plain = value.len() < 6
                && (value.iter().all(u8::is_ascii_digit)
                    || value.iter().all(u8::is_ascii_lowercase));
            if value.len() >= 3 && !is_plain && !value.starts_with(b"=") {
                self.password(span, "password");
            }
        }
    }

    /// The rest of the word that begins with one of [`FRONTS`], whose end is at `at`.
    pub(super) fn behind_front(&mut self, at: usize) {
        if let Some(word) = self
            .words(at)
            .into_iter()
            .next()
            .filter(|word| word.start == at)
        {
            self.password(word, "password");
        }
    }

    /// The words of a command line from `at` on, without their quotes: up to the end of the command, of the line that a
    /// backslash does not continue, or of the list of strings that it is.
    fn words(&self, at: usize) -> Vec<Range<usize>> {
        let end = (at + LONGEST).min(self.bytes.len());
        let mut words = Vec::new();
        let mut here = at;
        // The closing quote of the program's own name.
        if matches!(self.bytes.get(here), Some(b'"' | b'\'')) {
            here += 1;
        }
        while here < end {
            match self.bytes.get(here..).unwrap_or_default() {
                [b'\\', b'\n', ..] => here += 2,
                [b' ' | b'\t' | b',', ..] => here += 1,
                [quote @ (b'"' | b'\''), rest @ ..] => {
                    let Some(length) = rest.iter().take(LONGEST).position(|byte| byte == quote)
                    else {
                        break;
                    };
                    words.push(here + 1..here + 1 + length);
                    here += length + 2;
                }
                [
                    b'\n' | b'\r' | b';' | b'|' | b'&' | b')' | b'`' | b']' | b'#',
                    ..,
                ]
                | [] => break,
                rest => {
                    let ends =
                        |byte: &u8| byte.is_ascii_whitespace() || b";|&)`\"',]".contains(byte);
                    let length = rest.iter().position(ends).unwrap_or(rest.len());
                    // `-p"…"`: the word goes on in quotes.
                    match rest.get(length) {
                        Some(quote @ (b'"' | b'\'')) if length == 2 && rest.starts_with(b"-") => {
                            let inside = rest.get(length + 1..).unwrap_or_default();
                            let Some(close) =
                                inside.iter().take(LONGEST).position(|byte| byte == quote)
                            else {
                                break;
                            };
                            words.push(here..here + length);
                            words.push(here + length + 1..here + length + 1 + close);
                            here += length + close + 2;
                        }
                        _ => {
                            words.push(here..here + length);
                            here += length.max(1);
                        }
                    }
                }
            }
        }
        words
    }

    /// `-u user:password` on a command line.
    pub(super) fn user_option(&mut self, at: usize) {
        let rest = self.slice(at..(at + 300).min(self.bytes.len()));
        let quote = rest.first().copied().filter(|b| matches!(b, b'"' | b'\''));
        let open = usize::from(quote.is_some());
        let end = rest
            .iter()
            .skip(open)
            .position(|&b| match quote {
                Some(quote) => b == quote,
                None => b.is_ascii_whitespace() || b"\"'`;|&)".contains(&b),
            })
            .map_or(rest.len(), |length| length + open);
        let argument = rest.get(open..end).unwrap_or_default();
        // `-u 1000:1000` is a user and a group.
        let numbers = argument.iter().all(|b| b.is_ascii_digit() || *b == b':');
        if let Some(colon) = argument.iter().position(|&b| b == b':')
            && !numbers
            && !argument.windows(3).any(|window| window == b"://")
        {
            let span = at + open + colon + 1..at + end;
            if self.slice(span.clone()).len() >= 4 {
                self.password(span, "password");
            }
        }
    }

    /// The arguments of a call that takes a user and a password, from `at` on: `login('me@x', 'secret')`.
    pub(super) fn login(&mut self, at: usize) {
        let Some((user, after)) = reader::literal(self.bytes, at) else {
            return;
        };
        let Some((password, _)) =
            reader::comma(self.bytes, after).and_then(|comma| reader::literal(self.bytes, comma))
        else {
            return;
        };
        let text = self.slice(password.clone());
        // Two words are anything; an address and a word are a login.
        if self.slice(user).contains(&b'@')
            || judge(text, Name::Password, Setting::Code, true).is_some()
        {
            self.password(password, "password");
        }
    }

    /// The text that PowerShell makes a secure string of: `ConvertTo-SecureString "secret" -AsPlainText`.
    pub(super) fn secure_string(&mut self, at: usize) {
        let rest = self.slice(at..(at + 16).min(self.bytes.len()));
        let option = match rest.get(..8) {
            Some(word) if word.eq_ignore_ascii_case(b"-string ") => 8,
            _ => 0,
        };
        if let Some((text, _)) = reader::literal(self.bytes, at + option) {
            self.password(text, "password");
        }
    }

    /// The secret of a one-time password's address (Key Uri Format): `otpauth://totp/Label?secret=BASE32`.
    pub(super) fn one_time_password(&mut self, at: usize) {
        let rest = self.slice(at..(at + 512).min(self.bytes.len()));
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`<>".contains(byte);
        let address = rest
            .get(..rest.iter().position(ends).unwrap_or(rest.len()))
            .unwrap_or_default();
        let Some(name) = address
            .windows(7)
            .position(|part| part.eq_ignore_ascii_case(b"secret="))
        else {
            return;
        };
        let value = address.get(name + 7..).unwrap_or_default();
        let length = value
            .iter()
            .position(|&byte| byte == b'&' || byte == b'#')
            .unwrap_or(value.len());
        let base32 = |byte: &u8| byte.is_ascii_alphanumeric() || b"=%".contains(byte);
        if length >= 8 && value.iter().take(length).all(base32) {
            let start = at + name + 7;
            self.add(
                start..start + length,
                "one-time-password",
                None,
                crate::Confidence::High,
            );
        }
    }
}
