//! Rows that fail without ending the call: what `on_error="null"` and `verify` make of them.

use std::fmt;
use std::ops::Range;

use crate::error::{Error, Mistake, OutOfMemory, Result, RowError, push};

/// What a bad row does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// It ends the call.
    Raise,
    /// It becomes null.
    Null,
    /// Its reason takes the place of its value.
    Report,
}

/// A row that failed.
pub(super) struct BadRow {
    pub source: Error,
    /// What is known of the row.
    pub context: String,
    pub mistake: Option<Mistake>,
}

impl From<Error> for BadRow {
    fn from(source: Error) -> Self {
        Self { source, context: String::new(), mistake: None }
    }
}

impl BadRow {
    /// Why it is bad.
    pub fn reason(&self) -> String {
        format!("{}: {}", self.source.class().name(), self.source)
    }

    /// Its error, at a position of a batch of `rows`.
    pub fn at(self, row: usize, rows: usize) -> RowError {
        let Self { source, context, mistake } = self;
        RowError { row, rows, name: None, context, mistake, source }
    }
}

/// The bad rows of a column, or of one worker's part of it.
#[derive(Debug, Default)]
pub struct BadRows {
    rows: Vec<usize>,
    /// The error of the lowest row.
    first: Option<Box<RowError>>,
    /// Rows that decoded.
    good: usize,
    /// Those of them that passthrough's frames hold, as encoding stores values that do not shrink:
    /// they decode whatever the dictionary is.
    passthrough: usize,
    pattern: Pattern,
}

/// Whether all bad rows show the same mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Pattern {
    #[default]
    None,
    Same(Mistake),
    Mixed,
}

impl Pattern {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, pattern) | (pattern, Self::None) => pattern,
            (Self::Same(one), Self::Same(another)) if one == another => self,
            _ => Self::Mixed,
        }
    }
}

impl BadRows {
    /// Counts a row that decoded.
    #[inline]
    pub(super) fn count_good(&mut self) {
        self.good += 1;
    }

    /// Says of a row that decoded that it is a frame of passthrough.
    pub(super) fn count_passthrough(&mut self) {
        self.passthrough += 1;
    }

    /// Adds a bad row.
    pub(super) fn add(&mut self, error: RowError) -> Result<(), OutOfMemory> {
        push(&mut self.rows, error.row)?;
        self.pattern = self.pattern.and(error.mistake.map_or(Pattern::Mixed, Pattern::Same));
        if self.first.as_ref().is_none_or(|first| error.row < first.row) {
            self.first = Some(Box::new(error));
        }
        Ok(())
    }

    /// Adds those of another part of the column, `start` rows after the beginning of this.
    pub fn extend(&mut self, mut other: Self, start: usize) -> Result<(), OutOfMemory> {
        for row in other.rows {
            push(&mut self.rows, row + start)?;
        }
        if let Some(first) = &mut other.first {
            first.row += start;
        }
        self.first = match (self.first.take(), other.first) {
            (Some(one), Some(another)) if another.row < one.row => Some(another),
            (one, another) => one.or(another),
        };
        self.good += other.good;
        self.passthrough += other.passthrough;
        self.pattern = self.pattern.and(other.pattern);
        Ok(())
    }

    /// Puts rows into ascending order.
    pub(super) fn sort(&mut self) {
        self.rows.sort_unstable();
    }

    /// Their positions in the column, in ascending order.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// Those within a range of positions.
    pub fn within(&self, rows: &Range<usize>) -> impl Iterator<Item = usize> {
        let start = self.rows.partition_point(|&row| row < rows.start);
        let end = self.rows.partition_point(|&row| row < rows.end);
        self.rows[start..end].iter().copied()
    }

    /// Whether no row is bad.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The number of bad rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Judges the bad rows of a whole call with [`OnError::Null`]: an error where they show a
    /// mistake of the caller's, else what to warn of, if any.
    pub fn judge(self) -> Result<Option<BecameNull>> {
        let Some(first) = self.first else { return Ok(None) };
        let (good, bad) = (self.good, self.rows.len());
        if let Pattern::Same(mistake) = self.pattern
            && bad > 1
        {
            // Rows that decode in spite of the mistake.
            let others = match mistake {
                Mistake::MissingDictionary | Mistake::OtherDictionary => self.passthrough,
                _ => 0,
            };
            if good == others {
                return Err(Error::Mistake { rows: bad, others, mistake, first });
            }
        }
        Ok(Some(BecameNull { bad, rows: good + bad, first }))
    }
}

/// What to warn of: damaged rows that became null.
pub struct BecameNull {
    bad: usize,
    /// Rows that were not null before.
    rows: usize,
    /// The error of the lowest row.
    pub first: Box<RowError>,
}

impl fmt::Display for BecameNull {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { bad, rows, first } = self;
        write!(f, "{bad} of {rows} values became null; first {}", first.summary())
    }
}
