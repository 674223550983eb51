//! The faults there are: what each breaks, how, and for how long.
//!
//! A fault is over when `strike` returns: what was frozen goes on, what was killed runs again. Whether all is well then is for others.

use std::time::Duration;

use clap::ValueEnum;
use integration_tests::{Process, Toxic, Trouble, bank::BANKS, clock::NOTICED_WITHIN};
use rand::{
    Rng,
    rngs::StdRng,
    seq::{IndexedMutRandom, IndexedRandom},
};

use crate::stage::Stage;

/// The longest anything stays frozen or away: less than the session timeout of the banks, whose own work a rebalance may double.
const AWAY_MS_MAX: u64 = 4_000;
const AWAY_MS_MIN: u64 = 50;
/// A sidecar that is out of reach for so long is evicted: `sidecar-lost-timeout`, left at its default.
const EVICTED_AFTER: Duration = Duration::from_secs(10);
/// An admin API that is silent for so long leads no longer: the session timeout of its election.
const DEPOSED_AFTER: Duration = Duration::from_secs(6);
/// The most that anything on a slow way comes late.
const SLOW_MS_MAX: u64 = 500;
/// The most that passes on a throttled way in a second.
const THROTTLED_KIB_MAX: u32 = 256;
/// The most that passes on a connection that is cut short.
const CUT_SHORT_BYTES_MAX: u32 = 100_000;
/// How far a clock jumps at most, to either side.
const CLOCK_SECONDS_MAX: i64 = 3_600;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    SidecarKilled,
    SidecarFrozen,
    SidecarRestarted,
    SidecarEvicted,
    LeaderKilled,
    LeaderFrozen,
    LeaderDeposed,
    LeaderRestarted,
    StandbyKilled,
    BrokerKilled,
    BrokerFrozen,
    BrokerRestarted,
    RedisKilled,
    RedisEmptied,
    RedisFrozen,
    S3Killed,
    S3Frozen,
    S3Refuses,
    S3Denies,
    S3Halves,
    S3DiskFull,
    PostgresFrozen,
    StateRedisFrozen,
    AppKilled,
    AppFrozen,
    AppRestarted,
    InstanceAdded,
    NetworkCut,
    NetworkSlow,
    NetworkThrottled,
    NetworkSilent,
    NetworkCutShort,
    ClockJumped,
}

