//! How long to wait for a GPU: `S4_GPU_TIMEOUT` seconds, 30 by default, beyond what the work should
//! take.

use std::env;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const MAX_SECONDS: f64 = 1e6;

/// Bytes per second that any GPU codes, many times fewer than the slowest codec of an H100.
const SLOWEST_RATE: f64 = 100e6;

/// The time when waiting for a GPU ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    /// From the start of waiting.
    pub limit: Duration,
    pub at: Instant,
}

impl Deadline {
    /// For work of the caller's, which may take any time.
    pub fn none() -> Self {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        Self { limit: YEAR, at: Instant::now() + YEAR }
    }

    /// For work in flight on `bytes` bytes of originals.
    pub fn for_work(bytes: usize) -> Self {
        // A setting that is not valid was refused before the work began.
        let timeout = timeout().unwrap_or(DEFAULT_TIMEOUT);
        let limit = timeout + Duration::from_secs_f64(bytes as f64 / SLOWEST_RATE);
        Self { limit, at: Instant::now() + limit }
    }
}

/// The time that waiting may take beyond what the work should.
pub fn timeout() -> Result<Duration> {
    match env::var_os("S4_GPU_TIMEOUT").map(|text| text.to_string_lossy().into_owned()) {
        Some(text) if !text.trim().is_empty() => match text.trim().parse::<f64>() {
            Ok(seconds) if seconds > 0.0 && seconds <= MAX_SECONDS => {
                Ok(Duration::from_secs_f64(seconds))
            }
            _ => Err(Error::Argument(format!(
                "S4_GPU_TIMEOUT must be a number of seconds above 0 and up to {MAX_SECONDS}, got \
                 {text:?}"
            ))),
        },
        _ => Ok(DEFAULT_TIMEOUT),
    }
}
