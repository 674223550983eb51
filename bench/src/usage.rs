//! What a process has used, as the kernel tells.

use std::fs;

// Ticks of /proc/PID/stat in a second: fixed at 100 on Linux.
const TICKS: f64 = 100.0;

/// User and system time so far, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The program's name may hold spaces; what follows it is numbers.
    let (_, numbers) = stat
        .rsplit_once(')')
        .expect("stat names the program in parentheses");
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    let ticks = |at: usize| numbers[at].parse::<f64>().expect("times are numbers");
    (ticks(11) + ticks(12)) / TICKS
}

/// The most memory that was resident at once, in KiB.
pub fn resident_kib_max(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the kernel tells")
}
