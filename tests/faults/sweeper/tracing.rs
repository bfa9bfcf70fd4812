//! Following a command and all that it starts, from one stop at a system call to the next.

use std::collections::{HashMap, HashSet};
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::ptr;

use libc::{c_int, c_void, pid_t, user_regs_struct};

use crate::calls::{self, Call, Target};

/// What is written to this descriptor is an order to the tracer.
const CONTROL: u64 = 1023;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    KillBefore,
    KillAfter,
    Torn,
    Short,
    Fail {
        number: c_int,
        sticky: bool,
    },
    /// The call happens, but is reported as failed, as a network's file system may.
    Lie,
}

impl Action {
    fn named(name: &str) -> Option<Self> {
        let (error, sticky) = name.strip_suffix("-sticky").map_or((name, false), |error| (error, true));
        let fail = |number| Some(Self::Fail { number, sticky });
        match (error, sticky) {
            ("kill-before", false) => Some(Self::KillBefore),
            ("kill-after", false) => Some(Self::KillAfter),
            ("torn", false) => Some(Self::Torn),
            ("short", false) => Some(Self::Short),
            ("eio-after", false) => Some(Self::Lie),
            ("enospc", _) => fail(libc::ENOSPC),
            ("eio", _) => fail(libc::EIO),
            ("edquot", _) => fail(libc::EDQUOT),
            ("eintr", false) => fail(libc::EINTR),
            _ => None,
        }
    }
}

/// What is counted and done: one at a time.
struct Armed {
    action: Action,
    at: u64,
    below: PathBuf,
    processes: HashSet<pid_t>,
}

/// What a thread does between the stop before a call and the one after it.
struct Pending {
    call: &'static Call,
    arguments: [u64; 6],
    path: PathBuf,
    second: Option<PathBuf>,
    entered: u64,
    then: Then,
}

/// What becomes of a thread after its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    Dies,
    /// It is told that the call failed.
    IsDeceived,
}

#[derive(Default)]
struct Tracer {
    armed: Option<Armed>,
    record: Option<BufWriter<File>>,
    count: u64,
    /// The number of the call that the action came about at.
    hit: Option<i64>,
    /// How many calls had been counted when it first did.
    hit_at: u64,
    /// How many calls had been counted at each renaming, and the new name.
    renamed: Vec<(u64, OsString)>,
    /// Numbers the moments at which recorded calls begin and end.
    clock: u64,
    pending: HashMap<pid_t, Pending>,
    /// The process of each thread, and whether it is armed.
    threads: HashMap<pid_t, bool>,
}

/// Runs `command` and returns its status; `arm` as the order of this name.
///
/// # Errors
/// What the system says where it may not be traced.
pub fn run(command: &[String], arm: Option<&str>, record: Option<&str>) -> io::Result<i32> {
    let root = start(command)?;
    let mut tracer = Tracer::default();
    if let Some(order) = arm {
        tracer.order(root, &format!("arm {order}"))?;
    }
    if let Some(file) = record {
        tracer.order(root, &format!("record {file}"))?;
    }
    let status = tracer.follow(root)?;
    if let Some(mut record) = tracer.record.take() {
        record.flush()?;
    }
    if arm.is_some() {
        eprintln!("{} calls, {}", tracer.count, if tracer.hit.is_some() { "hit" } else { "not hit" });
    }
    Ok(status)
}

/// Starts the command, traced, with the filter that stops it.
fn start(command: &[String]) -> io::Result<pid_t> {
    let words: Vec<CString> =
        command.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>().map_err(io::Error::other)?;
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(ptr::null());
    let filter = filter();
    // SAFETY: this process has one thread, and the child calls nothing but the system before it becomes the command.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: `pointers` ends with null, and `filter` lives until the command replaces this process.
        unsafe { become_command(&pointers, &filter) }
    }
    let mut status = 0;
    // SAFETY: waits for, and then traces, the child just made.
    unsafe {
        check(i64::from(child))?;
        check(i64::from(libc::waitpid(child, &raw mut status, libc::WUNTRACED)))?;
        let options = libc::PTRACE_O_EXITKILL
            | libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACESECCOMP
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK;
        check(libc::ptrace(libc::PTRACE_SEIZE, child, 0, options))?;
        check(i64::from(libc::kill(child, libc::SIGCONT)))?;
    }
    Ok(child)
}

