//! Which system calls the command may make, and why: one line a call.
//!
//! What is not here does not exist (ENOSYS), which programs take for an older kernel and fall back from. A reason says what needs the call,
//! or what it would open. Filters see registers and no memory: a call whose arguments lie behind a pointer (`openat2`, `clone3`) cannot be
//! judged here and does not exist either; the C library falls back to the ones that can.

/// What becomes of a call.
pub(crate) enum Verdict {
    /// It is made.
    Allow,
    /// It is made if all conditions of any alternative hold, and fails with this error number otherwise.
    AllowIf(&'static [&'static [Condition]], i32),
    /// It fails with this error number.
    Deny(i32),
}

/// What the low 32 bits of an argument, counted from 0, must be. The kernel reads flags, modes and ioctl numbers as 32 bits, so bits above
/// must not matter here either.
#[derive(Clone, Copy)]
pub(crate) enum Condition {
    /// The bits under the mask are this value.
    Is { argument: u8, mask: u32, value: u32 },
    /// The whole argument is zero, all 64 bits of it: a null pointer.
    IsNull { argument: u8 },
    /// The argument is another value.
    IsNot { argument: u8, value: u32 },
}

/// A line of the table.
pub(crate) struct Row {
    pub(crate) number: i64,
    /// As in the manual; tests and documentation name it.
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    #[cfg_attr(not(test), expect(dead_code))]
    pub(crate) reason: &'static str,
}

const ALL: u32 = u32::MAX;

const fn is(argument: u8, value: u32) -> Condition {
    Condition::Is {
        argument,
        mask: ALL,
        value,
    }
}

const fn without(argument: u8, bits: u32) -> Condition {
    Condition::Is {
        argument,
        mask: bits,
        value: 0,
    }
}

const fn is_not(argument: u8, value: u32) -> Condition {
    Condition::IsNot { argument, value }
}

const fn kind(argument: u8, value: u32) -> Condition {
    // The upper bits of a socket type are flags (SOCK_CLOEXEC, SOCK_NONBLOCK).
    Condition::Is {
        argument,
        mask: 0xf,
        value,
    }
}

const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
/// `O_CREAT`, and the bit of `O_TMPFILE` that is its own: with either the mode counts.
const CREATES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u32;

const CORE: u32 = libc::RLIMIT_CORE;
/// The call seems to succeed and does nothing: `ulimit -c 0`, which the limit of 1 amounts to, stands in many scripts.
const PRETEND: i32 = 0;

const UNIX: u32 = libc::AF_UNIX as u32;
const INET: u32 = libc::AF_INET as u32;
const INET6: u32 = libc::AF_INET6 as u32;
const NETLINK: u32 = libc::AF_NETLINK as u32;
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DATAGRAM: u32 = libc::SOCK_DGRAM as u32;
const TCP: u32 = libc::IPPROTO_TCP as u32;
const UDP: u32 = libc::IPPROTO_UDP as u32;

const SOCKETS: &[&[Condition]] = &[
    &[is(0, UNIX)],
    &[is(0, INET), kind(1, STREAM), is(2, 0)],
    &[is(0, INET), kind(1, STREAM), is(2, TCP)],
    &[is(0, INET), kind(1, DATAGRAM), is(2, 0)],
    &[is(0, INET), kind(1, DATAGRAM), is(2, UDP)],
    &[is(0, INET6), kind(1, STREAM), is(2, 0)],
    &[is(0, INET6), kind(1, STREAM), is(2, TCP)],
    &[is(0, INET6), kind(1, DATAGRAM), is(2, 0)],
    &[is(0, INET6), kind(1, DATAGRAM), is(2, UDP)],
    &[is(0, NETLINK), is(2, libc::NETLINK_ROUTE as u32)],
];

macro_rules! table {
    ($($name:ident $(= $number:literal)? : $verdict:expr, $reason:literal;)*) => {
        /// The table, in no particular order.
        pub(crate) const TABLE: &[Row] = &[$(Row {
            number: table!(@number $name $($number)?),
            name: stringify!($name),
            verdict: $verdict,
            reason: $reason,
        },)*];
    };
    (@number $name:ident $number:literal) => { $number };
    (@number $name:ident) => { libc::$name };
}

use Verdict::{Allow, AllowIf, Deny};
use libc::{EAFNOSUPPORT, ENOSYS, EPERM};

