//! Runs a command and lets one of its system calls that change a folder be its last one, be torn, or fail.
//!
//!     sweeper [--arm "ACTION N FOLDER"] [--record FILE] COMMAND ARGUMENT…
//!
//! A kernel filter stops the command at each call that changes files, in whatever thread or child, and this program counts those
//! below FOLDER in one order. Interposing a library was measured to miss calls that are not made through the C library, and
//! `strace -e inject=…:when=N` counts in each thread by itself, so neither sweeps over all points of a program with threads.
//!
//! Actions, at the Nth call (0: none, only count): `kill-before`, `kill-after`, `torn` (half of a write, then killed), `short`
//! (half of a write), `eio-after` (it happens, but is said to have failed), and an error: `enospc`, `eio`, `edquot`, `eintr`, once,
//! or from then on with `-sticky` behind.
//!
//! To sweep thousands of points without starting an interpreter for each, a process below may arm itself: what it writes to the
//! file descriptor 1023, which need not be open, is an order to this program, and the "bytes written" are the reply:
//! `arm ACTION N FOLDER` (counts the calls of this process and its children from now on), `record FILE` (also writes each
//! call with its data to a file), `count`, `hit` (the number of the call that the action came about at), `since NAME` (how many calls
//! after the last renaming to that name it was), `end` (nothing is armed any more).
//!
//! The command's status is this program's; with `--arm` a line on standard error tells the counts.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod calls;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod tracing;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let (mut arm, mut record) = (None, None);
    while let Some(name) = arguments.next_if(|argument| argument.starts_with("--")) {
        let value = arguments.next();
        match name.as_str() {
            "--arm" => arm = value,
            "--record" => record = value,
            _ => fail(&format!("there is no option {name}")),
        }
    }
    let command: Vec<String> = arguments.collect();
    if command.is_empty() {
        fail("what is to be run is missing");
    }
    match tracing::run(&command, arm.as_deref(), record.as_deref()) {
        Ok(status) => std::process::exit(status),
        Err(failure) => fail(&failure.to_string()),
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn main() {
    fail("this system's calls are not known: Linux on x86-64 is needed");
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(125);
}
