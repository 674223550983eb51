//! Places below prefixes of their own in one bucket of a real S3: versitygw, or with `CUTLINE_TEST_S3=s3proxy` the other one.

use std::{path::PathBuf, sync::Arc};

use cutline_store::{Objects, S3 as Store, StoreSpec};
use integration_tests::{
    S3,
    s3::{ACCESS_KEY, SECRET_KEY},
    topics::unique_name,
};

/// A place for objects.
pub struct Place {
    /// Where each object is a file under its key.
    pub objects: PathBuf,
    address: String,
}

pub async fn place() -> Place {
    match std::env::var("CUTLINE_TEST_S3").as_deref() {
        Ok("s3proxy") => place_in(S3::shared_s3proxy().await),
        _ => place_in(S3::shared().await),
    }
}

#[allow(dead_code, reason = "not every test binary has servers of its own")]
pub fn place_in(server: &S3) -> Place {
    let prefix = format!("{}/deep", unique_name("store"));
    Place {
        objects: server.objects().join(&prefix),
        address: server.store(&prefix),
    }
}

impl Place {
    pub async fn open(&self) -> Arc<dyn Objects> {
        let StoreSpec::S3(address) = self.address.parse().unwrap() else {
            panic!("it is an S3 address: {}", self.address);
        };
        let store = Store::open_as(&address, ACCESS_KEY, SECRET_KEY).await;
        Arc::new(store.unwrap())
    }
}
