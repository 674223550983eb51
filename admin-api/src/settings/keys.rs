//! Every setting of `cutline-admin` by name, with what its help says. What values mean is the parent's business.

use cutline_settings::{Key, Program, kafka};

/// `cutline-admin`.
pub const PROGRAM: Program = Program {
    name: "cutline-admin",
    version: env!("CARGO_PKG_VERSION"),
    about: "Coordinates consistent checkpoints and restores of services that talk through Kafka",
    open_groups: &["kafka"],
    shared: kafka::SECURITY,
    keys: &[
        Key::one(
            "listen",
            "HOST:PORT",
            "Where the REST interface is, and where sidecars connect",
        ),
        Key::one(
            "tokens",
            "PATH",
            "The list of tokens with their roles, as cutline token new makes entries for it [default: everyone may do everything]",
        ),
        Key::one(
            "tls.certificate",
            "PATH",
            "The certificate to speak TLS with, PEM with its chain; read again when it changes [default: no TLS]",
        ),
        Key::one("tls.key", "PATH", "The private key of tls.certificate"),
        Key::one(
            "tls.client-ca",
            "PATH",
            "The authorities whose certificates clients have to show for everything but probes [default: none is asked for]",
        ),
        Key::one(
            "inject.listen",
            "HOST:PORT",
            "Where Kubernetes asks, over TLS, for sidecars to be put into pods [default: nowhere]",
        ),
        Key::one(
            "inject.template",
            "PATH",
            "What is put into pods, as the chart makes it; needed with inject.listen",
        ),
        Key::one(
            "unauthenticated",
            "yes|no",
            "Listen on other addresses than loopback without tokens [default: no]",
        ),
        Key::one("kafka", "HOST:PORT,…", "Some brokers of the cluster"),
        Key::one(
            "store",
            "ADDRESS",
            "Where checkpoints are kept: file:PATH or s3://BUCKET/PREFIX",
        ),
        Key::one(
            "signing-keys",
            "PATH",
            "Keys that sign checkpoints, 64 hexadecimal digits a line: the first signs, all are believed [default: nothing is signed, whoever can write the store is believed]",
        ),
        Key::one(
            "accept-unsigned-until",
            "EPOCH",
            "Checkpoints up to this one need no signature: they are from before there was a key [default: all need one]",
        ),
        Key::one(
            "deployment",
            "NAME",
            "The installation that all this belongs to [default: default]",
        ),
        Key::one(
            "redis",
            "URL",
            "Where what may be lost is shared: registry, progress, events, idempotency keys [default: in memory]",
        ),
        Key::one(
            "otlp-endpoint",
            "URL",
            "Where traces are sent, by OTLP over HTTP: http://HOST:4318 [default: $OTEL_EXPORTER_OTLP_ENDPOINT, or nowhere]",
        ),
        Key::one(
            "checkpoint.interval",
            "DURATION",
            "From one checkpoint to the next [default: only on request]",
        ),
        Key::one(
            "checkpoint.min-pause",
            "DURATION",
            "The least time from the end of one to the next trigger [default: 0s]",
        ),
        Key::one(
            "checkpoint.timeout",
            "DURATION",
            "How long one may take [default: 10m]",
        ),
        Key::one(
            "checkpoint.prepare-timeout",
            "DURATION",
            "How long sidecars may take to get ready [default: 10s]",
        ),
        Key::one(
            "checkpoint.mode",
            "MODE",
            "aligned, unaligned or synchronous [default: aligned]",
        ),
        Key::one(
            "checkpoint.alignment-timeout",
            "DURATION",
            "When an aligned process goes on as in unaligned [default: 2s]",
        ),
        Key::one(
            "checkpoint.record-timeout",
            "DURATION",
            "How long fixing the state may take [default: 2s]",
        ),
        Key::one(
            "checkpoint.mark-timeout",
            "DURATION",
            "How long writing markers may take [default: 1500ms]",
        ),
        Key::one(
            "checkpoint.retries",
            "N",
            "Attempts after the first [default: 3]",
        ),
        Key::one(
            "checkpoint.backoff-max",
            "DURATION",
            "The longest wait after scheduled ones that failed; each failure doubles it [default: 5m]",
        ),
        Key::one(
            "checkpoint.jitter",
            "DURATION",
            "The most that a scheduled one comes later by chance [default: 0s]",
        ),
        Key::one(
            "checkpoint.blackout",
            "HH:MM-HH:MM,…",
            "Hours of every day, in UTC, in which none is scheduled [default: none]",
        ),
        Key::one(
            "checkpoint.tolerable-failures",
            "N",
            "Scheduled ones that may fail in a row before it is an alarm [default: 3]",
        ),
        Key::one(
            "checkpoint.objective",
            "DURATION",
            "How old the last one may grow before it is an alarm [default: three intervals]",
        ),
        Key::one(
            "checkpoint.channels",
            "reference|embed",
            "Whether compacted topics are copied too [default: reference]",
        ),
        Key::one(
            "retention.keep-last",
            "N",
            "Checkpoints kept besides savepoints [default: 100]",
        ),
        Key::one(
            "retention.max-age",
            "DURATION",
            "How old they may grow [default: any age]",
        ),
        Key::one(
            "retention.warn-before",
            "DURATION",
            "How long before Kafka removes what a checkpoint needs it is warned of [default: 1h]",
        ),
        Key::one(
            "retention.check-interval",
            "DURATION",
            "How often it is looked at what Kafka still has [default: 1m]",
        ),
        Key::one(
            "max-pause",
            "DURATION",
            "When everything opens by itself, whatever happens [default: 10s]",
        ),
        Key::one(
            "drain-timeout",
            "DURATION",
            "How long an application may take to finish what it was given [default: 4s]",
        ),
        Key::one(
            "sidecar-lost-timeout",
            "DURATION",
            "When a sidecar out of reach is evicted [default: 10s]",
        ),
        Key::one(
            "control-stale-timeout",
            "DURATION",
            "How long sidecars forward without the control topic [default: 30s]",
        ),
    ],
};
