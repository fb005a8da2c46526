//! What the tests of real sandboxes share: the stage inside the test executable, a specification to start from, both kinds of user.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tagout_sandbox::{
    Ended, OverlayFile, STAGE_ARGUMENT, Sandbox, Spec, Streams, Tree, launch, stage_main,
};

/// Makes the test executable its own stage: the C library calls this before `main` with the arguments, so that the test harness never
/// sees them.
#[used]
#[unsafe(link_section = ".init_array")]
static STAGE: extern "C" fn(i32, *const *const libc::c_char) = {
    extern "C" fn stage(count: i32, arguments: *const *const libc::c_char) {
        if count < 2 {
            return;
        }
        // SAFETY: the C library passes `count` pointers to NUL-terminated strings that live as long as the process.
        let first = unsafe { std::ffi::CStr::from_ptr(*arguments.add(1)) };
        if first.to_bytes() == STAGE_ARGUMENT.as_bytes() {
            stage_main();
        }
        if first.to_bytes() == ATTACH.as_bytes() {
            let words: Vec<&str> = (2..count as usize)
                .map(|at| {
                    // SAFETY: as above.
                    unsafe { std::ffi::CStr::from_ptr(*arguments.add(at)) }
                        .to_str()
                        .unwrap()
                })
                .collect();
            without(words[0]);
            match words.get(1) {
                Some(file) => attach(file),
                None => print_probes(),
            }
        }
    }
    stage
};

/// First argument of a test executable that is to run a specification on its own standard streams, or to probe. The second names what is
/// missing on this machine ([`without`]), the third the specification's file; none: probe.
const ATTACH: &str = "__attach";

/// Makes this process, and all that comes of it, a machine on which something is missing.
fn without(what: &str) {
    let refuse = |number: libc::c_long, errno: i32| {
        let plain = |code: u32, k: u32| libc::sock_filter {
            code: code as u16,
            jt: 0,
            jf: 0,
            k,
        };
        let jump = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        let mut program = [
            plain(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            libc::sock_filter {
                code: jump,
                jt: 0,
                jf: 1,
                k: number as u32,
            },
            plain(
                libc::BPF_RET | libc::BPF_K,
                libc::SECCOMP_RET_ERRNO | errno as u32,
            ),
            plain(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog {
            len: 4,
            filter: program.as_mut_ptr(),
        };
        rustix::thread::set_no_new_privs(true).unwrap();
        // SAFETY: the program lives through the call.
        let result = unsafe {
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            )
        };
        assert_eq!(result, 0);
    };
    match what {
        "nothing" => {}
        "unshare" => refuse(libc::SYS_unshare, libc::EPERM),
        "landlock" => refuse(libc::SYS_landlock_create_ruleset, libc::ENOSYS),
        "user namespaces" => {
            // In a user namespace of our own, so that the limit is ours and not the machine's.
            let id = rustix::process::getuid().as_raw();
            // SAFETY: only a namespace is unshared, by a process with one thread.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }
                .unwrap();
            std::fs::write("/proc/self/uid_map", format!("{id} {id} 1")).unwrap();
            std::fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
        }
        other => panic!("{other}"),
    }
}

/// What `tagout doctor` finds, a line each.
fn print_probes() -> ! {
    for probe in tagout_sandbox::probe(None).unwrap() {
        println!("{probe:?}");
    }
    std::process::exit(0)
}

/// The lines that [`print_probes`] prints on a machine without something.
pub fn probes_without(what: &str) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([ATTACH, what])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(String::from)
        .collect()
}

/// What `tagout run` does with a specification.
fn attach(file: &str) -> ! {
    // What the Rust runtime does before `main`, which this precedes.
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let mut spec: Spec = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    spec.streams = Streams::of_this_process();
    let sandbox = match launch(spec) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(125)
        }
    };
    for warning in &sandbox.report().warnings {
        eprintln!("{warning}");
    }
    let ended = sandbox.attach().unwrap();
    if let Some(why) = ended.not_executed {
        eprintln!("{why}");
    }
    std::process::exit(ended.exit.status().into())
}

/// The test executable as a program that runs `spec` on its own standard streams.
pub fn attached(place: &Place, spec: &Spec) -> Command {
    attached_without("nothing", place, spec)
}

/// As [`attached`], on a machine without something.
pub fn attached_without(what: &str, place: &Place, spec: &Spec) -> Command {
    let file = place.path("spec.json");
    std::fs::write(&file, serde_json::to_vec(spec).unwrap()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ATTACH, what]).arg(file);
    command
}

/// An ordinary user for tests that start as root; no account needs to exist.
const ORDINARY: u32 = 12_345;

/// Runs `body` as who started the tests and, if that was root, this same test once more as an ordinary user.
pub fn as_root_and_as_ordinary_user(name: &str, body: impl FnOnce()) {
    body();
    if rustix::process::geteuid().is_root() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("TMPDIR", "/tmp")
            .uid(ORDINARY)
            .gid(ORDINARY)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "as an ordinary user: {}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("1 passed"),
            "{name} did not run"
        );
    }
}

/// A workspace and a home in a folder of their own.
pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        for name in ["work", "home", "outside"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Place { folder }
    }

    pub fn work(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("work")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    /// A specification that runs `script` in bash in the workspace, with pipes.
    pub fn spec(&self, script: &str) -> Spec {
        let home = self.path("home");
        Spec {
            command: vec!["bash".into(), "-c".into(), script.into()],
            environment: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("HOME".into(), home.to_str().unwrap().into()),
                ("TERM".into(), "xterm".into()),
            ],
            working_directory: self.work(),
            workspace: Tree::open(&self.work()).unwrap(),
            extra_trees: Vec::new(),
            copies: Vec::new(),
            private_folders: Vec::new(),
            readable: Vec::new(),
            overlays: vec![OverlayFile {
                path: "/etc/resolv.conf".into(),
                bytes: b"nameserver 198.18.0.1\n".to_vec(),
                mode: 0o644,
            }],
            home,
            search_path: "/usr/local/bin:/usr/bin:/bin".into(),
            ports: vec![80, 443],
            loopback_ports: Vec::new(),
            hostname: "tagout".into(),
            umask: 0o022,
            streams: Streams::PIPES,
            placeholder_journal: None,
            mediation: None,
            stage_executable: None,
        }
    }

    /// Runs `script` and gives what it wrote and how it ended.
    pub fn run(&self, script: &str) -> Outcome {
        run(self.spec(script))
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub output: String,
    pub error: String,
    pub status: u8,
    pub ended: Ended,
}

impl Outcome {
    /// The output, if the command succeeded.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.status, 0, "{self:?}");
        &self.output
    }
}

pub fn run(spec: Spec) -> Outcome {
    let sandbox = launch(spec).unwrap_or_else(|error| panic!("{error}"));
    finish(sandbox)
}

pub fn finish(mut sandbox: Sandbox) -> Outcome {
    let mut ends = sandbox.start().unwrap();
    drop(ends.input.take());
    let (mut out, mut err) = (ends.output.take().unwrap(), ends.error.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        err.read_to_end(&mut text).unwrap();
        text
    });
    let mut text = Vec::new();
    out.read_to_end(&mut text).unwrap();
    let error = reader.join().unwrap();
    let ended = sandbox.wait().unwrap();
    Outcome {
        output: String::from_utf8_lossy(&text).into_owned(),
        error: String::from_utf8_lossy(&error).into_owned(),
        status: ended.exit.status(),
        ended,
    }
}

/// The lines of `text`.
pub fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Whether a path exists, without following a link.
pub fn present(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
