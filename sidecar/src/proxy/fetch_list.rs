//! What a fetch session asks for, beside what the broker's session lists: the two differ while something is held.
//!
//! A list only keeps and compares; what may be fetched is asked of the core, what goes upstream is made elsewhere.

use std::collections::BTreeMap;

use cutline_model::{Offset, TopicPartition};
use cutline_protocol::ConnId;
use cutline_wire::fetch::{AskedPartition, TopicKey};

use super::{
    decide::Decide,
    fetch_session::{Held, Marks},
};

/// A partition of a request or a response.
pub type Key = (TopicKey, i32);

/// One partition that the application wants.
#[derive(Debug)]
pub struct Part {
    /// As it was asked for last.
    pub want: AskedPartition,
    /// Its name, where it is known.
    pub partition: Option<TopicPartition>,
    /// What was last heard of its log.
    pub marks: Marks,
    /// In the broker's list.
    pub listed: bool,
    /// Wanted otherwise than the broker has it.
    pub dirty: bool,
    /// Not to be fetched now.
    pub held: bool,
}

/// A session's partitions, as the application and as the broker has them.
#[derive(Debug)]
pub struct FetchList {
    /// 0 until the broker has given one.
    pub id: i32,
    /// The session epoch that the application's next request has.
    pub app_epoch: i32,
    /// The session epoch that the broker expects next.
    pub broker_epoch: i32,
    /// What the application wants.
    pub parts: BTreeMap<Key, Part>,
    /// To be taken out of the broker's list.
    pub owed: Vec<Key>,
    /// The broker's list is not the application's.
    pub diverged: bool,
}

impl Part {
    /// True when the broker is to be told of it.
    #[must_use]
    pub fn is_news(&self) -> bool {
        !self.held && (self.dirty || !self.listed)
    }
}

impl FetchList {
    /// Takes partitions out; what the broker still lists is owed to it.
    pub fn forget(&mut self, forgotten: &[Key]) -> Vec<TopicPartition> {
        let mut gone = Vec::new();
        for key in forgotten {
            let Some(part) = self.parts.remove(key) else {
                continue;
            };
            if part.listed {
                self.owed.push(key.clone());
            }
            gone.extend(part.partition);
        }
        gone
    }

    /// Puts partitions in, or takes note of what changed.
    pub fn update(&mut self, news: Vec<Part>) {
        for mut part in news {
            let key = (part.want.topic.clone(), part.want.index);
            if let Some(old) = self.parts.get(&key) {
                part.listed = old.listed;
                part.marks = old.marks;
            }
            // The broker takes out after putting in: what is wanted again must not be owed.
            let owed = self.owed.len();
            self.owed.retain(|owed| *owed != key);
            part.listed |= self.owed.len() < owed;
            self.parts.insert(key, part);
        }
    }

    /// Which partitions are held. Unless `all` may be, only the changed ones are shown to the core.
    pub fn sort_out(&mut self, conn: ConnId, decide: &Decide, all: bool) -> Vec<Held> {
        let looked: Vec<&mut Part> = self
            .parts
            .values_mut()
            .filter(|part| all || part.dirty || !part.listed)
            .collect();
        let free = free_of(conn, looked.iter().map(|part| &**part), decide);
        let mut held = Vec::new();
        for (part, free) in looked.into_iter().zip(free) {
            part.held = !free;
            if part.held {
                held.push(Held {
                    key: (part.want.topic.clone(), part.want.index),
                    marks: part.marks,
                });
            }
        }
        held
    }

    /// What was to be sent has been sent.
    pub fn settle(&mut self) {
        for part in self.parts.values_mut().filter(|part| !part.held) {
            part.listed = true;
            part.dirty = false;
        }
        self.owed.clear();
        self.diverged = self.parts.values().any(|part| part.held);
    }
}

/// For each of `parts`: may it be fetched now?
pub fn free_of<'a>(
    conn: ConnId,
    parts: impl Iterator<Item = &'a Part> + Clone,
    decide: &Decide,
) -> Vec<bool> {
    let named = parts
        .clone()
        .filter_map(|part| Some((part.partition.as_ref()?, Offset(part.want.offset))));
    let mut answers = decide.may_fetch(conn, named).into_iter();
    // Of a partition without a name nothing is known here; the broker will say so.
    parts
        .map(|part| part.partition.is_none() || answers.next().unwrap_or(true))
        .collect()
}
