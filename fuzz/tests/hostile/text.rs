//! Text from outside: API bodies and queries, messages of the link, control records, tokens, settings, addresses.

use std::{fs, path::Path};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts},
    http::{HeaderMap, Request, Uri, header},
};
use cutline_admin::{
    access::Tokens,
    config::Config,
    routes::body::{Asked, Json, epoch, idempotency_key},
    settings::PROGRAM,
};
use cutline_client::{
    CheckpointQuery, CheckpointRequest, RestoreRequest, ScheduleRequest,
    link::{Downlink, Uplink},
};
use cutline_control::{ControlState, Record};
use cutline_model::Offset;
use cutline_state::parse_state_specs;
use cutline_store::StoreSpec;
use fuzz::Target;
use serde::de::DeserializeOwned;

/// Each makes a command line with its help, and some of that is for ever.
const SETTINGS_RUNS_MAX: u64 = 1_000;
/// What aliases of aliases come to before the parser has enough of them.
const SETTINGS_BYTES: usize = 64 * 1024 * 1024;

#[test]
fn bodies_and_queries_are_read_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    Target::new("bodies").hold(|input| {
        runtime.block_on(async {
            body::<CheckpointRequest>(input).await;
            body::<RestoreRequest>(input).await;
            body::<ScheduleRequest>(input).await;
            if let Ok(uri) = format!("/v1/checkpoints?{}", String::from_utf8_lossy(input)).parse() {
                query(uri).await;
            }
        });
        let _refused = epoch(&String::from_utf8_lossy(input));
        if let Ok(value) = header::HeaderValue::from_bytes(input) {
            let headers = HeaderMap::from_iter([("idempotency-key".parse().unwrap(), value)]);
            let _refused = idempotency_key(&headers);
        }
    });
}

async fn body<T: DeserializeOwned>(input: &[u8]) {
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(input.to_vec()))
        .unwrap();
    let _refused = Json::<T>::from_request(request, &()).await;
}

async fn query(uri: Uri) {
    let (mut parts, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
    let _refused = Asked::<CheckpointQuery>::from_request_parts(&mut parts, &()).await;
}

#[test]
fn messages_of_the_link_are_read_or_refused() {
    Target::new("link").hold(|input| {
        if let Ok(message) = serde_json::from_slice::<Uplink>(input) {
            let again = serde_json::to_vec(&message).unwrap();
            assert_eq!(serde_json::from_slice::<Uplink>(&again).unwrap(), message);
        }
        if let Ok(message) = serde_json::from_slice::<Downlink>(input) {
            let again = serde_json::to_vec(&message).unwrap();
            assert_eq!(serde_json::from_slice::<Downlink>(&again).unwrap(), message);
        }
    });
}

/// One record a line.
#[test]
fn control_records_are_applied_or_passed_over() {
    Target::new("control").hold(|input| {
        let mut state = ControlState::default();
        let lines = input.split(|byte| *byte == b'\n');
        for (offset, line) in (0..).map(Offset).zip(lines) {
            match Record::from_json(line) {
                Ok(record) => {
                    assert_eq!(Record::from_json(&record.to_json()).unwrap(), record);
                    assert!(!record.key().is_empty());
                    state.apply(offset, record);
                }
                Err(_) => state.skip(offset),
            }
            assert_eq!(state.position, offset.next(), "every record counts once");
        }
        let _services = state.idle_services().count();
    });
}

#[test]
fn a_list_of_tokens_is_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tokens");
    Target::new("tokens").hold(|input| {
        fs::write(&path, input).unwrap();
        if let Ok(tokens) = Tokens::read(&path) {
            assert!(tokens.count() > 0);
            assert!(tokens.find("").is_none_or(|caller| !caller.name.is_empty()));
        }
    });
}

#[test]
fn settings_are_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.yaml");
    let target = Target::new("settings").taking(SETTINGS_BYTES);
    target.at_most(SETTINGS_RUNS_MAX).hold(|input| {
        fs::write(&path, input).unwrap();
        let _refused = load(&path);
    });
}

fn load(path: &Path) -> Option<Config> {
    let path = path.to_str().unwrap();
    let settings = PROGRAM
        .load_from(["cutline-admin", "--config", path])
        .ok()?;
    Config::of(&settings).ok()
}

#[test]
fn addresses_are_read_and_said_again_or_refused() {
    Target::new("addresses").hold(|input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(spec) = text.parse::<StoreSpec>() {
            let said = spec.to_string();
            assert_eq!(said.parse::<StoreSpec>().unwrap(), spec, "{said}");
        }
        let _refused = parse_state_specs(&[text.into_owned()]);
    });
}