/// Waits for the tracer, installs the filter and becomes the command.
///
/// # Safety
/// `words` must end with a null pointer; to be called in a child of a fork only.
unsafe fn become_command(words: &[*const libc::c_char], filter: &[libc::sock_filter]) -> ! {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: as the caller promises; the kernel copies the filter.
    unsafe {
        libc::raise(libc::SIGSTOP);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) != 0 {
            libc::_exit(125);
        }
        libc::execvp(words[0], words.as_ptr());
        libc::_exit(127)
    }
}

/// The kernel's filter: stops at each of [`calls::CALLS`]; an opening only where it may change something.
fn filter() -> Vec<libc::sock_filter> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let filter = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let argument = |number: u32| 16 + 8 * number;
    let stop = filter(RETURN, 0, 0, libc::SECCOMP_RET_TRACE);
    let go = filter(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
    let mut steps = vec![filter(LOAD, 0, 0, 0)];
    for call in &calls::CALLS {
        let number = call.number as u32;
        let flags = match call.number {
            libc::SYS_open => Some(1),
            libc::SYS_openat => Some(2),
            _ => None,
        };
        match flags {
            Some(flags) => steps.extend([
                filter(EQUAL, 0, 4, number),
                filter(LOAD, 0, 0, argument(flags)),
                filter(ANY, 0, 1, calls::CREATES as u32),
                stop,
                go,
            ]),
            None => steps.extend([filter(EQUAL, 0, 1, number), stop]),
        }
    }
    steps.push(go);
    steps
}

