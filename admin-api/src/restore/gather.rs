//! The facts a plan is made from, gathered from the store, the control topic, Kafka and the sidecars.
//!
//! Everything is asked for and nothing is held: a dry run ends here. What cannot be had is an error, never a default.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use cutline_client::link::{Downlink, Uplink};
use cutline_control::{ControlState, Record};
use cutline_model::{
    GroupId, Offset, ProcessId, ServiceName, SidecarId, TopicName, TopicPartition,
};
use cutline_protocol::restore::{Facts, SidecarNow, changed, masks_of, scan_from};
use cutline_store::Manifest;

use super::{
    RestoreError,
    cut::{self, cut_of},
    groups, log,
    scan::{Producers, Scan},
    tables,
};
use crate::app::App;

/// How long a sidecar may take to say how far it delivered.
const DELIVERED_TIMEOUT: Duration = Duration::from_secs(5);

/// What is to be restored.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The checkpoint.
    pub manifest: Arc<Manifest>,
    /// Which services.
    pub services: BTreeSet<ServiceName>,
    /// Go on although unrestored groups saw what will be rolled back.
    pub allow_contaminated: bool,
}

impl Wanted {
    /// `services`, or all of the checkpoint's.
    #[must_use]
    pub fn new(manifest: Manifest, services: Option<&[String]>, allow_contaminated: bool) -> Self {
        let all = || {
            let processes = manifest
                .processes
                .iter()
                .map(|record| &record.process.service);
            let positions = manifest.positions.iter().map(|record| &record.service);
            let outputs = manifest.outputs.iter().map(|record| &record.service);
            processes.chain(positions).chain(outputs).cloned().collect()
        };
        let named = services.map(|names| names.iter().map(|s| s.as_str().into()).collect());
        let services = named.unwrap_or_else(all);
        Self {
            manifest: Arc::new(manifest),
            services,
            allow_contaminated,
        }
    }
}

/// Everything a plan needs. `scan` keeps what was read of the logs.
///
/// # Errors
/// When something cannot be found out.
pub async fn gather(app: &App, wanted: &Wanted, scan: &mut Scan) -> Result<Facts, RestoreError> {
    let control = present(app).await?;
    let metadata = app.kafka.refresh_metadata().await?;
    let manifest = &*wanted.manifest;
    let mut facts = Facts {
        cut: cut_of(manifest),
        topics_then: cut::topics_of(manifest),
        masks_then: cut::masks_of(&manifest.masks, |topic| log::topic_id(&metadata, topic)),
        cluster_then: manifest.kafka_cluster_id.clone(),
        cluster_now: metadata.cluster_id.clone().unwrap_or_default(),
        damaged: BTreeMap::new(),
        restored: wanted.services.clone(),
        topics_now: BTreeMap::new(),
        masks_now: masks_now(&control, |topic| log::topic_id(&metadata, topic)),
        outputs_now: control.outputs.clone(),
        groups_now: BTreeMap::new(),
        sidecars: sidecars(app, &control),
        away: away(app, &control),
        writers: BTreeMap::new(),
        tables: BTreeMap::new(),
        cut_ms: 0,
        now_ms: 0,
        outside_readers: BTreeMap::new(),
        allow_contaminated: wanted.allow_contaminated,
    };
    facts.damaged = damaged(app, manifest, &facts.restored).await?;
    facts.topics_now = log::topics(app, &metadata, &facts).await?;
    facts.groups_now = groups::groups(app, &control, &facts).await?;
    let ends = log::ends(&facts);
    let from = log::within(&facts, scan_from(&facts));
    scan.extend(&app.kafka, &Producers::of(&control), &from, &ends)
        .await?;
    facts.writers = scan.writers().clone();
    tables::look(app, manifest, &mut facts, &ends).await?;
    look_at_readers(app, &mut facts, &ends).await?;
    Ok(facts)
}

/// The control topic, read past a record of our own.
pub async fn present(app: &App) -> Result<Arc<ControlState>, RestoreError> {
    let probe = Record::Probe {
        by: format!("admin/{}", app.run),
    };
    let (_, state) = app.control.append_and_read(&probe).await?;
    Ok(state)
}

