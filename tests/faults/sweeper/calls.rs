//! Which system calls change files, where, and what they leave: everything that knows a call by its number.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use libc::{c_long, pid_t, user_regs_struct};

/// How a call names what it changes; numbers are those of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An open file.
    Open(usize),
    /// A path, relative to the working folder.
    Path(usize),
    /// A path, relative to an open folder.
    At(usize, usize),
    /// A mapped range: whose file it is, is not asked.
    Memory,
}

/// One kind of call that changes files.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: c_long,
    pub name: &'static str,
    pub target: Target,
    /// A second name: where something is renamed or linked to.
    pub second: Option<Target>,
    /// The argument that says how many bytes are written.
    pub length: Option<usize>,
    /// Whether a full disk may refuse it.
    pub needs_space: bool,
}

const fn call(number: c_long, name: &'static str, target: Target) -> Call {
    Call { number, name, target, second: None, length: None, needs_space: true }
}

impl Call {
    const fn to(mut self, second: Target) -> Self {
        self.second = Some(second);
        self
    }

    const fn bytes(mut self, argument: usize) -> Self {
        self.length = Some(argument);
        self
    }

    const fn frees(mut self) -> Self {
        self.needs_space = false;
        self
    }
}

use Target::{At, Memory, Open, Path as Named};

/// Every call that changes files and that is stopped at.
pub const CALLS: [Call; 42] = [
    call(libc::SYS_write, "write", Open(0)).bytes(2),
    call(libc::SYS_pwrite64, "pwrite", Open(0)).bytes(2),
    call(libc::SYS_writev, "writev", Open(0)),
    call(libc::SYS_pwritev, "pwritev", Open(0)),
    call(libc::SYS_pwritev2, "pwritev2", Open(0)),
    call(libc::SYS_sendfile, "sendfile", Open(0)).bytes(3),
    call(libc::SYS_copy_file_range, "copy_file_range", Open(2)).bytes(4),
    call(libc::SYS_splice, "splice", Open(2)).bytes(4),
    call(libc::SYS_open, "open", Named(0)),
    call(libc::SYS_creat, "creat", Named(0)),
    call(libc::SYS_openat, "openat", At(0, 1)),
    call(libc::SYS_openat2, "openat2", At(0, 1)),
    call(libc::SYS_mknod, "mknod", Named(0)),
    call(libc::SYS_mknodat, "mknodat", At(0, 1)),
    call(libc::SYS_fsync, "fsync", Open(0)),
    call(libc::SYS_fdatasync, "fdatasync", Open(0)),
    call(libc::SYS_sync_file_range, "sync_file_range", Open(0)).frees(),
    call(libc::SYS_syncfs, "syncfs", Open(0)),
    call(libc::SYS_msync, "msync", Memory),
    call(libc::SYS_rename, "rename", Named(0)).to(Named(1)),
    call(libc::SYS_renameat, "renameat", At(0, 1)).to(At(2, 3)),
    call(libc::SYS_renameat2, "renameat2", At(0, 1)).to(At(2, 3)),
    call(libc::SYS_link, "link", Named(0)).to(Named(1)),
    call(libc::SYS_linkat, "linkat", At(0, 1)).to(At(2, 3)),
    call(libc::SYS_symlink, "symlink", Named(1)),
    call(libc::SYS_symlinkat, "symlinkat", At(1, 2)),
    call(libc::SYS_unlink, "unlink", Named(0)).frees(),
    call(libc::SYS_unlinkat, "unlinkat", At(0, 1)).frees(),
    call(libc::SYS_rmdir, "rmdir", Named(0)).frees(),
    call(libc::SYS_mkdir, "mkdir", Named(0)),
    call(libc::SYS_mkdirat, "mkdirat", At(0, 1)),
    call(libc::SYS_truncate, "truncate", Named(0)),
    call(libc::SYS_ftruncate, "ftruncate", Open(0)),
    call(libc::SYS_fallocate, "fallocate", Open(0)),
    call(libc::SYS_chmod, "chmod", Named(0)).frees(),
    call(libc::SYS_fchmod, "fchmod", Open(0)).frees(),
    call(libc::SYS_fchmodat, "fchmodat", At(0, 1)).frees(),
    call(libc::SYS_fchown, "fchown", Open(0)).frees(),
    call(libc::SYS_fchownat, "fchownat", At(0, 1)).frees(),
    call(libc::SYS_utimensat, "utimensat", At(0, 1)).frees(),
    call(libc::SYS_setxattr, "setxattr", Named(0)),
    call(libc::SYS_fsetxattr, "fsetxattr", Open(0)),
];

/// The flags of an opening that changes something.
pub const CREATES: u64 = (libc::O_CREAT | libc::O_TRUNC) as u64;

/// The call that a stopped thread is about to make, if it is one of [`CALLS`].
pub fn of(registers: &user_regs_struct) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number as u64 == registers.orig_rax)
}

/// The arguments of a call.
pub fn arguments(registers: &user_regs_struct) -> [u64; 6] {
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9]
}

