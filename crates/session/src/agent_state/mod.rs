//! What an agent has of the person's home: its files with decoys where credentials stood, copies of its
//! settings, its sessions of this workspace. All of it lies in folders of the session in
//! `$TAGOUT_HOME`, which are shown inside where the agent looks for them, so that it may replace its
//! files as it likes; of these, only history goes back ([`give_back`]).
//!
//! What must stay true: a file with credentials is made from its profile's list, never copied; what
//! goes in has passed the detector; nothing is written where a name inside a folder could lead out of
//! it.

mod beneath;
mod files;
mod give_back;
mod history;

use std::io;
use std::path::{Path, PathBuf};

use tagout_catalog::Profile;
use tagout_catalog::profile::{Class, State};
use tagout_sandbox::{OverlayFile, PrivateFolder};

pub(crate) use self::beneath::Folder;
pub(crate) use self::files::{Brought, bring};
use self::history::Given;

/// Where a profile's state lies outside and inside.
pub(crate) struct Places {
    profile: &'static Profile,
    /// The person's home.
    outside: PathBuf,
    /// What the agent has as its home.
    inside: PathBuf,
    /// Variables that move state, with their values.
    moved: Vec<(String, PathBuf)>,
    /// The folders by which the agent knows this workspace: the workspace and where it starts.
    folders: Vec<PathBuf>,
}

impl Places {
    /// `variable` looks a variable up outside; `folders` are the workspace and where the agent starts.
    /// `None` without a home.
    pub(crate) fn new(
        profile: &'static Profile,
        variable: &dyn Fn(&str) -> Option<String>,
        folders: Vec<PathBuf>,
    ) -> Option<Self> {
        let home = PathBuf::from(variable("HOME")?);
        let set = |name: &str| {
            let path = PathBuf::from(variable(name)?);
            path.is_absolute().then_some(path)
        };
        let moved = profile.moved.iter().filter_map(|moved| {
            let to = set(&moved.variable)?;
            Some((moved.path.clone(), to.join(&moved.below)))
        });
        Some(Self {
            profile,
            moved: moved.collect(),
            inside: home.clone(),
            outside: home,
            folders,
        })
    }

    /// Where a path of the profile is outside.
    pub(crate) fn outside(&self, path: &str) -> PathBuf {
        let moved = self.moved.iter().find_map(|(from, to)| {
            let rest = Path::new(path).strip_prefix(from).ok()?;
            Some(match rest.as_os_str().is_empty() {
                true => to.clone(),
                false => to.join(rest),
            })
        });
        moved.unwrap_or_else(|| self.outside.join(path))
    }

    /// The folder of the profile in which a path of it lies, and where in it.
    fn folder_of<'p>(&self, path: &'p str) -> Option<(&'static str, &'p Path)> {
        self.profile.folders.iter().find_map(|folder| {
            let rest = Path::new(path).strip_prefix(folder).ok()?;
            Some((folder.as_str(), rest))
        })
    }
}

/// The state as it was laid out for one session.
pub(crate) struct Laid {
    places: Places,
    /// Shown inside.
    pub(crate) folders: Vec<PrivateFolder>,
    /// Files that lie in no folder of the agent's.
    pub(crate) copies: Vec<OverlayFile>,
    given: Vec<Given>,
    at: PathBuf,
}

impl Laid {
    /// Lays out what was brought in folders below `session`, which is removed with the session, and
    /// below `kept`, which is this workspace's.
    ///
    /// # Errors
    /// When a folder or file cannot be made; what cannot be read is left out.
    pub(crate) fn out(
        places: Places,
        brought: &Brought,
        session: &Path,
        kept: &Path,
    ) -> io::Result<Self> {
        let mut laid = Self {
            at: session.join("agent"),
            folders: Vec::new(),
            copies: Vec::new(),
            given: Vec::new(),
            places,
        };
        for folder in &laid.places.profile.folders {
            let outside = laid.outside_of(folder, kept);
            Folder::make(&outside)?;
            let inside = laid.places.inside.join(folder);
            laid.folders.push(PrivateFolder::open(&outside, inside)?);
        }
        for file in &brought.files {
            match laid.places.folder_of(&file.path) {
                Some((folder, rest)) => {
                    let folder = Folder::open(&laid.outside_of(folder, kept))?;
                    folder.write(rest, &file.bytes, file.mode, None)?;
                }
                None => laid.copies.push(OverlayFile {
                    path: laid.places.inside.join(&file.path),
                    bytes: file.bytes.clone(),
                    mode: file.mode,
                }),
            }
        }
        for state in of_class(laid.places.profile, Class::History) {
            for path in &state.paths {
                let Some((folder, rest)) = laid.places.folder_of(path) else {
                    continue;
                };
                let into = Folder::open(&laid.outside_of(folder, kept))?;
                let outside = laid.places.outside(path);
                let given = history::give(state, &outside, &into, rest, &laid.places.folders);
                laid.given.push(given);
            }
        }
        Ok(laid)
    }

    /// Gives what the agent added to its history to the host. Everything of the session has ended.
    /// Answers what could not be given, a sentence each.
    pub(crate) fn give_back(&self) -> Vec<String> {
        beneath::unlock(&self.at);
        let mut left = Vec::new();
        let states = of_class(self.places.profile, Class::History);
        let paths = states.flat_map(|state| state.paths.iter().map(move |path| (state, path)));
        for ((state, path), given) in paths.zip(&self.given) {
            let Some((folder, rest)) = self.places.folder_of(path) else {
                continue;
            };
            let from = self.at.join(folder);
            let to = self.places.outside(path);
            match give_back::give_back(state, given, &from, rest, &to, &self.places.folders) {
                Ok(kept_back) => left.extend(kept_back),
                Err(error) => left.push(format!("{}: {error}", to.display())),
            }
        }
        left
    }

    fn outside_of(&self, folder: &str, kept: &Path) -> PathBuf {
        let is_kept = of_class(self.places.profile, Class::Kept)
            .any(|state| state.paths.iter().any(|path| path == folder));
        match is_kept {
            true => kept.join(folder),
            false => self.at.join(folder),
        }
    }
}

fn of_class(profile: &'static Profile, class: Class) -> impl Iterator<Item = &'static State> {
    profile
        .state
        .iter()
        .filter(move |state| state.class == class)
}

#[cfg(test)]
mod tests;
