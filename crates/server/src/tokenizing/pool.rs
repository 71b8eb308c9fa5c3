//! The threads that tokenize, one a core, shared by all models of the process.
//!
//! Work comes in *pieces*. To wake a thread takes longer than a piece of plain text, so no more of them are woken than
//! pay: for `w` of work and [`WAKE_UP`] a thread, what is done first is done by `√(w ÷ WAKE_UP)` threads, since
//! `w/k + k · WAKE_UP` is least there. Each turn takes one piece of the task that is next and
//! puts that task behind the others of its lane, so that a short request never
//! waits for the whole of a long one. Interactive work goes before bulk work, but
//! for one turn in [`BULK_TURN`], so that bulk work is never starved.
//!
//! Invariants: there is exactly one turn for each piece; a piece that panics ends
//! its own turn only; what waits is bounded by what was admitted, since only
//! admitted requests have work here.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use sortie_work::Lane;

/// Turns in a row that interactive work may have while bulk work waits: bulk work gets 3% of the threads at the least.
const BULK_TURN: u32 = 32;

/// What waking one more thread adds to the time until all are at work. Measured on a virtual machine of 16 cores: all
/// the pieces of a request, 3 ms of work, took 1.6, 1.0, 0.6 and 0.65 ms with 2, 4, 8 and 16 threads.
const WAKE_UP: Duration = Duration::from_micros(30);

/// A turn this long is worth a thread to each: what was foreseen for the task was too little.
const LONG_TURN: Duration = Duration::from_micros(300);

/// Weight of a new turn in the mean time of one.
const TURN_WEIGHT: f64 = 0.05;

/// Something done in pieces. Pieces may run at once and in any order.
pub(crate) trait ParallelTask: Send + Sync {
    /// Does one piece. False if there was nothing to do any more.
    fn run(&self, piece: usize) -> bool;
}

/// The threads.
pub(crate) struct TokenizerPool {
    threads: rayon::ThreadPool,
    state: Arc<PoolState>,
}

/// What the threads share.
#[derive(Default)]
struct PoolState {
    lanes: Mutex<TaskQueues>,
    running: AtomicUsize,
    /// Mean nanoseconds of a turn, as the bits of a float; 0 before any.
    turn_ns: AtomicU64,
}

/// Tasks that wait, by lane.
#[derive(Default)]
struct TaskQueues {
    interactive: VecDeque<QueuedTask>,
    bulk: VecDeque<QueuedTask>,
    /// Interactive turns in a row while bulk work waited.
    passed: u32,
}

struct QueuedTask {
    task: Arc<dyn ParallelTask>,
    next: usize,
    pieces: usize,
}

impl TokenizerPool {
    /// Starts `threads` threads, or one a core where that is 0.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("sortie-tokenize-{n}"))
            .build()?;
        Ok(Self { threads, state: Arc::default() })
    }

    /// How many there are.
    pub(crate) fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Pieces that wait and threads that are at work.
    pub(crate) fn occupancy(&self) -> (usize, usize) {
        (self.state.lanes.lock().pieces(), self.state.running.load(Ordering::Relaxed))
    }

    /// Has the `pieces` pieces of `task` done.
    pub(crate) fn queue(&self, lane: Lane, task: &Arc<impl ParallelTask + 'static>, pieces: usize) {
        if pieces == 0 {
            return;
        }
        let task = Arc::clone(task) as Arc<dyn ParallelTask>;
        self.state.lanes.lock().of(lane).push_back(QueuedTask { task, next: 0, pieces });
        let workers = workers(pieces, self.state.turn_ns(), self.threads());
        for worker in 0..workers {
            // The first take one more where it does not come out even.
            let turns = pieces / workers + usize::from(worker < pieces % workers);
            let state = Arc::clone(&self.state);
            self.threads.spawn_fifo(move || work_through(state, turns));
        }
    }
}

/// Takes `turns` turns; where they take long, which nobody foresaw, another thread takes half of what is left.
fn work_through(state: Arc<PoolState>, mut turns: usize) {
    while turns > 0 {
        let begun = Instant::now();
        state.turn();
        turns -= 1;
        if turns > 1 && begun.elapsed() >= LONG_TURN {
            let given = turns / 2;
            turns -= given;
            let state = Arc::clone(&state);
            rayon::spawn_fifo(move || work_through(state, given));
        }
    }
}

/// Threads that are worth waking for `pieces` turns.
fn workers(pieces: usize, turn_ns: f64, threads: usize) -> usize {
    if turn_ns == 0.0 {
        return pieces.min(threads).max(1);
    }
    let best = (pieces as f64 * turn_ns / WAKE_UP.as_nanos() as f64).sqrt();
    (best.round() as usize).clamp(1, pieces.min(threads).max(1))
}

impl PoolState {
    /// Takes a piece and does it. A panic ends this turn only.
    fn turn(&self) {
        // In a statement of its own: the lock is not held while the piece runs.
        let turn = self.lanes.lock().take();
        let Some((task, piece)) = turn else { return };
        let _running = WorkerGuard::begin(&self.running);
        let begun = Instant::now();
        // Whoever waits for the task may be told when it is dropped: that may panic too.
        match catch_unwind(AssertUnwindSafe(move || task.run(piece))) {
            Ok(true) => self.took(begun.elapsed()),
            Ok(false) => {}
            Err(_) => tracing::error!("a tokenizing thread panicked outside of any item"),
        }
    }

    fn turn_ns(&self) -> f64 {
        f64::from_bits(self.turn_ns.load(Ordering::Relaxed))
    }

