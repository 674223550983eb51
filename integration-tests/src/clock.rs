//! A wall clock of its own for a process, which can jump; how long things take it measures as ever.
//!
//! By libfaketime, which is loaded before the program and reads a file for how far off it is. What the process does with the time, the
//! clock does not know.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::process::Process;

/// How soon a jump is noticed: the library reads its file no more often than so.
pub const NOTICED_WITHIN: Duration = Duration::from_secs(1);
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of one process.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// Gives one that is right to `process`; it has it from its next start on.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    #[must_use]
    pub fn of(process: &mut Process) -> Self {
        let clock = Self {
            file: process.log().with_file_name("clock"),
        };
        clock.jump(0);
        let library = library();
        let spec = process.spec_mut();
        for (name, value) in [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.display().to_string()),
            (
                "FAKETIME_CACHE_DURATION",
                NOTICED_WITHIN.as_secs().to_string(),
            ),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ] {
            spec.environment.push((name.to_owned(), value));
        }
        clock
    }

    /// Is off by so many seconds from now on, fast or, where negative, slow.
    ///
    /// # Panics
    /// When that cannot be written down.
    pub fn jump(&self, seconds: i64) {
        // In one step: a half written file would be another time.
        let beside = self.file.with_extension("new");
        fs::write(&beside, format!("{seconds:+}\n")).expect("a time can be written down");
        fs::rename(&beside, &self.file).expect("a file takes the place of another");
    }
}

/// Debian keeps it in the directory of the machine's architecture.
fn library() -> PathBuf {
    let architectures = fs::read_dir(LIBRARIES).into_iter().flatten().flatten();
    let libraries = architectures.map(|entry| entry.path().join(LIBRARY));
    let mut there = libraries.filter(|path: &PathBuf| Path::exists(path));
    there
        .next()
        .expect("libfaketime is installed: scripts/install-prerequisites faketime")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process::ProcessSpec, run::Run, wait::wait_until};

    const LIMIT: Duration = Duration::from_secs(30);
    const CLOSE_SECONDS: i64 = 60;

    /// How far ahead of this process's clock the other one is, in seconds, by what it printed last.
    fn ahead(process: &Process) -> Option<i64> {
        let shown: i64 = process.log_tail(1).parse().ok()?;
        Some(shown - jiff::Timestamp::now().as_second())
    }

    #[tokio::test]
    async fn a_clock_that_jumps_is_seen_by_its_process_alone() {
        let log = Run::this().part("clock").join("log");
        let program =
            "$| = 1; while (1) { print time(), qq(\\n); select(undef, undef, undef, 0.05) }";
        let spec = ProcessSpec::new("clock", "perl", &log).args(["-e", program]);
        let mut process = Process::start(spec);
        let clock = Clock::of(&mut process);
        process.kill();
        process.start_again();
        for seconds in [0, 3_600, -3_600, 0] {
            clock.jump(seconds);
            let what = format!("the clock to be {seconds} s ahead");
            wait_until(LIMIT, &what, || async {
                ahead(&process).is_some_and(|ahead| (ahead - seconds).abs() < CLOSE_SECONDS)
            })
            .await;
        }
    }
}
