//! `tagout doctor`: what this machine can enforce, found out by doing it, and the command that mends what
//! it cannot. The pieces first, in the order in which a session needs them, then a whole session.

use std::env::current_exe;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tagout_sandbox::{AppArmor, Installed, Needed, Outcome, Probe, probe};

use crate::command::open;
use crate::screen::{paint, width, wrapped};

/// As many connections as an agent with its tools may hold, each with a descriptor on both sides, and the
/// gates' own.
const OPEN_FILES: usize = 512;

/// A session of `true` takes some ten milliseconds; a machine that needs this long will not do.
const SESSION_WITHIN: Duration = Duration::from_secs(30);

/// Where the names of the probes begin.
const INDENT: usize = 9;

pub(crate) fn doctor(install_profile: bool) -> anyhow::Result<u8> {
    if install_profile {
        return install();
    }
    let mut broken = false;
    let mut told = None;
    let mut report = |probe: &Probe| {
        broken |= is_broken(probe);
        print(probe, &mut told);
    };
    let confinement = probe(None)?;
    confinement.iter().for_each(&mut report);
    let state = state();
    report(&state);
    report(&open_files());
    report(&git());
    report(&undo());
    // Where a piece is missing the whole would only say so again.
    if !confinement.iter().chain([&state]).any(is_broken) {
        report(&whole_session());
    }
    if ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some())
    {
        println!(
            "\nWindows of editors (Cursor, VS Code) are not confined, and neither are agents\n\
             in them: start agents in a terminal, by `tagout run`."
        );
    }
    let release = rustix::system::uname();
    if let Some(words) = windows(&release.release().to_string_lossy()) {
        println!("\n{}", wrapped(words, 0, 0, width().unwrap_or(usize::MAX)));
    }
    if broken {
        println!("\nTagout cannot keep its promises here, and `tagout run` will refuse.");
    }
    Ok(u8::from(broken))
}

fn is_broken(probe: &Probe) -> bool {
    probe.needed == Needed::Required && probe.outcome != Outcome::Works
}

/// A probe and what mends it. Where one thing is why several are missing, as in a container, the probes
/// behind the first refer to it: `told` is what was printed last.
fn print(probe: &Probe, told: &mut Option<(String, String)>) {
    let Outcome::Missing { why, mend } = &probe.outcome else {
        println!("{}  {}", paint("works  ", "32"), probe.name);
        return;
    };
    let (state, colour) = match probe.needed {
        Needed::Required => ("missing", "1;31"),
        Needed::Optional => ("absent ", "33"),
    };
    let reason = (why.clone(), mend.clone());
    if told.as_ref() == Some(&reason) {
        println!(
            "{}  {}: for the same reason",
            paint(state, colour),
            probe.name
        );
        return;
    }
    let width = width().unwrap_or(usize::MAX);
    let finding = wrapped(&format!("{}: {why}", probe.name), INDENT, INDENT, width);
    println!("{}  {finding}", paint(state, colour));
    println!("{:INDENT$}{}", "", wrapped(mend, INDENT, INDENT, width));
    *told = Some(reason);
}

/// What nobody sees who looks at Linux alone: on which Windows it runs.
fn windows(release: &str) -> Option<&'static str> {
    // 5.15.153.1-microsoft-standard-WSL2, and 4.4.0-19041-Microsoft of the first version.
    if release.contains("-Microsoft") {
        Some(
            "This is WSL 1, which has no Linux kernel. In PowerShell: `wsl --set-version DISTRIBUTION 2`",
        )
    } else if release.contains("-microsoft-") {
        Some(
            "This is WSL 2. Keep the workspace in Linux's own file system, such as `~/work`: below `/mnt/c` files \
             have Windows' owners, and programs of Windows change them whatever is guarded here. Browsers and \
             editors of Windows are not confined.",
        )
    } else {
        None
    }
}

/// `tagout doctor --install-profile`, which is root's.
fn install() -> anyhow::Result<u8> {
    let executable = current_exe().context("cannot tell where this program lies")?;
    match AppArmor::of_this_machine().install_profile(&executable)? {
        Installed::NotNeeded(why) => println!("no profile is needed: {why}"),
        Installed::Loaded {
            path,
            written,
            replaceable_by,
        } => {
            println!(
                "{} {}, and loaded it for {}",
                if written { "wrote" } else { "found" },
                path.display(),
                executable.display()
            );
            if let Some(owner) = replaceable_by {
                println!(
                    "note: user {owner} can replace that program, and what stands there may make user namespaces; \
                     in /usr/local/bin only root could"
                );
            }
        }
    }
    Ok(0)
}

/// Opens the state as every command does: makes it, locks it, migrates it.
fn state() -> Probe {
    Probe {
        name: "state of its own ($TAGOUT_HOME)".to_owned(),
        needed: Needed::Required,
        outcome: match open() {
            Ok(_) => Outcome::Works,
            Err(error) => Outcome::Missing {
                why: format!("{error:#}"),
                mend: "`export TAGOUT_HOME=DIR`, with a folder of your own on a local disk"
                    .to_owned(),
            },
        },
    }
}

