// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask bench`: the engine and its peers in one run, as ratios.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use buffersync_engine_bench::ratios::Results;
use buffersync_engine_bench::robust::RobustMutexes;
use buffersync_engine_bench::table::Table;
use buffersync_engine_bench::Random;
use criterion::{BenchmarkId, Criterion, SamplingMode};
use happylock::mutex::ParkingMutex;
use happylock::{LockCollection, ThreadKey};
use parking_lot::lock_api::RawMutex as _;
use parking_lot::RawMutex;

/// The best of the crates that lock several mutexes at once: it sorts them once and locks in that order.
type Happy = LockCollection<Vec<ParkingMutex<()>>>;

const SIZES: [usize; 3] = [1, 4, 16];
const POPULATIONS: [usize; 3] = [10, 1_000, 100_000];
/// The shape of the kernel's ww_mutex stress: batches of so many locks out of so many.
const BATCH: usize = 800;
const LOCKS: usize = 100_000;
const THREADS: [usize; 3] = [1, 2, 4];

fn main() {
    let folder = std::env::var_os("CRITERION_HOME").map_or_else(home, PathBuf::from);
    let mut criterion = Criterion::default()
        .output_directory(&folder)
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    uncontended(&mut criterion);
    hand_over(&mut criterion);
    registered(&mut criterion);
    stress(&mut criterion);
    criterion.final_summary();
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    report(&Results(folder));
}

fn home() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.join("../../../target/criterion")
}

fn uncontended(criterion: &mut Criterion) {
    for size in SIZES {
        let which: Vec<usize> = (0..size).collect();
        let mut group = criterion.benchmark_group(format!("uncontended-{size}"));
        let table = Table::new(size);
        let id = table.group(&which);
        group.bench_function("engine", |b| {
            b.iter(|| {
                let token = table.lock_free(black_box(id));
                table.unlock(id, token);
            });
        });
        let robust = RobustMutexes::new(size);
        group.bench_function("pthread-robust", |b| {
            b.iter(|| {
                robust.lock(black_box(&which));
                robust.unlock(&which);
            });
        });
        let mutexes: Vec<RawMutex> = (0..size).map(|_| RawMutex::INIT).collect();
        group.bench_function("parking_lot", |b| {
            b.iter(|| {
                mutexes.iter().for_each(|mutex| black_box(mutex).lock());
                // SAFETY: this thread has locked each of them.
                mutexes.iter().for_each(|mutex| unsafe { mutex.unlock() });
            });
        });
        let collection = Happy::new((0..size).map(|_| ParkingMutex::new(())).collect());
        group.bench_function("happylock", |b| {
            let mut key = ThreadKey::get();
            b.iter(|| {
                if let Some(taken) = key.take() {
                    let guard = black_box(&collection).lock(taken);
                    key = Some(Happy::unlock(guard));
                }
            });
            assert!(key.is_some());
        });
        group.finish();
    }
}

/// Two groups of four buffers take turns. Each step is a request that waits, an unlock, and the grant that
/// follows. No thread is woken.
fn hand_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hand-over");
    let table = Table::new(4);
    let ids = [table.group(&[0, 1, 2, 3]), table.group(&[3, 2, 1, 0])];
    let mut held = (0, table.lock_free(ids[0]));
    group.bench_function("engine", |b| {
        b.iter(|| {
            let next = 1 - held.0;
            let token = table.lock_queued(ids[next]);
            table.unlock(ids[held.0], held.1);
            held = (next, token);
        });
    });
    group.finish();
}

fn registered(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registered");
    for count in POPULATIONS {
        let table = Table::new(count);
        let sets = disjoint(count);
        let ids: Vec<_> = sets.iter().map(|set| table.group(set)).collect();
        group.bench_function(BenchmarkId::new("engine-one-group", count), |b| {
            b.iter(|| {
                let token = table.lock_free(black_box(ids[0]));
                table.unlock(ids[0], token);
            });
        });
        let mut nth = 0;
        group.bench_function(BenchmarkId::new("engine-all-groups", count), |b| {
            b.iter(|| {
                nth = (nth + 1) % ids.len();
                let token = table.lock_free(ids[nth]);
                table.unlock(ids[nth], token);
            });
        });
        let robust = RobustMutexes::new(count);
        let mut nth = 0;
        group.bench_function(BenchmarkId::new("pthread-all-groups", count), |b| {
            b.iter(|| {
                nth = (nth + 1) % sets.len();
                robust.lock(&sets[nth]);
                robust.unlock(&sets[nth]);
            });
        });
    }
    group.finish();
}

