// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The kernel's own tests of ww_mutex, in the engine's terms.
//!
//! A `ww_acquire_ctx` is a group. A `ww_mutex` is a buffer for writing. To take locks one by one is to
//! grow a grant by one buffer at a time. The first lock cannot deadlock, in the kernel and here.
//!
//! `kernel/locking/test-ww_mutex.c`:
//!
//! | kernel | here |
//! |---|---|
//! | `test_mutex` (with a context, by trylock) | [`a_buffer_has_one_holder`] |
//! | `test_mutex` (`TEST_MTX_SPIN`) | left out: the engine does not decide how a waiter waits |
//! | `test_aa` | [`aa`] |
//! | `test_abba` (resolve false) | [`abba_is_noticed_in_either_order`] |
//! | `test_abba` (resolve true) | [`abba_is_resolved_in_either_order`] |
//! | `test_cycle` | [`cycles_are_resolved`], n = 2 to 8 |
//! | `stress` (`STRESS_INORDER`, `_REORDER`, `_ONE`) | [`stress`], each alone and all together |
//! | the same for wait-die (`wd_class`) | left out: there is wound-wait only |
//!
//! `lib/locking-selftest.c`, from `ww_tests`:
//!
//! | kernel | here |
//! |---|---|
//! | `ww_test_normal` | [`a_buffer_has_one_holder`] |
//! | `ww_test_fail_acquire` | [`aa`]: it asks for `-EALREADY` and an injected `-EDEADLK` |
//! | `ww_test_unneeded_slow` | left out: there is no slow path to call besides `lock` |
//! | `ww_test_two_contexts`, `_diff_class` | not possible: a group is one context, of one class |
//! | `ww_test_context_done_twice`, `_fini_early`, `_lock_after_done` | not possible: no call ends a phase of a grant |
//! | `ww_test_context_unlock_twice`, `_object_unlock_twice`, `_object_lock_unbalanced` | [`a_token_unlocks_once`] |
//! | `ww_test_object_lock_stale_context` | [`a_token_unlocks_once`]: the token of an ended grant |
//! | `ww_test_edeadlk_normal`, `_slow` | [`abba_is_resolved_in_either_order`] |
//! | `ww_test_edeadlk_no_unlock`, `_slow`, `_acquire_more`, `_acquire_more_edeadlk`, `_acquire_wrong` (all `_slow` too) | [`after_edeadlk_nothing_is_given_before_all_is_unlocked`] |
//! | `ww_test_context_context`, `_try`; `_try_try` | [`growth_and_trylock_mix`] |
//! | `_context_block`, `_try_block`, `_block_*` | left out: a lock without a context does not exist here |
//! | `ww_test_spin_*`, `_spin_nest_*` | left out: they test lockdep's rules for spinlocks |

mod common;

use buffersync_engine::Access::DmaWrite;
use buffersync_engine::*;
use common::{Random, World};

#[test]
fn a_buffer_has_one_holder() {
    for by_trylock in [false, true] {
        let mut world = World::new();
        let one = world.group(&[(1, DmaWrite)]);
        let other = world.group(&[(1, DmaWrite)]);
        let token = world.lock(one);
        if by_trylock {
            assert_eq!(world.try_lock(other), Err(Error::WouldBlock));
            world.unlock(one, token);
            assert!(world.try_lock(other).is_ok());
        } else {
            world.lock(other);
            assert_eq!(world.granted(), [one]);
            world.unlock(one, token);
        }
        assert_eq!(world.granted().last(), Some(&other));
    }
}

#[test]
fn aa() {
    for by_trylock in [false, true] {
        let mut world = World::new();
        let group = world.group(&[(1, DmaWrite)]);
        let stranger = world.group(&[(1, DmaWrite)]);
        let token = if by_trylock { world.try_lock(group).unwrap() } else { world.lock(group) };
        assert_eq!(world.try_lock(stranger), Err(Error::WouldBlock));
        assert_eq!(world.try_lock(group), Err(Error::AlreadyLocked));
        assert_eq!(world.try_to_lock(group), Err(Error::AlreadyLocked));
        world.unlock(group, token);
    }
}

