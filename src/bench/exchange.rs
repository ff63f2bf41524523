//! The exchange of a step at several sizes: the collectives alone, without the sums between them.

use std::time::Instant;

use serde::Serialize;

use super::fit::Line;
use super::statistics::median;
use super::together::{barrier, slowest};
use crate::comm::Communicator;

/// All-to-all and all-gather of a buffer, as in a step.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Seconds by bytes of the buffer; 2·(n − 1)/n of them leave each of n ranks.
    #[serde(flatten)]
    pub line: Line,
    /// Bytes of the gradient.
    pub bytes: usize,
    /// What the gradient takes, measured.
    pub gradient_seconds: f64,
    /// Bytes and seconds.
    pub points: Vec<(f64, f64)>,
}

/// From 64 numbers on, each size eight times the one before, up to the gradient.
pub fn measure(comm: &dyn Communicator, gradient: usize) -> Measured {
    let smaller = (0..).map(|power| 64 << (3 * power)).take_while(|&length| length < gradient);
    let point = |length: usize| ((4 * length) as f64, seconds(comm, length));
    let points: Vec<_> = smaller.chain([gradient]).map(point).collect();
    let gradient_seconds = points[points.len() - 1].1;
    Measured { line: Line::through(&points), bytes: 4 * gradient, gradient_seconds, points }
}

/// The median over some exchanges of the slowest rank's time.
fn seconds(comm: &dyn Communicator, length: usize) -> f64 {
    const WARM_UP: usize = 3;
    const TIMES: usize = 31;
    let (slice, ranks) = (length.div_ceil(comm.size()), comm.size());
    let (mut send, mut parts) = (vec![1.0; slice * ranks], vec![0.0; slice * ranks]);
    let mut exchange = || {
        barrier(comm);
        let begin = Instant::now();
        comm.all_to_all(&send, &mut parts);
        comm.all_gather(&parts[..slice], &mut send);
        begin.elapsed().as_secs_f64()
    };
    let own: Vec<f64> = (0..WARM_UP + TIMES).map(|_| exchange()).collect();
    median(slowest(comm, &own[WARM_UP..]))
}
