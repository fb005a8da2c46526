//! Where tools keep what they fetched: folders of the home that are writable inside, belong to the
//! workspace and outlive the session. They are none of the host's own caches: what an agent puts into
//! one is seen by later sessions of the same workspace, which the agent could change anyway, and by
//! nothing outside. The host's cargo, npm or pip never builds from them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use tagout_core::Digest;
use tagout_sandbox::PrivateFolder;

use crate::home::Home;

/// Relative to the home inside.
const CACHES: &[&str] = &[
    ".bun/install/cache",
    ".bundle/cache",
    ".cache",
    ".cargo/git",
    ".cargo/registry",
    ".composer/cache",
    ".gem",
    ".gradle/caches",
    ".gradle/wrapper",
    ".hex",
    ".ivy2/cache",
    ".local/share/pnpm/store",
    ".m2/repository",
    ".mix",
    ".npm",
    ".nuget/packages",
    ".pub-cache",
    ".stack",
    ".yarn/berry",
    "go/pkg",
];

/// The caches of a workspace, made where they are not there yet.
///
/// # Errors
/// When one cannot be made, or is no folder.
pub(crate) fn of_workspace(
    home: &Home,
    workspace: &Path,
    inside: &Path,
) -> io::Result<Vec<PrivateFolder>> {
    let digest = Digest::of(workspace.as_os_str().as_encoded_bytes()).to_string();
    let name: String = digest
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(32)
        .collect();
    let folder = home.path().join("caches").join(name);
    make(&folder)?;
    let about = folder.join("workspace");
    if !about.exists() {
        // For whoever looks at the folder later and wonders whose it is.
        fs::write(&about, format!("{}\n", workspace.display()))?;
    }
    let folder = folder.canonicalize()?;
    CACHES
        .iter()
        // A workspace that is a cache itself stays the workspace.
        .filter(|cache| !inside.join(cache).starts_with(workspace))
        .map(|cache| {
            let outside = folder.join(cache.trim_start_matches('.').replace('/', "-"));
            let own = match fs::symlink_metadata(&outside) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make(&outside)?;
                    fs::symlink_metadata(&outside)?
                }
                other => other?,
            };
            if !own.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Ok(PrivateFolder {
                inside: inside.join(cache),
                outside,
                device: own.dev(),
                inode: own.ino(),
            })
        })
        .collect()
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_workspace_has_its_own_and_finds_them_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state").display().to_string();
        let home = Home::open(|name| (name == "TAGOUT_HOME").then(|| state.clone())).unwrap();
        let of = |workspace: &str| {
            of_workspace(&home, Path::new(workspace), Path::new("/home/u")).unwrap()
        };
        let (first, second, again) = (of("/work/a"), of("/work/b"), of("/work/a"));
        assert_eq!(first.len(), CACHES.len());
        for ((first, second), again) in first.iter().zip(&second).zip(&again) {
            assert_ne!(first.outside, second.outside);
            assert_eq!(first.outside, again.outside);
            assert!(first.outside.starts_with(home.path()));
        }
        let own = of("/home/u/.cache");
        assert!(
            own.iter()
                .all(|cache| cache.inside != Path::new("/home/u/.cache"))
        );
        let mut places: Vec<_> = first.iter().map(|cache| &cache.outside).collect();
        places.dedup();
        assert_eq!(places.len(), CACHES.len());
    }
}
