//! The clock of a function's processes, which can be set ahead of this machine's clock: an hour of cache time is tested within
//! a second.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that may be set ahead.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
    seconds_ahead: AtomicU64,
}

impl Clock {
    /// A clock that is not ahead yet. `library` is the library that the package `clock` builds.
    ///
    /// # Panics
    /// If the file cannot be created.
    pub fn new(library: PathBuf) -> Self {
        let path = std::env::temp_dir().join(format!("clock-{}", simulation::id::uuid()));
        let file = File::create_new(&path).expect("a file can be made");
        let clock = Self { library, path, file, seconds_ahead: AtomicU64::new(0) };
        clock.set_ahead(Duration::ZERO);
        clock
    }

    /// Sets the clock ahead by this time in all processes, from now.
    pub fn set_ahead(&self, by: Duration) {
        self.seconds_ahead.store(by.as_secs(), Ordering::Relaxed);
        self.file.write_all_at(&by.as_secs().to_ne_bytes(), 0).expect("the file can be written");
    }

    /// The time of day, since the Unix epoch.
    pub fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        now + Duration::from_secs(self.seconds_ahead.load(Ordering::Relaxed))
    }

    /// The environment variables that give a process this clock.
    pub(super) fn variables(&self) -> [(&'static str, OsString); 2] {
        [("LD_PRELOAD", self.library.clone().into()), ("CLOCK_AHEAD", self.path.clone().into())]
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
