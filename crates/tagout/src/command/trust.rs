//! `tagout trust`: a manifest or policy is code from the repository, and counts only after a person
//! has read it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tagout_authority::approval::escape_untrusted;
use tagout_core::Digest;
use tagout_policy::{Manifest, Policy, Trust};
use tagout_session::task::Review;

use crate::command::{control_files, open};
use crate::screen::{confirm, has_terminal, paint, say};

pub(crate) fn trust(digest: Option<String>, file: Option<PathBuf>) -> anyhow::Result<u8> {
    let (home, _) = open()?;
    let trust = Trust::open(home.path())?;
    let files = match (file, &digest) {
        (Some(file), _) => vec![file],
        (None, Some(_)) => {
            bail!("name the file whose digest this is: tagout trust --digest SHA256 FILE")
        }
        (None, None) => control_files(&home)?,
    };
    for path in files {
        let path =
            fs::canonicalize(&path).with_context(|| format!("cannot find {}", path.display()))?;
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let facts = read(&path, &bytes)?;
        if let Some(expected) = &digest {
            let expected: Digest = expected.parse()?;
            let found = Digest::of(&bytes);
            if found != expected {
                bail!(
                    "{} has the SHA-256 {found}, not {expected}; it is not the file that was meant, and stays as it was",
                    path.display()
                );
            }
        } else if trust.is_trusted(&bytes)? {
            say(&format!("{} is trusted already", path.display()));
            continue;
        } else {
            let review = Review {
                path: &path,
                difference: trust.difference(&path, &bytes)?,
                facts,
            };
            if !has_terminal() {
                bail!(
                    "a person reads and accepts {} on a terminal, and there is none; an operator can use tagout trust --digest {} {}",
                    path.display(),
                    Digest::of(&bytes),
                    path.display()
                );
            }
            show(&review);
            if !confirm("Accept this file as it is now?") {
                say("not accepted; nothing has changed");
                return Ok(1);
            }
        }
        trust.accept(&path, &bytes)?;
        say(&format!("{} is trusted as it is now", path.display()));
    }
    Ok(0)
}

/// A file that does not even parse is nothing to accept.
fn read(path: &Path, bytes: &[u8]) -> anyhow::Result<Vec<String>> {
    let text =
        std::str::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))?;
    if path
        .extension()
        .is_some_and(|extension| extension == "cedar")
    {
        Policy::load(Some(text))?;
        return Ok(Vec::new());
    }
    Ok(Manifest::parse(text, &path.display().to_string())?.review())
}

/// What a person reads before accepting, on standard error.
pub(crate) fn show(review: &Review<'_>) {
    eprintln!("{}", paint(&review.path.display().to_string(), "1"));
    for line in review.difference.lines() {
        let colour = match line.chars().next() {
            Some('+') => "32",
            Some('-') => "31",
            _ => "0",
        };
        eprintln!("  {}", paint(&escape_untrusted(line), colour));
    }
    for fact in &review.facts {
        eprintln!("  {} {}", paint("•", "33"), escape_untrusted(fact));
    }
}
