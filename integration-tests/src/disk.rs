//! A small disk of its own, in memory, that can be filled to the last byte and emptied again.
//!
//! It promises to be unmounted when it is dropped or the run ends, however that ends. Who writes on it, it does not know.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::run::Run;

/// What fills it.
const FILLING: &str = "filling";
/// How much is written at once, as long as so much fits; then page by page.
const BLOCK_BYTES: [usize; 2] = [1 << 20, 1 << 12];

/// A mounted disk.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of `mib` MiB at `path`, an empty directory; `None` where this process may not mount.
    #[must_use]
    pub fn mount(path: &Path, mib: u32) -> Option<Self> {
        let size = format!("size={mib}m");
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(path).output();
        if !mounted.is_ok_and(|done| done.status.success()) {
            return None;
        }
        Run::this().mounted(path);
        Some(Self { path: path.into() })
    }

    /// Leaves no room on it.
    ///
    /// # Panics
    /// When nothing can be made on it at all.
    pub fn fill(&self) {
        let file = File::create(self.path.join(FILLING));
        let mut file = file.expect("a file can be made on the disk");
        for size in BLOCK_BYTES {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// Gives back the room that was taken: it is there when this returns.
    pub fn free(&self) {
        let filling = self.path.join(FILLING);
        // A removed file keeps its room while anyone has it open, and a process that another test starts has until it is another
        // program all that this one had: so it is emptied first.
        if let Ok(file) = File::options().write(true).open(&filling) {
            file.set_len(0).expect("a file can be emptied");
        }
        // It was never filled.
        let _ = fs::remove_file(filling);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still writes on it is about to end.
        let _ = Command::new("umount").arg("-l").arg(&self.path).output();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let path = Run::this().part("disk");
        let Some(disk) = Disk::mount(&path, 4) else {
            println!("skipped: this process may not mount a file system");
            return;
        };
        disk.fill();
        assert!(fs::write(path.join("one"), [1; 4_096]).is_err());
        let _held_by_another = File::open(path.join(FILLING)).unwrap();
        disk.free();
        fs::write(path.join("one"), [1; 4_096]).unwrap();
        drop(disk);
        assert!(!path.join("one").exists());
    }
}
