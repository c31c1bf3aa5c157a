//! The last bytes of an attempt, kept in memory until it ends.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use reveille_account::Stream;

use super::OutputShare;
use super::caps::take;

/// The shortest tail.
const LEAST_TAIL: u64 = 16 << 10;

/// Pieces of a tail are joined up to this size.
const PIECE: usize = 16 << 10;

/// The last bytes of an attempt whose output exceeded the head.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) pieces: VecDeque<(Stream, u64, Vec<u8>)>,
    bytes: u64,
    limit: u64,
    /// The part of `limit` taken from the run's memory for tails.
    taken: u64,
}

// === impl Tail ===

impl Tail {
    pub(super) fn new(wanted: u64, share: &OutputShare) -> Self {
        let taken = take(&share.tails, wanted);
        Self {
            pieces: VecDeque::new(),
            bytes: 0,
            limit: taken.max(LEAST_TAIL.min(wanted)),
            taken,
        }
    }

    /// Adds bytes and returns how many older ones they displaced.
    pub(super) fn push(&mut self, stream: Stream, mut offset: u64, mut bytes: &[u8]) -> u64 {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut dropped = 0;
        if bytes.len() > limit {
            let (left_out, kept) = bytes.split_at(bytes.len() - limit);
            dropped += left_out.len() as u64;
            offset += left_out.len() as u64;
            bytes = kept;
        }
        for piece in bytes.chunks(PIECE) {
            match self.pieces.back_mut() {
                Some((last, start, held))
                    if *last == stream
                        && *start + held.len() as u64 == offset
                        && held.len() + piece.len() <= PIECE =>
                {
                    held.extend_from_slice(piece);
                }
                _ => self.pieces.push_back((stream, offset, piece.to_vec())),
            }
            offset += piece.len() as u64;
            self.bytes += piece.len() as u64;
        }
        while self.bytes > self.limit {
            let Some((stream, start, mut held)) = self.pieces.pop_front() else {
                break;
            };
            let excess = usize::try_from(self.bytes - self.limit)
                .unwrap_or(usize::MAX)
                .min(held.len());
            self.bytes -= excess as u64;
            dropped += excess as u64;
            if excess < held.len() {
                held.drain(..excess);
                self.pieces.push_front((stream, start + excess as u64, held));
            }
        }
        dropped
    }

    pub(super) fn give_back(self, share: &OutputShare) {
        share.tails.fetch_add(self.taken, Ordering::Relaxed);
    }
}
