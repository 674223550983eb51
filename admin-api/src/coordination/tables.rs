//! What a checkpoint notes of compacted topics: how long their cleaner stays behind.

use cutline_model::TopicName;
use cutline_store::Manifest;

use crate::app::App;

/// Notes `min.compaction.lag.ms` of every compacted topic of `manifest`. Where it cannot be had nothing is relied on later.
pub async fn note_lags(app: &App, manifest: &mut Manifest) {
    let names: Vec<TopicName> = manifest.topics.iter().map(|t| t.name.clone()).collect();
    let configs = match app.kafka.topic_configs(&names).await {
        Ok(configs) => configs,
        Err(error) => {
            tracing::warn!(%error, "the settings of topics are not known: compacted ones cannot be rolled back to this checkpoint");
            return;
        }
    };
    for topic in &mut manifest.topics {
        let config = configs.get(&topic.name).filter(|config| config.compacted);
        topic.min_compaction_lag_ms = config.map(|config| config.min_compaction_lag_ms);
    }
}