impl Tracer {
    /// Follows every thread until the first process ends, and returns its status.
    fn follow(&mut self, root: pid_t) -> io::Result<i32> {
        loop {
            let mut status = 0;
            // SAFETY: `status` is where the system may write.
            let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            check(i64::from(thread))?;
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                self.threads.remove(&thread);
                self.pending.remove(&thread);
                if thread == root {
                    let signalled = libc::WIFSIGNALED(status);
                    return Ok(if signalled { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) });
                }
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            match status >> 16 {
                libc::PTRACE_EVENT_SECCOMP => self.before(thread)?,
                0 if signal == libc::SIGTRAP | 0x80 => self.after(thread)?,
                0 => resume(thread, libc::PTRACE_CONT, signal),
                _ => resume(thread, libc::PTRACE_CONT, 0),
            }
        }
    }

    /// A thread is about to make a call.
    fn before(&mut self, thread: pid_t) -> io::Result<()> {
        let Some(mut registers) = registers(thread) else { return Ok(()) };
        let Some(call) = calls::of(&registers) else {
            resume(thread, libc::PTRACE_CONT, 0);
            return Ok(());
        };
        let arguments = calls::arguments(&registers);
        if call.number == libc::SYS_write && arguments[0] == CONTROL {
            let text = calls::memory(thread, arguments[1], arguments[2] as usize).unwrap_or_default();
            let reply = self.order(thread, &String::from_utf8_lossy(&text))?;
            refuse(thread, &mut registers, reply);
            resume(thread, libc::PTRACE_CONT, 0);
            return Ok(());
        }
        match self.step(thread, call, &arguments, &mut registers) {
            Next::Run => resume(thread, libc::PTRACE_CONT, 0),
            Next::Watch(pending) => {
                self.pending.insert(thread, pending);
                resume(thread, libc::PTRACE_SYSCALL, 0);
            }
            Next::Kill => self.kill(),
        }
        Ok(())
    }

    /// Decides what becomes of a call.
    fn step(
        &mut self,
        thread: pid_t,
        call: &'static Call,
        arguments: &[u64; 6],
        registers: &mut user_regs_struct,
    ) -> Next {
        if !self.is_armed(thread) {
            return Next::Run;
        }
        let Some(armed) = &self.armed else { return Next::Run };
        let path = calls::path(thread, call.target, arguments);
        let second = call.second.and_then(|target| calls::path(thread, target, arguments));
        let is_own = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| path.starts_with(&armed.below));
        let is_answer = call.name == "write" && arguments[0] == 1 && self.record.is_some();
        if !(is_own(&path) || is_own(&second) || call.target == Target::Memory || is_answer) {
            return Next::Run;
        }
        let (action, at) = (armed.action, armed.at);
        self.count += u64::from(!is_answer);
        self.clock += 1;
        let is_hit = self.count == at && !is_answer;
        if is_hit {
            self.hit_at = at;
        } else if call.name.starts_with("rename")
            && let Some(name) = second.as_deref().and_then(Path::file_name)
        {
            self.renamed.push((self.count, name.to_owned()));
        }
        let mut pending = Pending {
            call,
            arguments: *arguments,
            path: path.unwrap_or_default(),
            second,
            entered: self.clock,
            then: Then::GoesOn,
        };
        match action {
            Action::Fail { number, sticky } if is_hit || (sticky && at > 0 && self.count > at && !is_answer) => {
                // A full disk lets files be removed.
                if [libc::ENOSPC, libc::EDQUOT].contains(&number) && !call.needs_space {
                    return Next::Run;
                }
                self.hit = Some(call.number);
                refuse(thread, registers, -i64::from(number));
                return Next::Run;
            }
            Action::KillBefore if is_hit => {
                self.hit = Some(call.number);
                return Next::Kill;
            }
            Action::KillAfter if is_hit => {
                self.hit = Some(call.number);
                pending.then = Then::Dies;
            }
            Action::Lie if is_hit => {
                self.hit = Some(call.number);
                pending.then = Then::IsDeceived;
            }
            Action::Torn | Action::Short if is_hit => {
                if !calls::halve(thread, call, registers) {
                    return Next::Run;
                }
                self.hit = Some(call.number);
                set_registers(thread, registers);
                if action == Action::Torn {
                    pending.then = Then::Dies;
                }
            }
            _ => {}
        }
        if pending.then != Then::GoesOn || self.record.is_some() { Next::Watch(pending) } else { Next::Run }
    }

    /// A thread has made the call that was waited for.
    fn after(&mut self, thread: pid_t) -> io::Result<()> {
        if let Some(pending) = self.pending.remove(&thread) {
            let mut seen = registers(thread);
            match (pending.then, &mut seen) {
                (Then::Dies, _) => {
                    self.kill();
                    return Ok(());
                }
                (Then::IsDeceived, Some(registers)) => {
                    registers.rax = -i64::from(libc::EIO) as u64;
                    set_registers(thread, registers);
                }
                _ => {}
            }
            let result = seen.map_or(-1, |registers| registers.rax as i64);
            self.clock += 1;
            if let Some(record) = &mut self.record {
                write_call(record, thread, &pending, self.clock, result)?;
            }
        }
        resume(thread, libc::PTRACE_CONT, 0);
        Ok(())
    }

    /// Follows an order and returns the reply.
    fn order(&mut self, thread: pid_t, order: &str) -> io::Result<i64> {
        let invalid = -i64::from(libc::EINVAL);
        let (word, rest) = order.split_once(' ').unwrap_or((order, ""));
        Ok(match word {
            "arm" => {
                let mut parts = rest.splitn(3, ' ');
                let action = parts.next().and_then(Action::named);
                let at = parts.next().and_then(|number| number.parse().ok());
                let below = parts.next().map(PathBuf::from);
                let (Some(action), Some(at), Some(below)) = (action, at, below) else { return Ok(invalid) };
                let processes = HashSet::from([status_number(thread, "Tgid:").unwrap_or(thread)]);
                self.armed = Some(Armed { action, at, below, processes });
                self.threads.clear();
                (self.count, self.hit, self.hit_at, self.clock) = (0, None, 0, 0);
                self.renamed.clear();
                1
            }
            "record" => {
                self.record = Some(BufWriter::new(File::create(rest)?));
                1
            }
            "count" => self.count as i64,
            "hit" => self.hit.unwrap_or(-1),
            "since" => {
                let before = self.renamed.iter().rev().find(|(count, name)| *count < self.hit_at && name == rest);
                before.map_or(-1, |(count, _)| (self.hit_at - count) as i64)
            }
            "end" => {
                self.armed = None;
                if let Some(mut record) = self.record.take() {
                    record.flush()?;
                }
                1
            }
            _ => invalid,
        })
    }

    /// Whether a thread belongs to what is armed: its process, or one that an armed process started.
    fn is_armed(&mut self, thread: pid_t) -> bool {
        let Some(armed) = &mut self.armed else { return false };
        *self.threads.entry(thread).or_insert_with(|| {
            let process = status_number(thread, "Tgid:").unwrap_or(thread);
            let parent = status_number(thread, "PPid:").unwrap_or(0);
            let is_armed = armed.processes.contains(&process) || armed.processes.contains(&parent);
            if is_armed {
                armed.processes.insert(process);
            }
            is_armed
        })
    }

    fn kill(&self) {
        for &process in self.armed.iter().flat_map(|armed| &armed.processes) {
            // SAFETY: no memory is touched; the processes are children of this one, stopped or not yet waited for.
            unsafe { libc::kill(process, libc::SIGKILL) };
        }
    }
}

