//! What there is to be seen: asked of the admin API every second, together with what it tells by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use cutline_client::{
    AdminClient, AdminError, CheckpointDetail, CheckpointList, CheckpointQuery, CheckpointStatus,
    EVENT_RESET, Event, EventStream, ProcessView, RestoreView, ScheduleView, SidecarView,
    WhoamiView,
};
use cutline_model::Epoch;
use jiff::Timestamp;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// Checkpoints whose pauses are counted.
const COUNTED_MAX: usize = 20;
/// Events that are kept; more than any screen shows.
const EVENTS_MAX: usize = 100;
/// The events that the admin API remembers are over when nothing has come for this long.
const BACKLOG_QUIET: Duration = Duration::from_millis(300);
/// An event that never was: what follows it is all that is still had.
const BEFORE_ALL: &str = "0";

/// What was seen at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// Where.
    pub place: String,
    /// When.
    pub at: Timestamp,
    /// Why nothing newer is known, if so.
    pub silent: Option<String>,
    /// Who answered.
    pub admin: Option<WhoamiView>,
    /// Checkpoints at a glance.
    pub checkpoints: Option<CheckpointList>,
    /// The schedule.
    pub schedule: Option<ScheduleView>,
    /// The restore in progress.
    pub restore: Option<RestoreView>,
    /// Every sidecar.
    pub sidecars: Vec<SidecarView>,
    /// Pauses of each process in the last checkpoints, newest first, in milliseconds.
    pub pauses: BTreeMap<String, Vec<f64>>,
    /// Each process of the last checkpoint.
    pub last: Vec<ProcessView>,
    /// The last events, oldest first.
    pub events: VecDeque<Event>,
}

/// Looks.
#[derive(Debug)]
pub struct Watcher {
    client: AdminClient,
    /// Checkpoints that were asked for once: they do not change.
    details: BTreeMap<Epoch, CheckpointDetail>,
    seen: Seen,
}

impl Watcher {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(client: AdminClient, place: String) -> Self {
        let seen = Seen {
            place,
            at: Timestamp::now(),
            silent: None,
            admin: None,
            checkpoints: None,
            schedule: None,
            restore: None,
            sidecars: Vec::new(),
            pauses: BTreeMap::new(),
            last: Vec::new(),
            events: VecDeque::new(),
        };
        Self {
            client,
            details: BTreeMap::new(),
            seen,
        }
    }

    /// Takes in what the admin API remembers of events.
    pub async fn remember_events(&mut self) {
        let Ok(mut events) = self.client.events(Some(BEFORE_ALL)).await else {
            return;
        };
        while let Ok(Ok(Some(event))) = tokio::time::timeout(BACKLOG_QUIET, events.next()).await {
            self.take_in(event);
        }
    }

    /// What is seen now; what cannot be asked stays as it was.
    pub async fn look(&mut self) -> Seen {
        self.seen.at = Timestamp::now();
        self.seen.silent = match self.ask().await {
            Ok(()) => None,
            Err(error) => Some(error.to_string()),
        };
        self.seen.clone()
    }

    /// Looks until nobody wants to know any more.
    pub async fn keep_looking(mut self, seen: watch::Sender<Seen>) {
        let mut events: Option<EventStream> = None;
        let mut next = Instant::now();
        loop {
            if events.is_none() {
                let last = self.seen.events.back().map(|event| event.id.clone());
                let after = last.as_deref().unwrap_or(BEFORE_ALL);
                events = self.client.events(Some(after)).await.ok();
            }
            let told = async {
                match &mut events {
                    Some(stream) => stream.next().await,
                    None => std::future::pending().await,
                }
            };
            let heard = tokio::time::timeout_at(next, told).await;
            match heard {
                Ok(Ok(Some(event))) => {
                    self.take_in(event);
                    continue;
                }
                // Taken up again with the next look.
                Ok(_) => {
                    events = None;
                    tokio::time::sleep_until(next).await;
                }
                Err(_) => {}
            }
            let now = self.look().await;
            if seen.send(now).is_err() {
                return;
            }
            next = Instant::now() + PERIOD;
        }
    }

    fn take_in(&mut self, event: Event) {
        if event.kind == EVENT_RESET {
            return;
        }
        if self.seen.events.len() == EVENTS_MAX {
            self.seen.events.pop_front();
        }
        self.seen.events.push_back(event);
    }

    async fn ask(&mut self) -> Result<(), AdminError> {
        let query = CheckpointQuery {
            limit: Some(COUNTED_MAX),
            ..CheckpointQuery::default()
        };
        let client = self.client.clone();
        let (admin, list, schedule, restores, sidecars) = tokio::try_join!(
            client.whoami(),
            client.checkpoints(&query),
            client.schedule(),
            client.restores(),
            client.sidecars(),
        )?;
        let running = restores.iter().find(|view| !view.status.is_final());
        self.seen.restore = match running {
            // Only the detail has the steps.
            Some(running) => Some(client.restore(&running.id).await?),
            None => None,
        };
        self.count_pauses(&list).await?;
        self.seen.admin = Some(admin);
        self.seen.schedule = Some(schedule);
        self.seen.sidecars = sidecars;
        self.seen.checkpoints = Some(list);
        Ok(())
    }

    async fn count_pauses(&mut self, list: &CheckpointList) -> Result<(), AdminError> {
        let completed = list.history.iter();
        let completed = completed.filter(|view| view.status == CheckpointStatus::Completed);
        let epochs: Vec<Epoch> = completed.map(|view| view.epoch).collect();
        self.details.retain(|epoch, _| epochs.contains(epoch));
        for epoch in &epochs {
            if self.details.contains_key(epoch) {
                continue;
            }
            match self.client.checkpoint(*epoch).await {
                Ok(detail) => self.details.insert(*epoch, detail),
                // Deleted since.
                Err(error) if error.status() == Some(404) => continue,
                Err(error) => return Err(error),
            };
        }
        let mut pauses = BTreeMap::<String, Vec<f64>>::new();
        for process in self
            .details
            .values()
            .rev()
            .flat_map(|detail| &detail.processes)
        {
            let of_process = pauses.entry(process.process.clone()).or_default();
            of_process.push(process.pause_ms);
        }
        self.seen.pauses = pauses;
        let last = self.details.values().next_back();
        self.seen.last = last.map_or_else(Vec::new, |detail| detail.processes.clone());
        Ok(())
    }
}
