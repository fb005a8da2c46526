//! What a command that only prints does when nobody reads any more. It has no part in confinement; it
//! is here because it takes a system call that only this crate may make.

/// Lets this process end quietly when it writes to a pipe that nobody reads, as other listing programs
/// do. Rust ignores SIGPIPE, and `println!` would panic instead. Not for a process that supervises.
pub fn end_on_broken_pipe() {
    // SAFETY: `signal` only changes how this process is treated on SIGPIPE. SIG_DFL runs no code of
    // ours, so nothing here has to be async-signal-safe, and no other thread exists yet that could
    // be setting the same disposition.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
