//! `cutline top`: checkpoints, restores and sidecars on one screen, as they are now.
//!
//! On a terminal the screen is drawn anew every second until `q`; elsewhere, or with `--once`, one frame is printed. Nothing is changed,
//! and an admin API that does not answer is waited for.

mod frame;
mod keyboard;
mod look;

use std::io::{self, IsTerminal, Write};

use clap::Args;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::Instant,
};

use self::{
    frame::frame,
    keyboard::{Key, RawTerminal},
    look::{Seen, Watcher},
};
use crate::{failure::Failure, page::Page, session::Session};

/// As wide and high as a frame gets where nothing says how large a terminal is.
const SIZE_DEFAULT: (usize, usize) = (80, 24);

/// How to watch.
#[derive(Debug, Args)]
#[command(after_long_help = "Keys: q, Escape or Ctrl-C ends it.")]
pub struct Arguments {
    /// Print one frame and end; what happens where stdout is no terminal
    #[arg(long)]
    once: bool,
}

/// Does it.
///
/// # Errors
/// When the admin API does not answer the first time, or the terminal cannot be used.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let mut watcher = Watcher::new(session.client.clone(), session.place());
    // An address that is wrong should be said at once, and in words.
    let answer = session.client.whoami();
    session.ask("watch", answer).await?;
    let on_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if arguments.once || !on_terminal || session.screen.is_json() {
        watcher.remember_events().await;
        let seen = watcher.look().await;
        let (width, height) = size();
        let lines = frame(&seen, width, height);
        let page = lines.into_iter().fold(Page::new(), Page::line);
        return Ok(session.screen.show(&seen, &page)?);
    }
    let (sender, seen) = watch::channel(watcher.look().await);
    let looking = tokio::spawn(watcher.keep_looking(sender));
    let watched = show(seen, session.deadline()).await;
    looking.abort();
    Ok(watched?)
}

/// Draws whatever is seen until a key, a signal or the deadline ends it.
async fn show(mut seen: watch::Receiver<Seen>, deadline: Option<Instant>) -> io::Result<()> {
    let mut ends = signal(SignalKind::terminate())?;
    let mut resizes = signal(SignalKind::window_change())?;
    let terminal = RawTerminal::enter()?;
    let mut keys: mpsc::Receiver<Key> = keyboard::listen();
    loop {
        draw(&seen.borrow_and_update())?;
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { break },
            key = keys.recv() => if matches!(key, Some(Key::Quit) | None) { break },
            _ = resizes.recv() => {}
            _ = ends.recv() => break,
            () = over => break,
        }
    }
    terminal.leave()
}

fn draw(seen: &Seen) -> io::Result<()> {
    let (width, height) = size();
    let mut text = String::new();
    let lines = frame(seen, width, height);
    for row in 0..height {
        // Every row is placed by itself: a line that scrolled would move everything.
        text += &format!("\u{1b}[{};1H\u{1b}[2K", row + 1);
        text += lines.get(row).map_or("", String::as_str);
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn size() -> (usize, usize) {
    let size = console::Term::stdout().size_checked();
    size.map_or(SIZE_DEFAULT, |(rows, columns)| {
        (columns.into(), rows.into())
    })
}
