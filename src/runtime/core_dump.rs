//! The memory of a process that reads Kafka holds addresses that are not masked yet, in buffers of librdkafka and
//! of the allocator; a core dump would put them on the disk.

use rustix::io;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Keeps the kernel from dumping this process and its children. The limit is one byte, not none: too little for a
/// file, and the one value by which nothing is handed to a program of `core_pattern` either, which may ignore
/// the limit (core(5), `do_coredump` in Linux' fs/coredump.c).
///
/// # Errors
/// The limit is above that and may not be lowered (seccomp).
pub fn forbid() -> io::Result<()> {
    let most = getrlimit(Resource::Core).maximum;
    let none = Rlimit {
        current: Some(1),
        maximum: Some(1),
    };
    if most.is_none_or(|bytes| bytes > 1) {
        setrlimit(Resource::Core, none)?;
    }
    Ok(())
}
