//! Being told to end: SIGTERM and SIGINT raise a flag that loops look at between batches.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::signal::unix::{SignalKind, signal};

/// A flag that rises when the process is told to end.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to the signals from now on.
    ///
    /// # Errors
    /// When the system gives no thread or no signal handler.
    pub fn listen() -> std::io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&raised);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || runtime.block_on(raise_when_told(&flag)))?;
        Ok(Self(raised))
    }

    /// Whether the process was told to end.
    #[must_use]
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn raise_when_told(flag: &AtomicBool) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        eprintln!("bank-a: signals cannot be listened to; only a kill ends this process");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    flag.store(true, Ordering::Relaxed);
}