impl Fault {
    /// Its name, as `--only` takes it.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it does, for people.
    #[must_use]
    pub fn what(self) -> &'static str {
        match self {
            Self::SidecarKilled => "a sidecar is killed and started again",
            Self::SidecarFrozen => "a sidecar stops without ending, and goes on",
            Self::SidecarRestarted => "a sidecar is asked to end and started again",
            Self::SidecarEvicted => {
                "a sidecar stops for so long that it is taken out of the view, and goes on"
            }
            Self::LeaderKilled => "the admin API that leads is killed; the other takes over",
            Self::LeaderFrozen => "the admin API that leads stops without ending, and goes on",
            Self::LeaderDeposed => {
                "the admin API that leads stops until the other leads, and goes on"
            }
            Self::LeaderRestarted => {
                "the admin API that leads is asked to end; the other takes over"
            }
            Self::StandbyKilled => "the admin API that stands by is killed and started again",
            Self::BrokerKilled => "a Kafka broker is killed and started again",
            Self::BrokerFrozen => "a Kafka broker stops without ending, and goes on",
            Self::BrokerRestarted => "a Kafka broker is asked to end and started again",
            Self::RedisKilled => {
                "the Redis of the admin APIs is killed, loses all it has, and is started again"
            }
            Self::RedisEmptied => "the Redis of the admin APIs is emptied",
            Self::RedisFrozen => "the Redis of the admin APIs stops without ending, and goes on",
            Self::S3Killed => "the S3 server is killed and started again",
            Self::S3Frozen => "the S3 server stops without ending, and goes on",
            Self::S3Refuses => "two of three requests to S3 are told to come more slowly",
            Self::S3Denies => "two of three requests to S3 are done, and told that they failed",
            Self::S3Halves => {
                "two of three requests to S3 break off in the middle of what is written or read"
            }
            Self::S3DiskFull => "the disk of the S3 server has no room for a while",
            Self::PostgresFrozen => "bank A's PostgreSQL stops without ending, and goes on",
            Self::StateRedisFrozen => "bank B's Redis stops without ending, and goes on",
            Self::AppKilled => "an instance of a bank is killed and started again",
            Self::AppFrozen => "an instance of a bank stops without ending, and goes on",
            Self::AppRestarted => "an instance of a bank is asked to end and started again",
            Self::InstanceAdded => "one more instance of a bank comes, and goes",
            Self::NetworkCut => "connections on one way are cut, and new ones refused for a while",
            Self::NetworkSlow => "everything on one way comes late for a while",
            Self::NetworkThrottled => "little passes on one way for a while",
            Self::NetworkSilent => "nothing passes on one way for a while, and no connection ends",
            Self::NetworkCutShort => {
                "connections on one way end in the middle of something for a while"
            }
            Self::ClockJumped => {
                "the clock of a sidecar or an admin API jumps by up to an hour, and back"
            }
        }
    }

    /// False where this process may not do that to the stage as it is.
    #[must_use]
    pub fn is_possible_on(self, stage: &mut Stage) -> bool {
        self != Self::S3DiskFull || stage.services.s3().disk().is_some()
    }

    /// True when a plain at-least-once application may lose or double work by it, with Cutline and without.
    #[must_use]
    pub fn disturbs_work(self) -> bool {
        matches!(
            self,
            Self::AppKilled | Self::AppRestarted | Self::InstanceAdded | Self::SidecarEvicted
        )
    }

    /// Lets it loose; everything runs again when this returns. Says what was struck.
    pub async fn strike(self, stage: &mut Stage, random: &mut StdRng) -> String {
        let away = Duration::from_millis(random.random_range(AWAY_MS_MIN..=AWAY_MS_MAX));
        match self {
            Self::SidecarKilled | Self::SidecarRestarted => {
                let at = random.random_range(0..stage.bank.instances.len());
                let sidecar = stage.sidecar(at);
                sidecar.restart(self == Self::SidecarKilled).await;
                sidecar.process().name().to_owned()
            }
            Self::SidecarFrozen | Self::SidecarEvicted => {
                let at = random.random_range(0..stage.bank.instances.len());
                let lost = if self == Self::SidecarEvicted {
                    EVICTED_AFTER
                } else {
                    Duration::ZERO
                };
                let struck = freeze(stage.sidecar(at).process(), lost + away).await;
                stage.stopped.note(at, lost + away);
                struck
            }
            Self::LeaderKilled | Self::LeaderRestarted => {
                let at = stage.leader().await;
                stage
                    .restart_admin(at, self == Self::LeaderKilled, away)
                    .await
            }
            Self::LeaderFrozen | Self::LeaderDeposed => {
                let at = stage.leader().await;
                let lost = if self == Self::LeaderDeposed {
                    DEPOSED_AFTER
                } else {
                    Duration::ZERO
                };
                let struck = freeze(stage.admins[at].process(), lost + away).await;
                format!("admin {at}, {struck}")
            }
            Self::StandbyKilled => {
                let at = 1 - stage.leader().await;
                stage.restart_admin(at, true, away).await
            }
            Self::BrokerKilled | Self::BrokerFrozen | Self::BrokerRestarted => {
                self.strike_broker(stage, random, away).await
            }
            Self::RedisKilled => {
                stage.coordination.kill();
                tokio::time::sleep(away).await;
                stage.coordination.start_again().await;
                "redis".into()
            }
            Self::RedisEmptied => {
                stage.coordination.flush().await;
                "redis".into()
            }
            Self::RedisFrozen => freeze(stage.coordination.process(), away).await,
            Self::S3Killed => {
                stage.services.s3().process().kill();
                tokio::time::sleep(away).await;
                stage.services.s3().start_again().await;
                "s3".into()
            }
            Self::S3Frozen => freeze(stage.services.s3().process(), away).await,
            Self::S3Refuses | Self::S3Denies | Self::S3Halves => {
                self.strike_requests(stage, away).await
            }
            Self::S3DiskFull => {
                let disk = stage.services.s3().disk();
                let disk = disk.expect("it is struck only where there is one");
                disk.fill();
                tokio::time::sleep(away).await;
                disk.free();
                format!("the disk of S3 for {} ms", away.as_millis())
            }
            Self::PostgresFrozen => {
                stage.services.postgres().freeze();
                tokio::time::sleep(away).await;
                stage.services.postgres().thaw();
                format!("postgres for {} ms", away.as_millis())
            }
            Self::StateRedisFrozen => freeze(stage.services.redis().process(), away).await,
            Self::AppKilled | Self::AppFrozen | Self::AppRestarted => {
                self.strike_app(stage, random, away).await
            }
            Self::InstanceAdded => {
                let bank = BANKS.choose(random).expect("there are banks");
                stage.bank.come_and_go(bank, away).await;
                format!("bank {bank} for {} ms", away.as_millis())
            }
            Self::NetworkCut
            | Self::NetworkSlow
            | Self::NetworkThrottled
            | Self::NetworkSilent
            | Self::NetworkCutShort => self.strike_network(stage, random, away).await,
            Self::ClockJumped => {
                let (name, clock) = stage.clocks.choose(random).expect("there are clocks");
                let seconds = random.random_range(-CLOCK_SECONDS_MAX..=CLOCK_SECONDS_MAX);
                clock.jump(seconds);
                let away = away + NOTICED_WITHIN;
                tokio::time::sleep(away).await;
                clock.jump(0);
                format!("{name} by {seconds} s for {} ms", away.as_millis())
            }
        }
    }

    async fn strike_requests(self, stage: &Stage, away: Duration) -> String {
        let trouble = match self {
            Self::S3Refuses => Trouble::Refused,
            Self::S3Denies => Trouble::Denied,
            _ => Trouble::Halved,
        };
        stage.front.trouble(Some(trouble));
        tokio::time::sleep(away).await;
        stage.front.trouble(None);
        format!("requests to S3 for {} ms", away.as_millis())
    }

    async fn strike_network(self, stage: &Stage, random: &mut StdRng, away: Duration) -> String {
        let way = stage.ways.choose(random).expect("there are ways");
        let toxic = match self {
            Self::NetworkSlow => Some(Toxic::Slow(Duration::from_millis(
                random.random_range(20..=SLOW_MS_MAX),
            ))),
            Self::NetworkThrottled => {
                Some(Toxic::Throttled(random.random_range(8..=THROTTLED_KIB_MAX)))
            }
            Self::NetworkSilent => Some(Toxic::Silent),
            Self::NetworkCutShort => Some(Toxic::CutShort(
                random.random_range(1..=CUT_SHORT_BYTES_MAX),
            )),
            _ => None,
        };
        match toxic {
            Some(toxic) => stage.network.poison(way, toxic).await,
            None => stage.network.cut(way).await,
        }
        tokio::time::sleep(away).await;
        stage.network.heal().await;
        format!(
            "{way} for {} ms{}",
            away.as_millis(),
            toxic.map_or_else(String::new, |toxic| format!(", {toxic:?}"))
        )
    }

    async fn strike_broker(self, stage: &mut Stage, random: &mut StdRng, away: Duration) -> String {
        let at = *[0, 1, 2].choose(random).expect("three brokers");
        let broker = stage.kafka.broker(at);
        if self == Self::BrokerFrozen {
            return freeze(broker, away).await;
        }
        if self == Self::BrokerKilled {
            broker.kill();
        } else {
            broker.terminate();
        }
        tokio::time::sleep(away).await;
        broker.start_again();
        let struck = broker.name().to_owned();
        stage.kafka.wait_ready().await;
        format!("{struck} for {} ms", away.as_millis())
    }

    async fn strike_app(self, stage: &mut Stage, random: &mut StdRng, away: Duration) -> String {
        let instance = stage
            .bank
            .instances
            .choose_mut(random)
            .expect("banks have instances");
        if self == Self::AppFrozen {
            return freeze(&instance.app, away).await;
        }
        if self == Self::AppKilled {
            instance.app.kill();
        } else {
            instance.app.terminate();
        }
        tokio::time::sleep(away).await;
        instance.app.start_again();
        format!("{} for {} ms", instance.app.name(), away.as_millis())
    }
}

async fn freeze(process: &Process, time: Duration) -> String {
    process.freeze();
    tokio::time::sleep(time).await;
    process.thaw();
    format!("{} for {} ms", process.name(), time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_tells_of_every_fault_what_is_seen_and_what_to_do() {
        let told = include_str!("../../../../docs/operations.md");
        let untold = Fault::value_variants()
            .iter()
            .map(|fault| format!("`{}`", fault.name()));
        let untold: Vec<String> = untold.filter(|name| !told.contains(name)).collect();
        assert!(untold.is_empty(), "docs/operations.md lacks {untold:?}");
    }
}
