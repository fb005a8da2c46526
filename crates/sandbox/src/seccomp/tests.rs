//! The table is sound, the compiler says what the table says, and the kernel does what the program says.

use std::collections::HashMap;

use proptest::prelude::*;

use super::table::{Row, TABLE};
use super::*;

/// What the filter answers to a call, by running the program as bpf(4) describes the machine.
fn answer(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(architecture.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    arguments
        .iter()
        .for_each(|argument| data.extend(argument.to_le_bytes()));
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let instruction = program[at];
        at += 1;
        let skip = |jump: bool| usize::from(if jump { instruction.jt } else { instruction.jf });
        match instruction.code {
            LOAD => {
                let offset = instruction.k as usize;
                accumulator = u32::from_le_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            AND => accumulator &= instruction.k,
            JUMP => at += instruction.k as usize,
            JUMP_EQUAL => at += skip(accumulator == instruction.k),
            JUMP_GREATER_EQUAL => at += skip(accumulator >= instruction.k),
            RETURN => return instruction.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

/// What the table says, read directly.
fn said(row: Option<&Row>, arguments: [u64; 6]) -> u32 {
    let holds = |condition: &Condition| match *condition {
        Condition::Is {
            argument,
            mask,
            value,
        } => arguments[usize::from(argument)] as u32 & mask == value,
        Condition::IsNot { argument, value } => arguments[usize::from(argument)] as u32 != value,
        Condition::IsNull { argument } => arguments[usize::from(argument)] == 0,
    };
    match row.map(|row| &row.verdict) {
        None => errno(libc::ENOSYS),
        Some(Verdict::Allow) => libc::SECCOMP_RET_ALLOW,
        Some(Verdict::Deny(number)) => errno(*number),
        Some(Verdict::AllowIf(alternatives, number)) => {
            if alternatives
                .iter()
                .any(|conditions| conditions.iter().all(holds))
            {
                libc::SECCOMP_RET_ALLOW
            } else {
                errno(*number)
            }
        }
    }
}

#[test]
fn each_call_has_one_line_and_a_reason() {
    let mut seen = HashMap::new();
    for row in TABLE {
        assert_eq!(seen.insert(row.number, row.name), None, "{}", row.name);
        assert!(
            !row.reason.is_empty() && row.name.starts_with("SYS_"),
            "{}",
            row.name
        );
    }
}

#[test]
fn every_number_is_answered_as_the_table_says() {
    let Filter(program) = Filter::compile();
    assert!(program.len() < 4096);
    let rows: HashMap<u32, &Row> = TABLE.iter().map(|row| (row.number as u32, row)).collect();
    let interesting = [
        0,
        1,
        2,
        3,
        0x5412,
        0x541c,
        0x40,
        0x400000,
        0x410000,
        0o4755,
        0o2755,
        0x10000000,
        0xffff_ffff,
        0x1_0000_5412,
    ];
    for number in (0..600).chain([0x4000_0000, 0x4000_0001, 0x4000_003b, u32::MAX]) {
        for first in interesting {
            for second in interesting {
                for arguments in [
                    [first, second, 0, 0, 0, 0],
                    [2, first, second, 0, 0, 0],
                    [0, 1, first, second, 0, 0],
                ] {
                    let expected = said(rows.get(&number).copied(), arguments);
                    assert_eq!(
                        answer(&program, X86_64, number, arguments),
                        expected,
                        "{number} {arguments:x?}"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_call_is_answered_as_the_table_says(number in 0u32..600, arguments: [u64; 6]) {
        let Filter(program) = Filter::compile();
        let row = TABLE.iter().find(|row| row.number as u32 == number);
        prop_assert_eq!(answer(&program, X86_64, number, arguments), said(row, arguments));
    }

    #[test]
    fn calls_of_another_architecture_do_not_exist(architecture: u32, number: u32, arguments: [u64; 6]) {
        prop_assume!(architecture != X86_64);
        let Filter(program) = Filter::compile();
        prop_assert_eq!(answer(&program, architecture, number, arguments), errno(libc::ENOSYS));
    }
}

/// Makes the calls in a child under the filter; gives each one's error number, 0 for none.
fn under_the_filter(calls: &[(i64, [i64; 5])]) -> Vec<i32> {
    let filter = Filter::compile();
    let (mut answer, tell) = std::io::pipe().unwrap();
    // SAFETY: the test harness has threads, so the child makes system calls only, on memory made before.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; arguments that are pointers are null or point to statics.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if filter.set(0).is_err() {
                libc::_exit(1);
            }
            for (number, a) in calls {
                let result = libc::syscall(*number, a[0], a[1], a[2], a[3], a[4]);
                let errno = if result < 0 {
                    *libc::__errno_location()
                } else {
                    0
                };
                let bytes = errno.to_ne_bytes();
                libc::write(
                    std::os::fd::AsRawFd::as_raw_fd(&tell),
                    bytes.as_ptr().cast(),
                    4,
                );
            }
            libc::_exit(0);
        }
    }
    drop(tell);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut answer, &mut bytes).unwrap();
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    bytes
        .chunks(4)
        .map(|chunk| i32::from_ne_bytes(chunk.try_into().unwrap()))
        .collect()
}

#[test]
fn the_kernel_refuses_every_denied_call() {
    let denied: Vec<(&Row, i32)> = TABLE
        .iter()
        .filter_map(|row| {
            if let Verdict::Deny(number) = row.verdict {
                Some((row, number))
            } else {
                None
            }
        })
        .collect();
    // With -1 for every argument: whatever reached the kernel proper would fail differently or, worse, succeed.
    let calls: Vec<_> = denied
        .iter()
        .map(|(row, _)| (row.number, [-1; 5]))
        .collect();
    let answers = under_the_filter(&calls);
    assert_eq!(answers.len(), denied.len());
    for ((row, expected), got) in denied.iter().zip(answers) {
        assert_eq!(got, *expected, "{}", row.name);
    }
}

#[test]
fn the_kernel_refuses_each_forbidden_argument() {
    let path = c"/nonexistent/x".as_ptr() as i64;
    let cases: &[(&str, i64, [i64; 5], i32)] = &[
        (
            "clone into a user namespace",
            libc::SYS_clone,
            [0x1000_0000, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "clone into a mount namespace",
            libc::SYS_clone,
            [0x0002_0011, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "personality READ_IMPLIES_EXEC",
            libc::SYS_personality,
            [0x0040_0000, 0, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "personality query",
            libc::SYS_personality,
            [0xffff_ffff, 0, 0, 0, 0],
            0,
        ),
        (
            "TIOCSTI",
            libc::SYS_ioctl,
            [-1, 0x5412, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "TIOCSTI with high bits",
            libc::SYS_ioctl,
            [-1, 0x1_0000_5412, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "TIOCLINUX",
            libc::SYS_ioctl,
            [-1, 0x541c, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "another ioctl",
            libc::SYS_ioctl,
            [-1, 0x5401, 0, 0, 0],
            libc::EBADF,
        ),
        (
            "set-id chmod",
            libc::SYS_chmod,
            [path, 0o4755, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "plain chmod",
            libc::SYS_chmod,
            [path, 0o755, 0, 0, 0],
            libc::ENOENT,
        ),
        (
            "set-id fchmod",
            libc::SYS_fchmod,
            [-1, 0o2755, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "set-id fchmodat2",
            libc::SYS_fchmodat2,
            [-1, path, 0o4755, 0, 0],
            libc::EPERM,
        ),
        (
            "set-id open",
            libc::SYS_open,
            [path, 0x41, 0o4755, 0, 0],
            libc::EPERM,
        ),
        (
            "set-id openat",
            libc::SYS_openat,
            [-1, path, 0x41, 0o4755, 0],
            libc::EPERM,
        ),
        (
            "set-id O_TMPFILE",
            libc::SYS_openat,
            [-1, path, 0x41_0001, 0o4755, 0],
            libc::EPERM,
        ),
        (
            "open that creates nothing",
            libc::SYS_open,
            [path, 0, 0o4755, 0, 0],
            libc::ENOENT,
        ),
        (
            "set-id mkdir",
            libc::SYS_mkdir,
            [path, 0o2755, 0, 0, 0],
            libc::EPERM,
        ),
        (
            "set-id mknodat",
            libc::SYS_mknodat,
            [-1, path, 0o10_4755, 0, 0],
            libc::EPERM,
        ),
        (
            "raw socket",
            libc::SYS_socket,
            [2, 3, 1, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "ping socket",
            libc::SYS_socket,
            [2, 2, 1, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "packet socket",
            libc::SYS_socket,
            [17, 3, 0, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "MPTCP",
            libc::SYS_socket,
            [2, 1, 262, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "SCTP",
            libc::SYS_socket,
            [2, 1, 132, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "vsock",
            libc::SYS_socket,
            [40, 1, 0, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "ALG",
            libc::SYS_socket,
            [38, 5, 0, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        (
            "netfilter netlink",
            libc::SYS_socket,
            [16, 3, 12, 0, 0],
            libc::EAFNOSUPPORT,
        ),
        ("route netlink", libc::SYS_socket, [16, 3, 0, 0, 0], 0),
        (
            "TCP, close on exec",
            libc::SYS_socket,
            [2, 0x80001, 6, 0, 0],
            0,
        ),
        ("UDP over IPv6", libc::SYS_socket, [10, 2, 0, 0, 0], 0),
        ("Unix", libc::SYS_socket, [1, 1, 0, 0, 0], 0),
        ("a number past the table", 999, [0; 5], libc::ENOSYS),
        ("x32 getpid", 0x4000_0027, [0; 5], libc::ENOSYS),
    ];
    let calls: Vec<_> = cases
        .iter()
        .map(|(_, number, arguments, _)| (*number, *arguments))
        .collect();
    let answers = under_the_filter(&calls);
    assert_eq!(answers.len(), cases.len());
    for ((name, _, _, expected), got) in cases.iter().zip(answers) {
        assert_eq!(got, *expected, "{name}");
    }
}

#[test]
fn calls_by_the_32_bit_gate_do_not_exist() {
    let filter = Filter::compile();
    // SAFETY: as in `under_the_filter`; the instruction clobbers what it says.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above. Number 20 is getpid of the 32-bit table, which would succeed.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if filter.set(0).is_err() {
                libc::_exit(1);
            }
            let result: i64;
            std::arch::asm!("int 0x80", inlateout("rax") 20i64 => result, options(nostack));
            libc::_exit(if result as i32 == -libc::ENOSYS { 0 } else { 2 });
        }
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &mut status, 0) };
    // A kernel without the 32-bit gate ends the process instead.
    assert!(status == 0 || libc::WIFSIGNALED(status), "{status}");
}
