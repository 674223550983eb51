//! Verifying a checkpoint: reading all of it, as a restore would, and telling everything that does not fit.

use cutline_model::{Epoch, ProcessId};

use crate::{Manifest, Repository, StoreError};

/// Problems told of one checkpoint; more of the same help nobody.
const PROBLEMS_MAX: usize = 100;

/// What was found in a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Parts that were read.
    pub parts: u64,
    /// Chunks they are made of.
    pub chunks: u64,
    /// Bytes of state that were read and fit.
    pub state_bytes: u64,
    /// What does not fit; empty when the checkpoint is whole.
    pub problems: Vec<StoreError>,
}

impl Verified {
    /// True when the checkpoint is whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Repository {
    /// Reads every part and every chunk of a COMPLETED checkpoint.
    ///
    /// # Errors
    /// When there is no such checkpoint or the store cannot be read. Damage is no error here but what is told.
    pub async fn verify(&self, epoch: Epoch) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        let manifest = match self.load(epoch).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_damage() => {
                verified.problems.push(error);
                return Ok(verified);
            }
            Err(error) => return Err(error),
        };
        for (process, _) in manifest.parts() {
            verified.parts += 1;
            match self.verify_part(&manifest, process, &mut verified).await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => verified.note(error),
            }
        }
        Ok(verified)
    }

    async fn verify_part(
        &self,
        manifest: &Manifest,
        process: &ProcessId,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        let Some(mut part) = self.open_part(manifest, process).await? else {
            return Ok(());
        };
        verified.chunks += part.chunk_count();
        for section in part.sections() {
            part.set_section(section);
            while part.next_entry().await?.is_some() {
                loop {
                    match part.read().await {
                        Ok(Some(bytes)) => verified.state_bytes += bytes.len() as u64,
                        Ok(None) => break,
                        Err(error) if error.is_retryable() => return Err(error),
                        Err(error) => {
                            // The rest of this file cannot be judged; the next one can.
                            verified.note(error);
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Verified {
    fn note(&mut self, problem: StoreError) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}
