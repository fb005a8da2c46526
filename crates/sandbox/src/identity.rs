//! As whom the command runs.
//!
//! An ordinary user stays who they are. Started as root, the command must not be root, whatever the kernel then still allows (a
//! `core_pattern` is written by uid 0 without any capability): it runs under an id that owns nothing on the host, and the trees are mounted
//! with their owner mapped to that id, so that what it writes belongs to the owner. Only the owner's id is mapped: files of others in a
//! tree appear as nobody's. Where a file system cannot map (overlayfs), the command runs as the workspace's owner, unless that is root.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::process::{Gid, Pid, Signal, Uid};
use rustix::thread::UnshareFlags;

use crate::mounts;
use crate::spec::{OverlayFile, Spec, Tree};
use crate::step::{Named, Step, failed};

/// A user and group id on the host that no account has by convention: above the range of system and login users (login.defs: up to
/// 60000), of systemd's dynamic users (61184 to 65519 is theirs, but only while a service with that very id runs) and below nobody's.
const UNPRIVILEGED: u32 = 64_321;

/// The id under which [`UNPRIVILEGED`] appears inside: the first login user's.
const INSIDE: u32 = 1000;

/// Name of the step that fails where root can run as nobody safe.
pub(crate) const STEP: &str = "find an unprivileged identity for a command started as root";

/// Ids of the command.
pub(crate) struct Identity {
    outside: (u32, u32),
    inside: (u32, u32),
    /// For each tree the user namespace that maps its owner; empty where nothing is mapped.
    pub(crate) id_maps: Vec<OwnedFd>,
}

/// Decides as whom the command runs. As root this looks at the owner of each tree and tries whether its file system can map.
pub(crate) fn decide(spec: &Spec) -> Step<Identity> {
    if let Some(ordinary) = Identity::of_an_ordinary_user() {
        return Ok(ordinary);
    }
    let trees: Vec<&Tree> = std::iter::once(&spec.workspace)
        .chain(&spec.extra_trees)
        .collect();
    match trees
        .iter()
        .map(|tree| map_owner(&tree.path))
        .collect::<io::Result<Vec<_>>>()
    {
        Ok(id_maps) => Ok(Identity {
            outside: (UNPRIVILEGED, UNPRIVILEGED),
            inside: (INSIDE, INSIDE),
            id_maps,
        }),
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
            Err(error).step(|| "make a user namespace that maps the owner of the workspace")
        }
        Err(error) => {
            let owner = rustix::fs::stat(&spec.workspace.path).step(|| STEP)?;
            if owner.st_uid == 0 || owner.st_gid == 0 {
                return failed(
                    STEP,
                    format!(
                        "{} belongs to root and cannot be mapped: {error}",
                        spec.workspace.path.display()
                    ),
                );
            }
            let owner = (owner.st_uid, owner.st_gid);
            Ok(Identity {
                outside: owner,
                inside: owner,
                id_maps: Vec::new(),
            })
        }
    }
}

impl Identity {
    /// The person themselves, unless this process is root.
    pub(crate) fn of_an_ordinary_user() -> Option<Identity> {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        (own.0 != 0).then_some(Identity {
            outside: own,
            inside: own,
            id_maps: Vec::new(),
        })
    }

    /// For probing: who a command over a tree that can be mapped would run as.
    pub(crate) fn of_a_mapped_command() -> Identity {
        let own = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let (outside, inside) = if own.0 == 0 {
            ((UNPRIVILEGED, UNPRIVILEGED), (INSIDE, INSIDE))
        } else {
            (own, own)
        };
        Identity {
            outside,
            inside,
            id_maps: Vec::new(),
        }
    }