/// Asks again who of the unrestored has seen what changes; the rest of `facts` stays.
///
/// # Errors
/// When it cannot be found out.
pub async fn look_at_readers(
    app: &App,
    facts: &mut Facts,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), RestoreError> {
    let mut partitions = facts.restored_partitions();
    // Where the masks cannot be made the plan says why; nobody's reading matters then.
    let changes = masks_of(facts, ends, &facts.writers)
        .map(|masks| changed(facts, &masks, &facts.writers))
        .unwrap_or_default();
    partitions.extend(changes.keys().cloned());
    let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
    let ask = facts
        .sidecars
        .keys()
        .filter(|id| !facts.restored.contains(&id.service));
    let asked: Vec<SidecarId> = ask.cloned().collect();
    for sidecar in asked {
        let delivered = delivered(app, &sidecar, &partitions).await?;
        if let Some(now) = facts.sidecars.get_mut(&sidecar) {
            now.delivered = delivered;
        }
    }
    for (group, now) in &mut facts.groups_now {
        if !facts.restored.contains(&now.service) {
            now.committed = app.kafka.committed(group, false).await?;
        }
    }
    let known: BTreeSet<GroupId> = facts.groups_now.keys().cloned().collect();
    let mut outside = BTreeMap::new();
    for (group, committed) in groups::outside(app, &known).await? {
        let seen: BTreeMap<TopicPartition, Offset> = committed
            .into_iter()
            .filter(|(partition, offset)| {
                let first = changes.get(partition).and_then(|set| set.ranges().first());
                first.is_some_and(|first| first.start < *offset)
            })
            .collect();
        if !seen.is_empty() {
            outside.insert(group, seen);
        }
    }
    facts.outside_readers = outside;
    Ok(())
}

/// How far `sidecar` has delivered `partitions`.
///
/// # Errors
/// When it does not answer.
pub async fn delivered(
    app: &App,
    sidecar: &SidecarId,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, RestoreError> {
    let answer = app.registry.ask(sidecar, DELIVERED_TIMEOUT, |request| {
        let partitions = partitions.to_vec();
        Downlink::AskDelivered {
            request,
            partitions,
        }
    });
    let Uplink::Delivered { ends, .. } = answer.await? else {
        return Ok(BTreeMap::new());
    };
    Ok(ends
        .into_iter()
        .map(|end| (end.partition, end.offset))
        .collect())
}

/// The masks in force, those of topics that were made again left out.
pub fn masks_now(
    control: &ControlState,
    topic_now: impl Fn(&TopicName) -> Option<String>,
) -> cutline_protocol::mask::Masks {
    let records: Vec<cutline_store::MaskRecord> = control
        .masks
        .iter()
        .map(|masked| cutline_store::MaskRecord {
            service: masked.service.clone(),
            topic: masked.partition.topic.clone(),
            topic_id: masked.topic_id.clone(),
            partition: masked.partition.partition,
            ranges: masked.ranges.clone(),
        })
        .collect();
    cut::masks_of(&records, topic_now)
}

/// Sidecars that are registered and connected, both in the same run.
#[must_use]
pub fn sidecars(app: &App, control: &ControlState) -> BTreeMap<SidecarId, SidecarNow> {
    let connected = app.registry.connected();
    let both = control.sidecars.iter().filter(|(id, entry)| {
        let hello = connected.get(*id).map(|connected| &connected.hello);
        hello.is_some_and(|hello| hello.incarnation == entry.registered.incarnation)
    });
    let now = |(id, entry): (&SidecarId, &cutline_control::SidecarEntry)| {
        let now = SidecarNow {
            scope: entry.registered.scope,
            has_state: entry.registered.has_state,
            delivered: BTreeMap::new(),
        };
        (id.clone(), now)
    };
    both.map(now).collect()
}

/// Sidecars that are registered and cannot be spoken to.
#[must_use]
pub fn away(app: &App, control: &ControlState) -> BTreeSet<SidecarId> {
    let here = sidecars(app, control);
    let all = control.sidecars.keys();
    all.filter(|id| !here.contains_key(*id)).cloned().collect()
}

/// Reads every part that would be put back, as a restore would.
async fn damaged(
    app: &App,
    manifest: &Manifest,
    restored: &BTreeSet<ServiceName>,
) -> Result<BTreeMap<ProcessId, String>, RestoreError> {
    let mut damaged = BTreeMap::new();
    for (process, _) in manifest.parts() {
        if !restored.contains(&process.service) {
            continue;
        }
        match read_all(app, manifest, process).await {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                damaged.insert(process.clone(), error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(damaged)
}

async fn read_all(
    app: &App,
    manifest: &Manifest,
    process: &ProcessId,
) -> Result<(), cutline_store::StoreError> {
    let Some(mut part) = app.repository.open_part(manifest, process).await? else {
        return Ok(());
    };
    for section in part.sections() {
        part.set_section(section);
        while part.next_entry().await?.is_some() {
            while part.read().await?.is_some() {}
        }
    }
    Ok(())
}
