//! Roles, and what routes need.

use std::fmt;

use serde::Deserialize;

/// What the bearer of a token may do. Each of the first three may do what the one before it may.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look.
    Viewer,
    /// May take, verify and end checkpoints, and set the schedule.
    Operator,
    /// May put services back, delete checkpoints and evict sidecars.
    Admin,
    /// May be a sidecar, and nothing else.
    Sidecar,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everyone, without a token: probes, and the description of the interface.
    Nothing,
    /// People with at least this role.
    AtLeast(Role),
    /// Sidecars.
    Sidecar,
}

impl Role {
    /// Whether it is enough.
    #[must_use]
    pub fn may(self, need: Need) -> bool {
        match need {
            Need::Nothing => true,
            Need::AtLeast(least) => self != Self::Sidecar && self >= least,
            Need::Sidecar => self == Self::Sidecar,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Sidecar => "sidecar",
        })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no role"),
            Self::AtLeast(role) => write!(f, "role {role}"),
            Self::Sidecar => write!(f, "role {}", Role::Sidecar),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_what_the_lesser_ones_may_and_a_sidecar_only_connects() {
        let needs = [
            Need::Nothing,
            Need::AtLeast(Role::Viewer),
            Need::AtLeast(Role::Operator),
            Need::AtLeast(Role::Admin),
            Need::Sidecar,
        ];
        for (role, may) in [
            (Role::Viewer, [true, true, false, false, false]),
            (Role::Operator, [true, true, true, false, false]),
            (Role::Admin, [true, true, true, true, false]),
            (Role::Sidecar, [true, false, false, false, true]),
        ] {
            assert_eq!(needs.map(|need| role.may(need)), may, "{role}");
        }
    }
}
