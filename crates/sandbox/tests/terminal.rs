//! The command on a terminal: sizes, keys, job control, hang-up, status; and on pipes.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};
use support::{Place, as_root_and_as_ordinary_user, attached};

/// A terminal with a program on it.
struct Screen {
    keyboard: File,
    terminal: OwnedFd,
    child: Child,
    seen: String,
}

impl Screen {
    fn start(place: &Place, script: &str) -> Screen {
        let master =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let size = Winsize {
            ws_row: 33,
            ws_col: 77,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let mut command = attached(place, &place.spec(script));
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: two system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Screen {
            keyboard: File::from(master),
            terminal,
            child,
            seen: String::new(),
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` was seen; what came before it and it are forgotten.
    #[track_caller]
    fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waiting for {text:?}, saw {:?}", self.seen);
            let timeout = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut polled = [PollFd::from_borrowed_fd(
                self.keyboard.as_fd(),
                PollFlags::IN,
            )];
            if poll(&mut polled, Some(&timeout)).unwrap() == 0 {
                continue;
            }
            let mut buffer = [0; 4096];
            match self.keyboard.read(&mut buffer) {
                Ok(length) if length > 0 => self
                    .seen
                    .push_str(&String::from_utf8_lossy(&buffer[..length])),
                other => panic!("waiting for {text:?}, saw {:?}, then {other:?}", self.seen),
            }
        }
    }

    fn status(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn is_raw(&self) -> bool {
        !rustix::termios::tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }
}

#[test]
fn a_terminal_has_its_size_and_follows_it() {
    as_root_and_as_ordinary_user("a_terminal_has_its_size_and_follows_it", || {
        let place = Place::new();
        let mut screen = Screen::start(
            &place,
            "trap 'stty size; exit 3' WINCH; stty size; tty; while :; do read -t 1 line; done",
        );
        screen.expect("33 77");
        screen.expect("/dev/pts/0");
        let size = Winsize {
            ws_row: 11,
            ws_col: 22,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&screen.keyboard, size).unwrap();
        screen.expect("11 22");
        assert!(!screen.is_raw() || screen.child.try_wait().unwrap().is_none());
        assert_eq!(screen.status(), Some(3));
    });
}

#[test]
fn control_c_interrupts_and_control_backslash_quits_the_command_alone() {
    as_root_and_as_ordinary_user(
        "control_c_interrupts_and_control_backslash_quits_the_command_alone",
        || {
            let place = Place::new();
            let mut screen = Screen::start(
                &place,
                "trap 'exec sh -c \"echo caught; read line\"' INT; echo ready; while :; do read -t 1 line; done",
            );
            screen.expect("ready");
            screen.type_in("\x03");
            screen.expect("caught");
            screen.type_in("\x1c");
            assert_eq!(screen.status(), Some(128 + 3));
        },
    );
}

#[test]
fn control_z_where_no_shell_could_continue_it_is_not_felt() {
    as_root_and_as_ordinary_user(
        "control_z_where_no_shell_could_continue_it_is_not_felt",
        || {
            let place = Place::new();
            let mut screen = Screen::start(&place, "echo ready; read line; echo got $line; exit 4");
            screen.expect("ready");
            // The program is session leader here, so its group is orphaned: the kernel refuses to stop it and the command goes on.
            screen.type_in("\x1a");
            screen.type_in("hello\n");
            screen.expect("got hello");
            assert_eq!(screen.status(), Some(4));
        },
    );
}

#[test]
fn a_job_of_a_shell_is_stopped_and_continued() {
    as_root_and_as_ordinary_user("a_job_of_a_shell_is_stopped_and_continued", || {
        let place = Place::new();
        let inner = attached(
            &place,
            &place.spec("echo ready; read line; echo got $line; exit 5"),
        );
        let words: Vec<String> = std::iter::once(inner.get_program())
            .chain(inner.get_args())
            .map(|word| word.to_str().unwrap().to_string())
            .collect();
        let master =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
                .unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let mut shell = std::process::Command::new("bash");
        shell
            .args(["--norc", "--noprofile", "-i"])
            .env("PS1", "prompt> ")
            .env("HOME", place.path("home"));
        let stream = || Stdio::from(terminal.try_clone().unwrap());
        shell.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: two system calls between fork and exec.
        unsafe {
            shell.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
                Ok(())
            });
        }
        let child = shell.spawn().unwrap();
        let mut screen = Screen {
            keyboard: File::from(master),
            terminal,
            child,
            seen: String::new(),
        };
        screen.expect("prompt> ");
        screen.type_in(&format!("{}\n", words.join(" ")));
        screen.expect("ready");
        screen.type_in("\x1a");
        screen.expect("Stopped");
        screen.expect("prompt> ");
        screen.type_in("fg\n");
        screen.expect("fg");
        screen.type_in("hello\n");
        screen.expect("got hello");
        screen.expect("prompt> ");
        screen.type_in("echo status=$?\n");
        screen.expect("status=5");
        screen.type_in("exit\n");
        screen.child.wait().unwrap();
    });
}

#[test]
fn bash_inside_has_job_control_of_its_own() {
    as_root_and_as_ordinary_user("bash_inside_has_job_control_of_its_own", || {
        let place = Place::new();
        let mut screen = Screen::start(&place, "exec bash --norc --noprofile -i");
        screen.expect("$ ");
        screen.type_in(
            "bash -c 'trap \"echo awake\" CONT; echo running; while :; do sleep 1; done'\n",
        );
        screen.expect("running\r\n");
        screen.type_in("\x1a");
        screen.expect("Stopped");
        screen.type_in("fg\n");
        screen.expect("awake\r\n");
        screen.type_in("\x03");
        screen.expect("$ ");
        screen.type_in("echo over=$?\n");
        screen.expect("over=130");
        screen.type_in("exit 6\n");
        assert_eq!(screen.status(), Some(6));
    });
}

#[test]
fn escape_sequences_that_read_or_hide_do_not_arrive() {
    as_root_and_as_ordinary_user("escape_sequences_that_read_or_hide_do_not_arrive", || {
        let place = Place::new();
        let script = r"printf '\033[1mbold\033]52;c;?\007\033[21t\033_hidden\033\\end\n'; exit 1";
        let mut screen = Screen::start(&place, script);
        assert_eq!(screen.expect("end"), "\x1b[1mboldend");
        assert_eq!(screen.status(), Some(1));
    });
}

#[test]
fn vim_edits_a_file_and_can_be_stopped() {
    as_root_and_as_ordinary_user("vim_edits_a_file_and_can_be_stopped", || {
        let place = Place::new();
        let mut screen = Screen::start(&place, "exec bash --norc --noprofile -i");
        screen.expect("$ ");
        screen.type_in("vim -u NONE --noplugin file\n");
        screen.expect("[New");
        screen.type_in("ihello from inside\x1b\x1a");
        screen.expect("Stopped");
        screen.type_in("fg\n");
        screen.expect("hello from inside");
        screen.type_in(":wq\r");
        screen.expect("written");
        screen.type_in("exit 8\n");
        assert_eq!(screen.status(), Some(8));
        let text = std::fs::read_to_string(place.work().join("file")).unwrap();
        assert_eq!(text, "hello from inside\n");
    });
}

#[test]
fn a_hang_up_hangs_up_inside() {
    as_root_and_as_ordinary_user("a_hang_up_hangs_up_inside", || {
        let place = Place::new();
        let script =
            "trap 'echo hung > file; exit 9' HUP; echo ready; while :; do read -t 1 line; done";
        let mut screen = Screen::start(&place, script);
        screen.expect("ready");
        let Screen {
            keyboard,
            terminal,
            mut child,
            ..
        } = screen;
        drop(terminal);
        drop(keyboard);
        child.wait().unwrap();
        assert_eq!(
            std::fs::read_to_string(place.work().join("file")).unwrap(),
            "hung\n"
        );
    });
}

#[test]
fn the_terminal_is_restored_after_a_termination_signal() {
    as_root_and_as_ordinary_user(
        "the_terminal_is_restored_after_a_termination_signal",
        || {
            let place = Place::new();
            let mut screen = Screen::start(&place, "echo ready; exec sleep 1000");
            screen.expect("ready");
            assert!(screen.is_raw());
            let pid = Pid::from_child(&screen.child);
            rustix::process::kill_process(pid, Signal::TERM).unwrap();
            screen.child.wait().unwrap();
            assert!(!screen.is_raw());
        },
    );
}

#[test]
fn streams_that_are_no_terminal_are_pipes_and_end() {
    as_root_and_as_ordinary_user("streams_that_are_no_terminal_are_pipes_and_end", || {
        let place = Place::new();
        let script = "cat; [ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none; tty; readlink /proc/self/fd/1 >&2; exit 2";
        let mut child = attached(&place, &place.spec(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = "line\n".repeat(100_000);
        let mut stdin = child.stdin.take().unwrap();
        let sent = text.clone();
        let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(out, format!("{text}none\nnot a tty\n"));
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .starts_with("pipe:")
        );
    });
}

#[test]
fn a_reader_that_goes_away_is_felt_inside() {
    as_root_and_as_ordinary_user("a_reader_that_goes_away_is_felt_inside", || {
        let place = Place::new();
        let mut child = attached(&place, &place.spec("exec yes"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut some = [0; 100];
        out.read_exact(&mut some).unwrap();
        drop(out);
        assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGPIPE));
    });
}