/// All buffers in random sets of four.
fn disjoint(count: usize) -> Vec<Vec<usize>> {
    let mut random = Random(7);
    let mut all: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        all.swap(at, random.below(at + 1));
    }
    let sets = all.chunks_exact(4).map(|set| {
        let mut set = set.to_vec();
        set.sort_unstable();
        set
    });
    sets.collect()
}

fn stress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stress");
    group.sampling_mode(SamplingMode::Flat).sample_size(10);
    let (batches, waits) = (AtomicU64::new(0), AtomicU64::new(0));
    for threads in THREADS {
        let table = Table::new(LOCKS);
        let mut random = Random(11);
        let sets: Vec<Vec<Vec<usize>>> =
            (0..threads).map(|_| (0..16).map(|_| random.choose(BATCH, LOCKS)).collect()).collect();
        let ids: Vec<Vec<_>> =
            sets.iter().map(|own| own.iter().map(|set| table.group(set)).collect()).collect();
        batches.store(0, Ordering::Relaxed);
        waits.store(0, Ordering::Relaxed);
        group.bench_function(BenchmarkId::new("engine", threads), |b| {
            b.iter_custom(|rounds| {
                in_threads(threads, |thread| {
                    for round in 0..rounds as usize {
                        let id = ids[thread][round % 16];
                        let (token, waited) = table.lock(id);
                        table.unlock(id, token);
                        batches.fetch_add(1, Ordering::Relaxed);
                        waits.fetch_add(waited.into(), Ordering::Relaxed);
                    }
                })
            });
        });
        let (batches, waits) = (batches.load(Ordering::Relaxed), waits.load(Ordering::Relaxed));
        println!("stress/engine/{threads}: {waits} of {batches} batches waited, none rolled back");
        let robust = RobustMutexes::new(LOCKS);
        group.bench_function(BenchmarkId::new("pthread-robust", threads), |b| {
            b.iter_custom(|rounds| {
                in_threads(threads, |thread| {
                    for round in 0..rounds as usize {
                        robust.lock(&sets[thread][round % 16]);
                        robust.unlock(&sets[thread][round % 16]);
                    }
                })
            });
        });
        let mutexes: Vec<RawMutex> = (0..LOCKS).map(|_| RawMutex::INIT).collect();
        group.bench_function(BenchmarkId::new("parking_lot", threads), |b| {
            b.iter_custom(|rounds| {
                in_threads(threads, |thread| {
                    for round in 0..rounds as usize {
                        let set = &sets[thread][round % 16];
                        set.iter().for_each(|at| mutexes[*at].lock());
                        // SAFETY: this thread has locked each of them.
                        set.iter().for_each(|at| unsafe { mutexes[*at].unlock() });
                    }
                })
            });
        });
    }
    group.finish();
}

/// How long all threads take that begin together.
fn in_threads(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 1..threads {
            let work = &work;
            scope.spawn(move || work(thread));
        }
        work(0);
    });
    begin.elapsed()
}

fn report(results: &Results) {
    let peers = ["engine", "pthread-robust", "parking_lot", "happylock"];
    for size in SIZES {
        let title = format!("lock and unlock a group of {size}, nobody else there");
        results.print(&title, &format!("uncontended-{size}"), &peers, ("pair", 1.0));
    }
    results.print("hand-over of 4 buffers", "hand-over", &["engine"], ("pair", 1.0));
    let ids: Vec<String> = ["engine-one-group", "engine-all-groups", "pthread-all-groups"]
        .iter()
        .flat_map(|name| POPULATIONS.map(|count| format!("{name}/{count}")))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    results.print("a group of 4, by buffers registered", "registered", &ids, ("pair", 1.0));
    for threads in THREADS {
        let ids = ["engine", "pthread-robust", "parking_lot"].map(|id| format!("{id}/{threads}"));
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let title = format!("batches of {BATCH} of {LOCKS}, {threads} threads");
        results.print(&title, "stress", &ids, ("lock, thread", BATCH as f64));
    }
    println!("\ntargets");
    let robust = ("uncontended-4", "pthread-robust");
    let few = ("registered", "engine-one-group/10");
    let many = ("registered", "engine-one-group/100000");
    let met = [
        results.target(
            "4 buffers against 4 robust mutexes",
            ("uncontended-4", "engine"),
            robust,
            2.0,
        ),
        results.target("100 000 registered buffers against 10", many, few, 1.25),
    ];
    if met.contains(&false) {
        std::process::exit(1);
    }
}
