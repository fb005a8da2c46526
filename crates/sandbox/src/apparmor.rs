//! The AppArmor profile that lets Tagout make user namespaces where AppArmor keeps them from ordinary programs (Ubuntu 23.10 and
//! later: `kernel.apparmor_restrict_unprivileged_userns`).
//!
//! The profile confines nothing and grants one thing, `userns`, to one path. What must stay true: a file that Tagout did not write is never
//! replaced; a profile that the machine's parser refuses is not left behind; a path that could mean more than one file never gets
//! into a profile.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The first line of a profile of ours.
const MARK: &str = "# Written by `tagout doctor --install-profile`.";

/// Where AppArmor lies on a machine.
#[derive(Clone, Debug)]
pub struct AppArmor {
    /// Says `Y` when the kernel has AppArmor and it is on.
    enabled: PathBuf,
    /// Exists when this kernel can keep user namespaces from programs without a profile.
    restriction: PathBuf,
    /// The folder of profiles.
    profiles: PathBuf,
    /// The program that reads profiles and gives them to the kernel.
    parsers: Vec<PathBuf>,
}

/// What came of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// This machine keeps user namespaces from nobody by AppArmor; nothing was written. The text says why not.
    NotNeeded(&'static str),
    /// The profile was written, or was there already, and the kernel has it.
    Loaded {
        /// Its file.
        path: PathBuf,
        /// Whether the file is new or another than before.
        written: bool,
        /// Who, other than root, can replace the program that the profile trusts: a user id.
        replaceable_by: Option<u32>,
    },
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Only root can.
    #[error("a profile is root's to install: `sudo {} doctor --install-profile`", .0.display())]
    NotRoot(PathBuf),
    /// AppArmor is on, and its tools are not there.
    #[error(
        "AppArmor is on here, but apparmor_parser is not installed: `sudo apt-get install apparmor`, then this command again"
    )]
    NoParser,
    /// The program's path has characters that mean something in a profile.
    #[error("a profile cannot name {}: move tagout to /usr/local/bin and run this command from there", .0.display())]
    Path(PathBuf),
    /// Somebody else's file stands there.
    #[error("{} was not written by tagout, so it stays: move it away, then this command again", .0.display())]
    NotOurs(PathBuf),
    /// The parser, or the kernel behind it, refused.
    #[error("apparmor_parser refused the profile, and nothing was left of it: {0}")]
    Refused(String),
    /// A file could not be read or written.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

impl AppArmor {
    /// As every distribution has it.
    pub fn of_this_machine() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        Self {
            enabled: root.join("sys/module/apparmor/parameters/enabled"),
            restriction: root.join("proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            profiles: root.join("etc/apparmor.d"),
            parsers: ["usr/sbin", "sbin", "usr/bin"]
                .map(|folder| root.join(folder).join("apparmor_parser"))
                .to_vec(),
        }
    }

    /// Writes the profile for `executable` and gives it to the kernel. May be done again and again.
    ///
    /// # Errors
    /// When it is needed and cannot be had. What was there before stays.
    pub fn install_profile(&self, executable: &Path) -> Result<Installed, ProfileError> {
        if !rustix::process::geteuid().is_root() {
            return Err(ProfileError::NotRoot(executable.to_owned()));
        }
        self.install(executable)
    }

    fn install(&self, executable: &Path) -> Result<Installed, ProfileError> {
        if fs::read_to_string(&self.enabled).is_ok_and(|text| text.trim() == "Y") {
            if !self.restriction.exists() {
                return Ok(Installed::NotNeeded(
                    "this kernel's AppArmor does not restrict user namespaces",
                ));
            }
        } else {
            return Ok(Installed::NotNeeded("AppArmor is not on here"));
        }
        let parser = self.parsers.iter().find(|parser| parser.exists());
        let parser = parser.ok_or(ProfileError::NoParser)?;
        let text = profile(executable)?;
        let path = self.profiles.join("tagout");
        let before = ours(&path)?;
        let written = before.as_ref() != Some(&text);
        if written {
            replace(&path, &text)?;
        }
        if let Err(refused) = load(parser, &path) {
            match before {
                Some(before) => replace(&path, &before)?,
                None => fs::remove_file(&path).map_err(file(&path))?,
            }
            return Err(ProfileError::Refused(refused));
        }
        Ok(Installed::Loaded {
            path,
            written,
            replaceable_by: replaceable_by(executable),
        })
    }
}

/// The profile, in the form in which Ubuntu grants `userns` to browsers.
fn profile(executable: &Path) -> Result<String, ProfileError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
    let name = executable
        .to_str()
        .filter(|name| name.starts_with('/') && name.bytes().all(plain))
        .ok_or_else(|| ProfileError::Path(executable.to_owned()))?;
    Ok(format!(
        "{MARK}\n\
         # It confines nothing: it lets tagout make user namespaces, in which tagout confines what it runs.\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         \n\
         profile tagout {name} flags=(unconfined) {{\n  \
           userns,\n\
         \n  \
           include if exists <local/tagout>\n\
         }}\n"
    ))
}

/// A profile of ours that stands there; `None` where nothing stands.
fn ours(path: &Path) -> Result<Option<String>, ProfileError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file(path)(error)),
        Ok(found) if !found.is_file() => return Err(ProfileError::NotOurs(path.to_owned())),
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(file(path))?;
    if text.lines().next() == Some(MARK) {
        Ok(Some(text))
    } else {
        Err(ProfileError::NotOurs(path.to_owned()))
    }
}

/// Puts a text in place of a file, at once. A boot that reads the folder meanwhile sees the one or the other; AppArmor skips names that
/// begin with a dot.
fn replace(path: &Path, text: &str) -> Result<(), ProfileError> {
    let new = path.with_file_name(".tagout.new");
    let written = fs::File::create(&new).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()
    });
    written.map_err(file(&new))?;
    fs::rename(&new, path).map_err(file(path))
}

