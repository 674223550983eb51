//! Log lines: one JSON object each, with the names that all programs share.
//!
//! `timestamp`, `level`, `message`, `target`, `service`, `instance` and `tenantId` are on every line; `epoch`, `restore` and
//! `correlationId` (a trace's id) on those of a checkpoint or a restore, by the span they are written in. A field of the
//! event itself comes before one of its span, and that before the program's own.

use std::{fmt, io::Write};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use crate::Identity;

/// Spans of libraries stay out of the lines.
const OWN: &str = "cutline";
/// Numbers, however they were given.
const EPOCH: &str = "epoch";

/// The layer that writes lines.
pub(crate) struct Lines {
    always: [(&'static str, String); 3],
}

impl Lines {
    pub(crate) fn of(identity: &Identity) -> Self {
        let always = [
            ("service", identity.service.clone()),
            ("instance", identity.instance.clone()),
            ("tenantId", identity.tenant.clone()),
        ];
        Self { always }
    }

    fn line(&self, event: &Event<'_>, spans: Vec<Map<String, Value>>) -> Value {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut line = Map::new();
        let now = format!("{:.6}", Timestamp::now());
        line.insert("timestamp".to_owned(), now.into());
        let level = event.metadata().level().as_str();
        line.insert("level".to_owned(), level.into());
        if let Some(message) = own.0.remove("message") {
            line.insert("message".to_owned(), message);
        }
        let target = event.metadata().target();
        line.insert("target".to_owned(), target.into());
        line.extend(own.0);
        for (name, value) in spans.into_iter().flatten() {
            line.entry(name).or_insert(value);
        }
        for (name, value) in &self.always {
            line.entry(*name).or_insert_with(|| value.clone().into());
        }
        Value::Object(line)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !attributes.metadata().target().starts_with(OWN) {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // From the innermost span outwards.
        let spans = context.event_scope(event).into_iter().flatten();
        let spans = spans.filter_map(|span| {
            let extensions = span.extensions();
            extensions
                .get::<Fields>()
                .map(|fields: &Fields| fields.0.clone())
        });
        let mut line = self.line(event, spans.collect()).to_string();
        line.push('\n');
        // A log that cannot be written has nowhere to say so.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

/// Fields as JSON.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let value = match value {
            Value::String(text) if field.name() == EPOCH => {
                text.parse::<u64>().map_or(Value::String(text), Value::from)
            }
            value => value,
        };
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}
