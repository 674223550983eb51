//! Replacing single places of a frame without copying the rest.

use std::{collections::VecDeque, io::IoSlice, ops::Range};

use bytes::{Buf, Bytes};
use cutline_wire::frame::PREFIX_BYTES;

/// Places of one frame and what goes there instead.
#[derive(Debug, Default)]
pub struct Edits(Vec<(Range<usize>, Bytes)>);

impl Edits {
    /// Puts `with` in place of `place`. Places must not overlap.
    pub fn replace(&mut self, place: Range<usize>, with: impl Into<Bytes>) {
        self.0.push((place, with.into()));
    }

    /// True when the frame stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The frame with every replacement made and its size put right.
    #[must_use]
    pub fn apply(mut self, frame: &Bytes) -> Segments {
        if self.0.is_empty() {
            return Segments::from(frame.clone());
        }
        self.0.sort_by_key(|(place, _)| (place.start, place.end));
        let mut parts = VecDeque::with_capacity(2 * self.0.len() + 2);
        let mut at = PREFIX_BYTES;
        for (place, with) in self.0 {
            assert!(place.start >= at, "edits of a frame do not overlap");
            parts.push_back(frame.slice(at..place.start));
            parts.push_back(with);
            at = place.end;
        }
        parts.push_back(frame.slice(at..));
        parts.retain(|part| !part.is_empty());
        let size: usize = parts.iter().map(Bytes::len).sum();
        let size =
            u32::try_from(size).expect("an edited frame is hardly larger than the frame was");
        parts.push_front(Bytes::copy_from_slice(&size.to_be_bytes()));
        Segments(parts)
    }
}

/// A frame in pieces, to be written in one go.
#[derive(Clone, Debug, Default)]
pub struct Segments(VecDeque<Bytes>);

impl From<Bytes> for Segments {
    fn from(whole: Bytes) -> Self {
        Self(VecDeque::from([whole]))
    }
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, part) in into.iter_mut().zip(&self.0) {
            *slot = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let part = self
                .0
                .front_mut()
                .expect("nobody advances beyond what remains");
            let step = count.min(part.len());
            part.advance(step);
            count -= step;
            if part.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_places_change_the_size_and_nothing_else() {
        let frame = Bytes::from_static(&[0, 0, 0, 5, 1, 2, 3, 4, 5]);
        let mut edits = Edits::default();
        edits.replace(7..8, vec![7, 7, 7]);
        edits.replace(5..6, Bytes::new());
        let mut edited = edits.apply(&frame);
        let edited = edited.copy_to_bytes(edited.remaining());
        assert_eq!(&edited[..], [0, 0, 0, 6, 1, 3, 7, 7, 7, 5]);
    }
}
