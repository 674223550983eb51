//! A configuration that follows its files.
//!
//! It is looked at when it is used, by content: a mounted Secret is swapped by links, and times and sizes tell nothing. A
//! certificate and its key are replaced one after the other, so that what does not fit together now is no reason to stop: the
//! last that did is kept, and the files are looked at again.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{Pem, TlsError, pem::Contents};

/// The least time between two looks at the files.
pub const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// What can be built from PEM.
pub(crate) trait Build: fmt::Debug {
    type Config;

    /// Everything it is built from.
    fn pems(&self) -> Vec<&Pem>;

    fn build(&self, contents: &Contents) -> Result<Built<Self::Config>, TlsError>;
}

/// What was built.
pub(crate) struct Built<T> {
    pub(crate) config: T,
    /// When its own certificate ends.
    pub(crate) expires: Option<Timestamp>,
}

/// A configuration with what it was built from.
pub(crate) struct Reloading<S: Build> {
    spec: S,
    state: Mutex<State<S::Config>>,
}

struct State<T> {
    config: Arc<T>,
    expires: Option<Timestamp>,
    contents: Contents,
    looked: Instant,
    /// What was wrong at the last look, so that it is logged once.
    wrong: Option<TlsError>,
}

impl<S: Build> Reloading<S> {
    pub(crate) fn load(spec: S) -> Result<Self, TlsError> {
        let contents = Contents::read(&spec.pems())?;
        let built = spec.build(&contents)?;
        let state = Mutex::new(State {
            config: Arc::new(built.config),
            expires: built.expires,
            contents,
            looked: Instant::now(),
            wrong: None,
        });
        Ok(Self { spec, state })
    }

    pub(crate) fn current(&self) -> Arc<S::Config> {
        let mut state = self.state.lock();
        if state.looked.elapsed() >= LOOK_PERIOD {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        Arc::clone(&state.config)
    }

    pub(crate) fn expires(&self) -> Option<Timestamp> {
        self.state.lock().expires
    }

    fn look(&self, state: &mut State<S::Config>) {
        let read = Contents::read(&self.spec.pems());
        let changed = match read {
            Ok(contents) if contents == state.contents => {
                state.wrong = None;
                return;
            }
            read => read.and_then(|contents| Ok((self.spec.build(&contents)?, contents))),
        };
        match changed {
            Ok((built, contents)) => {
                let expires = built.expires.map(tracing::field::display);
                tracing::info!(spec = ?self.spec, expires, "certificates changed; new connections use them");
                state.config = Arc::new(built.config);
                state.expires = built.expires;
                state.contents = contents;
                state.wrong = None;
            }
            Err(error) => {
                if state.wrong.as_ref() != Some(&error) {
                    tracing::error!(%error, "certificates changed and cannot be used; going on with the old ones");
                }
                state.wrong = Some(error);
            }
        }
    }
}

impl<S: Build> fmt::Debug for Reloading<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}