/// Gives a profile to the kernel, in place of one of the same name; what the parser says when it refuses.
fn load(parser: &Path, path: &Path) -> Result<(), String> {
    let output = Command::new(parser)
        .arg("--replace")
        .arg(path)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(match said.lines().next() {
        Some(line) => line.trim().to_owned(),
        None => output.status.to_string(),
    })
}

/// Who owns the program or a folder above it, when that is not root: whoever can replace the program is who the profile trusts.
fn replaceable_by(executable: &Path) -> Option<u32> {
    executable
        .ancestors()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|found| found.uid())
        .find(|owner| *owner != 0)
}

fn file(path: &Path) -> impl Fn(io::Error) -> ProfileError {
    let path = path.to_owned();
    move |cause| ProfileError::File {
        path: path.clone(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in a folder. Its parser writes down what it was told, and refuses what says `refuse`.
    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new(enabled: &str, restricts: bool, parser: bool) -> Self {
            let machine = Self {
                root: tempfile::tempdir().unwrap(),
            };
            machine.write("sys/module/apparmor/parameters/enabled", enabled);
            if restricts {
                machine.write(
                    "proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                    "1\n",
                );
            }
            fs::create_dir_all(machine.at("etc/apparmor.d")).unwrap();
            if parser {
                machine.write(
                    "usr/sbin/apparmor_parser",
                    &format!(
                        "#!/bin/sh\nif grep -q refuse \"$2\"; then echo 'syntax error, line 8' >&2; exit 1; fi\n\
                         echo \"$*\" >> {}\n",
                        machine.at("told").display()
                    ),
                );
                let parser = machine.at("usr/sbin/apparmor_parser");
                fs::set_permissions(parser, fs::Permissions::from_mode(0o755)).unwrap();
            }
            machine
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), text).unwrap();
        }

        fn profile(&self) -> Option<String> {
            fs::read_to_string(self.at("etc/apparmor.d/tagout")).ok()
        }

        fn told(&self) -> usize {
            let told = fs::read_to_string(self.at("told")).unwrap_or_default();
            told.lines().count()
        }

        fn install(&self, executable: &str) -> Result<Installed, ProfileError> {
            AppArmor::below(self.root.path()).install(Path::new(executable))
        }
    }

    #[test]
    fn only_root_installs() {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        }
        let error = AppArmor::of_this_machine()
            .install_profile(Path::new("/usr/bin/tagout"))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`sudo /usr/bin/tagout doctor --install-profile`")
        );
    }

    #[test]
    fn a_profile_is_written_and_loaded_as_often_as_asked() {
        let machine = Machine::new("Y\n", true, true);
        for (number, executable) in ["/usr/bin/tagout", "/usr/bin/tagout", "/opt/tagout"]
            .iter()
            .enumerate()
        {
            let Installed::Loaded { path, written, .. } = machine.install(executable).unwrap()
            else {
                panic!("not installed");
            };
            assert_eq!(path, machine.at("etc/apparmor.d/tagout"));
            assert_eq!(written, number != 1, "the second time it is there already");
            assert_eq!(machine.told(), number + 1, "the kernel is told each time");
            let text = machine.profile().unwrap();
            assert!(text.contains(&format!(
                "profile tagout {executable} flags=(unconfined) {{\n  userns,\n"
            )));
        }
        assert_eq!(
            fs::read_dir(machine.at("etc/apparmor.d")).unwrap().count(),
            1
        );
    }

    #[test]
    fn nothing_is_written_where_nothing_is_restricted() {
        for (enabled, restricts) in [("N", true), ("", false), ("Y", false)] {
            let machine = Machine::new(enabled, restricts, true);
            let installed = machine.install("/usr/bin/tagout").unwrap();
            assert!(
                matches!(installed, Installed::NotNeeded(_)),
                "{installed:?}"
            );
            assert_eq!((machine.profile(), machine.told()), (None, 0));
        }
    }

    #[test]
    fn what_cannot_be_loaded_is_not_left() {
        let machine = Machine::new("Y", true, true);
        let error = machine.install("/opt/refuse/tagout").unwrap_err();
        assert!(
            error.to_string().contains("syntax error, line 8"),
            "{error}"
        );
        assert_eq!(machine.profile(), None);
        machine.install("/usr/bin/tagout").unwrap();
        let before = machine.profile();
        machine.install("/opt/refuse/tagout").unwrap_err();
        assert_eq!(machine.profile(), before, "the one before stays");

        let error = Machine::new("Y", true, false)
            .install("/usr/bin/tagout")
            .unwrap_err();
        assert!(
            error.to_string().contains("apt-get install apparmor"),
            "{error}"
        );
    }

    #[test]
    fn somebody_elses_file_stays() {
        let machine = Machine::new("Y", true, true);
        machine.write(
            "etc/apparmor.d/tagout",
            "profile tagout /usr/bin/tagout {}\n",
        );
        let error = machine.install("/usr/bin/tagout").unwrap_err();
        assert!(matches!(error, ProfileError::NotOurs(_)), "{error}");
        assert!(machine.profile().unwrap().starts_with("profile tagout"));
    }

    #[test]
    fn a_path_that_means_more_than_itself_is_refused() {
        for path in [
            "/home/*/tagout",
            "/opt/a{b,c}/tagout",
            "/opt/a b/tagout",
            "tagout",
            "/o\n/tagout",
            "/@{HOME}/tagout",
            "/o\"/tagout",
        ] {
            assert!(
                matches!(profile(Path::new(path)), Err(ProfileError::Path(_))),
                "{path}"
            );
        }
    }
}
