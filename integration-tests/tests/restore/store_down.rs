//! A store that does not take what is written: applications are not paused again and again for what cannot be stored.

use std::{fs, time::Duration};

use integration_tests::{checkpoints, http, wait_for};

use crate::world::{Options, World};

/// Longer than a breaker stays open after the few failures of this test.
const MENDED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn no_application_is_paused_for_an_epoch_that_cannot_be_stored() {
    let mut world = World::start(Options::default()).await;
    world.checkpoint("aligned").await;
    // Packs cannot be written any more, everything else can: the admin API notices nothing.
    let packs = world.admin.store().join("packs");
    let away = world.admin.store().join("away");
    fs::rename(&packs, &away).unwrap();
    fs::write(&packs, "no directory").unwrap();
    let attempts = wait_for(MENDED, "a sidecar to decline", || async {
        let attempts = checkpoints::take(&world.admin, "aligned").await;
        let (_, reasons) = checkpoints::outcomes(&attempts);
        reasons
            .keys()
            .any(|reason| reason.contains("times in a row"))
            .then_some(attempts)
    })
    .await;
    let declined = attempts.values().find(|detail| {
        let reason = detail["reason"].as_str().unwrap_or_default();
        reason.contains("times in a row")
    });
    let declined = declined.unwrap();
    let reason = declined["reason"].as_str().unwrap();
    assert!(reason.contains("writing to the store failed"), "{declined}");
    let mut metrics = String::new();
    for app in [&world.a[0], &world.b[0]] {
        let url = format!("{}/metrics", app.sidecar.metrics_url());
        metrics += &http::get(url).send().await.unwrap().text().await.unwrap();
    }
    assert!(
        metrics.contains("cutline_breaker_open{of=\"store\"} 1"),
        "{metrics}"
    );

    fs::remove_file(&packs).unwrap();
    fs::rename(&away, &packs).unwrap();
    world.checkpoint("aligned").await;
    world.settle_and_check("reader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_refused_at_once_while_the_store_does_not_answer() {
    let world = World::idle(Options::default()).await;
    let store = world.admin.store().to_owned();
    let epochs = store.join("epochs");
    let away = store.join("away");
    fs::create_dir_all(&epochs).unwrap();
    fs::rename(&epochs, &away).unwrap();
    fs::write(&epochs, "no directory").unwrap();
    let request = serde_json::json!({});
    let refused = wait_for(MENDED, "the store not to be asked any more", || async {
        let (status, problem) = world.admin.post("/v1/checkpoints", &request).await;
        assert_eq!(status, 503, "{problem}");
        (problem["code"] == "CL0125").then_some(problem)
    })
    .await;
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("times in a row"), "{refused}");
    let (_, health) = world.admin.get("/healthz").await;
    assert_ne!(health["store_breaker"], "closed", "{health}");
    fs::remove_file(&epochs).unwrap();
    fs::rename(&away, &epochs).unwrap();
    wait_for(MENDED, "the store to be asked again", || async {
        let (status, _) = world.admin.post("/v1/checkpoints", &request).await;
        (status == 202).then_some(())
    })
    .await;
}
