//! The name, unit and help of every metric. What they count is the parent's business.

use prometheus_client::registry::{Registry, Unit};

use super::Metrics;

impl Metrics {
    pub(super) fn register(&self) -> Registry {
        let mut all = Registry::with_prefix("cutline");
        all.register(
            "checkpoints_completed",
            "Checkpoints that completed",
            self.completed.clone(),
        );
        all.register(
            "checkpoints_failed",
            "Checkpoints that failed",
            self.failed.clone(),
        );
        all.register_with_unit(
            "last_checkpoint_duration",
            "From trigger to manifest",
            Unit::Seconds,
            self.last_duration.clone(),
        );
        all.register_with_unit(
            "last_checkpoint_size",
            "State of the last checkpoint",
            Unit::Bytes,
            self.last_size.clone(),
        );
        all.register_with_unit(
            "last_checkpoint_completed_timestamp",
            "When the last checkpoint completed",
            Unit::Seconds,
            self.last_completed.clone(),
        );
        all.register_with_unit(
            "checkpoint_pause",
            "First hold to release",
            Unit::Seconds,
            self.pause.clone(),
        );
        all.register_with_unit(
            "checkpoint_alignment",
            "First hold to the last",
            Unit::Seconds,
            self.alignment.clone(),
        );
        all.register_with_unit(
            "checkpoint_start_delay",
            "From go to the first hold",
            Unit::Seconds,
            self.start_delay.clone(),
        );
        for (name, help, phase) in [
            (
                "checkpoint_quiesce",
                "From the last hold to quiet",
                &self.quiesce,
            ),
            (
                "checkpoint_record",
                "Fixing the state, inside the pause",
                &self.record,
            ),
            (
                "checkpoint_mark",
                "Writing the markers, inside the pause",
                &self.mark,
            ),
            (
                "checkpoint_upload",
                "Copying and uploading the state, after the pause",
                &self.upload,
            ),
        ] {
            all.register_with_unit(name, help, Unit::Seconds, phase.clone());
        }
        all.register_with_unit(
            "last_checkpoint_uploaded",
            "Written to the store for the last checkpoint",
            Unit::Bytes,
            self.last_uploaded.clone(),
        );
        all.register(
            "last_checkpoint_in_flight_records",
            "Offsets between a service's position and the last marker on what it reads, when the last checkpoint was cut",
            self.in_flight.clone(),
        );
        all.register_with_unit(
            "checkpoint_objective",
            "How old the last checkpoint may grow; 0 when nobody minds",
            Unit::Seconds,
            self.objective.clone(),
        );
        all.register_with_unit(
            "restore_step",
            "Steps of restores, each attempt",
            Unit::Seconds,
            self.restore_steps.clone(),
        );
        all.register_with_unit(
            "admin_request",
            "Requests to the admin API, to the first byte of the answer",
            Unit::Seconds,
            self.requests.clone(),
        );
        all.register(
            "restorable_checkpoints",
            "Completed checkpoints by whether Kafka's logs still have what they need: yes, expiring or no",
            self.restorable.clone(),
        );
        all.register_with_unit(
            "checkpoint_restorable",
            "Until Kafka removes what the newest checkpoint needs; ten years where no limit is known",
            Unit::Seconds,
            self.restorable_for.clone(),
        );
        all.register(
            "restore_completed",
            "Restores that completed",
            self.restores_completed.clone(),
        );
        all.register(
            "restore_failed",
            "Restores that failed or were aborted",
            self.restores_failed.clone(),
        );
        all.register_with_unit(
            "restore_last_duration",
            "How long the last restore took",
            Unit::Seconds,
            self.last_restore_duration.clone(),
        );
        all.register_with_unit(
            "restore_last_completed_timestamp",
            "When the last restore completed",
            Unit::Seconds,
            self.last_restore_completed.clone(),
        );
        all.register(
            "restore_masked_offsets",
            "Offsets masked by restores",
            self.restore_masked.clone(),
        );
        all.register("sidecars", "Sidecars by state", self.sidecars.clone());
        all.register_with_unit(
            "store_request",
            "Requests to the store",
            Unit::Seconds,
            self.store.clone(),
        );
        all.register(
            "breaker_open",
            "1 while calls to a dependency fail at once, after it failed several times in a row",
            self.breaker.clone(),
        );
        all.register(
            "leading",
            "1 while this admin API coordinates its deployment",
            self.leading.clone(),
        );
        all.register(
            "redis_up",
            "1 while the Redis that admin APIs share answers; 0 also when there is none",
            self.redis_up.clone(),
        );
        all
    }
}
