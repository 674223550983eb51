//! Where the old world ends (1-protocol §6.4): the fence marker of every partition, and the masks up to it.
//!
//! The marker's offset is found in the log once and journaled; an end is never listed again.

use cutline_model::{GroupId, TopicPartition};
use cutline_protocol::restore::{Entry, masks_of, plan};
use cutline_wire::marker::{MarkerWriter, locate};

use super::{RestoreError, gather, groups, log, run::Run, stop, tables};

/// Writes the fence marker and finds it on every partition the restored services ever wrote to.
pub async fn fix_ends(run: &mut Run) -> Result<Entry, RestoreError> {
    stop::refresh(run).await?;
    let facts = &run.survey()?.facts;
    let partitions: Vec<TopicPartition> = facts.restored_partitions().into_iter().collect();
    let id = format!("__cutline.{}.fence", run.app.config.deployment);
    let mut writer = MarkerWriter::new(run.app.kafka.clone(), id);
    let marker = writer.init().await?;
    let written = writer.write(&partitions).await?;
    // Only the next pair tells that the markers are in the log.
    writer.settle().await?;
    let ends = locate(&run.app.kafka, marker, &written.before).await?;
    Ok(Entry::EndsFixed { marker, ends })
}

/// Works out the masks up to the fence markers, and judges everything a last time: since the plan was made topics, groups
/// and sidecars may have come.
pub async fn make_masks(run: &mut Run) -> Result<Entry, RestoreError> {
    stop::check_readers(run).await?;
    let (app, manifest) = (run.app.clone(), run.wanted.manifest.clone());
    let control = gather::present(&app).await?;
    let planned = run.begun.tables;
    let facts = &mut run.survey()?.facts;
    facts.groups_now = groups::groups(&app, &control, facts).await?;
    let present = log::ends(facts);
    tables::look(&app, &manifest, facts, &present).await?;
    plan(facts).map_err(RestoreError::NotFeasible)?;
    let targets = facts.groups_now.iter();
    let restored: Vec<GroupId> = targets
        .filter(|(_, now)| facts.restored.contains(&now.service))
        .map(|(group, _)| group.clone())
        .collect();
    if !planned && !facts.tables_of_restored().is_empty() {
        return Err(RestoreError::TableSince);
    }
    if let Some(group) = restored
        .into_iter()
        .find(|g| !run.begun.groups.contains_key(g))
    {
        return Err(RestoreError::GroupSince(group));
    }
    let ends = run.journal.ends().cloned().unwrap_or_default();
    let facts = &run.survey()?.facts;
    let masks = masks_of(facts, &ends, &facts.writers).map_err(RestoreError::NotFeasible)?;
    Ok(Entry::MasksMade { masks })
}
