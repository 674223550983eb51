//! The demo from beginning to end, one method a chapter.
//!
//! It uses what a user has: the programs, their flags, and the command line. What it says about money comes from the auditor alone.

use std::time::{Duration, Instant};

use integration_tests::{
    Admin, AdminOptions, Bank, Kafka, KafkaOptions, Run, Services, bank::Count,
    kafka::VERSION_DEFAULT,
};
use serde_json::Value;

use crate::{
    Mode, Options,
    stage::{naive_copy, start_banks, start_services},
    teller::{Teller, spaced},
    verdict::Verdict,
};

/// The installation the demo makes.
pub const DEPLOYMENT: &str = "demo";
/// How long records flow before anything is done to them.
pub const FLOW_TIME: Duration = Duration::from_secs(4);
/// How long the flow of records is measured before and after something is done to them.
const AROUND: Duration = Duration::from_secs(2);
/// How long everything may take to settle after the load ended.
pub const SETTLE_DEADLINE: Duration = Duration::from_secs(90);

/// Everything the demo runs.
pub struct Story {
    options: Options,
    teller: Teller,
    kafka: Kafka,
    naive: Option<Count>,
    // Dropped in this order: the banks before what they stand on.
    bank: Bank,
    admin: Admin,
    _services: Option<Services>,
}

impl Story {
    /// Starts everything; records flow when it returns.
    pub async fn begin(options: Options, teller: Teller) -> Self {
        teller.chapter("Two banks on a real Kafka");
        let start = Instant::now();
        let kafka = Kafka::start(KafkaOptions {
            heap_mib: 768,
            ..KafkaOptions::default()
        })
        .await;
        let seconds = start.elapsed().as_secs_f32();
        teller.say(
            "Kafka",
            &format!("Apache Kafka {VERSION_DEFAULT} on one node, ready in {seconds:.1} s"),
        );
        let services = start_services(&options, teller).await;
        let naive = if options.naive {
            Some(naive_copy(&options, teller, &kafka, services.as_ref()).await)
        } else {
            None
        };
        let mut arguments = AdminOptions::over(&kafka.bootstrap());
        if let Some(services) = &services {
            arguments = services.under(arguments, DEPLOYMENT);
        }
        arguments
            .environment
            .push(("CUTLINE_DEPLOYMENT".into(), DEPLOYMENT.into()));
        let admin = Admin::start(&arguments).await;
        teller.say(
            "admin API",
            &format!(
                "{}, checkpoints go to {}",
                admin.url(),
                if services.is_some() {
                    "S3"
                } else {
                    "a directory"
                }
            ),
        );
        let bank = start_banks(&options, teller, &kafka, &admin, services.as_ref()).await;
        Self {
            options,
            teller,
            kafka,
            naive,
            bank,
            admin,
            _services: services,
        }
    }

    /// Tells the story and gives its end.
    pub async fn tell(&mut self) -> Verdict {
        let (records_per_second, checkpoint) = self.checkpoint().await;
        let epoch = checkpoint["epoch"].to_string();
        let mut verdict = Verdict {
            checkpoint: word(&checkpoint["status"]),
            restore: "NONE".into(),
            count: None,
            pause_ms_max: self.pause(&epoch).await,
            records_per_second,
            records_per_second_restore: None,
            naive: self.naive.clone(),
        };
        if verdict.checkpoint == "COMPLETED" {
            self.spoil().await;
            let (rate, status) = self.roll_back(&epoch).await;
            verdict.records_per_second_restore = Some(rate);
            verdict.restore = status;
        }
        verdict.count = Some(self.settle().await);
        verdict
    }

    /// Leaves everything running and says how to end it.
    pub fn leave_running(self) {
        self.teller.chapter("Left running");
        self.teller.say("Kafka", &self.kafka.bootstrap());
        self.teller.say("admin API", &self.admin.url());
        self.teller
            .say("files", &Run::this().directory().display().to_string());
        self.teller.say(
            "to end it",
            &format!("sh {}", Run::this().write_end_script().display()),
        );
        Run::this().leave_running();
        // Not dropped: dropping ends the processes.
        std::mem::forget(self);
    }

    async fn checkpoint(&mut self) -> (f64, Value) {
        let mode = mode_word(self.options.mode);
        self.teller.chapter("A checkpoint, while they work");
        let flow = Flow::begin(&self.bank);
        tokio::time::sleep(AROUND).await;
        let create = [
            "checkpoint",
            "create",
            "--mode",
            mode,
            "--wait",
            "-o",
            "json",
        ];
        let answer = self.cutline(&create).await;
        tokio::time::sleep(AROUND).await;
        let rate = flow.rate(&self.bank);
        self.teller.say(
            "load",
            &format!("{rate:.0} records/s before, during and after"),
        );
        (rate, answer)
    }

