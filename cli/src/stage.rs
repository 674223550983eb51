//! How far a checkpoint or a restore has come, by the words in which the admin API tells it.
//!
//! A word that is not known is the beginning: a newer admin API may have others.

/// What a coordinator goes through, in order.
const PHASES: [&str; 10] = [
    "Preparing",
    "ReadingTopology",
    "Arming",
    "Running",
    "Listing",
    "Confirming",
    "ReadingControl",
    "Rereading",
    "Storing",
    "Committing",
];
/// What a restore goes through, in order; some steps occur where they are needed only.
const STEPS: [&str; 16] = [
    "planned",
    "holds_written",
    "quiesced",
    "fenced",
    "emptied",
    "ends_fixed",
    "masks_made",
    "tables_read",
    "state_begun",
    "state_restored",
    "offsets_committed",
    "tables_appended",
    "timeline_taken",
    "timeline_committed",
    "lifted",
    "completed",
];

/// A place on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Stages reached.
    pub done: usize,
    /// Stages there are.
    pub of: usize,
}

impl Stage {
    /// Of a checkpoint.
    #[must_use]
    pub fn of_phase(phase: Option<&str>) -> Self {
        Self::among(&PHASES, phase.unwrap_or_default())
    }

    /// Of a restore.
    #[must_use]
    pub fn of_step(step: &str) -> Self {
        Self::among(&STEPS, step)
    }

    fn among(stages: &[&str], word: &str) -> Self {
        let place = stages.iter().position(|stage| word.starts_with(stage));
        Self {
            done: place.map_or(0, |at| at + 1),
            of: stages.len(),
        }
    }

    /// As a bar of `width` characters between brackets.
    #[must_use]
    pub fn bar(self, width: usize) -> String {
        let filled = (self.done * width / self.of.max(1)).min(width);
        format!("[{}{}]", "#".repeat(filled), ".".repeat(width - filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_come_one_after_the_other_and_unknown_words_are_the_beginning() {
        assert_eq!(Stage::of_step("completed").bar(4), "[####]");
        assert_eq!(Stage::of_step("planned").done, 1);
        assert_eq!(Stage::of_phase(Some("Committing")).bar(4), "[####]");
        assert_eq!(Stage::of_phase(None).bar(4), "[....]");
        assert_eq!(Stage::of_step("something new").done, 0);
    }
}
