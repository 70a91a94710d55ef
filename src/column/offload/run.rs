//! Sends the rows of a column to a GPU and hands the results to the workers.

use std::ops::Range;
use std::sync::Mutex;

use super::plan::Item;
use super::{RunRows, on_cpu};
use crate::error::Result;
use crate::gpu::{
    self, Batch, BatchResults, BatchSource, Cost, GpuError, ItemId, Placement, Prefetch, Progress,
    Session, size_class,
};
use crate::pool::InterruptCheck;
use crate::process::exclusive;

/// Runs `run_rows` over `count` rows, whose `items` go to a GPU first if one is chosen.
pub fn run<'a>(
    placement: Option<Placement>,
    count: usize,
    items: &dyn Fn(usize, &mut Vec<Item<'a>>),
    interrupted: InterruptCheck,
    run_rows: RunRows,
) -> Result<()> {
    let Some(placement) = placement else { return on_cpu(run_rows) };
    let mut rows = RowSource { items, count, interrupted, retries: placement.retries, run_rows };
    match run_on_gpu(placement, &mut rows) {
        Ok(()) => Ok(()),
        Err(GpuError::Host(error)) => Err(error),
        Err(error) if placement.falls_back => {
            gpu::warn_fallback(&error.to_string());
            on_cpu(run_rows)
        }
        Err(error) => Err(error.into()),
    }
}

fn run_on_gpu(placement: Placement, rows: &mut RowSource) -> Result<(), GpuError> {
    let Placement { ordinal, falls_back, .. } = placement;
    let mut session = Mutex::new(gpu::open(ordinal, rows.interrupted)?);
    let mut progress = Progress::default();
    while let Some(row) = exclusive(&mut session).run(rows, &mut progress)? {
        // A single row stays on this thread, which has the session: the pool gives a thread of
        // its own only to a second item.
        (rows.run_rows)(row + 1, &Prefetch::Live { session: &session, falls_back })?;
        if exclusive(&mut session).has_fallen_back() {
            return Ok(on_cpu(rows.run_rows)?);
        }
        progress.skip_one();
    }
    Ok(())
}

/// The rows of a column as the items of a session.
struct RowSource<'r, 'a> {
    items: &'r dyn Fn(usize, &mut Vec<Item<'a>>),
    count: usize,
    interrupted: InterruptCheck<'r>,
    retries: bool,
    run_rows: RunRows<'r>,
}

impl<'a> BatchSource<'a> for RowSource<'_, 'a> {
    type Error = GpuError;

    /// Each row is its own error.
    const SPLITS_REFUSED: bool = true;

    fn count(&self) -> usize {
        self.count
    }

    fn is_interrupted(&self) -> bool {
        (self.interrupted)()
    }

    fn fill(
        &self,
        session: &mut Session,
        rows: Range<usize>,
    ) -> Result<(Batch<'a>, usize), GpuError> {
        let limits = session.limits();
        let (mut batch, mut items, mut costs) = (Batch::default(), Vec::new(), Vec::new());
        for row in rows.clone() {
            items.clear();
            costs.clear();
            (self.items)(row, &mut items);
            let mut row_cost = Cost::default();
            for item in &items {
                let shape = session.shape(item.work, size_class(item.longest()))?;
                let mut cost = Cost::default();
                item.chunks().for_each(|chunk| cost.add(&shape, &chunk));
                row_cost = row_cost.plus(cost);
                costs.push((shape, cost));
            }
            if !batch.fits(row_cost, &limits) {
                return Ok((batch, row));
            }
            for (item, (shape, cost)) in items.iter().zip(&costs) {
                let id = ItemId { row, frame: item.frame };
                batch.push_item(id, item.bytes, shape, *cost, item.chunks());
            }
        }
        Ok((batch, rows.end))
    }

    fn take(&mut self, rows: Range<usize>, results: Option<&BatchResults>) -> Result<(), GpuError> {
        let prefetch = match results {
            Some(results) => Prefetch::Done { results, retries: self.retries },
            None => Prefetch::None,
        };
        Ok((self.run_rows)(rows.end, &prefetch)?)
    }
}
