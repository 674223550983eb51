//! What all records of the control topic come to, in order.
//!
//! A fold and nothing else: the same records give the same state in every sidecar and in the admin API.

use std::collections::{BTreeMap, BTreeSet};

use cutline_model::{GroupId, Offset, ServiceName, SidecarId, Timeline, TopicName};

use crate::record::{Fence, Hold, Masked, Record, Registered};

/// A registered sidecar and where its registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarEntry {
    /// The registration.
    pub registered: Registered,
    /// Its offset in the control topic.
    pub offset: Offset,
}

/// The state after every record up to `position`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlState {
    /// The offset of the next record.
    pub position: Offset,
    /// Sidecars that run.
    pub sidecars: BTreeMap<SidecarId, SidecarEntry>,
    /// Every service ever seen, and whether it has state.
    pub services: BTreeMap<ServiceName, bool>,
    /// Topics ever produced to.
    pub outputs: BTreeMap<ServiceName, BTreeSet<TopicName>>,
    /// Producer ids ever given out, with the transactional id where there is one.
    pub producers: BTreeMap<ServiceName, BTreeMap<i64, Option<String>>>,
    /// Groups by service.
    pub groups: BTreeMap<ServiceName, BTreeSet<GroupId>>,
    /// The fence in force.
    pub fence: Option<(Fence, Offset)>,
    /// The holds at a bound in force.
    pub holds: Vec<Hold>,
    /// The timeline.
    pub timeline: Timeline,
    /// The masks in force on it.
    pub masks: Vec<Masked>,
}

impl ControlState {
    /// Takes the record at `offset`.
    pub fn apply(&mut self, offset: Offset, record: Record) {
        self.position = self.position.max(offset.next());
        match record {
            Record::Sidecar(registered) => self.apply_sidecar(offset, registered),
            Record::Output { service, topic } => {
                self.outputs.entry(service).or_default().insert(topic);
            }
            Record::Producer {
                service,
                producer_id,
                transactional_id,
            } => {
                self.producers
                    .entry(service)
                    .or_default()
                    .insert(producer_id, transactional_id);
            }
            Record::Group { service, group } => {
                self.groups.entry(service).or_default().insert(group);
            }
            Record::Forgotten { service } => self.forget(&service),
            Record::Fence { fence } => self.fence = fence.map(|fence| (fence, offset)),
            Record::Holds { holds, .. } => self.holds = holds,
            Record::Timeline { timeline, masks } => {
                if timeline >= self.timeline {
                    self.timeline = timeline;
                    self.masks = masks;
                }
            }
            Record::Probe { .. } => {}
        }
    }

    /// Counts past a record of another version.
    pub fn skip(&mut self, offset: Offset) {
        self.position = self.position.max(offset.next());
    }

    /// True when `service` is fenced.
    #[must_use]
    pub fn is_fenced(&self, service: &ServiceName) -> bool {
        self.fence
            .as_ref()
            .is_some_and(|(fence, _)| fence.services.contains(service))
    }

    /// Services at zero instances.
    pub fn idle_services(&self) -> impl Iterator<Item = (&ServiceName, bool)> {
        let running: BTreeSet<&ServiceName> = self.sidecars.keys().map(|id| &id.service).collect();
        self.services
            .iter()
            .filter(move |(service, _)| !running.contains(service))
            .map(|(s, state)| (s, *state))
    }

    /// What it wrote stays what it wrote: topics, producer ids and masks.
    fn forget(&mut self, service: &ServiceName) {
        let runs = self.sidecars.keys().any(|id| id.service == *service);
        if !runs {
            self.services.remove(service);
            self.groups.remove(service);
        }
    }

    fn apply_sidecar(&mut self, offset: Offset, registered: Registered) {
        let id = registered.sidecar.clone();
        self.services
            .insert(id.service.clone(), registered.has_state);
        if registered.gone {
            // A run that ended must not take its successor with it.
            let ended = self
                .sidecars
                .get(&id)
                .is_some_and(|e| e.registered.incarnation == registered.incarnation);
            if ended {
                self.sidecars.remove(&id);
            }
        } else {
            self.sidecars
                .insert(id, SidecarEntry { registered, offset });
        }
    }
}

#[cfg(test)]
mod tests {
    use cutline_model::Scope;

    use super::*;

    fn registered(incarnation: &str, gone: bool) -> Record {
        Record::Sidecar(Registered {
            sidecar: SidecarId::new("a", "0"),
            incarnation: incarnation.into(),
            scope: Scope::Instance,
            has_state: false,
            gone,
        })
    }

    #[test]
    fn the_end_of_a_run_does_not_end_its_successor() {
        let mut state = ControlState::default();
        state.apply(Offset(0), registered("first", false));
        state.apply(Offset(1), registered("second", false));
        state.apply(Offset(2), registered("first", true));
        assert_eq!(state.sidecars.len(), 1);
        state.apply(Offset(3), registered("second", true));
        assert_eq!(state.sidecars.len(), 0);
        assert_eq!(
            state.idle_services().count(),
            1,
            "a service stays a participant at zero instances"
        );
    }

    #[test]
    fn a_service_is_forgotten_when_it_is_gone_and_known_again_when_it_comes_back() {
        let forgotten = || Record::Forgotten {
            service: "a".into(),
        };
        let mut state = ControlState::default();
        state.apply(Offset(0), registered("first", false));
        let topic = Record::Output {
            service: "a".into(),
            topic: "t".into(),
        };
        state.apply(Offset(1), topic);
        state.apply(Offset(2), forgotten());
        assert_eq!(state.services.len(), 1, "it runs");
        state.apply(Offset(3), registered("first", true));
        state.apply(Offset(4), forgotten());
        assert_eq!((state.services.len(), state.outputs.len()), (0, 1));
        state.apply(Offset(5), registered("second", false));
        assert_eq!(state.services.len(), 1);
    }

    #[test]
    fn an_older_timeline_replaces_nothing() {
        let mut state = ControlState::default();
        state.apply(
            Offset(0),
            Record::Timeline {
                timeline: Timeline(2),
                masks: Vec::new(),
            },
        );
        state.apply(
            Offset(1),
            Record::Timeline {
                timeline: Timeline(1),
                masks: Vec::new(),
            },
        );
        assert_eq!((state.timeline, state.position), (Timeline(2), Offset(2)));
    }

    #[test]
    fn every_record_survives_its_json_form() {
        let records = [
            registered("x", false),
            Record::Output {
                service: "a".into(),
                topic: "t".into(),
            },
            Record::Producer {
                service: "a".into(),
                producer_id: 4,
                transactional_id: Some("tx".into()),
            },
            Record::Fence {
                fence: Some(Fence {
                    restore: "r".into(),
                    services: vec!["a".into()],
                }),
            },
            Record::Timeline {
                timeline: Timeline(3),
                masks: Vec::new(),
            },
        ];
        for record in records {
            assert_eq!(
                Record::from_json(&record.to_json()).expect("its own JSON"),
                record
            );
        }
    }
}
