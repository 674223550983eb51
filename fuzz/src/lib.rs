//! Feeding parsers what nobody should send: inputs made from a committed corpus, by chance that a seed repeats.
//!
//! An input that panics any thread, or for which more memory is taken than it may cost, fails the test, and is kept in a
//! file that the failure names. Every input of the corpus is tried first, so that what was found once stays found. What
//! inputs mean is the tests' business; the tests are in `tests/hostile`.

mod memory;
mod mutator;

use std::{
    fs,
    os::unix::fs::FileExt,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use peak_alloc::PeakAlloc;

pub use memory::Memory;
pub use mutator::INPUT_BYTES_MAX;
use mutator::Mutator;

/// How long each target is tried where `FUZZ_SECONDS` does not say: all of them together fit into a test run.
const TIME_DEFAULT: Duration = Duration::from_secs(2);
/// Where `FUZZ_SEED` does not say: the same inputs each time, so that a failure is one of the change at hand.
const SEED_DEFAULT: u64 = 1;
/// Memory that reading any input may take besides what its length explains.
const MEMORY_BYTES_MAX: usize = 1024 * 1024;
/// Memory for each byte of an input: a byte or two may stand for an element of a list, with its strings.
const MEMORY_PER_BYTE_MAX: usize = 128;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
// The peak is one of the whole process, so targets take turns.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Something that reads bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    name: &'static str,
    memory_bytes_max: usize,
    runs_max: u64,
}

impl Target {
    /// The target whose corpus is the directory `corpus/NAME`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            memory_bytes_max: MEMORY_BYTES_MAX,
            runs_max: u64::MAX,
        }
    }

    /// The same where more memory is within what its limits allow.
    #[must_use]
    pub const fn taking(self, memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes_max,
            ..self
        }
    }

    /// The same with at most so many inputs.
    #[must_use]
    pub const fn at_most(self, runs_max: u64) -> Self {
        Self { runs_max, ..self }
    }

    /// Has `judge` look at one input after the other until the time is over.
    ///
    /// # Panics
    /// When `judge` does, when any other thread does, or when too much memory was taken.
    pub fn hold(self, mut judge: impl FnMut(&[u8])) {
        let _turn = ONE_AT_A_TIME.lock();
        count_panics();
        let corpus = corpus(self.name);
        assert!(!corpus.is_empty(), "corpus/{} is empty", self.name);
        let (seed, time) = (number("FUZZ_SEED", SEED_DEFAULT), time());
        // An allocation that is refused ends the process: whatever it was is here.
        let current =
            std::env::temp_dir().join(format!("fuzz-{}-{}", self.name, std::process::id()));
        let mut kept = Kept::at(current);
        let begun = Instant::now();
        let mut mutator = Mutator::new(seed, self.name, &corpus);
        let mut runs = 0;
        for input in &corpus {
            self.run(input, &mut kept, &mut judge);
            runs += 1;
        }
        while begun.elapsed() < time && runs < self.runs_max {
            self.run(&mutator.input(), &mut kept, &mut judge);
            runs += 1;
        }
        kept.remove();
        eprintln!("fuzz {}: {runs} inputs of seed {seed}", self.name);
    }

    fn run(&self, input: &[u8], kept: &mut Kept, judge: &mut impl FnMut(&[u8])) {
        kept.put(input);
        let panics = PANICS.load(Ordering::SeqCst);
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let outcome = catch_unwind(AssertUnwindSafe(|| judge(input)));
        let taken = MEMORY.peak_usage().saturating_sub(before);
        let allowed = self.memory_bytes_max + MEMORY_PER_BYTE_MAX * input.len();
        let kept = kept.path.display();
        let panicked = outcome.is_err() || PANICS.load(Ordering::SeqCst) > panics;
        assert!(
            !panicked,
            "{}: the input in {kept} panics; cure it and put the file into fuzz/corpus/{}",
            self.name, self.name
        );
        assert!(
            taken <= allowed,
            "{}: the input in {kept} takes {taken} bytes of memory, {allowed} are allowed",
            self.name
        );
    }
}

/// The input at hand, in a file that is written over: a new one for each would take longer than most inputs do.
struct Kept {
    path: PathBuf,
    file: fs::File,
}

impl Kept {
    fn at(path: PathBuf) -> Self {
        let file = fs::File::create(&path).expect("a temporary file can be made");
        Self { path, file }
    }

    fn put(&mut self, input: &[u8]) {
        let written = self.file.write_all_at(input, 0);
        let written = written.and_then(|()| self.file.set_len(input.len() as u64));
        written.expect("a temporary file can be written");
    }

    fn remove(self) {
        // One that stays is in nobody's way.
        let _removed = fs::remove_file(self.path);
    }
}

/// Where the corpus of a target is.
#[must_use]
pub fn corpus_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}

/// Every input of a target's corpus, in the order of their names.
///
/// # Panics
/// When it cannot be read.
#[must_use]
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(corpus_of(target)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: &PathBuf| fs::read(path).expect("a corpus is a directory of files");
    paths.iter().map(read).collect()
}

/// A panic in a task or on another thread becomes an error there, and must not pass for one.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

fn time() -> Duration {
    Duration::from_secs(number("FUZZ_SECONDS", TIME_DEFAULT.as_secs()))
}

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .expect("FUZZ_SECONDS and FUZZ_SEED are numbers"),
        Err(_) => default,
    }
}
