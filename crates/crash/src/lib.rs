//! Crash points: the places at which something has just become durable, and at which tests make a program die.
//!
//! Without the feature `armed` a point is nothing at all. With it, and with a directory named by [`DIRECTORY`], the program dies at
//! the n-th point after a test has asked for that, as by `kill -9`. Points stand where all durable writes of a kind pass, so that no
//! step can be forgotten: whoever writes something durable in a new way puts a point there. It knows nothing of what is written.

/// The variable that names the directory through which a test and a program speak.
pub const DIRECTORY: &str = "CUTLINE_CRASH_POINTS";
/// The file, in that directory, with how many points are to be passed alive; the program takes it away before it dies.
pub const ARMED: &str = "armed";
/// The file, in that directory, with the names of the points that were passed while it was armed, one a line.
pub const PASSED: &str = "passed";

/// True in a program that may die at a point.
#[must_use]
pub fn is_armed() -> bool {
    cfg!(feature = "armed") && std::env::var_os(DIRECTORY).is_some()
}

/// Something has just become durable; `point` says what.
#[cfg(not(feature = "armed"))]
#[inline]
pub fn here(_point: &str) {}

/// Something has just become durable; `point` says what. When a test has asked for it, this does not return.
#[cfg(feature = "armed")]
pub fn here(point: &str) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        armed::pass(std::path::Path::new(&directory), point);
    }
}

#[cfg(feature = "armed")]
mod armed {
    use std::{
        fs::{self, OpenOptions},
        io::Write,
        path::Path,
        sync::Mutex,
    };

    use crate::{ARMED, PASSED};

    // Points are passed one after another.
    static PASSING: Mutex<()> = Mutex::new(());

    pub fn pass(directory: &Path, point: &str) {
        let _one = PASSING.lock();
        let armed = directory.join(ARMED);
        let left = fs::read_to_string(&armed).ok();
        let Some(left) = left.and_then(|left| left.trim().parse::<u64>().ok()) else {
            return;
        };
        let passed = OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.join(PASSED));
        let noted = passed.and_then(|mut passed| writeln!(passed, "{point}"));
        noted.expect("a test gives a directory that can be written");
        if left > 0 {
            fs::write(&armed, (left - 1).to_string()).expect("as above");
            return;
        }
        fs::remove_file(&armed).expect("as above");
        std::process::abort();
    }
}
