//! The rules whose loss commits wrong checkpoints, as switches.
//!
//! Production uses [`Rules::default`], which keeps them all. The tests of the oracle break one at a time and demand
//! that the simulation notices.

/// Which rules are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Nobody may cut or mark before all have acknowledged *arm*.
    pub arm_barrier: bool,
    /// Ends are listed before the confirmations are asked for, not after.
    pub list_before_confirm: bool,
    /// A sidecar that restarted since *prepare* fails the epoch.
    pub see_restarts: bool,
    /// A registration since *prepare* fails the epoch.
    pub see_joins: bool,
    /// A barrier sets positions, never a bound.
    pub barrier_is_no_bound: bool,
    /// What a writer appended between another's marker and its own belongs to the cut.
    pub keep_ranges: bool,
    /// A mask starts at the first process marker.
    pub mask_from_first_marker: bool,
    /// The first Produce to a partition that the cut did not mark is preceded by a late mark. Kept by [`crate::Process`],
    /// see [`crate::Process::set_rules`].
    pub late_marks: bool,
    /// Nobody is fenced with records in hand: those that its client fetched ahead would be worked on in the restored world.
    /// Kept by [`crate::Process`], see [`crate::Process::set_rules`].
    pub finish_before_fence: bool,
    /// A manifest is written only when the offsets add up. It stops some of what the other rules prevent, late: the epoch
    /// fails where it need not have.
    pub arithmetic: bool,
    /// A key that the cut does not have is deleted from its table.
    pub tombstones: bool,
    /// A table's values are visible ones: the last record of a key may be masked.
    pub visible_values_only: bool,
    /// A table is rolled back from its log only where the cleaner cannot have been.
    pub cleaner_is_behind: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            arm_barrier: true,
            list_before_confirm: true,
            see_restarts: true,
            see_joins: true,
            barrier_is_no_bound: true,
            keep_ranges: true,
            mask_from_first_marker: true,
            late_marks: true,
            finish_before_fence: true,
            arithmetic: true,
            tombstones: true,
            visible_values_only: true,
            cleaner_is_behind: true,
        }
    }
}
