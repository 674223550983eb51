//! TLS with certificates of both sides between admin API, sidecar and command line: what goes over it, who is refused, and how
//! certificates are replaced.

use std::{fs, path::PathBuf, process::Output, time::Duration};

use integration_tests::{
    Admin, AdminOptions, Kafka, Run, Sidecar, SidecarOptions, Tokens, Topics,
    certificates::{Authority, Identity},
    checkpoints, http, https,
    topics::unique_name,
    wait_until,
};
use serde_json::Value;

use crate::{SOON, access::log_has, produce, relay::Relay};

/// How long a replaced certificate may go unseen; files are looked at every two seconds.
const REPLACED: Duration = Duration::from_secs(20);

/// An admin API, a sidecar and an application; everyone shows a certificate and a token.
struct World {
    admin: Admin,
    _sidecar: Sidecar,
    _application: Relay,
    directory: PathBuf,
    ca: PathBuf,
    person: Identity,
    viewer: String,
    operator: String,
}

impl World {
    async fn start(authority: &Authority) -> Self {
        let kafka = Kafka::shared().await;
        let deployment = unique_name("tls");
        let directory = Run::this().part("certificates");
        let ca = directory.join("ca.crt");
        authority.write_to(&ca);
        let [of_admin, of_sidecar, person] =
            ["admin", "sidecar", "person"].map(|name| authority.sign(&directory, name));
        let mut tokens = Tokens::default();
        let (viewer, operator) = (
            tokens.make("vera", "viewer", &[]),
            tokens.make("otto", "operator", &[]),
        );
        let relays = tokens.make("relays", "sidecar", &["--service", "relay"]);

        let path = |path: &PathBuf| path.display().to_string();
        let mut arguments = of_admin.flags();
        let list = path(&tokens.list());
        let more = ["--tls-client-ca", &path(&ca), "--tokens", &list];
        arguments.extend(more.map(str::to_owned));
        arguments.extend(["--deployment".to_owned(), deployment.clone()]);
        let options = AdminOptions {
            arguments,
            ..AdminOptions::over(&kafka.bootstrap())
        };
        let admin = Admin::launch(&options);

        let mut arguments = of_sidecar.flags();
        let more = ["--tls-ca", &path(&ca), "--token-file", &relays];
        arguments.extend(more.map(str::to_owned));
        let sidecar = Sidecar::start(&SidecarOptions {
            service: "relay".into(),
            deployment,
            admin: Some(admin.url()),
            arguments,
            ..SidecarOptions::transparent(&kafka.bootstrap())
        })
        .await;
        let topics = Topics::of(&kafka.bootstrap());
        let input = topics.create_unique("in", 1).await;
        let output = topics.create_unique("out", 1).await;
        produce(&kafka.bootstrap(), &input, 5).await;
        let application = Relay::start(&sidecar.bootstrap(), input, output);
        let world = Self {
            admin,
            _sidecar: sidecar,
            _application: application,
            directory,
            ca,
            person,
            viewer,
            operator,
        };
        world.wait_at_work().await;
        world
    }

    /// Runs the command line with these flags and words.
    async fn cutline(&self, flags: &[String], line: &str) -> Output {
        let flags = flags.iter().map(String::as_str);
        let all: Vec<&str> = flags.chain(line.split(' ')).collect();
        self.admin.cutline(&all).await
    }

    /// The flags of somebody who believes the authority, with the certificate of `identity` and the token in `token`.
    fn flags(&self, identity: Option<&Identity>, token: &str) -> Vec<String> {
        let mut flags = identity.map(Identity::flags).unwrap_or_default();
        let ca = self.ca.display().to_string();
        flags.extend(["--tls-ca", &ca, "--token-file", token].map(str::to_owned));
        flags
    }

