//! A terminal that gives every key at once and shows nothing by itself, and gets back what it was.

use std::io::{self, Read, Write};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Keys that may wait; nobody types faster than they are read.
const KEYS_WAITING_MAX: usize = 16;
/// The other screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[2J";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// To end.
    Quit,
    /// Nothing.
    Other,
}

/// The terminal as a program that draws wants it; as it was when this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    before: Option<Termios>,
}

impl RawTerminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// When stdin is none.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        let terminal = Self {
            before: Some(before),
        };
        write(ENTER)?;
        Ok(terminal)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it is gone.
    pub fn leave(mut self) -> io::Result<()> {
        self.give_back()
    }

    fn give_back(&mut self) -> io::Result<()> {
        let Some(before) = self.before.take() else {
            return Ok(());
        };
        write(LEAVE)?;
        Ok(tcsetattr(
            rustix::stdio::stdin(),
            OptionalActions::Now,
            &before,
        )?)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Left by an error: that one is told, this one is of no use then.
        let _ = self.give_back();
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Keys as they are typed. The channel ends with stdin.
#[must_use]
pub fn listen() -> mpsc::Receiver<Key> {
    let (sender, keys) = mpsc::channel(KEYS_WAITING_MAX);
    // Reading blocks, so it has a thread, which ends with the program.
    std::thread::spawn(move || {
        let mut bytes = [0; 32];
        while let Ok(read) = io::stdin().read(&mut bytes) {
            if read == 0 || sender.blocking_send(meaning(&bytes[..read])).is_err() {
                return;
            }
        }
    });
    keys
}

fn meaning(bytes: &[u8]) -> Key {
    const CTRL_C: u8 = 3;
    const ESCAPE: u8 = 27;
    match bytes {
        // A lone one is the key; arrows and others send more behind it.
        [ESCAPE] => Key::Quit,
        [ESCAPE, ..] => Key::Other,
        bytes if bytes.iter().any(|byte| [b'q', b'Q', CTRL_C].contains(byte)) => Key::Quit,
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_escape_ends_and_an_arrow_does_not() {
        assert_eq!(meaning(&[27]), Key::Quit);
        assert_eq!(meaning(b"\x1b[A"), Key::Other);
        assert_eq!(meaning(b"q"), Key::Quit);
        assert_eq!(meaning(&[3]), Key::Quit);
        assert_eq!(meaning(b"x"), Key::Other);
    }
}