    async fn pause(&self, epoch: &str) -> Option<f64> {
        let (_, checkpoint) = self.admin.get(&format!("/v1/checkpoints/{epoch}")).await;
        let processes = checkpoint["processes"].as_array()?;
        let pauses = processes
            .iter()
            .filter_map(|process| process["pause_ms"].as_f64());
        let longest = pauses.fold(None, |longest: Option<f64>, pause| {
            Some(longest.map_or(pause, |longest| longest.max(pause)))
        });
        let bytes = processes
            .iter()
            .filter_map(|process| process["state_size"].as_u64())
            .sum::<u64>();
        let pause = longest.map_or_else(|| "?".into(), |pause| format!("{pause:.0}"));
        self.teller.good(
            "checkpoint",
            &format!(
                "{epoch} is {}: {bytes} bytes of state, longest pause {pause} ms",
                word(&checkpoint["status"])
            ),
        );
        longest
    }

    async fn spoil(&mut self) {
        self.teller.chapter("Something goes wrong");
        tokio::time::sleep(FLOW_TIME).await;
        let what = self.bank.home().spoil().await;
        let count = self.bank.count(Duration::ZERO).await;
        self.teller
            .say("a script", &format!("sets {what} to nonsense"));
        self.teller.bad(
            "money",
            &format!(
                "{} of {}",
                spaced(count.total_after),
                spaced(count.total_expected)
            ),
        );
    }

    async fn roll_back(&mut self, epoch: &str) -> (f64, String) {
        self.teller.chapter("Back to the checkpoint, in place");
        self.plan(epoch).await;
        let flow = Flow::begin(&self.bank);
        tokio::time::sleep(AROUND).await;
        let begin = Instant::now();
        let create = ["restore", "create", epoch, "--wait", "-o", "json"];
        let restore = self.cutline(&create).await;
        let seconds = begin.elapsed().as_secs_f64();
        tokio::time::sleep(AROUND).await;
        let rate = flow.rate(&self.bank);
        self.teller.say(
            "load",
            &format!("{rate:.0} records/s before, during and after"),
        );
        let status = word(&restore["status"]);
        if status == "COMPLETED" {
            let text = format!("{} is COMPLETED in {seconds:.1} s", word(&restore["id"]));
            self.teller.good("restore", &text);
        } else {
            self.teller.bad("restore", &restore.to_string());
        }
        (rate, status)
    }

    /// What a restore would do, in the plan's own first words; all of it is long.
    async fn plan(&self, epoch: &str) {
        self.teller
            .say("$ cutline", &format!("restore plan {epoch}"));
        let plan = self.admin.cutline(&["restore", "plan", epoch]).await;
        let said = String::from_utf8_lossy(&plan.stdout).into_owned();
        self.teller
            .quote(said.split("\n\n").next().unwrap_or_default().trim_end());
    }

    async fn settle(&mut self) -> Count {
        self.teller.chapter("The count");
        self.bank.stop_load().await;
        let count = self.bank.count(SETTLE_DEADLINE).await;
        tell_count(self.teller, &count);
        count
    }

    async fn cutline(&self, arguments: &[&str]) -> Value {
        self.teller.say("$ cutline", &arguments.join(" "));
        let output = self.admin.cutline(arguments).await;
        if !output.status.success() {
            self.teller.bad(
                "cutline",
                &format!(
                    "{}: {}",
                    output.status,
                    String::from_utf8_lossy(&output.stderr).trim()
                ),
            );
        }
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }
}

/// Records on their way through the topics, measured from one moment to another.
struct Flow {
    begin: Instant,
    appended: i64,
}

impl Flow {
    fn begin(bank: &Bank) -> Self {
        Self {
            begin: Instant::now(),
            appended: bank.appended(),
        }
    }

    /// Records a second since the beginning.
    fn rate(self, bank: &Bank) -> f64 {
        let appended = i32::try_from(bank.appended() - self.appended).unwrap_or(i32::MAX);
        f64::from(appended) / self.begin.elapsed().as_secs_f64()
    }
}

pub fn tell_count(teller: Teller, count: &Count) {
    let say = |right: bool, label: &str, text: &str| {
        if right {
            teller.good(label, text)
        } else {
            teller.bad(label, text)
        }
    };
    say(
        count.total_after == count.total_expected,
        "money",
        &format!(
            "{} of {}",
            spaced(count.total_after),
            spaced(count.total_expected)
        ),
    );
    for (label, number) in [
        ("orphans", count.orphans),
        ("lost", count.lost),
        ("duplicates", count.duplicates),
    ] {
        say(
            number == 0,
            label,
            &spaced(i64::try_from(number).unwrap_or(i64::MAX)),
        );
    }
    if !count.settled {
        teller.bad("settled", "no: records still move");
    }
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Aligned => "aligned",
        Mode::Unaligned => "unaligned",
        Mode::Synchronous => "synchronous",
    }
}

/// A status word, or why there is none.
fn word(status: &Value) -> String {
    status
        .as_str()
        .map_or_else(|| "UNKNOWN".into(), str::to_owned)
}
