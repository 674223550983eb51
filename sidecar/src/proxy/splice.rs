//! Bytes that pass from one socket to another without being copied: the kernel moves pages through a pipe (splice(2)).
//!
//! It promises to move exactly what it is asked to move, never to hold more than a pipe holds, and to say when there is no
//! pipe to be had or the system cannot do it: then nothing was moved, and whoever asked copies. It knows bytes only.

#[cfg(target_os = "linux")]
pub use linux::{Lent, Pipes};
#[cfg(not(target_os = "linux"))]
pub use nowhere::{Lent, Pipes};

/// Pipes in use at once: two file descriptors each, and with [`PIPE_BYTES`] half of what the kernel lets an ordinary user have
/// in all his pipes.
pub const PIPES_MAX: usize = 32;
/// Pipes kept for the next frame.
pub const PIPES_IDLE_MAX: usize = 8;
/// What a pipe is to hold: the kernel's own limit for ordinary users.
pub const PIPE_BYTES: usize = 1024 * 1024;

#[cfg(target_os = "linux")]
mod linux {
    use std::{io, os::fd::OwnedFd};

    use parking_lot::Mutex;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use tokio::{io::Interest, net::TcpStream};

    use super::{PIPE_BYTES, PIPES_IDLE_MAX, PIPES_MAX};

    // A user who has many pipes is given smaller ones; through one that holds less than this, copying is cheaper.
    const PIPE_BYTES_MIN: usize = 256 * 1024;

    #[derive(Debug)]
    struct Pipe {
        read: OwnedFd,
        write: OwnedFd,
    }

    /// The pipes of all connections.
    #[derive(Debug, Default)]
    pub struct Pipes(Mutex<Kept>);

    #[derive(Debug, Default)]
    struct Kept {
        idle: Vec<Pipe>,
        lent: usize,
    }

    impl Pipes {
        /// An empty pipe; none when [`PIPES_MAX`] are in use or the system gives none of any use.
        pub fn lend(&self) -> Option<Lent<'_>> {
            let mut kept = self.0.lock();
            if kept.lent >= PIPES_MAX {
                return None;
            }
            let pipe = kept.idle.pop().or_else(open)?;
            kept.lent += 1;
            Some(Lent {
                pipes: self,
                pipe: Some(pipe),
                filled: 0,
            })
        }
    }

    fn open() -> Option<Pipe> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let holds = fcntl_setpipe_size(&write, PIPE_BYTES).ok()?;
        (holds >= PIPE_BYTES_MIN).then_some(Pipe { read, write })
    }

    /// A pipe in use. Dropped empty it is kept for the next; with bytes in it, it is closed.
    #[derive(Debug)]
    pub struct Lent<'a> {
        pipes: &'a Pipes,
        pipe: Option<Pipe>,
        filled: usize,
    }

    impl Lent<'_> {
        /// Takes at most `bytes_max` from a socket; 0: its peer has closed.
        pub async fn fill(&mut self, from: &TcpStream, bytes_max: usize) -> io::Result<usize> {
            let Some(pipe) = &self.pipe else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            // Empty as it is, the pipe is never what has to be waited for.
            let taken = from
                .async_io(Interest::READABLE, || {
                    Ok(splice(from, None, &pipe.write, None, bytes_max, flags)?)
                })
                .await?;
            self.filled += taken;
            Ok(taken)
        }

        /// Gives a socket everything that is in the pipe.
        pub async fn empty(&mut self, to: &TcpStream) -> io::Result<()> {
            let Some(pipe) = &self.pipe else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            while self.filled > 0 {
                let filled = self.filled;
                let given = to.async_io(Interest::WRITABLE, || {
                    Ok(splice(&pipe.read, None, to, None, filled, flags)?)
                });
                match given.await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    given => self.filled -= given,
                }
            }
            Ok(())
        }
    }

    impl Drop for Lent<'_> {
        fn drop(&mut self) {
            let mut kept = self.pipes.0.lock();
            kept.lent -= 1;
            if self.filled == 0 && kept.idle.len() < PIPES_IDLE_MAX {
                kept.idle.extend(self.pipe.take());
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nowhere {
    use std::{io, marker::PhantomData};

    use tokio::net::TcpStream;

    /// No pipes: there is no splice here.
    #[derive(Debug, Default)]
    pub struct Pipes;

    impl Pipes {
        /// None.
        pub fn lend(&self) -> Option<Lent<'_>> {
            None
        }
    }

    /// A pipe in use; there never is one.
    #[derive(Debug)]
    pub struct Lent<'a>(std::convert::Infallible, PhantomData<&'a ()>);

    impl Lent<'_> {
        /// Never called.
        pub async fn fill(&mut self, _from: &TcpStream, _bytes_max: usize) -> io::Result<usize> {
            match self.0 {}
        }

        /// Never called.
        pub async fn empty(&mut self, _to: &TcpStream) -> io::Result<()> {
            match self.0 {}
        }
    }
}
