//! The collectives by MPI. All calls stay on the thread that initialized it.
//!
//! Every collective is begun without blocking and then polled, so that a rank that waits too long can find out who
//! is missing (`roll_call`) and end the run with a line that names it. MPI itself would wait for ever.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use bachdist_core::failure::Code;
use bachdist_core::print::tell;
use mpi::Rank;
use mpi::environment::Universe;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};

use super::Comm;
use crate::phase::Phase;

/// A rank of `MPI_COMM_WORLD`. Dropping it finalizes MPI, which waits for the other ranks; dropping it while
/// panicking aborts them instead, because they would wait for this one for ever.
pub struct Mpi {
    world: SimpleCommunicator,
    /// Of every rank.
    hosts: Vec<String>,
    local_rank: usize,
    local_size: usize,
    patience: Cell<Duration>,
    // Dropped last: it finalizes MPI.
    _universe: Universe,
}

/// MPI's counts are C ints.
const LARGEST_MESSAGE: usize = 1 << 30;

/// "Are you waiting too?"
const CALL: i32 = 1;
/// "Yes."
const ANSWER: i32 = 2;
/// What both carry: their tags say all.
const NOTHING: u8 = 0;

/// Waiting this long, a rank answers calls and leaves the processor to others.
const LONG: Duration = Duration::from_secs(1);
/// So long a rank that calls waits for answers: a rank that waits itself looks every millisecond.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

impl Mpi {
    /// Initializes MPI; `None` if it was before.
    pub fn initialize() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Funneled)?;
        let world = universe.world();
        let here = world.split_shared(world.rank());
        let (local_rank, local_size) = (here.rank() as usize, here.size() as usize);
        let hosts = gather_hosts(&world);
        let patience = Cell::new(Duration::MAX);
        Some(Mpi { world, hosts, local_rank, local_size, patience, _universe: universe })
    }

    /// Waits for a collective, and ends the run if a rank does not come to it.
    fn wait<'a, D: ?Sized, S: Scope<'a>>(&self, mut request: Request<'a, D, S>) {
        let mut waited = Waited::begin();
        while let Err(pending) = request.test() {
            request = pending;
            waited.look();
            if waited.so_far < LONG {
                // Ranks may share cores.
                thread::yield_now();
                continue;
            }
            self.idle(&mut waited);
            if waited.so_far > self.patience.get() {
                self.end_if_somebody_is_missing(waited.so_far);
                waited = Waited::begin();
            }
        }
    }

    /// Lets a millisecond pass, and answers those that call.
    fn idle(&self, waited: &mut Waited) {
        thread::sleep(Duration::from_millis(1));
        waited.look();
        while let Some(caller) = self.receive(CALL) {
            self.world.process_at_rank(caller).send_with_tag(&NOTHING, ANSWER);
        }
    }

    /// Who sent a call or an answer, if one has come.
    fn receive(&self, tag: i32) -> Option<Rank> {
        let (message, status) = self.world.any_process().immediate_matched_probe_with_tag(tag)?;
        message.matched_receive::<u8>();
        Some(status.source_rank())
    }

    /// Asks all other ranks whether they wait too, and gives back those that do not answer. A rank that computes
    /// does not answer either: patience must be longer than it may take.
    fn roll_call(&self) -> Vec<usize> {
        let own = self.world.rank();
        let others = (0..self.world.size()).filter(|&rank| rank != own);
        let mut missing: Vec<Rank> = others.collect();
        for &rank in &missing {
            // Small enough to be sent whether or not it is ever received.
            self.world.process_at_rank(rank).send_with_tag(&NOTHING, CALL);
        }
        let mut waited = Waited::begin();
        while !missing.is_empty() && waited.so_far < ANSWERS_WITHIN {
            // The others may be calling at the same time.
            self.idle(&mut waited);
            while let Some(present) = self.receive(ANSWER) {
                missing.retain(|&rank| rank != present);
            }
        }
        missing.into_iter().map(|rank| rank as usize).collect()
    }

    /// Ends all ranks if one of them does not come. The lowest of those that wait says so, once.
    fn end_if_somebody_is_missing(&self, waited: Duration) {
        let missing = self.roll_call();
        if missing.is_empty() {
            return;
        }
        if (0..self.rank()).any(|lower| !missing.contains(&lower)) {
            // It waits too, and is about to find out.
            let mut waited = Waited::begin();
            while waited.so_far < 2 * ANSWERS_WITHIN {
                self.idle(&mut waited);
            }
        }
        let names: Vec<String> =
            missing.iter().map(|&rank| format!("rank {rank} on {}", self.hosts[rank])).collect();
        let (have, them) = if missing.len() == 1 { ("has", "it") } else { ("have", "them") };
        tell(format_args!(
            "bachdist: {}: {} {have} not come for {:.0} s, and rank {} on {} waits for {them}; all ranks end now, and the \
             same command goes on from the last checkpoint",
            Phase::now(),
            names.join(" and "),
            waited.as_secs_f64(),
            self.rank(),
            self.host(),
        ));
        self.abort(Code::Peer as i32);
    }
}

/// How long a rank has waited. Time in which it was itself stopped, as a scheduler may stop a whole job, does not
/// count.
struct Waited {
    so_far: Duration,
    looked: Instant,
}

impl Waited {
    fn begin() -> Self {
        Waited { so_far: Duration::ZERO, looked: Instant::now() }
    }

    fn look(&mut self) {
        let now = Instant::now();
        self.so_far += (now - self.looked).min(Duration::from_millis(100));
        self.looked = now;
    }
}

/// The host of every rank. MPI has names of at most 255 bytes.
fn gather_hosts(world: &SimpleCommunicator) -> Vec<String> {
    const LONGEST: usize = 256;
    let name = mpi::environment::processor_name().unwrap_or_else(|_| "an unnamed host".into());
    let mut own = name.into_bytes();
    own.resize(LONGEST, 0);
    let mut all = vec![0u8; LONGEST * world.size() as usize];
    world.all_gather_into(&own[..], &mut all[..]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    all.chunks_exact(LONGEST).map(text).collect()
}

impl Drop for Mpi {
    fn drop(&mut self) {
        if thread::panicking() {
            self.world.abort(Code::Internal as i32);
        }
    }
}

impl Comm for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn local_rank(&self) -> usize {
        self.local_rank
    }

    fn local_size(&self) -> usize {
        self.local_size
    }

    fn host(&self) -> String {
        self.hosts[self.rank()].clone()
    }

    fn set_patience(&self, patience: Duration) {
        self.patience.set(patience);
    }

    fn all_to_all(&self, send: &[f32], receive: &mut [f32]) {
        scope(|scope| self.wait(self.world.immediate_all_to_all_into(scope, send, receive)));
    }

    fn all_gather(&self, send: &[f32], receive: &mut [f32]) {
        scope(|scope| self.wait(self.world.immediate_all_gather_into(scope, send, receive)));
    }

    fn all_gather_words(&self, send: &[u64], receive: &mut [u64]) {
        scope(|scope| self.wait(self.world.immediate_all_gather_into(scope, send, receive)));
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        let root = self.world.process_at_rank(0);
        let mut length = [bytes.len() as u64];
        scope(|scope| self.wait(root.immediate_broadcast_into(scope, &mut length[..])));
        bytes.resize(length[0] as usize, 0);
        for part in bytes.chunks_mut(LARGEST_MESSAGE) {
            scope(|scope| self.wait(root.immediate_broadcast_into(scope, part)));
        }
    }

    fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }
}
