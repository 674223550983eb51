//! Making the services stand still (1-protocol §6.2 and §6.3): holds at the bound, an epoch that stays held, the fence.
//!
//! Each step is durable in the control topic before anyone relies on it, and acknowledged by every registered sidecar
//! before the next. What a sidecar does when it reads such a record is its own.

use std::{collections::BTreeSet, time::Duration};

use cutline_control::{ControlState, Fence, Hold, Record};
use cutline_model::{Epoch, FromSidecar, Mode, Offset, Purpose, ServiceName};
use cutline_protocol::restore::{Entry, Problem, changed, contaminated, masks_of, scan_from};
use tokio::{
    sync::broadcast::{Receiver, error::TryRecvError},
    time::Instant,
};

use super::{
    RestoreError, gather, log,
    run::{Run, Survey},
    scan::Producers,
    view,
};
use crate::{
    app::App,
    coordination::{EpochRequest, EpochResult, run_epoch},
    registry::LinkEvent,
};

/// How long all sidecars together may take to apply a record: they read it within milliseconds, and close the
/// application's connections only when its Produces are answered.
pub const APPLIED_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts at an epoch that makes the services stand still; a rebalance may fail one.
const QUIESCE_ATTEMPTS_MAX: u32 = 3;
const QUIESCE_PAUSE: Duration = Duration::from_millis(500);

/// What happened to the sidecars of the restored services since they were made to stand still.
pub struct Stillness {
    epoch: Epoch,
    events: Receiver<LinkEvent>,
}

impl Stillness {
    /// The epoch they stand still for.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Fails when a sidecar of `services` went on, or was lost and may have.
    fn check(&mut self, services: &BTreeSet<ServiceName>) -> Result<(), RestoreError> {
        loop {
            let event = match self.events.try_recv() {
                Ok(event) => event,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Lagged(_) | TryRecvError::Closed) => {
                    let reason = "what the sidecars said was lost".to_owned();
                    return Err(RestoreError::NotQuiet(reason));
                }
            };
            match event {
                LinkEvent::Epoch {
                    sidecar, message, ..
                } if services.contains(&sidecar.service) => {
                    if let FromSidecar::Declined { epoch, reason } = &*message
                        && *epoch == self.epoch
                    {
                        return Err(RestoreError::NotQuiet(format!(
                            "{sidecar} went on: {reason}"
                        )));
                    }
                }
                LinkEvent::Lost {
                    sidecar, reason, ..
                } if services.contains(&sidecar.service) => {
                    return Err(RestoreError::NotQuiet(format!(
                        "{sidecar} was lost: {reason}"
                    )));
                }
                _ => {}
            }
        }
    }
}

/// Holds unrestored readers and looks again who has seen too much.
pub async fn write_holds(run: &mut Run) -> Result<Entry, RestoreError> {
    let holds = run.begun.holds.iter().map(|hold| Hold {
        partition: hold.partition.clone(),
        offset: hold.offset,
    });
    let record = Record::Holds {
        restore: run.id.clone(),
        holds: holds.collect(),
    };
    let (offset, _) = put_in_force(&run.app, &record, "the holds").await?;
    check_readers(run).await?;
    Ok(Entry::HoldsWritten { offset })
}

/// Reads on in the logs and judges again who of the unrestored has seen what changes.
pub async fn check_readers(run: &mut Run) -> Result<(), RestoreError> {
    refresh(run).await?;
    let app = run.app.clone();
    let facts = &mut run.survey()?.facts;
    let ends = log::ends(facts);
    gather::look_at_readers(&app, facts, &ends).await?;
    let masks = masks_of(facts, &ends, &facts.writers).map_err(RestoreError::NotFeasible)?;
    let seen = contaminated(facts, &changed(facts, &masks, &facts.writers));
    run.beside.contaminated = seen.iter().map(view::contamination).collect();
    let facts = &run.survey()?.facts;
    if !seen.is_empty() && !facts.allow_contaminated {
        let problems = seen.into_iter().map(Problem::Contaminated);
        return Err(RestoreError::NotFeasible(problems.collect()));
    }
    Ok(())
}

