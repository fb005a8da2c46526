//! The works that the program contains, and the licence texts that come with each, from the sources that
//! cargo built it from.

use crate::package::output;
use crate::run::cargo;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// Names of files with a licence in them begin so.
const LICENCE_FILES: &[&str] = &[
    "LICENSE",
    "LICENCE",
    "COPYING",
    "COPYRIGHT",
    "NOTICE",
    "UNLICENSE",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

/// A text that names every package in the release and prints each licence text once.
pub(crate) fn of_the_release() -> Result<String> {
    let built = built_in()?;
    let metadata = output(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo's metadata")?;
    let mut text = String::from(
        "The program contains these works. The text of each licence stands below them.\n\n",
    );
    let mut licences: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in &metadata.packages {
        let name = format!("{} {}", package.name, package.version);
        if package.source.is_none() || !built.contains(&name) {
            continue;
        }
        writeln!(
            text,
            "{name}: {} ({})",
            package.license.as_deref().unwrap_or("see its text"),
            package.repository.as_deref().unwrap_or("no repository")
        )?;
        for licence in texts(package)? {
            licences.entry(licence).or_default().push(name.clone());
        }
    }
    // By the first work that has it: a map's order would be that of the texts themselves.
    let mut licences: Vec<(Vec<String>, String)> = licences
        .into_iter()
        .map(|(text, names)| (names, text))
        .collect();
    licences.sort();
    for (names, licence) in licences {
        write!(
            text,
            "\n{}\n{}\n\n{}\n",
            "-".repeat(78),
            names.join(", "),
            licence.trim()
        )?;
    }
    Ok(text)
}

/// Name and version of each package that is in the program, or writes code of it.
fn built_in() -> Result<BTreeSet<String>> {
    let tree = output(cargo().args([
        "tree",
        "--locked",
        "--package",
        "tagout",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]))?;
    Ok(tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some(format!(
                "{} {}",
                words.next()?,
                words.next()?.strip_prefix('v')?
            ))
        })
        .collect())
}

fn texts(package: &Package) -> Result<BTreeSet<String>> {
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest has a folder")?;
    let mut texts = BTreeSet::new();
    for entry in fs::read_dir(folder).with_context(|| format!("the sources of {}", package.name))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        if entry.file_type()?.is_file()
            && LICENCE_FILES
                .iter()
                .any(|licence| name.starts_with(licence))
        {
            texts.insert(String::from_utf8_lossy(&fs::read(entry.path())?).into_owned());
        }
    }
    Ok(texts)
}