/// Opens as many files at once as a busy session does.
fn open_files() -> Probe {
    let mut files = Vec::new();
    let mut refused = None;
    while files.len() < OPEN_FILES && refused.is_none() {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => refused = Some(error),
        }
    }
    Probe {
        name: format!("{OPEN_FILES} open files"),
        needed: Needed::Optional,
        outcome: refused.map_or(Outcome::Works, |error| Outcome::Missing {
            why: format!(
                "only {} ({error}), so an agent with many connections is refused some",
                files.len()
            ),
            mend: "`ulimit -n 4096`".to_owned(),
        }),
    }
}

/// Runs git, which tells what is committed and what stands in its history.
fn git() -> Probe {
    let answer = Command::new("git")
        .arg("--version")
        .stdin(Stdio::null())
        .output();
    let failure = match answer {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!("`git --version` failed: {}", output.status)),
        Err(error) => Some(error.to_string()),
    };
    Probe {
        name: "git".to_owned(),
        needed: Needed::Optional,
        outcome: failure.map_or(Outcome::Works, |failure| Outcome::Missing {
            why: format!("{failure}; secrets in a repository's history do not become known"),
            mend: "`sudo apt-get install git`".to_owned(),
        }),
    }
}

/// Asks the kernel for what makes changes of the workspace one by one.
fn undo() -> Probe {
    Probe {
        name: "undo of what a session changes".to_owned(),
        needed: Needed::Optional,
        outcome: match tagout_sandbox::can_mediate() {
            true => Outcome::Works,
            false => Outcome::Missing {
                why: "the kernel does not hold back system calls as Linux 5.19 does".to_owned(),
                mend: "a newer kernel; until then commit your work before a session".to_owned(),
            },
        },
    }
}

/// Runs `true` in a session with a workspace and a state of its own, which go again.
fn whole_session() -> Probe {
    Probe {
        name: "a whole session".to_owned(),
        needed: Needed::Required,
        outcome: match try_session() {
            Ok(()) => Outcome::Works,
            Err(error) => Outcome::Missing {
                why: format!("{error:#}"),
                mend: "`tagout run -- true`, where your work is, says whether it is the same there"
                    .to_owned(),
            },
        },
    }
}

fn try_session() -> anyhow::Result<()> {
    let (home, _) = open()?;
    // Beside the state: most likely the disk on which this person works, and no folder of theirs.
    let places = [
        home.path().parent().map(Path::to_path_buf),
        Some(std::env::temp_dir()),
    ];
    let scratch = places
        .iter()
        .flatten()
        .map(|place| Scratch::new(place))
        .find_map(Result::ok)
        .context("no folder could be made to try it in")?;
    let workspace = scratch.folder("work")?;
    let state = scratch.folder("state")?;
    // What this person set holds in every session of theirs.
    match std::fs::copy(home.path().join("config.toml"), state.join("config.toml")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context("cannot read config.toml");
        }
        _ => {}
    }
    // By its place: whether PATH leads to anything is not the question.
    let program = match Path::new("/bin/true").exists() {
        true => "/bin/true",
        false => "true",
    };
    let mut session = Command::new(current_exe().context("cannot tell where this program lies")?)
        .args(["run", "--workspace"])
        .arg(&workspace)
        .args(["--", program])
        .current_dir(&workspace)
        .env("TAGOUT_HOME", &state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start it")?;
    let end = Instant::now() + SESSION_WITHIN;
    let status = loop {
        match session.try_wait().context("cannot wait for it")? {
            Some(status) => break status,
            None if Instant::now() > end => {
                // Everything inside dies with its supervisor.
                session.kill().context("cannot end it")?;
                session.wait().context("cannot wait for it")?;
                anyhow::bail!("it did not end within {} s", SESSION_WITHIN.as_secs());
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut stderr) = session.stderr.take() {
        stderr
            .read_to_string(&mut said)
            .context("cannot hear from it")?;
    }
    // What went wrong stands last, its causes below it.
    let (_, last) = said.rsplit_once("tagout: ").unwrap_or(("", &said));
    let lines: Vec<&str> = last.lines().map(str::trim).collect();
    let said = lines.join(", ");
    anyhow::bail!(
        "{}",
        said.replace(
            &state.display().to_string(),
            &home.path().display().to_string()
        )
    )
}

/// A folder of this process alone, which goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(place: &Path) -> io::Result<Self> {
        let folder = place.join(format!(".tagout-doctor-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.0.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        Ok(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays holds nothing of worth, and the next doctor makes others.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::windows;

    #[test]
    fn the_versions_of_wsl_are_told_apart() {
        assert!(windows("4.4.0-19041-Microsoft").is_some_and(|it| it.contains("--set-version")));
        assert!(
            windows("5.15.153.1-microsoft-standard-WSL2").is_some_and(|it| it.contains("/mnt/c"))
        );
        assert!(windows("6.8.0-45-generic").is_none());
        assert!(windows("6.8.0-1015-azure").is_none());
    }
}
