//! The collectives by MPI. All calls stay on the thread that initialized it.
//!
//! Every collective is started without blocking and then polled, so that a rank that waits too long can find out who
//! is missing ([`MpiCommunicator::roll_call`]) and end the run with a message that names it. MPI itself has no timeout.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use bachdist_portable::failure::ExitCode;
use bachdist_portable::print::eprint_line;
use mpi::Rank;
use mpi::environment::Universe;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives, Destination, Root, Source};

use super::Communicator;
use crate::phase::Phase;

/// A rank of `MPI_COMM_WORLD`. Dropping it finalizes MPI, which waits for the other ranks; dropping it while
/// panicking aborts them instead, because they would wait for this one forever.
pub struct MpiCommunicator {
    world: SimpleCommunicator,
    /// The host of every rank.
    hosts: Vec<String>,
    local_rank: usize,
    local_size: usize,
    timeout: Cell<Duration>,
    // Dropped last: it finalizes MPI.
    _universe: Universe,
}

/// MPI's counts are C ints. Half of what they hold is a round number.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// Tag of a roll call: "are you waiting too?"
const CALL: i32 = 1;
/// Tag of its answer: "yes".
const ANSWER: i32 = 2;
/// The content of both; their tags say all.
const NOTHING: u8 = 0;

/// A rank that has waited this long sleeps between polls, and answers roll calls. Ordinary collectives are over by then
/// and lose no time to sleeping.
const BUSY_WAIT: Duration = Duration::from_secs(1);
/// How long a roll call waits for answers. A rank that waits itself looks for calls every millisecond, so that only one
/// whose host is badly overloaded misses this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

impl MpiCommunicator {
    /// Initializes MPI; `None` if it was initialized before.
    pub fn initialize() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Funneled)?;
        let world = universe.world();
        let here = world.split_shared(world.rank());
        let (local_rank, local_size) = (here.rank() as usize, here.size() as usize);
        let hosts = gather_hosts(&world);
        let timeout = Cell::new(Duration::MAX);
        Some(MpiCommunicator { world, hosts, local_rank, local_size, timeout, _universe: universe })
    }

    /// Waits for a collective, and ends the run if a rank does not reach it in time.
    fn wait<'a, D: ?Sized, S: Scope<'a>>(&self, mut request: Request<'a, D, S>) {
        let mut waited = Waited::begin();
        while let Err(pending) = request.test() {
            request = pending;
            waited.look();
            if waited.so_far < BUSY_WAIT {
                // Ranks may share cores.
                thread::yield_now();
                continue;
            }
            self.idle(&mut waited);
            if waited.so_far > self.timeout.get() {
                self.abort_if_a_rank_is_missing(waited.so_far);
                waited = Waited::begin();
            }
        }
    }

    /// Sleeps for a millisecond, and answers roll calls.
    fn idle(&self, waited: &mut Waited) {
        thread::sleep(Duration::from_millis(1));
        waited.look();
        while let Some(caller) = self.receive(CALL) {
            self.world.process_at_rank(caller).send_with_tag(&NOTHING, ANSWER);
        }
    }

    /// The sender of a pending call or answer.
    fn receive(&self, tag: i32) -> Option<Rank> {
        let (message, status) = self.world.any_process().immediate_matched_probe_with_tag(tag)?;
        message.matched_receive::<u8>();
        Some(status.source_rank())
    }

    /// Asks all other ranks whether they wait too, and returns those that do not answer. A rank that computes does not
    /// answer either, so the collective timeout must be longer than a step may take.
    fn roll_call(&self) -> Vec<usize> {
        let own = self.world.rank();
        let others = (0..self.world.size()).filter(|&rank| rank != own);
        let mut missing: Vec<Rank> = others.collect();
        for &rank in &missing {
            // Small enough to be sent eagerly, whether or not it is ever received.
            self.world.process_at_rank(rank).send_with_tag(&NOTHING, CALL);
        }
        let mut waited = Waited::begin();
        while !missing.is_empty() && waited.so_far < ANSWER_TIMEOUT {
            // The others may be calling at the same time.
            self.idle(&mut waited);
            while let Some(present) = self.receive(ANSWER) {
                missing.retain(|&rank| rank != present);
            }
        }
        missing.into_iter().map(|rank| rank as usize).collect()
    }

    /// Aborts all ranks if one of them is missing. The lowest rank that waits reports it.
    fn abort_if_a_rank_is_missing(&self, waited: Duration) {
        let missing = self.roll_call();
        if missing.is_empty() {
            return;
        }
        if (0..self.rank()).any(|lower| !missing.contains(&lower)) {
            // That rank waits too, and is about to report.
            let mut waited = Waited::begin();
            while waited.so_far < 2 * ANSWER_TIMEOUT {
                self.idle(&mut waited);
            }
        }
        let names: Vec<String> =
            missing.iter().map(|&rank| format!("rank {rank} on {}", self.hosts[rank])).collect();
        let have = if missing.len() == 1 { "has" } else { "have" };
        eprint_line(format_args!(
            "bachdist: {}: {} {have} not reached this collective for {:.0} s (rank {} on {} is waiting); aborting all ranks; \
             rerun the same command to resume from the last checkpoint",
            Phase::now(),
            names.join(" and "),
            waited.as_secs_f64(),
            self.rank(),
            self.host(),
        ));
        self.abort(ExitCode::Peer as i32);
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
    const MAX_NAME_BYTES: usize = 256;
    let name = mpi::environment::processor_name().unwrap_or_else(|_| "an unnamed host".into());
    let mut own = name.into_bytes();
    own.resize(MAX_NAME_BYTES, 0);
    let mut all = vec![0u8; MAX_NAME_BYTES * world.size() as usize];
    world.all_gather_into(&own[..], &mut all[..]);
    let names = all.chunks_exact(MAX_NAME_BYTES).map(String::from_utf8_lossy);
    names.map(|name| name.trim_end_matches('\0').to_owned()).collect()
}

impl Drop for MpiCommunicator {
    fn drop(&mut self) {
        if thread::panicking() {
            self.world.abort(ExitCode::Internal as i32);
        }
    }
}

impl Communicator for MpiCommunicator {
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

    fn hosts(&self) -> Vec<String> {
        self.hosts.clone()
    }

    fn set_collective_timeout(&self, timeout: Duration) {
        self.timeout.set(timeout);
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
        for part in bytes.chunks_mut(MAX_MESSAGE_BYTES) {
            scope(|scope| self.wait(root.immediate_broadcast_into(scope, part)));
        }
    }

    fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }
}