/// Two groups that hold one buffer each; the older first.
fn ab(world: &mut World) -> [(GroupId, Token); 2] {
    [1, 2].map(|buffer| {
        let group = world.group(&[(buffer, DmaWrite)]);
        let token = world.lock(group);
        world.add(group, &[(3 - buffer, DmaWrite)]);
        (group, token)
    })
}

#[test]
fn abba_is_noticed_in_either_order() {
    for older_first in [true, false] {
        let mut world = World::new();
        let [(old, _), (young, young_token)] = ab(&mut world);
        world.forget_events();
        if older_first {
            world.lock(old);
            assert_eq!(world.try_to_lock(young), Err(Error::Deadlock));
            assert!(world.told().is_empty());
        } else {
            world.lock(young);
            world.lock(old);
            let wound = Effect::Wounded { group: young, token: young_token };
            assert_eq!(world.told(), [wound]);
        }
    }
}

#[test]
fn abba_is_resolved_in_either_order() {
    for older_first in [true, false] {
        let mut world = World::new();
        let [(old, old_token), (young, young_token)] = ab(&mut world);
        let order = if older_first { [old, young] } else { [young, old] };
        for group in order {
            let _ = world.try_to_lock(group);
        }
        world.forget_events();
        world.unlock(young, young_token);
        assert_eq!(world.granted(), [old]);
        let token = world.lock(young);
        world.unlock(old, old_token);
        assert_eq!(world.granted(), [young]);
        world.unlock(young, token);
    }
}

#[test]
fn after_edeadlk_nothing_is_given_before_all_is_unlocked() {
    let mut world = World::new();
    let [(old, _), (young, token)] = ab(&mut world);
    world.lock(old);
    assert_eq!(world.try_to_lock(young), Err(Error::Deadlock));
    // It gets neither the contended buffer, also by trylock, nor another one that is free.
    assert_eq!(world.try_to_lock(young), Err(Error::Deadlock));
    assert_eq!(world.try_lock(young), Err(Error::Deadlock));
    world.call(|e, _, fx| e.remove(young, BufferId(1), fx)).unwrap();
    world.add(young, &[(3, DmaWrite)]);
    assert_eq!(world.try_to_lock(young), Err(Error::Deadlock));
    world.unlock(young, token);
    world.forget_events();
    world.lock(young);
    assert!(world.granted().is_empty(), "the older group has buffer 2 now");
}

#[test]
fn a_token_unlocks_once() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite)]);
    let other = world.group(&[(2, DmaWrite)]);
    let stale = world.lock(group);
    let foreign = world.lock(other);
    world.unlock(group, stale);
    let held = world.lock(group);
    // The other group's number was passed over here.
    let future = Token(held.0 + 1);
    let bad = [
        (stale, Error::Ended),
        (foreign, Error::Ended),
        (Token(0), Error::BadToken),
        (future, Error::BadToken),
    ];
    for (token, error) in bad {
        let answer = world.call(|e, now, fx| e.unlock(now, group, token, &[], fx));
        assert_eq!(answer, Err(error));
    }
    world.unlock(group, held);
}

#[test]
fn growth_and_trylock_mix() {
    let mut world = World::new();
    let group = world.group(&[(1, DmaWrite)]);
    let first = world.try_lock(group).unwrap();
    world.add(group, &[(2, DmaWrite)]);
    assert_eq!(world.lock(group), first);
    world.add(group, &[(3, DmaWrite)]);
    assert_eq!(world.try_lock(group), Ok(first));
    assert_eq!(world.grants().last().unwrap().len(), 3);
    world.unlock(group, first);
}

/// A client that takes buffers one by one, in its order. On EDEADLK it gives all back, and then takes
/// them and the contended one at once.
struct Taker {
    group: GroupId,
    order: Vec<u64>,
    /// How many buffers it has asked for.
    asked: usize,
    token: Option<Token>,
    state: Stage,
    rounds: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Free,
    Waiting,
    Backoff,
}

impl Taker {
    fn new(world: &mut World, order: Vec<u64>) -> Self {
        let group = world.group(&[]);
        Self { group, order, asked: 0, token: None, state: Stage::Free, rounds: 0 }
    }