    async fn is_done(&self, token: &str, line: &str) -> String {
        let output = self
            .cutline(&self.flags(Some(&self.person), token), line)
            .await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What stderr says of what is not done.
    async fn is_refused(&self, flags: &[String], line: &str) -> String {
        let output = self.cutline(flags, line).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        said
    }

    async fn wait_at_work(&self) {
        let flags = self.flags(Some(&self.person), &self.viewer);
        wait_until(SOON, "the sidecar to be at work", || async {
            let output = self.cutline(&flags, "sidecars -o json").await;
            let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            seen.is_array() && checkpoints::at_work(&seen) == 1
        })
        .await;
    }
}

#[tokio::test]
async fn everything_goes_over_tls_and_nobody_gets_in_without_a_certificate_of_the_authority() {
    let authority = Authority::new("ours");
    let mut world = World::start(&authority).await;
    world
        .is_done(&world.operator, "checkpoint create --wait")
        .await;
    let told = world.is_done(&world.viewer, "events").await;
    assert!(told.contains("checkpoint.completed"), "{told}");

    let without = world.flags(None, &world.operator);
    let said = world.is_refused(&without, "checkpoint create").await;
    assert!(
        said.contains("CL0220") && said.contains("--tls-certificate"),
        "{said}"
    );
    // Probes need none: a kubelet has none to show.
    let ask = |path: &'static str| https::ask(&world.ca, world.admin.port(), path, None);
    assert_eq!(ask("GET /healthz").await.expect("an answer").0, 200);
    assert_eq!(ask("GET /readyz").await.expect("an answer").0, 200);
    let (status, problem) = ask("GET /v1/topology").await.expect("an answer");
    assert_eq!((status, &problem["code"]), (403, &"CL0220".into()));

    let plain = http::get(world.admin.url().replace("https", "http") + "/healthz")
        .send()
        .await;
    let plain: Value = plain.expect("an answer").json().await.expect("a problem");
    assert_eq!(plain["code"], "CL0221");

    let foreign = Authority::new("another").sign(&Run::this().part("foreign"), "stranger");
    let shown = world.flags(Some(&foreign), &world.operator);
    let said = world.is_refused(&shown, "topology").await;
    assert!(
        said.contains("does not accept the certificate shown"),
        "{said}"
    );
    log_has(
        world.admin.process(),
        "signed by nobody who is believed here",
    )
    .await;

    let http = world.admin.url().replace("https", "http");
    let mut flags = vec!["--token-file".to_owned(), world.viewer.clone()];
    flags.extend(["--admin".to_owned(), http]);
    let said = world.is_refused(&flags, "topology").await;
    assert!(
        said.contains("CL0221") && said.contains("https://"),
        "{said}"
    );

    // Whoever does not know the authority is told so, and sends no token.
    let flags = ["--token-file".to_owned(), world.viewer.clone()];
    let said = world.is_refused(&flags, "topology").await;
    assert!(
        said.contains("signed by nobody who is believed here"),
        "{said}"
    );
}

#[tokio::test]
async fn certificates_and_authorities_are_replaced_while_everybody_stays() {
    let mut world = World::start(&Authority::new("old")).await;
    let old = Run::this().part("old-certificates");
    for name in ["ca.crt", "person.crt", "person.key"] {
        let copied = fs::copy(world.directory.join(name), old.join(name));
        copied.expect("a file can be copied");
    }

    let authority = Authority::new("new");
    for name in ["admin", "sidecar", "person"] {
        authority.sign(&world.directory, name);
    }
    authority.write_to(&world.ca);
    let flags = world.flags(Some(&world.person), &world.viewer);
    wait_until(REPLACED, "the new certificates to be used", || async {
        let output = world.cutline(&flags, "topology").await;
        output.status.success()
    })
    .await;
    // The connection of the sidecar stands, with the certificates it was made with.
    let log = fs::read_to_string(world.admin.process().log()).expect("a log");
    assert!(!log.contains("sidecar lost"), "{log}");
    world
        .is_done(&world.operator, "checkpoint create --wait")
        .await;

    // What was believed is not any more, on either side.
    let person = Identity {
        certificate: old.join("person.crt"),
        key: old.join("person.key"),
    };
    let said = world
        .is_refused(&world.flags(Some(&person), &world.viewer), "topology")
        .await;
    assert!(
        said.contains("does not accept the certificate shown"),
        "{said}"
    );
    let ca = old.join("ca.crt").display().to_string();
    let flags = ["--tls-ca", &ca, "--token-file", &world.viewer].map(str::to_owned);
    let said = world.is_refused(&flags, "topology").await;
    assert!(
        said.contains("signed by nobody who is believed here"),
        "{said}"
    );

    // The sidecar, which was never restarted, comes back with the new ones.
    world.admin.process().terminate();
    world.admin.process().start_again();
    world.wait_at_work().await;
}
