//! Windows: pieces of packs held in memory, so that chunks that lie near each other are fetched together.
//!
//! A few at a time, each on one pack: chunks, their bases and deltas lie in different packs, and each run is read in
//! its own order. Nothing here is verified; chunks are, when they are expanded.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    Objects, StoreError, layout,
    part::{ChunkPlace, PackName},
};

/// Stored bytes fetched at a time.
const WINDOW_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Windows held at a time.
const WINDOWS_MAX: usize = 4;
/// Bytes nobody asked for that are fetched rather than asking twice.
const GAP_BYTES_MAX: u64 = 128 * 1024;
/// How many of the chunks that are needed next are looked at to see how much to fetch.
const AHEAD_CHUNKS_MAX: usize = 512;

/// Pieces of the packs of one part.
#[derive(Debug)]
pub(crate) struct Windows {
    objects: Arc<dyn Objects>,
    /// What was used last stands last.
    windows: VecDeque<Window>,
}

#[derive(Debug)]
struct Window {
    pack: usize,
    offset: u64,
    bytes: Bytes,
}

impl Windows {
    pub(crate) fn new(objects: Arc<dyn Objects>) -> Self {
        Self {
            objects,
            windows: VecDeque::new(),
        }
    }

    /// The stored form of the chunk at `place`, if it is here.
    pub(crate) fn find(&mut self, place: &ChunkPlace) -> Option<Bytes> {
        let slices = self.windows.iter().map(|window| window.slice(place));
        let (at, stored) = slices
            .enumerate()
            .find_map(|(at, slice)| slice.map(|slice| (at, slice)))?;
        let used = self.windows.remove(at).expect("it was just found there");
        self.windows.push_back(used);
        Some(stored)
    }

    /// Forgets what holds nothing of what is `needed` next.
    pub(crate) fn keep<'a>(&mut self, needed: impl Iterator<Item = &'a ChunkPlace> + Clone) {
        let needed = needed.take(AHEAD_CHUNKS_MAX);
        let holds = |window: &Window| {
            let mut needed = needed.clone();
            needed.any(|place| window.slice(place).is_some())
        };
        self.windows.retain(holds);
    }

    /// Up to where to fetch from `place` on: what of `ahead`, needed next, lies behind it, and where a pack is being read
    /// from front to back, more and more of it. `pack_end` is how far chunks in that pack reach.
    pub(crate) fn plan<'a>(
        &self,
        place: &ChunkPlace,
        ahead: impl Iterator<Item = &'a ChunkPlace>,
        pack_end: u64,
    ) -> u64 {
        let run = (place.offset() + self.run(place)).min(pack_end);
        end(place, ahead).max(run)
    }

    /// Fetches the stored form of the chunk at `place` and what lies behind it up to `end`.
    pub(crate) async fn fetch(
        &mut self,
        pack: &PackName,
        place: &ChunkPlace,
        end: u64,
    ) -> Result<Bytes, StoreError> {
        // What makes room goes first, so that there is never one more.
        if self.windows.len() >= WINDOWS_MAX {
            self.windows.pop_front();
        }
        let key = layout::pack(&pack.0);
        let bytes = end - place.offset();
        let bytes = self.objects.get_range(&key, place.offset(), bytes).await?;
        let window = Window {
            pack: place.pack(),
            offset: place.offset(),
            bytes,
        };
        let stored = window
            .slice(place)
            .expect("the window begins with this chunk");
        self.windows.push_back(window);
        Ok(stored)
    }

    /// How much to fetch because what lies in front of `place` was fetched just before.
    fn run(&self, place: &ChunkPlace) -> u64 {
        let behind = self.windows.iter().filter(|window| {
            let end = window.offset + window.bytes.len() as u64;
            window.pack == place.pack() && (end..=end + GAP_BYTES_MAX).contains(&place.offset())
        });
        let longest = behind.map(|window| window.bytes.len() as u64).max();
        longest.map_or(0, |bytes| WINDOW_BYTES_MAX.min(2 * bytes))
    }
}

/// Where a window that starts with `place` ends.
fn end<'a>(place: &ChunkPlace, ahead: impl Iterator<Item = &'a ChunkPlace>) -> u64 {
    let mut end = place.offset() + place.stored();
    let behind =
        |next: &&ChunkPlace| next.pack() == place.pack() && next.offset() >= place.offset();
    for next in ahead.take(AHEAD_CHUNKS_MAX).filter(behind) {
        let next_end = next.offset() + next.stored();
        let far = next.offset() > end + GAP_BYTES_MAX;
        if far || next_end - place.offset() > WINDOW_BYTES_MAX {
            break;
        }
        end = end.max(next_end);
    }
    end
}

impl Window {
    fn slice(&self, place: &ChunkPlace) -> Option<Bytes> {
        let start = place
            .offset()
            .checked_sub(self.offset)
            .filter(|_| place.pack() == self.pack)?;
        let end = start + place.stored();
        (end <= self.bytes.len() as u64).then(|| {
            let index = |at: u64| usize::try_from(at).expect("it lies inside a buffer");
            self.bytes.slice(index(start)..index(end))
        })
    }
}
