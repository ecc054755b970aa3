//! The clock of a process, set ahead: if this library is preloaded (`LD_PRELOAD`), it adds the seconds in the file that
//! `CLOCK_AHEAD` names to the time of day. With it, a test checks what a function does hours later, without waiting and without
//! a switch in the function.
//!
//! The file holds eight bytes, an integer in this machine's byte order. It is read at each call, so that the clock can be set
//! while the process runs. Time-outs use the monotonic clock, which is not changed.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// Replaces the C library's function of this name: returns the time of day, set ahead.
///
/// # Safety
/// `time` is null, or points to a `timespec` that may be written to, as the C library requires.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the arguments are those of the system call, which checks `time` itself.
    let failed = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } != 0;
    if failed {
        return -1;
    }
    if clock == libc::CLOCK_REALTIME {
        // SAFETY: the system call has written to `time`.
        unsafe { (*time).tv_sec += seconds_ahead() };
    }
    0
}

fn seconds_ahead() -> libc::time_t {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let mut seconds = [0; 8];
    let file = FILE.get_or_init(|| File::open(std::env::var_os("CLOCK_AHEAD")?).ok());
    let is_read = file.as_ref().is_some_and(|file| file.read_exact_at(&mut seconds, 0).is_ok());
    if is_read { i64::from_ne_bytes(seconds) } else { 0 }
}