    /// Two threads that end a turn at once may lose one of the two times: a mean bears that.
    fn took(&self, time: Duration) {
        let (mean, time) = (self.turn_ns(), time.as_nanos() as f64);
        let mean = if mean == 0.0 { time } else { mean + TURN_WEIGHT * (time - mean) };
        self.turn_ns.store(mean.to_bits(), Ordering::Relaxed);
    }
}

impl fmt::Debug for TokenizerPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, running) = self.occupancy();
        f.debug_struct("TokenizerPool")
            .field("threads", &self.threads())
            .field("waiting", &waiting)
            .field("running", &running)
            .finish_non_exhaustive()
    }
}

impl TaskQueues {
    fn of(&mut self, lane: Lane) -> &mut VecDeque<QueuedTask> {
        match lane {
            Lane::Interactive => &mut self.interactive,
            Lane::Bulk => &mut self.bulk,
        }
    }

    fn pieces(&self) -> usize {
        self.interactive.iter().chain(&self.bulk).map(|w| w.pieces - w.next).sum()
    }

    /// The next piece.
    fn take(&mut self) -> Option<(Arc<dyn ParallelTask>, usize)> {
        let bulk = self.interactive.is_empty() || (!self.bulk.is_empty() && self.passed >= BULK_TURN);
        self.passed = if bulk || self.bulk.is_empty() { 0 } else { self.passed + 1 };
        let lane = if bulk { &mut self.bulk } else { &mut self.interactive };
        let mut first = lane.pop_front()?;
        let piece = first.next;
        first.next += 1;
        let task = Arc::clone(&first.task);
        if first.next < first.pieces {
            lane.push_back(first);
        }
        Some((task, piece))
    }
}

/// Counts a thread at work, whatever ends its turn.
struct WorkerGuard<'a>(&'a AtomicUsize);

impl<'a> WorkerGuard<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Reports its pieces; panics at those of its name.
    struct RecordingTask {
        name: char,
        to: Mutex<mpsc::Sender<(char, usize)>>,
        panics_at: Option<usize>,
    }

    impl ParallelTask for RecordingTask {
        fn run(&self, piece: usize) -> bool {
            self.to.lock().send((self.name, piece)).unwrap();
            assert!(self.panics_at != Some(piece), "scripted");
            true
        }
    }

    fn recording(name: char, to: &mpsc::Sender<(char, usize)>) -> Arc<RecordingTask> {
        Arc::new(RecordingTask { name, to: Mutex::new(to.clone()), panics_at: None })
    }

    fn order(lanes: &mut TaskQueues, recorded: &mpsc::Receiver<(char, usize)>) -> String {
        while let Some((task, piece)) = lanes.take() {
            assert!(task.run(piece));
        }
        recorded.try_iter().map(|(name, piece)| format!("{name}{piece} ")).collect()
    }

    fn waiting(task: Arc<RecordingTask>, pieces: usize) -> QueuedTask {
        QueuedTask { task, next: 0, pieces }
    }

    #[test]
    fn works_of_a_lane_take_turns_and_interactive_goes_first() {
        let (to, from) = mpsc::channel();
        let mut lanes = TaskQueues::default();
        lanes.bulk.push_back(waiting(recording('z', &to), 2));
        lanes.interactive.push_back(waiting(recording('a', &to), 3));
        lanes.interactive.push_back(waiting(recording('b', &to), 1));
        assert_eq!(lanes.pieces(), 6);
        assert_eq!(order(&mut lanes, &from), "a0 b0 a1 a2 z0 z1 ");
        assert_eq!(lanes.pieces(), 0);
    }

    #[test]
    fn bulk_work_is_not_starved() {
        let (to, from) = mpsc::channel();
        let mut lanes = TaskQueues::default();
        lanes.bulk.push_back(waiting(recording('z', &to), 2));
        lanes.interactive.push_back(waiting(recording('a', &to), 3 * BULK_TURN as usize));
        let order = order(&mut lanes, &from);
        let at = |name: &str| order.split(' ').position(|turn| turn == name).unwrap();
        assert_eq!((at("z0"), at("z1")), (BULK_TURN as usize, 2 * BULK_TURN as usize + 1));
    }

    #[test]
    fn no_more_threads_are_woken_than_pay() {
        // 3 ms of plain text, of which the first nothing is known.
        assert_eq!(workers(24, 125e3, 16), 10);
        assert_eq!(workers(24, 0.0, 16), 16);
        // A slow tokenizer, a quick one, a short request, few cores.
        assert_eq!(workers(24, 3e6, 16), 16);
        assert_eq!(workers(24, 500.0, 16), 1);
        assert_eq!(workers(1, 3e6, 16), 1);
        assert_eq!(workers(24, 125e3, 2), 2);
    }

    #[test]
    fn every_piece_is_done_once_whatever_panics() {
        let pool = TokenizerPool::start(3).unwrap();
        let (to, from) = mpsc::channel();
        let panics = Arc::new(RecordingTask { name: 'p', to: Mutex::new(to.clone()), panics_at: Some(7) });
        pool.queue(Lane::Interactive, &panics, 20);
        pool.queue(Lane::Bulk, &recording('b', &to), 20);
        let mut seen: Vec<_> = from.iter().take(40).collect();
        seen.sort_unstable();
        let all: Vec<_> = ['b', 'p'].into_iter().flat_map(|name| (0..20).map(move |piece| (name, piece))).collect();
        assert_eq!(seen, all);
        drop(pool);
        drop((to, panics));
        assert_eq!(from.iter().count(), 0, "a piece was done twice");
    }
}
