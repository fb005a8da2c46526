//! The system call filter: compiles [`table`] to the kernel's packet-filter machine (seccomp(2), bpf(4)) and installs it.
//!
//! What must stay true: every path through the program ends in a return; another architecture's call (int 0x80, x32) never meets a number
//! of this one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::sock_filter as Instruction;

use self::table::{Condition, TABLE, Verdict};

mod table;

/// `AUDIT_ARCH_X86_64` (linux/audit.h): machine 62, 64 bits, little-endian.
const X86_64: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A compiled filter.
pub(crate) struct Filter(Vec<Instruction>);

impl Filter {
    /// Compiles the table.
    pub(crate) fn compile() -> Filter {
        let mut program = vec![
            plain(LOAD, ARCHITECTURE),
            branch(JUMP_EQUAL, X86_64, 1, 0),
            plain(RETURN, errno(libc::ENOSYS)),
            plain(LOAD, NUMBER),
        ];
        program.extend(search(&ranges()));
        Filter(program)
    }

    /// Every call is made, but for `number`, of which the listener is told.
    fn notifying(number: i64) -> Filter {
        Filter(vec![
            plain(LOAD, NUMBER),
            branch(JUMP_EQUAL, number as u32, 0, 1),
            plain(RETURN, libc::SECCOMP_RET_USER_NOTIF),
            plain(RETURN, libc::SECCOMP_RET_ALLOW),
        ])
    }

    /// Every call is made, but for these, of which the listener is told: always, or with any of some bits of an argument set.
    fn notifying_of_all(calls: &[(i64, Option<(u8, u32)>)]) -> Filter {
        // Another architecture's calls are the other filter's to refuse; here their numbers mean nothing.
        let mut program = vec![
            plain(LOAD, ARCHITECTURE),
            branch(JUMP_EQUAL, X86_64, 1, 0),
            plain(RETURN, libc::SECCOMP_RET_ALLOW),
            plain(LOAD, NUMBER),
        ];
        for &(number, bits) in calls {
            let told = match bits {
                None => vec![plain(RETURN, libc::SECCOMP_RET_USER_NOTIF)],
                Some((argument, bits)) => vec![
                    plain(LOAD, ARGUMENTS + 8 * u32::from(argument)),
                    plain(AND, bits),
                    branch(JUMP_EQUAL, 0, 1, 0),
                    plain(RETURN, libc::SECCOMP_RET_USER_NOTIF),
                    plain(RETURN, libc::SECCOMP_RET_ALLOW),
                ],
            };
            program.push(branch(JUMP_EQUAL, number as u32, 0, told.len() as u8));
            program.extend(told);
        }
        program.push(plain(RETURN, libc::SECCOMP_RET_ALLOW));
        Filter(program)
    }

    /// Installs it in this thread, for good, and in everything that comes of it. Needs no_new_privs.
    pub(crate) fn install(&self) -> io::Result<()> {
        self.set(0).map(drop)
    }