/// Sets one argument of a call.
pub fn set_argument(registers: &mut user_regs_struct, number: usize, value: u64) {
    let fields = [
        &mut registers.rdi,
        &mut registers.rsi,
        &mut registers.rdx,
        &mut registers.r10,
        &mut registers.r8,
        &mut registers.r9,
    ];
    if let Some(field) = fields.into_iter().nth(number) {
        *field = value;
    }
}

/// The path that a target leads to; `None` for what is no file.
pub fn path(thread: pid_t, target: Target, arguments: &[u64; 6]) -> Option<PathBuf> {
    let open = |number: u64| fs::read_link(format!("/proc/{thread}/fd/{number}"));
    let (folder, name) = match target {
        Target::Memory => return None,
        Target::Open(descriptor) => return open(arguments[descriptor]).ok(),
        Target::Path(argument) => (None, arguments[argument]),
        Target::At(folder, argument) => (Some(arguments[folder]), arguments[argument]),
    };
    let name = PathBuf::from(text(thread, name)?);
    let folder = match folder.filter(|&descriptor| descriptor as i32 != libc::AT_FDCWD) {
        Some(_) if name.is_absolute() => PathBuf::new(),
        Some(descriptor) => open(descriptor).ok()?,
        None => fs::read_link(format!("/proc/{thread}/cwd")).ok()?,
    };
    Some(plain(&folder.join(name)))
}

/// A path without `.` and `..`, by its letters.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// `length` bytes of a thread's memory.
pub fn memory(thread: pid_t, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = fs::File::open(format!("/proc/{thread}/mem")).ok()?.read_at(&mut bytes, address).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

fn text(thread: pid_t, address: u64) -> Option<String> {
    // A page at a time: what lies behind the one with the text may not be readable.
    let mut found = Vec::new();
    while found.len() < 2 * libc::PATH_MAX as usize {
        let at = address + found.len() as u64;
        found.extend(memory(thread, at, 4096 - (at % 4096) as usize)?);
        if let Some(end) = found.iter().position(|&byte| byte == 0) {
            found.truncate(end);
            return String::from_utf8(found).ok();
        }
    }
    None
}

/// Lets a writing call write half of what it should; false where there is no half.
pub fn halve(thread: pid_t, call: &Call, registers: &mut user_regs_struct) -> bool {
    let arguments = arguments(registers);
    if let Some(argument) = call.length {
        set_argument(registers, argument, arguments[argument] / 2);
        return arguments[argument] > 1;
    }
    if !["writev", "pwritev", "pwritev2"].contains(&call.name) {
        return false;
    }
    if arguments[2] > 1 {
        registers.rdx = arguments[2] / 2;
        return true;
    }
    // One piece alone becomes a plain write of its half.
    let Some(piece) = memory(thread, arguments[1], 16) else { return false };
    let word = |at: usize| piece.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let number = if call.name == "writev" { libc::SYS_write } else { libc::SYS_pwrite64 };
    registers.orig_rax = number as u64;
    registers.rsi = word(0);
    registers.rdx = word(8) / 2;
    registers.r10 = arguments[3];
    word(8) > 1
}

/// What a call that succeeded left behind: the file's inode, where its bytes went, and the bytes.
#[derive(Debug, Default)]
pub struct Effect {
    pub inode: u64,
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// Looks at what a call changed, after it returned `result`.
pub fn effect(thread: pid_t, call: &Call, arguments: &[u64; 6], paths: (&Path, Option<&Path>), result: i64) -> Effect {
    let inode_of = |path: &Path| fs::symlink_metadata(path).map_or(0, |metadata| metadata.ino());
    let descriptor = match call.target {
        Target::Open(argument) => arguments[argument],
        _ if call.name.starts_with("open") || call.name == "creat" => result as u64,
        _ => return Effect { inode: inode_of(paths.1.unwrap_or(paths.0)), ..Effect::default() },
    };
    let open = format!("/proc/{thread}/fd/{descriptor}");
    let inode = fs::metadata(&open).map_or(0, |metadata| metadata.ino());
    let mut effect = Effect { inode, ..Effect::default() };
    match call.name {
        "ftruncate" => effect.offset = arguments[1],
        "open" | "openat" => {
            let flags = if call.name == "open" { arguments[1] } else { arguments[2] };
            effect.offset = u64::from(flags & libc::O_TRUNC as u64 != 0);
        }
        "creat" => effect.offset = 1,
        name if call.length.is_some() || name.contains("writev") => {
            let length = result as u64;
            effect.offset = if name.starts_with("pwrite") {
                arguments[3]
            } else {
                position(thread, descriptor).saturating_sub(length)
            };
            effect.bytes = vec![0; length as usize];
            let read = fs::File::open(&open).and_then(|file| file.read_exact_at(&mut effect.bytes, effect.offset));
            if read.is_err() {
                effect.bytes.clear();
            }
        }
        _ => {}
    }
    effect
}

fn position(thread: pid_t, descriptor: u64) -> u64 {
    let said = fs::read_to_string(format!("/proc/{thread}/fdinfo/{descriptor}")).unwrap_or_default();
    let position = said.lines().find_map(|line| line.strip_prefix("pos:"));
    position.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}
