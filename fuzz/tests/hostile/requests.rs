//! Frames of applications and brokers: what is read of them lies inside them.

use std::ops::Range;

use bytes::Bytes;
use cutline_sidecar::proxy::request::meaning;
use cutline_wire::{
    fetch::{FetchAnswer, FetchAsk},
    frame::{Frame, FrameReader, RequestHead, correlation_id},
    produce::ProduceAsk,
};
use fuzz::Target;

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
/// What a connection reserves before anything has come.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

#[test]
fn requests_are_read_or_refused() {
    let runtime = runtime();
    Target::new("requests").taking(BUFFER_BYTES).hold(|input| {
        let mut frames = FrameReader::requests(input);
        let mut seen = 0;
        // An error ends the connection, as it does in the sidecar.
        while let Ok(Some(frame)) = runtime.block_on(frames.next()) {
            seen += frame.whole().len();
            request(&frame);
        }
        assert!(seen <= input.len(), "no more comes out than went in");
    });
}

fn request(frame: &Frame) {
    let Ok(head) = RequestHead::peek(frame) else {
        return;
    };
    let length = frame.whole().len();
    assert!(head.rest_at <= length);
    let _refused = meaning(frame, &head, true);
    match head.api_key {
        PRODUCE => {
            if let Ok(ask) = ProduceAsk::read(frame, head.api_version, head.rest_at) {
                let records = ask.partitions.iter().map(|partition| &partition.records);
                inside(records, head.rest_at..length);
            }
        }
        FETCH => {
            if let Ok(ask) = FetchAsk::read(frame, head.api_version, head.rest_at) {
                assert!(ask.body_at <= length);
                assert!(ask.session_at.is_none_or(|at| at + 8 <= length));
            }
        }
        _ => {}
    }
}

/// The first byte is the version.
#[test]
fn fetch_responses_are_read_or_refused() {
    let runtime = runtime();
    Target::new("responses").taking(BUFFER_BYTES).hold(|input| {
        let (&version, payload) = input.split_first().unwrap_or((&0, input));
        let size = u32::try_from(payload.len()).unwrap();
        let whole = [&size.to_be_bytes(), payload].concat();
        let mut frames = FrameReader::responses(&whole[..]);
        let Ok(Some(frame)) = runtime.block_on(frames.next()) else {
            return;
        };
        assert_eq!(frame.whole(), &Bytes::from(whole.clone()));
        let _refused = correlation_id(&frame);
        if let Ok(answer) = FetchAnswer::read(&frame, i16::from(version)) {
            assert!(answer.topics_end <= whole.len());
            let partitions = answer.partitions.iter();
            inside(partitions.clone().map(|found| &found.field), 4..whole.len());
            inside(partitions.map(|found| &found.records), 4..whole.len());
        }
    });
}

/// Ranges that are in order, do not overlap, and lie within `all`.
fn inside<'a>(ranges: impl Iterator<Item = &'a Range<usize>>, all: Range<usize>) {
    let mut at = all.start;
    for range in ranges {
        assert!(at <= range.start && range.start <= range.end && range.end <= all.end);
        at = range.end;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}
