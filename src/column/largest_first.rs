//! The order in which workers take the spans of a column.
//!
//! A value is one task, however large. Taken last, it would keep one thread at work while all
//! others idle, so spans are cut some way ahead of the workers and the largest are handed out
//! first; spans of about the same size stay in the column's order.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::scheduler::{SPAN_COST, Span};

/// The first spans are handed out as they are cut: cutting ahead would delay the threads that
/// have yet to start.
const FIRST_SPANS: usize = 64;

/// Spans that are cut for each one that is handed out afterwards.
const AHEAD: usize = 8;

/// Spans below this size need no order.
const LARGE_BYTES: usize = 4 * SPAN_COST;

/// The spans of `items`, with what else each comes with, the largest first.
pub struct LargestFirst<I, T> {
    items: I,
    cut: usize,
    waiting: BinaryHeap<Waiting<T>>,
}

impl<I: Iterator<Item = (Span, T)>, T> LargestFirst<I, T> {
    pub fn new(items: I) -> Self {
        Self { items, cut: 0, waiting: BinaryHeap::new() }
    }
}

impl<I: Iterator<Item = (Span, T)>, T> Iterator for LargestFirst<I, T> {
    type Item = (Span, T);

    fn next(&mut self) -> Option<Self::Item> {
        let count = if self.cut < FIRST_SPANS { 1 } else { AHEAD };
        for item in self.items.by_ref().take(count) {
            if self.waiting.try_reserve(1).is_err() {
                // Short of memory, spans are handed out in the column's order.
                return Some(item);
            }
            let size = (item.0.bytes / LARGE_BYTES).checked_ilog2();
            self.waiting.push(Waiting { rank: (size, Reverse(self.cut)), item });
            self.cut += 1;
        }
        self.waiting.pop().map(|next| next.item)
    }
}

/// A span that was cut and not handed out.
struct Waiting<T> {
    /// The power of two below its size, and its number.
    rank: (Option<u32>, Reverse<usize>),
    item: (Span, T),
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl<T> Eq for Waiting<T> {}
