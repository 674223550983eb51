//! Taking the next epoch number in the store, for this deployment on this cluster.

use cutline_model::Epoch;
use cutline_store::StoreError;

use crate::{app::App, problem::Problem};

/// Numbers tried when others are faster; each try finds the present end again.
const CLAIMS_MAX: usize = 16;

/// Who claims epochs: the deployment and cluster they are of, and the run that claims.
#[must_use]
pub fn owner(deployment: &str, cluster: &str, run: &str) -> String {
    format!("{deployment}@{cluster}/{run}")
}

/// The deployment and cluster of an owner; `None` when it was written by something else.
pub(super) fn installation(owner: &str) -> Option<&str> {
    owner.rsplit_once('/').map(|(installation, _)| installation)
}

/// Claims the next epoch by conditional create.
///
/// # Errors
/// When the store cannot be written, or others take every number.
pub async fn claim(app: &App) -> Result<Epoch, Problem> {
    app.leadership.check()?;
    let mut last = None;
    for _ in 0..CLAIMS_MAX {
        let epoch = app.repository.next_epoch().await?;
        match app.repository.claim_epoch(epoch, &app.owner).await {
            Ok(_) => return Ok(epoch),
            Err(error @ StoreError::EpochTaken { .. }) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(last
        .unwrap_or(StoreError::Invalid {
            what: "no epoch was tried".to_owned(),
        })
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_tells_whose_epochs_these_are() {
        let mine = owner("shop", "Y3V0", "run-1");
        assert_eq!(installation(&mine), Some("shop@Y3V0"));
        assert_eq!(installation("somebody"), None);
    }
}
