//! The journal of a restore and its next step (1-protocol §6).