    /// The next call of this client, if it has one.
    fn step(&mut self, world: &mut World) {
        match self.state {
            Stage::Waiting => {}
            Stage::Backoff => {
                let token = self.token.take().expect("EDEADLK only while holding");
                world.unlock(self.group, token);
                self.lock(world);
            }
            Stage::Free if self.asked == self.order.len() => {
                let token = self.token.take().expect("it has all buffers");
                world.unlock(self.group, token);
                world.call(|e, _, fx| {
                    for buffer in &self.order {
                        e.remove(self.group, BufferId(*buffer), fx).unwrap();
                    }
                });
                self.asked = 0;
                self.rounds += 1;
            }
            Stage::Free => {
                world.add(self.group, &[(self.order[self.asked], DmaWrite)]);
                self.asked += 1;
                self.lock(world);
            }
        }
    }

    fn lock(&mut self, world: &mut World) {
        match world.try_to_lock(self.group) {
            Ok(token) => {
                self.token = Some(token);
                let at_once = world.phase(self.group).expect("open");
                self.state = match at_once {
                    Phase::Held { .. } => Stage::Free,
                    _ => Stage::Waiting,
                };
            }
            Err(Error::Deadlock) => self.state = Stage::Backoff,
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn listen(world: &mut World, takers: &mut [Taker]) {
    for event in world.told() {
        let (group, state) = match event {
            Effect::Granted { group, .. } => (group, Stage::Free),
            Effect::Wounded { group, .. } => (group, Stage::Backoff),
            _ => continue,
        };
        let taker = takers.iter_mut().find(|taker| taker.group == group);
        taker.expect("one of them").state = state;
    }
}

#[test]
fn cycles_are_resolved() {
    for n in 2..=8 {
        // Each group has its own buffer and asks for the next one's, in every rotation and direction.
        for first in 0..n {
            for backwards in [false, true] {
                let mut world = World::new();
                let mut takers: Vec<Taker> =
                    (0..n).map(|at| Taker::new(&mut world, vec![at, (at + 1) % n])).collect();
                takers.iter_mut().for_each(|taker| taker.step(&mut world));
                let turns: Vec<u64> = (0..n).map(|at| (first + at) % n).collect();
                for round in 0.. {
                    assert!(round < 10 * n, "n = {n}: not resolved");
                    listen(&mut world, &mut takers);
                    if takers.iter().all(|taker| taker.rounds > 0) {
                        break;
                    }
                    for at in &turns {
                        let at = if backwards { n - 1 - at } else { *at } as usize;
                        if takers[at].rounds == 0 {
                            takers[at].step(&mut world);
                        }
                        listen(&mut world, &mut takers);
                    }
                }
                let counters = world.engine.counters();
                assert!(counters.deadlocks + counters.wounds > 0, "no cycle came about");
            }
        }
    }
}

/// Takers with so many of `buffers` buffers each take turns at random.
fn stress_with(buffers: u64, shapes: &[usize], seed: u64) {
    let mut random = Random(seed);
    let mut world = World::new();
    let mut takers: Vec<Taker> = shapes
        .iter()
        .map(|count| {
            let mut order: Vec<u64> = (0..buffers).collect();
            random.shuffle(&mut order);
            order.truncate(*count);
            Taker::new(&mut world, order)
        })
        .collect();
    let turns = 4_000 * takers.len() as u64;
    for turn in 0.. {
        assert!(turn < turns, "a taker starves: {:?}", rounds(&takers));
        let at = random.below(takers.len() as u64) as usize;
        // STRESS_REORDER: a new order each time.
        if takers[at].asked == 0 && at % 2 == 1 {
            let mut order = takers[at].order.clone();
            random.shuffle(&mut order);
            takers[at].order = order;
        }
        takers[at].step(&mut world);
        listen(&mut world, &mut takers);
        if takers.iter().all(|taker| taker.rounds >= 3) {
            break;
        }
    }
}

fn rounds(takers: &[Taker]) -> Vec<u32> {
    takers.iter().map(|taker| taker.rounds).collect()
}

#[test]
fn stress() {
    for seed in 1..=20 {
        // 16 locks, each taker in its own order; then single locks; then all together.
        stress_with(16, &[16; 4], seed);
        stress_with(16, &[1; 8], seed);
        stress_with(16, &[16, 16, 1, 16, 16, 1, 1], seed);
        stress_with(64, &[64, 1, 3, 64, 1, 3], seed);
    }
}
