// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Breadth-first search of a world's states, layer by layer, on all cores. It knows nothing of locks.

use std::collections::HashSet;
use std::fmt::Debug;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

pub trait World: Clone + Send + Sync {
    type Action: Clone + Debug + Send + Sync;

    /// The actions that are possible in this state.
    fn actions(&self) -> Vec<Self::Action>;

    /// The state after an action. Panics if it is wrong.
    fn after(&self, action: &Self::Action) -> Self;

    /// Two states with the same name are the same state.
    fn name(&self) -> u128;

    /// Panics if this state is wrong.
    fn check(&self);
}

/// How far a search goes.
#[derive(Clone, Copy)]
pub enum Bound {
    All,
    /// Until there are so many, or a few more.
    States(usize),
}

/// Whether the environment asks for the thorough mode.
pub fn thorough() -> bool {
    std::env::var_os("BUFFERSYNC_THOROUGH").is_some_and(|value| value != "0")
}

/// The actions that led to a state, for reports.
struct Path<A> {
    action: A,
    before: Option<Arc<Path<A>>>,
}

type Found<W> = (u128, W, Option<Arc<Path<<W as World>::Action>>>);

/// Checks every state that can be reached from `start`. Prints how many there are.
pub fn explore<W: World>(what: &str, start: W, bound: Bound) {
    let begin = Instant::now();
    let mut shown = begin;
    let mut known = HashSet::from([start.name()]);
    let mut layer: Vec<Found<W>> = vec![(start.name(), start, None)];
    let (mut steps, mut depth) = (0usize, 0);
    let most = match bound {
        Bound::All => usize::MAX,
        Bound::States(most) => most,
    };
    while !layer.is_empty() && known.len() < most {
        let mut next: Vec<Found<W>> = Vec::new();
        // In portions, so that states that are found twice are dropped soon.
        for portion in layer.chunks(1 << 14) {
            if known.len() >= most {
                break;
            }
            for (taken, found) in expand(portion, &known) {
                steps += taken;
                next.extend(found.into_iter().filter(|(name, ..)| known.insert(*name)));
            }
            if shown.elapsed().as_secs() >= 10 {
                shown = Instant::now();
                println!("{what}: depth {depth}, {} states, {steps} steps ...", known.len());
            }
        }
        depth += 1;
        layer = next;
    }
    let end = if layer.is_empty() { "all" } else { "so far" };
    let time = begin.elapsed().as_secs_f32();
    println!("{what}: {} states ({end}), {steps} steps, depth {depth}, {time:.1} s", known.len());
}

fn expand<W: World>(layer: &[Found<W>], known: &HashSet<u128>) -> Vec<(usize, Vec<Found<W>>)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = layer.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            layer.chunks(share).map(|part| scope.spawn(move || successors(part, known))).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn successors<W: World>(layer: &[Found<W>], known: &HashSet<u128>) -> (usize, Vec<Found<W>>) {
    let mut own = HashSet::new();
    let mut found = Vec::new();
    let mut steps = 0;
    for (_, world, path) in layer {
        for action in world.actions() {
            steps += 1;
            let path = Arc::new(Path { action, before: path.clone() });
            let next = reporting(&path, || {
                let next = world.after(&path.action);
                let name = next.name();
                let new = !known.contains(&name) && own.insert(name);
                if new {
                    next.check();
                }
                new.then_some((name, next))
            });
            found.extend(next.map(|(name, next)| (name, next, Some(path))));
        }
    }
    (steps, found)
}

/// On a panic, prints the actions that led to it.
fn reporting<A: Debug, R>(path: &Path<A>, run: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let mut actions = Vec::new();
        let mut at = Some(path);
        while let Some(step) = at {
            actions.push(&step.action);
            at = step.before.as_deref();
        }
        actions.reverse();
        eprintln!("found after:");
        actions.iter().for_each(|action| eprintln!("  {action:?}"));
        resume_unwind(panic)
    })
}