    /// Asks the kernel, by the call that installs, whether it knows what every filter of ours answers with. Installing itself comes
    /// too late to refuse a launch: the command's process does it as the last thing before it executes.
    pub(crate) fn can_be_installed() -> io::Result<()> {
        let action = libc::SECCOMP_RET_ERRNO;
        // SAFETY: the kernel reads one number, which lives through the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_GET_ACTION_AVAIL,
                0,
                &raw const action,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn set(&self, flags: libc::c_ulong) -> io::Result<i32> {
        let program = libc::sock_fprog {
            len: self.0.len() as u16,
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: `program` and the instructions it points to live through the call, and the kernel copies and never writes them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        if result >= 0 {
            Ok(result as i32)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// Installs a filter that asks whoever holds the returned descriptor about one call. Needs no_new_privs.
pub(crate) fn notify_of(number: i64) -> io::Result<OwnedFd> {
    let listener = Filter::notifying(number).set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: with this flag the kernel returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Installs a filter that tells whoever holds the returned descriptor of these calls: always, or with any of some bits of an argument set.
/// Once one was told of, only a deadly signal ends the wait for its answer: a call that is interrupted after it was made would be made
/// twice. Needs no_new_privs and Linux 5.19.
pub(crate) fn notify_of_all(calls: &[(i64, Option<(u8, u32)>)]) -> io::Result<OwnedFd> {
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let listener = Filter::notifying_of_all(calls).set(flags)?;
    // SAFETY: with this flag the kernel returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Numbers from here to the next range's start have this verdict.
struct Range<'a> {
    start: u32,
    verdict: &'a Verdict,
}

/// The table as ranges that cover every number. Numbers of x32 (bit 30 set) fall in the last one, which does not exist.
fn ranges() -> Vec<Range<'static>> {
    const ABSENT: &Verdict = &Verdict::Deny(libc::ENOSYS);
    let mut rows: Vec<_> = TABLE
        .iter()
        .map(|row| (row.number as u32, &row.verdict))
        .collect();
    rows.sort_by_key(|(number, _)| *number);
    let mut ranges: Vec<Range<'static>> = vec![Range {
        start: 0,
        verdict: ABSENT,
    }];
    let mut push = |start: u32, verdict: &'static Verdict| {
        match ranges.last_mut() {
            Some(last) if last.start == start => last.verdict = verdict,
            Some(last) if same(last.verdict, verdict) => {}
            _ => ranges.push(Range { start, verdict }),
        };
    };
    for (index, &(number, verdict)) in rows.iter().enumerate() {
        push(number, verdict);
        if rows
            .get(index + 1)
            .is_none_or(|(next, _)| *next != number + 1)
        {
            push(number + 1, ABSENT);
        }
    }
    ranges
}

fn same(left: &Verdict, right: &Verdict) -> bool {
    match (left, right) {
        (Verdict::Allow, Verdict::Allow) => true,
        (Verdict::Deny(left), Verdict::Deny(right)) => left == right,
        _ => false,
    }
}

/// A binary search for the number, which is loaded, with the verdicts' code at its leaves.
fn search(ranges: &[Range<'_>]) -> Vec<Instruction> {
    match ranges {
        [] => vec![plain(RETURN, errno(libc::ENOSYS))],
        [range] => leaf(range.verdict),
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let lower_code = search(lower);
            let mut program = vec![
                // Conditional jumps reach 255 instructions, unconditional ones any.
                branch(JUMP_GREATER_EQUAL, upper[0].start, 0, 1),
                plain(JUMP, lower_code.len() as u32),
            ];
            program.extend(lower_code);
            program.extend(search(upper));
            program
        }
    }
}

fn leaf(verdict: &Verdict) -> Vec<Instruction> {
    match verdict {
        Verdict::Allow => vec![plain(RETURN, libc::SECCOMP_RET_ALLOW)],
        Verdict::Deny(number) => vec![plain(RETURN, errno(*number))],
        Verdict::AllowIf(alternatives, number) => {
            let mut program = Vec::new();
            for conditions in *alternatives {
                program.extend(alternative(conditions));
            }
            program.push(plain(RETURN, errno(*number)));
            program
        }
    }
}

/// Returns "allow" if all conditions hold, else falls through to what comes after.
fn alternative(conditions: &[Condition]) -> Vec<Instruction> {
    let length = |condition: &Condition| match condition {
        Condition::IsNull { .. } => 4,
        Condition::Is { .. } | Condition::IsNot { .. } => 3,
    };
    let mut program = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let past_the_end = conditions.iter().skip(index + 1).map(length).sum::<u8>() + 1;
        if let Condition::IsNull { argument } = *condition {
            let place = ARGUMENTS + 8 * u32::from(argument);
            program.extend([
                plain(LOAD, place),
                branch(JUMP_EQUAL, 0, 0, past_the_end + 2),
                plain(LOAD, place + 4),
                branch(JUMP_EQUAL, 0, 0, past_the_end),
            ]);
            continue;
        }
        let (argument, mask) = match *condition {
            Condition::Is { argument, mask, .. } => (argument, mask),
            Condition::IsNot { argument, .. } => (argument, u32::MAX),
            Condition::IsNull { .. } => continue,
        };
        // Little-endian: the low 32 bits come first.
        program.push(plain(LOAD, ARGUMENTS + 8 * u32::from(argument)));
        program.push(plain(AND, mask));
        program.push(match *condition {
            Condition::Is { value, .. } => branch(JUMP_EQUAL, value, 0, past_the_end),
            Condition::IsNot { value, .. } => branch(JUMP_EQUAL, value, past_the_end, 0),
            Condition::IsNull { .. } => continue,
        });
    }
    program.push(plain(RETURN, libc::SECCOMP_RET_ALLOW));
    program
}

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (number as u32 & libc::SECCOMP_RET_DATA)
}

fn plain(code: u16, k: u32) -> Instruction {
    Instruction {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests;