enum Next {
    Run,
    Watch(Pending),
    Kill,
}

/// One line: the moments of beginning and end, the call, its result, inode, offset, paths, and the bytes in hexadecimal.
fn write_call(
    record: &mut BufWriter<File>,
    thread: pid_t,
    pending: &Pending,
    clock: u64,
    result: i64,
) -> io::Result<()> {
    let Pending { call, arguments, path, second, entered, .. } = pending;
    let is_answer = call.name == "write" && arguments[0] == 1;
    let effect = if is_answer || result < 0 {
        calls::Effect::default()
    } else {
        calls::effect(thread, call, arguments, (path, second.as_deref()), result)
    };
    let mut bytes = String::with_capacity(2 * effect.bytes.len());
    for byte in &effect.bytes {
        let _ = write!(bytes, "{byte:02x}");
    }
    let name = if is_answer { "answer" } else { call.name };
    let (path, second) = (path.display(), second.as_deref().unwrap_or(Path::new("")).display());
    let calls::Effect { inode, offset, .. } = effect;
    writeln!(record, "{entered}\t{clock}\t{name}\t{result}\t{inode}\t{offset}\t{path}\t{second}\t{bytes}")
}

fn status_number(thread: pid_t, name: &str) -> Option<pid_t> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

fn registers(thread: pid_t) -> Option<user_regs_struct> {
    let mut registers = std::mem::MaybeUninit::<user_regs_struct>::uninit();
    // SAFETY: the system fills the whole of `registers` where it says that it succeeded.
    unsafe {
        let done = libc::ptrace(libc::PTRACE_GETREGS, thread, ptr::null_mut::<c_void>(), registers.as_mut_ptr());
        (done == 0).then(|| registers.assume_init())
    }
}

fn set_registers(thread: pid_t, registers: &user_regs_struct) {
    // SAFETY: the system only reads `registers`. A thread that is gone needs none.
    unsafe {
        libc::ptrace(libc::PTRACE_SETREGS, thread, ptr::null_mut::<c_void>(), ptr::from_ref(registers));
    }
}

/// Lets a call not happen and return `result`.
fn refuse(thread: pid_t, registers: &mut user_regs_struct, result: i64) {
    registers.orig_rax = u64::MAX;
    registers.rax = result as u64;
    set_registers(thread, registers);
}

/// Lets a stopped thread go on; one that was killed meanwhile is waited for later.
fn resume(thread: pid_t, request: libc::c_uint, signal: c_int) {
    // SAFETY: no memory is passed.
    unsafe {
        libc::ptrace(request, thread, ptr::null_mut::<c_void>(), signal as *mut c_void);
    }
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