/// Brings what is known of topics and logs up to the present.
pub async fn refresh(run: &mut Run) -> Result<(), RestoreError> {
    let app = run.app.clone();
    let Survey { facts, scan } = run.survey()?;
    let control = gather::present(&app).await?;
    let metadata = app.kafka.refresh_metadata().await?;
    facts.outputs_now = control.outputs.clone();
    facts.sidecars = gather::sidecars(&app, &control);
    facts.away = gather::away(&app, &control);
    facts.topics_now = log::topics(&app, &metadata, facts).await?;
    let ends = log::ends(facts);
    let from = log::within(facts, scan_from(facts));
    let producers = Producers::of(&control);
    scan.extend(&app.kafka, &producers, &from, &ends).await?;
    facts.writers = scan.writers().clone();
    Ok(())
}

/// Has the services stand still: the safety checkpoint, when one is wanted, or a stop that records nothing.
pub async fn quiesce(run: &mut Run) -> Result<Entry, RestoreError> {
    if !run.begun.safety_checkpoint {
        let epoch = stand_still(run, Purpose::Stop).await?;
        return Ok(Entry::Quiesced {
            epoch,
            safety: None,
        });
    }
    let safety = stand_still(run, Purpose::Safety).await?;
    let services = run.begun.services.clone();
    let held = run
        .stillness
        .as_mut()
        .map(|stillness| stillness.check(&services));
    let epoch = match held {
        Some(Ok(())) => safety,
        // Copying a large state may outlast the longest pause an application is asked to bear. The checkpoint stands;
        // a stop, which copies nothing, makes them stand still again.
        _ => stand_still(run, Purpose::Stop).await?,
    };
    Ok(Entry::Quiesced {
        epoch,
        safety: Some(safety),
    })
}

async fn stand_still(run: &mut Run, purpose: Purpose) -> Result<Epoch, RestoreError> {
    let request = EpochRequest {
        purpose,
        stopped: run.begun.services.clone(),
        // Readers held at a bound would keep an aligned cut waiting for markers they cannot reach.
        mode: Mode::Unaligned,
        savepoint: None,
    };
    let mut last = String::new();
    for attempt in 0..QUIESCE_ATTEMPTS_MAX {
        if attempt > 0 {
            tokio::time::sleep(QUIESCE_PAUSE).await;
        }
        let events = run.app.registry.listen();
        let ended = run_epoch(&run.app, &run.guard, &request).await;
        let end = ended.map_err(|problem| RestoreError::NotQuiet(problem.to_string()))?;
        match end.outcome {
            EpochResult::Completed { .. } => {
                let epoch = end.epoch;
                run.stillness = Some(Stillness { epoch, events });
                return Ok(epoch);
            }
            EpochResult::Failed { aborted: true, .. } => return Err(RestoreError::Aborted),
            EpochResult::Failed { reason, .. } => last = reason,
        }
    }
    Err(RestoreError::NotQuiet(last))
}

/// Cuts the applications off and makes sure that none of them went on before that.
pub async fn fence(run: &mut Run) -> Result<Entry, RestoreError> {
    let fence = Fence {
        restore: run.id.clone(),
        services: run.begun.services.iter().cloned().collect(),
    };
    let record = Record::Fence { fence: Some(fence) };
    let (offset, _) = put_in_force(&run.app, &record, "the fence").await?;
    // What a sidecar had to say before it was asked comes before its answer.
    for sidecar in run.app.registry.connected().into_keys() {
        if run.begun.services.contains(&sidecar.service) {
            gather::delivered(&run.app, &sidecar, &[]).await?;
        }
    }
    match &mut run.stillness {
        Some(stillness) => stillness.check(&run.begun.services)?,
        None => return Err(RestoreError::NotQuiet("nothing made them".to_owned())),
    }
    Ok(Entry::Fenced { offset })
}

/// Appends `record` and waits until every registered sidecar has applied it, and until those that were evicted have
/// surely stopped.
pub async fn put_in_force(
    app: &App,
    record: &Record,
    what: &'static str,
) -> Result<(Offset, std::sync::Arc<ControlState>), RestoreError> {
    let (offset, state) = app.control.append_and_read(record).await?;
    let registered: BTreeSet<_> = state.sidecars.keys().cloned().collect();
    let waited = APPLIED_TIMEOUT;
    let applied = app
        .registry
        .wait_applied(offset, &registered, Instant::now() + waited);
    if let Err(missing) = applied.await {
        return Err(RestoreError::NotApplied {
            what,
            missing,
            waited,
        });
    }
    while let Some((_, left)) = app.evictions.unsettled() {
        tokio::time::sleep(left).await;
    }
    Ok((offset, state))
}
