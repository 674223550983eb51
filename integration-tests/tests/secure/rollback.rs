//! A checkpoint and a rollback where everybody may do what is documented and nothing else; and what happens with one right less.

use integration_tests::wait_until;

use crate::{
    cluster::Right,
    lacking::{is_own, without},
    rights::documented,
    world::{DEADLINE, ORDERS, World},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_acls_suffice_and_each_one_is_named_when_it_is_missing() {
    let rights = documented();
    let mut world = World::start(&rights).await;
    world.checkpoint().await;
    world.works().await;
    let billed = world.billing.as_ref().unwrap().passed();
    let (status, answer) = world.restore().await;
    assert_eq!(status, 202, "{answer}");
    let view = world.over(answer["id"].as_str().unwrap()).await;
    assert_eq!(view["status"], "COMPLETED", "{view}");
    let again = billed + ORDERS as u64;
    wait_until(DEADLINE, "what was rolled back to be billed again", || {
        let passed = world.billing.as_ref().unwrap().passed();
        async move { passed >= again }
    })
    .await;
    let all = std::env::var("CUTLINE_ACLS").is_ok_and(|which| which == "all");
    let missed = rights.iter().filter(|right| is_missed(right));
    for right in missed.filter(|right| all || !is_own(right)) {
        without(&mut world, right, &rights).await;
    }
}

/// That the admin API may create its topic was missed, and told of, when it came up. That it may end applications' transactions is missed
/// only where one is open behind the fence, and sidecars do not let one get there.
fn is_missed(right: &Right) -> bool {
    let ends_transactions = right.user == "admin" && right.kind == "transactional-id";
    right.operation != "Create" && (!ends_transactions || is_own(right))
}
