//! Ports on 127.0.0.1 that stay this process's own until it ends.
//!
//! A port found by binding port 0 and letting go may be taken by anyone before the part that needs it binds it. So a port is taken
//! from below the range the system hands out by itself, is locked by a file that every harness on the machine looks at, and is tried.
//! It refuses to know what listens there.

use std::{
    fs::{File, OpenOptions, TryLockError, create_dir_all},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

use parking_lot::Mutex;
use rand::Rng;

/// Linux hands out 32768 and up by default; below stays what is asked for by number.
const PORT_MIN: u16 = 21_000;
const PORT_MAX: u16 = 31_999;
/// How many ports are looked at before giving up.
const TRIES_MAX: u32 = 4_000;

/// Locks are let go when the process ends, so that a port is never given twice within one run.
static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that nobody listens on and no other harness is given while this process lives.
///
/// # Panics
/// When no free port is found.
#[must_use]
pub fn free_port() -> u16 {
    free_ports(1)[0]
}

/// `count` ports that follow each other, free as [`free_port`] says; for parts that count up from their first.
///
/// # Panics
/// When no such ports are found.
#[must_use]
pub fn free_ports(count: u16) -> Vec<u16> {
    let mut random = rand::rng();
    for _ in 0..TRIES_MAX {
        let first = random.random_range(PORT_MIN..=PORT_MAX - count);
        let ports: Vec<u16> = (first..first + count).collect();
        let locks: Option<Vec<File>> = ports.iter().map(|port| take(*port)).collect();
        if let Some(locks) = locks {
            LOCKS.lock().extend(locks);
            return ports;
        }
    }
    panic!("no {count} free ports in {PORT_MIN}..={PORT_MAX} after {TRIES_MAX} tries");
}

fn take(port: u16) -> Option<File> {
    let directory = lock_directory();
    create_dir_all(&directory).expect("the directory of port locks can be made");
    let path = directory.join(port.to_string());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .ok()?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .ok()
        .map(|_| file)
}

fn lock_directory() -> PathBuf {
    std::env::temp_dir().join("cutline-ports")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: Vec<u16> = (0..50).map(|_| free_port()).chain(free_ports(5)).collect();
        let distinct: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(distinct.len(), ports.len());
    }

    #[test]
    fn a_port_in_use_is_not_given() {
        let port = free_port();
        assert!(take(port).is_none(), "its lock is held");
    }
}