table! {
    // Files: what may be reached is decided by the mounts.
    SYS_read: Allow, "files and everything like them";
    SYS_write: Allow, "files and everything like them";
    SYS_readv: Allow, "files and everything like them";
    SYS_writev: Allow, "files and everything like them";
    SYS_pread64: Allow, "files, at an offset";
    SYS_pwrite64: Allow, "files, at an offset";
    SYS_preadv: Allow, "files, at an offset";
    SYS_pwritev: Allow, "files, at an offset";
    SYS_preadv2: Allow, "files, at an offset";
    SYS_pwritev2: Allow, "files, at an offset";
    SYS_open: AllowIf(&[&[without(1, CREATES)], &[without(2, SET_ID)]], EPERM), "no set-id file can be made: on an id-mapped tree it would be its owner's";
    SYS_openat: AllowIf(&[&[without(2, CREATES)], &[without(3, SET_ID)]], EPERM), "no set-id file can be made: on an id-mapped tree it would be its owner's";
    SYS_creat: AllowIf(&[&[without(1, SET_ID)]], EPERM), "no set-id file can be made";
    SYS_openat2: Deny(ENOSYS), "its mode lies behind a pointer; programs fall back to openat";
    SYS_close: Allow, "every program";
    SYS_close_range: Allow, "shells and runtimes before they execute";
    SYS_stat: Allow, "every program";
    SYS_fstat: Allow, "every program";
    SYS_lstat: Allow, "every program";
    SYS_newfstatat: Allow, "every program";
    SYS_statx: Allow, "every program";
    SYS_statfs: Allow, "df, installers";
    SYS_fstatfs: Allow, "df, installers";
    SYS_access: Allow, "shells";
    SYS_faccessat: Allow, "shells";
    SYS_faccessat2: Allow, "shells";
    SYS_lseek: Allow, "files";
    SYS_getdents: Allow, "listing folders";
    SYS_getdents64: Allow, "listing folders";
    SYS_getcwd: Allow, "every program";
    SYS_chdir: Allow, "shells";
    SYS_fchdir: Allow, "find, git";
    SYS_rename: Allow, "saving files";
    SYS_renameat: Allow, "saving files";
    SYS_renameat2: Allow, "saving files";
    SYS_mkdir: AllowIf(&[&[without(1, SET_ID)]], EPERM), "no set-id folder can be made";
    SYS_mkdirat: AllowIf(&[&[without(2, SET_ID)]], EPERM), "no set-id folder can be made";
    SYS_mknod: AllowIf(&[&[without(1, SET_ID)]], EPERM), "named pipes; no set-id file; devices want a capability";
    SYS_mknodat: AllowIf(&[&[without(2, SET_ID)]], EPERM), "named pipes; no set-id file; devices want a capability";
    SYS_rmdir: Allow, "removing folders";
    SYS_link: Allow, "hard links, within one mount";
    SYS_linkat: Allow, "hard links, within one mount";
    SYS_unlink: Allow, "removing files";
    SYS_unlinkat: Allow, "removing files";
    SYS_symlink: Allow, "symbolic links";
    SYS_symlinkat: Allow, "symbolic links";
    SYS_readlink: Allow, "symbolic links";
    SYS_readlinkat: Allow, "symbolic links";
    SYS_chmod: AllowIf(&[&[without(1, SET_ID)]], EPERM), "modes, but no set-id bits";
    SYS_fchmod: AllowIf(&[&[without(1, SET_ID)]], EPERM), "modes, but no set-id bits";
    SYS_fchmodat: AllowIf(&[&[without(2, SET_ID)]], EPERM), "modes, but no set-id bits";
    SYS_fchmodat2: AllowIf(&[&[without(2, SET_ID)]], EPERM), "modes, but no set-id bits";
    SYS_chown: Allow, "install, tar; only one id exists inside";
    SYS_fchown: Allow, "install, tar; only one id exists inside";
    SYS_lchown: Allow, "install, tar; only one id exists inside";
    SYS_fchownat: Allow, "install, tar; only one id exists inside";
    SYS_umask: Allow, "shells";
    SYS_utime: Allow, "file times";
    SYS_utimes: Allow, "file times";
    SYS_futimesat: Allow, "file times";
    SYS_utimensat: Allow, "file times";
    SYS_truncate: Allow, "editing files";
    SYS_ftruncate: Allow, "editing files";
    SYS_fallocate: Allow, "databases";
    SYS_fadvise64: Allow, "cp, cat";
    SYS_readahead: Allow, "databases";
    SYS_fsync: Allow, "saving files";
    SYS_fdatasync: Allow, "saving files";
    SYS_sync_file_range: Allow, "databases";
    SYS_syncfs: Allow, "package managers";
    SYS_sync: Allow, "package managers";
    SYS_flock: Allow, "cargo, npm, git";
    SYS_fcntl: Allow, "every program";
    SYS_ioctl: AllowIf(&[&[
        is_not(1, libc::TIOCSTI as u32),
        is_not(1, libc::TIOCLINUX as u32),
        is_not(1, libc::TIOCSETD as u32),
    ]], EPERM), "terminals; not typing into one (TIOCSTI, TIOCLINUX), not loading a line discipline";
    SYS_dup: Allow, "redirection";
    SYS_dup2: Allow, "redirection";
    SYS_dup3: Allow, "redirection";
    SYS_pipe: Allow, "pipes";
    SYS_pipe2: Allow, "pipes";
    SYS_splice: Allow, "pipes";
    SYS_tee: Allow, "pipes";
    SYS_vmsplice: Allow, "pipes";
    SYS_sendfile: Allow, "cp, web servers";
    SYS_copy_file_range: Allow, "cp";
    SYS_setxattr: Allow, "cp -a, tar; security attributes want a capability";
    SYS_lsetxattr: Allow, "cp -a, tar; security attributes want a capability";
    SYS_fsetxattr: Allow, "cp -a, tar; security attributes want a capability";
    SYS_getxattr: Allow, "ls, cp -a, tar";
    SYS_lgetxattr: Allow, "ls, cp -a, tar";
    SYS_fgetxattr: Allow, "ls, cp -a, tar";
    SYS_listxattr: Allow, "ls, cp -a, tar";
    SYS_llistxattr: Allow, "ls, cp -a, tar";
    SYS_flistxattr: Allow, "ls, cp -a, tar";
    SYS_removexattr: Allow, "cp -a, tar";
    SYS_lremovexattr: Allow, "cp -a, tar";
    SYS_fremovexattr: Allow, "cp -a, tar";
    SYS_inotify_init: Allow, "watching builds";
    SYS_inotify_init1: Allow, "watching builds";
    SYS_inotify_add_watch: Allow, "watching builds";
    SYS_inotify_rm_watch: Allow, "watching builds";
    SYS_memfd_create: Allow, "node, browsers, JIT compilers; memory of its own";
    SYS_cachestat = 451: Allow, "databases; what is cached of an open file";
    SYS_io_setup: Allow, "databases (libaio)";
    SYS_io_destroy: Allow, "databases (libaio)";
    SYS_io_submit: Allow, "databases (libaio)";
    SYS_io_getevents: Allow, "databases (libaio)";
    SYS_io_pgetevents = 333: Allow, "databases (libaio)";
    SYS_io_cancel: Allow, "databases (libaio)";

    // Waiting.
    SYS_poll: Allow, "waiting for descriptors";
    SYS_ppoll: Allow, "waiting for descriptors";
    SYS_select: Allow, "waiting for descriptors";
    SYS_pselect6: Allow, "waiting for descriptors";
    SYS_epoll_create: Allow, "waiting for descriptors";
    SYS_epoll_create1: Allow, "waiting for descriptors";
    SYS_epoll_ctl: Allow, "waiting for descriptors";
    SYS_epoll_wait: Allow, "waiting for descriptors";
    SYS_epoll_pwait: Allow, "waiting for descriptors";
    SYS_epoll_pwait2: Allow, "waiting for descriptors";
    SYS_eventfd: Allow, "event loops";
    SYS_eventfd2: Allow, "event loops";
    SYS_signalfd: Allow, "event loops";
    SYS_signalfd4: Allow, "event loops";
    SYS_timerfd_create: Allow, "event loops";
    SYS_timerfd_settime: Allow, "event loops";
    SYS_timerfd_gettime: Allow, "event loops";
    SYS_pause: Allow, "waiting for signals";
    SYS_nanosleep: Allow, "sleeping";
    SYS_clock_nanosleep: Allow, "sleeping";
    SYS_alarm: Allow, "timers";
    SYS_getitimer: Allow, "timers";
    SYS_setitimer: Allow, "timers";
    SYS_timer_create: Allow, "timers";
    SYS_timer_settime: Allow, "timers";
    SYS_timer_gettime: Allow, "timers";
    SYS_timer_getoverrun: Allow, "timers";
    SYS_timer_delete: Allow, "timers";
    SYS_clock_gettime: Allow, "reading clocks; setting them does not exist";
    SYS_clock_getres: Allow, "reading clocks";
    SYS_gettimeofday: Allow, "reading clocks";
    SYS_time: Allow, "reading clocks";
    SYS_times: Allow, "reading clocks";

    // Memory of its own.
    SYS_mmap: Allow, "memory";
    SYS_munmap: Allow, "memory";
    SYS_mprotect: Allow, "memory; JIT compilers";
    SYS_pkey_mprotect: Allow, "JIT compilers (V8)";
    SYS_pkey_alloc: Allow, "JIT compilers (V8)";
    SYS_pkey_free: Allow, "JIT compilers (V8)";
    SYS_mremap: Allow, "memory";
    SYS_msync: Allow, "databases";
    SYS_mincore: Allow, "memory";
    SYS_madvise: Allow, "memory";
    SYS_mlock: Allow, "secrets of the program's own";
    SYS_mlock2: Allow, "secrets of the program's own";
    SYS_munlock: Allow, "secrets of the program's own";
    SYS_mlockall: Allow, "real-time audio, databases";
    SYS_munlockall: Allow, "real-time audio, databases";
    SYS_mseal = 462: Allow, "the C library; only forbids";
    SYS_map_shadow_stack = 453: Allow, "the C library on processors with shadow stacks";
    SYS_brk: Allow, "memory";
    SYS_mbind: Allow, "databases, JVM (NUMA)";
    SYS_get_mempolicy: Allow, "databases, JVM (NUMA)";
    SYS_set_mempolicy: Allow, "databases, JVM (NUMA)";
    SYS_shmget: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_shmat: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_shmdt: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_shmctl: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_semget: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_semop: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_semctl: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_semtimedop: Allow, "PostgreSQL; the ipc namespace is private";
    SYS_msgget: Allow, "message queues; the ipc namespace is private";
    SYS_msgsnd: Allow, "message queues; the ipc namespace is private";
    SYS_msgrcv: Allow, "message queues; the ipc namespace is private";
    SYS_msgctl: Allow, "message queues; the ipc namespace is private";
    SYS_mq_open: Allow, "message queues; the ipc namespace is private";
    SYS_mq_unlink: Allow, "message queues; the ipc namespace is private";
    SYS_mq_timedsend: Allow, "message queues; the ipc namespace is private";
    SYS_mq_timedreceive: Allow, "message queues; the ipc namespace is private";
    SYS_mq_notify: Allow, "message queues; the ipc namespace is private";
    SYS_mq_getsetattr: Allow, "message queues; the ipc namespace is private";

    // Processes, threads and signals: those of the pid namespace.
    SYS_clone: AllowIf(&[&[without(0, NEW_NAMESPACES)]], EPERM), "processes and threads; no new namespaces";
    SYS_clone3: Deny(ENOSYS), "its flags lie behind a pointer; the C library falls back to clone";
    SYS_fork: Allow, "processes";
    SYS_vfork: Allow, "processes";
    SYS_execve: Allow, "processes; no set-id program exists and no privilege can be gained";
    SYS_execveat: Allow, "processes; no set-id program exists and no privilege can be gained";
    SYS_exit: Allow, "every thread";
    SYS_exit_group: Allow, "every program";
    SYS_wait4: Allow, "shells";
    SYS_waitid: Allow, "shells";
    SYS_kill: Allow, "signals within the pid namespace; process 1 ignores them";
    SYS_tkill: Allow, "signals to threads";
    SYS_tgkill: Allow, "signals to threads";
    SYS_rt_sigaction: Allow, "signals";
    SYS_rt_sigprocmask: Allow, "signals";
    SYS_rt_sigreturn: Allow, "signals";
    SYS_rt_sigpending: Allow, "signals";
    SYS_rt_sigtimedwait: Allow, "signals";
    SYS_rt_sigqueueinfo: Allow, "signals";
    SYS_rt_tgsigqueueinfo: Allow, "signals";
    SYS_rt_sigsuspend: Allow, "signals";
    SYS_sigaltstack: Allow, "signals";
    SYS_restart_syscall: Allow, "the kernel makes it itself after a signal";
    SYS_pidfd_open: Allow, "runtimes that wait for children";
    SYS_pidfd_send_signal: Allow, "runtimes that signal children";
    SYS_getpid: Allow, "own ids";
    SYS_getppid: Allow, "own ids";
    SYS_gettid: Allow, "own ids";
    SYS_getpgid: Allow, "job control";
    SYS_setpgid: Allow, "job control";
    SYS_getpgrp: Allow, "job control";
    SYS_getsid: Allow, "job control";
    SYS_setsid: Allow, "job control; terminals of programs that have panes";
    SYS_getuid: Allow, "own ids";
    SYS_geteuid: Allow, "own ids";
    SYS_getgid: Allow, "own ids";
    SYS_getegid: Allow, "own ids";
    SYS_getresuid: Allow, "own ids";
    SYS_getresgid: Allow, "own ids";
    SYS_getgroups: Allow, "own ids";
    SYS_setuid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setgid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setreuid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setregid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setresuid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setresgid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setfsuid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setfsgid: Allow, "programs that drop what they do not have; one id is mapped";
    SYS_setgroups: Allow, "programs that drop what they do not have; denied by the user namespace";
    SYS_capget: Allow, "programs that look what they may";
    SYS_capset: Allow, "programs that drop what they do not have";
    SYS_prctl: Allow, "names, death signals, no_new_privs; what is dangerous wants a capability";
    SYS_arch_prctl: Allow, "thread-local storage";
    SYS_personality: AllowIf(&[&[is(0, 0)], &[is(0, ALL)], &[is(0, libc::ADDR_NO_RANDOMIZE as u32)]], EPERM), "asking, and debuggers' fixed addresses; not the old layouts that weaken a process";
    SYS_set_tid_address: Allow, "threads";
    SYS_set_robust_list: Allow, "threads";
    SYS_get_robust_list: Allow, "threads";
    SYS_futex: Allow, "threads";
    SYS_futex_waitv: Allow, "threads";
    SYS_futex_wake = 454: Allow, "threads";
    SYS_futex_wait = 455: Allow, "threads";
    SYS_futex_requeue = 456: Allow, "threads";
    SYS_rseq: Allow, "the C library, memory allocators";
    SYS_membarrier: Allow, "JIT compilers, garbage collectors";
    SYS_getcpu: Allow, "memory allocators";
    SYS_sched_yield: Allow, "threads";
    SYS_sched_getaffinity: Allow, "nproc, thread pools";
    SYS_sched_setaffinity: Allow, "taskset; own processes";
    SYS_sched_getparam: Allow, "threads";
    SYS_sched_setparam: Allow, "threads";
    SYS_sched_getscheduler: Allow, "threads";
    SYS_sched_setscheduler: Allow, "threads";
    SYS_sched_getattr: Allow, "threads";
    SYS_sched_setattr: Allow, "threads";
    SYS_sched_get_priority_max: Allow, "threads";
    SYS_sched_get_priority_min: Allow, "threads";
    SYS_sched_rr_get_interval: Allow, "threads";
    SYS_getpriority: Allow, "nice";
    SYS_setpriority: Allow, "nice; own processes";
    SYS_ioprio_get: Allow, "ionice";
    SYS_ioprio_set: Allow, "ionice; own processes";
    SYS_getrlimit: Allow, "limits";
    SYS_setrlimit: AllowIf(&[&[is_not(0, CORE)]], PRETEND), "limits; hard ones only fall; but at 0, unlike 1, a core_pattern of the host that is a pipe runs its program";
    SYS_prlimit64: AllowIf(&[&[is_not(1, CORE)], &[Condition::IsNull { argument: 2 }]], PRETEND), "as setrlimit; asking is free";
    SYS_getrusage: Allow, "time";
    SYS_uname: Allow, "every program";
    SYS_sysinfo: Allow, "free, thread pools";
    SYS_getrandom: Allow, "cryptography, hash tables";
    SYS_seccomp: Allow, "programs that confine themselves; filters only tighten";
    SYS_landlock_create_ruleset: Allow, "programs that confine themselves; rules only tighten";
    SYS_landlock_add_rule: Allow, "programs that confine themselves; rules only tighten";
    SYS_landlock_restrict_self: Allow, "programs that confine themselves; rules only tighten";

    // Network: the only link leads to the gates.
    SYS_socket: AllowIf(SOCKETS, EAFNOSUPPORT), "TCP, UDP, Unix sockets, listing interfaces; no raw, packet, vsock, ALG, XDP, Bluetooth, MPTCP, SCTP, ICMP";
    SYS_socketpair: AllowIf(&[&[is(0, UNIX)]], EAFNOSUPPORT), "pipes in both directions";
    SYS_connect: Allow, "sockets";
    SYS_accept: Allow, "servers";
    SYS_accept4: Allow, "servers";
    SYS_bind: Allow, "servers";
    SYS_listen: Allow, "servers";
    SYS_sendto: Allow, "sockets";
    SYS_recvfrom: Allow, "sockets";
    SYS_sendmsg: Allow, "sockets";
    SYS_recvmsg: Allow, "sockets";
    SYS_sendmmsg: Allow, "name resolution";
    SYS_recvmmsg: Allow, "name resolution";
    SYS_shutdown: Allow, "sockets";
    SYS_getsockname: Allow, "sockets";
    SYS_getpeername: Allow, "sockets";
    SYS_setsockopt: Allow, "sockets";
    SYS_getsockopt: Allow, "sockets";

    // Denied by name, with the error that programs expect, or so that the reason is written down.
    SYS_unshare: Deny(EPERM), "new namespaces: a kernel surface, and mounts of its own";
    SYS_setns: Deny(EPERM), "entering other namespaces";
    SYS_mount: Deny(EPERM), "undoing masks and read-only mounts";
    SYS_umount2: Deny(EPERM), "undoing masks and read-only mounts";
    SYS_pivot_root: Deny(EPERM), "leaving the private root";
    SYS_chroot: Deny(EPERM), "confusing path resolution of others";
    SYS_fsopen: Deny(EPERM), "the new mount interface";
    SYS_fsconfig: Deny(EPERM), "the new mount interface";
    SYS_fsmount: Deny(EPERM), "the new mount interface";
    SYS_fspick: Deny(EPERM), "the new mount interface";
    SYS_open_tree: Deny(EPERM), "the new mount interface";
    SYS_move_mount: Deny(EPERM), "the new mount interface";
    SYS_mount_setattr: Deny(EPERM), "the new mount interface";
    SYS_open_tree_attr = 467: Deny(EPERM), "the new mount interface";
    SYS_ptrace: Deny(EPERM), "reading and steering other processes";
    SYS_process_vm_readv: Deny(EPERM), "reading other processes";
    SYS_process_vm_writev: Deny(EPERM), "writing other processes";
    SYS_pidfd_getfd: Deny(EPERM), "taking descriptors of other processes";
    SYS_kcmp: Deny(EPERM), "comparing kernel objects of other processes";
    SYS_bpf: Deny(EPERM), "programs in the kernel";
    SYS_perf_event_open: Deny(EPERM), "a large kernel surface";
    SYS_userfaultfd: Deny(EPERM), "holding the kernel at a chosen instant, which exploits need";
    SYS_io_uring_setup: Deny(ENOSYS), "operations that no filter sees; runtimes fall back to epoll";
    SYS_io_uring_enter: Deny(ENOSYS), "operations that no filter sees";
    SYS_io_uring_register: Deny(ENOSYS), "operations that no filter sees";
    SYS_keyctl: Deny(EPERM), "keyrings are not in any namespace";
    SYS_add_key: Deny(EPERM), "keyrings are not in any namespace";
    SYS_request_key: Deny(EPERM), "keyrings are not in any namespace";
    SYS_open_by_handle_at: Deny(EPERM), "opening by inode, past the mounts";
    SYS_init_module: Deny(EPERM), "code in the kernel";
    SYS_finit_module: Deny(EPERM), "code in the kernel";
    SYS_delete_module: Deny(EPERM), "code in the kernel";
    SYS_kexec_load: Deny(EPERM), "another kernel";
    SYS_kexec_file_load: Deny(EPERM), "another kernel";
    SYS_reboot: Deny(EPERM), "the machine";
    SYS_swapon: Deny(EPERM), "the machine";
    SYS_swapoff: Deny(EPERM), "the machine";
    SYS_acct: Deny(EPERM), "writing a file of the kernel's choosing";
    SYS_quotactl: Deny(EPERM), "the machine";
    SYS_quotactl_fd: Deny(EPERM), "the machine";
    SYS_syslog: Deny(EPERM), "the kernel's log";
    SYS_fanotify_init: Deny(EPERM), "watching whole file systems";
    SYS_settimeofday: Deny(EPERM), "the machine's clock";
    SYS_clock_settime: Deny(EPERM), "the machine's clock";
    SYS_clock_adjtime: Deny(EPERM), "the machine's clock";
    SYS_adjtimex: Deny(EPERM), "the machine's clock";
    SYS_sethostname: Deny(EPERM), "the host name is fixed";
    SYS_setdomainname: Deny(EPERM), "the host name is fixed";
    SYS_iopl: Deny(EPERM), "hardware";
    SYS_ioperm: Deny(EPERM), "hardware";
    SYS_vhangup: Deny(EPERM), "the terminal";
}
