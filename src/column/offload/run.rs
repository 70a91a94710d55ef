//! The rows of a column on their way to a GPU and home, lot by lot.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::{Part, RunRows, on_cpu};
use crate::error::{Error, Result};
use crate::gpu::{self, Batch, Cost, GpuError, ItemId, Prefetch, Session, class_of};
use crate::pool::Interrupted;

/// Where a column goes.
#[derive(Clone, Copy)]
pub struct Choice {
    pub ordinal: u32,
    /// The CPU takes over if the GPU fails.
    pub falls_back: bool,
    /// What the GPU could not code or decode, the CPU tries.
    pub retries: bool,
}

/// What ends the work on a GPU before its time.
enum Stop {
    /// The GPU.
    GpuError(GpuError),
    /// A row, or the caller.
    Error(Error),
}

impl From<GpuError> for Stop {
    fn from(failure: GpuError) -> Self {
        match failure {
            GpuError::Host(error) => Self::Error(error),
            other => Self::GpuError(other),
        }
    }
}

/// Runs `each` over so many rows, whose `parts` go to a GPU before, if one is chosen.
pub fn run<'a>(
    choice: Option<Choice>,
    rows: usize,
    parts: &dyn Fn(usize, &mut Vec<Part<'a>>),
    interrupted: Interrupted,
    each: RunRows,
) -> Result<()> {
    let Some(choice) = choice else { return on_cpu(each) };
    let there = There { parts, rows, choice, interrupted, most_rows: usize::MAX };
    match there.run(each) {
        Ok(()) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::GpuError(failure)) if choice.falls_back => {
            gpu::falls_back(&failure.to_string());
            on_cpu(each)
        }
        Err(Stop::GpuError(failure)) => Err(failure.into()),
    }
}

/// A column that goes to a GPU.
struct There<'c, 'a> {
    parts: &'c dyn Fn(usize, &mut Vec<Part<'a>>),
    rows: usize,
    choice: Choice,
    interrupted: Interrupted<'c>,
    /// Rows of a batch at most. Halved where nvCOMP refuses one, down to none, which sends a row
    /// on its own; doubled by each that comes home.
    most_rows: usize,
}

/// Rows that go together.
enum Lot<'a> {
    /// A batch, empty if no row has a part, and the row after its last.
    Batch(Batch<'a>, usize),
    /// One row that no batch can hold.
    Row,
}

impl<'a> There<'_, 'a> {
    fn run(mut self, each: RunRows) -> Result<(), Stop> {
        let mut session = Mutex::new(gpu::open(self.choice.ordinal, self.interrupted)?);
        let ended = self.run_on(&mut session, each);
        if let Err(Stop::Error(_)) = ended {
            // The GPU is not to blame, and serves the next call.
            exclusive(&mut session).abandon();
        }
        ended
    }

    fn run_on(&mut self, shared: &mut Mutex<Session>, each: RunRows) -> Result<(), Stop> {
        let mut done = 0;
        // Rows after the last of each lot under way, and whether a batch is of it.
        let mut under_way: VecDeque<(usize, bool)> = VecDeque::new();
        while done < self.rows {
            if (self.interrupted)() {
                return Err(Stop::Error(Error::Interrupted));
            }
            let sent = under_way.back().map_or(done, |(end, _)| *end);
            let session = exclusive(shared);
            let step = if sent < self.rows && !session.is_full() {
                match self.next_lot(session, sent) {
                    Ok(Lot::Batch(batch, end)) => {
                        under_way.push_back((end, !batch.is_empty()));
                        if batch.is_empty() { Ok(()) } else { session.submit(batch) }
                    }
                    Ok(Lot::Row) if under_way.is_empty() => {
                        let falls_back = self.choice.falls_back;
                        let live = Prefetch::Live { session: shared, falls_back };
                        each(sent + 1, &live).map_err(Stop::Error)?;
                        done = sent + 1;
                        self.most_rows = self.most_rows.saturating_mul(2).max(1);
                        if exclusive(shared).is_given_up() {
                            return on_cpu(each).map_err(Stop::Error);
                        }
                        Ok(())
                    }
                    Ok(Lot::Row) => self.bring_home(session, &mut under_way, &mut done, each)?,
                    Err(failure) => Err(failure),
                }
            } else {
                self.bring_home(session, &mut under_way, &mut done, each)?
            };
            let session = exclusive(shared);
            match step {
                Err(failure) if failure.is_out_of_memory() && session.shrink()? => {
                    under_way.clear();
                }
                Err(failure) if failure.is_refusal() => {
                    // One row of the newest is bad. It and those before it go again.
                    let end = under_way.back().map_or(sent, |(end, _)| *end);
                    self.most_rows = (end - sent) / 2;
                    session.abandon();
                    under_way.clear();
                }
                other => other?,
            }
        }
        Ok(())
    }

    /// As many rows from `start` on as fit one batch.
    fn next_lot(&self, session: &mut Session, start: usize) -> Result<Lot<'a>, GpuError> {
        let limits = session.limits();
        if self.most_rows == 0 {
            return Ok(Lot::Row);
        }
        let (mut batch, mut parts, mut costs) = (Batch::default(), Vec::new(), Vec::new());
        let end = self.rows.min(start.saturating_add(self.most_rows));
        for row in start..end {
            parts.clear();
            costs.clear();
            (self.parts)(row, &mut parts);
            let mut row_cost = Cost::default();
            for part in &parts {
                let (work, longest) = part.work();
                let shape = session.shape(work, class_of(longest))?;
                let mut cost = Cost::default();
                part.each_chunk(&mut |chunk| cost.add(&shape, &chunk));
                row_cost = row_cost.plus(cost);
                costs.push((shape, cost));
            }
            if !batch.fits(row_cost, &limits) {
                let is_alone = batch.is_empty() && row == start;
                return Ok(if is_alone { Lot::Row } else { Lot::Batch(batch, row) });
            }
            for (part, (shape, cost)) in parts.iter().zip(&costs) {
                batch.push(
                    ItemId { row, frame: part.frame() },
                    part.whole(),
                    shape,
                    *cost,
                    |take| part.each_chunk(take),
                );
            }
        }
        Ok(Lot::Batch(batch, end))
    }

    /// Has the workers take the oldest lot home.
    fn bring_home(
        &mut self,
        session: &mut Session,
        under_way: &mut VecDeque<(usize, bool)>,
        done: &mut usize,
        each: RunRows,
    ) -> Result<Result<(), GpuError>, Stop> {
        let Some((end, has_slab)) = under_way.pop_front() else { return Ok(Ok(())) };
        if !has_slab {
            each(end, &Prefetch::None).map_err(Stop::Error)?;
        } else {
            match session.collect() {
                Ok(Some(home)) => {
                    let results = Prefetch::Done { results: &home, retries: self.choice.retries };
                    each(end, &results).map_err(Stop::Error)?;
                    self.most_rows = self.most_rows.saturating_mul(2);
                }
                Ok(None) => return Err(GpuError::Unavailable("a batch went astray".into()).into()),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        *done = end;
        Ok(Ok(()))
    }
}

fn exclusive(session: &mut Mutex<Session>) -> &mut Session {
    session.get_mut().unwrap_or_else(PoisonError::into_inner)
}