    /// Whether this process has to be root until it has gathered what only root can reach.
    pub(crate) fn is_started_as_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    /// Gives a folder of ours and everything in it to the command, as long as this process is root. A link is given away itself, never
    /// what it names.
    pub(crate) fn hand_over(&self, folder: OwnedFd) -> io::Result<()> {
        if !self.is_started_as_root() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.outside.0), Gid::from_raw(self.outside.1));
        let mut open = vec![folder];
        while let Some(folder) = open.pop() {
            rustix::fs::fchown(&folder, Some(uid), Some(gid))?;
            for entry in rustix::fs::Dir::read_from(&folder)? {
                let entry = entry?;
                if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    continue;
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(&folder, entry.file_name(), flags, Mode::empty()) {
                    Ok(inner) => open.push(inner),
                    Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
                        rustix::fs::chownat(
                            &folder,
                            entry.file_name(),
                            Some(uid),
                            Some(gid),
                            AtFlags::SYMLINK_NOFOLLOW,
                        )?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Makes this process, which is root, the unprivileged one, for good.
    pub(crate) fn assume(&self) -> Step<()> {
        let (uid, gid) = (Uid::from_raw(self.outside.0), Gid::from_raw(self.outside.1));
        rustix::thread::set_thread_groups(&[]).step(|| STEP)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).step(|| STEP)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).step(|| STEP)?;
        // The change made this process undumpable, so that its own /proc/self/uid_map is root's. It is undumpable again once that is written.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
            .step(|| STEP)
    }

    /// Writes the id maps of this process's new user namespace.
    pub(crate) fn write_maps(&self) -> io::Result<()> {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write(
            "/proc/self/uid_map",
            format!("{} {} 1\n", self.inside.0, self.outside.0),
        )?;
        fs::write(
            "/proc/self/gid_map",
            format!("{} {} 1\n", self.inside.1, self.outside.1),
        )
    }

    /// Where the id inside is not one of the host's: `passwd` and `group` that name it, unless the specification has its own.
    pub(crate) fn add_accounts(&self, spec: &mut Spec) {
        if self.inside == self.outside {
            return;
        }
        let setting = |name: &str| {
            spec.environment
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let plain = |text: &String| !text.is_empty() && !text.contains([':', '\n']);
        let name = setting("USER")
            .filter(plain)
            .filter(|name| name != "root")
            .unwrap_or("agent".into());
        let shell = setting("SHELL").filter(plain).unwrap_or("/bin/sh".into());
        let home = spec.home.display().to_string();
        let (uid, gid) = self.inside;
        for (path, first) in [
            (
                "/etc/passwd",
                format!("{name}:x:{uid}:{gid}::{home}:{shell}\n"),
            ),
            ("/etc/group", format!("{name}:x:{gid}:\n")),
        ] {
            if spec
                .overlays
                .iter()
                .any(|overlay| overlay.path == Path::new(path))
            {
                continue;
            }
            let mut text = first;
            for line in fs::read_to_string(path).unwrap_or_default().lines() {
                let mut fields = line.split(':');
                let same_name = fields.next() == Some(&name);
                if !same_name && fields.nth(1) != Some(&uid.to_string()) {
                    text.push_str(line);
                    text.push('\n');
                }
            }
            spec.overlays.push(OverlayFile {
                path: path.into(),
                bytes: text.into_bytes(),
                mode: 0o644,
            });
        }
    }
}

/// A user namespace that maps the owner of `tree` to [`UNPRIVILEGED`], tried on the tree.
pub(crate) fn map_owner(tree: &Path) -> io::Result<OwnedFd> {
    let owner = rustix::fs::stat(tree)?;
    let namespace = user_namespace(owner.st_uid, owner.st_gid)?;
    mounts::restrict_mapped(
        mounts::clone_path(tree)?,
        mounts::NO_SET_ID,
        std::os::fd::AsFd::as_fd(&namespace),
    )?;
    Ok(namespace)
}

/// A user namespace in which `uid` and `gid` stand for [`UNPRIVILEGED`]. A child makes it and waits for its maps.
fn user_namespace(uid: u32, gid: u32) -> io::Result<OwnedFd> {
    let (mut made, tell) = io::pipe()?;
    let child = Attendant::start(move || {
        // SAFETY: CLONE_NEWUSER shares nothing that Rust relies on; it changes only this process's credentials.
        let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) };
        let errno = unshared.err().map_or(0, |error| error.raw_os_error());
        let _ = (&tell).write_all(&errno.to_ne_bytes());
    })?;
    let mut errno = [0; 4];
    made.read_exact(&mut errno)?;
    match i32::from_ne_bytes(errno) {
        0 => {}
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    let folder = format!("/proc/{}", child.id().as_raw_nonzero());
    fs::write(
        format!("{folder}/uid_map"),
        format!("{uid} {UNPRIVILEGED} 1\n"),
    )?;
    fs::write(
        format!("{folder}/gid_map"),
        format!("{gid} {UNPRIVILEGED} 1\n"),
    )?;
    Ok(fs::File::open(format!("{folder}/ns/user"))?.into())
}

/// A child process that does something and then stays until it is dropped, or until this process has ended in whatever way.
pub(crate) struct Attendant {
    child: Pid,
    /// The child waits for this to close.
    _stay: io::PipeWriter,
}

impl Attendant {
    /// Starts it. Only for a process with one thread.
    pub(crate) fn start(deed: impl FnOnce()) -> io::Result<Attendant> {
        let (mut stay, keep) = io::pipe()?;
        // SAFETY: the stage, the only process that gets here, has one thread, so the child starts with consistent memory.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(keep);
                deed();
                let _ = stay.read(&mut [0]);
                // SAFETY: _exit(2) ends this process and touches no memory.
                unsafe { libc::_exit(0) }
            }
            child => Ok(Attendant {
                child: Pid::from_raw(child).ok_or(io::ErrorKind::Other)?,
                _stay: keep,
            }),
        }
    }

    pub(crate) fn id(&self) -> Pid {
        self.child
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.child, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.child), rustix::process::WaitOptions::empty());
    }
}
