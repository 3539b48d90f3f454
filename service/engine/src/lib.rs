// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The lock table of buffersync. It decides who may use which dma-buf when, which cache operation a
//! change of hands needs, and when a holder has had its time.
//!
//! The crate does no I/O ("sans-IO"): calls carry the time, and [`Effect`]s say what to do. It knows no
//! clock, thread, descriptor or binder, so that a test can check every decision by running it.
//!
//! # Semantics
//!
//! A *group* is a client and its buffers. A *lock* is one use of some of them, each with an [`Access`]; the
//! client names it with a [`Token`], greater than any before in the group. A lock has a [`Ticket`], the
//! stamp that orders locks by age (`ww_acquire_ctx` in the kernel's `ww_mutex.h`). A group has many locks
//! at once. They know nothing of each other, but a lock never waits for one of its own group: it is refused
//! ([`Error::AlreadyLocked`]).
//!
//! 1. **Wound-wait.** A lock keeps its ticket until it is granted and released. If it ends without a grant,
//!    or after a wound, its group keeps the ticket for its next lock. A ticket lives from its birth as long
//!    as the longest grant. While it lives, a cancel, time-out, wound or failure does not make the client
//!    younger. A kept ticket passes nobody who came while it was kept. A waiter never waits behind a
//!    younger lock that is still acquiring. In the kernel the younger one is *wounded*, gives back what it
//!    took, and queues again. The engine knows a lock's whole list in advance, so a lock takes all or
//!    nothing and has nothing to give back. Age never preempts a *granted* lock: only its unlock, its
//!    deadline or its death ends a grant.
//! 2. **No overtaking.** If two waiters conflict on a buffer, the older is served first, even while it
//!    waits for another buffer. Readers do not starve a writer. A waiter that conflicts with nobody
//!    ahead of it, on any of its buffers, is granted at once.
//! 3. **Growth.** A lock that holds may ask for more buffers, or WRITE where it holds READ, with the same
//!    ticket, token and deadline. The growth is refused ([`Error::Deadlock`]) if it would wait while an
//!    older waiter wants what the lock holds, or if it would pass a waiter after its ticket's life. If the
//!    older waiter comes later, the wait ends ([`Effect::Wounded`]). In both cases the lock keeps what it
//!    holds and gets nothing more; when it has unlocked, the group's next lock has its ticket while that
//!    lives. A growth that fails leaves the lock as it was.
//! 4. **Forced release.** A grant ends at its deadline. The holder is told, its token is dead, and the
//!    next holders of each buffer are told (`EOWNERDEAD` of robust mutexes) two facts: that the evicted
//!    holder may still be at work ([`GrantedBuffer::evicted`]), until one grant that began after the
//!    eviction has ended in order; and, after a writer, that the content is torn
//!    ([`GrantedBuffer::torn`]), until an exclusive grant has. The same happens at once when a holder
//!    dies, and when a release fence fails or has not signalled when as much time has passed since the
//!    unlock as a grant lasts. If a buffer is marked when its last group lets it go, it is remembered.
//!    A grant can end in parts ([`Engine::unlock_part`]), and a writer can go on as a reader
//!    ([`Engine::downgrade`]); the deadline stays. A group may ask that the time of its grants counts from the
//!    first lock that waits for them ([`HoldFrom::Conflict`]): until then there is no deadline. In any case a
//!    holder is told once that somebody waits ([`Effect::Contended`]).
//! 5. **Counts never go wrong.** One call reads and changes the state, under one `&mut`. In the
//!    2013 RFC two time-outs could both see a count of 2 and both decrement it.
//! 6. **Fences.** After an unlock with a fence, the next device gets the buffer at once, with the fence
//!    ([`Engine::acquire_fences`]). The CPU gets it when the fence has signalled. A writer's fence
//!    concerns everybody, a reader's fence the next writer. Nobody passes a fence while an evicted holder
//!    may be at work.
//! 7. **Implicit fences.** The CPU waits for those, too, if the caller expects any
//!    ([`Effect::Wait`]). Locks that may share the buffer go past such a wait. All locks behind one
//!    fence that does not signal fail at the same time.
//! 8. **Generations.** Every exclusive grant advances the buffer's generation, and every grant
//!    reports it.
//! 9. **One instant.** Deadlines come before time-outs ([`Engine::tick`]).
//! 10. **Cost.** A call takes its lock's size times a logarithm of waiters, holders or fences. A lock
//!     that leaves the middle of a queue, or comes back there, moves the waiters on the shorter side. Of
//!     buffers without a group the engine keeps only [`Limits::remembered`]. Locking and unlocking
//!     allocate nothing once the tables have their size.
//!
//! A grant is announced when the cache operations that it needs are done; see [`coherence`].
//! `docs/engine.md` has the rules in full, and why they hold.
//!
//! # Files
//!
//! | files | content |
//! |---|---|
//! | `types`, `effects`, `view` | what callers see |
//! | `index`, `arena`, `timers`, `work` | storage |
//! | `slot`: a buffer, made of `holders`, `roster`, `queue`, `fence`, `coherence`, `evictions`, `job` | data |
//! | `lock`, `group`, `remembered` | data |
//! | `acquire`, `prepare`, `report`, `release`, `tick` | transitions |
//! | `engine` | the table and its calls |
//! | `check` | invariants and names of states, for tests only (feature `check`) |
//!
//! # Example
//!
//! ```
//! use buffersync_engine::*;
//!
//! let mut engine = Engine::new(Limits::default());
//! let (mut fx, now, frame) = (Effects::new(), Time(0), BufferId(7));
//! let (camera, _) = engine.open_group(None);
//! let (codec, _) = engine.open_group(None);
//! engine.add(camera, frame, Access::DmaWrite).unwrap();
//! engine.add(codec, frame, Access::DmaRead).unwrap();
//!
//! // The camera gets the frame at once. The codec waits for it.
//! let (all, wait, implicit) = (Wants::ALL, Wait::UntilGranted, Implicit::Unknown);
//! let outcome = engine.lock(now, camera, Token(1), all, wait, implicit, &mut fx);
//! assert!(matches!(outcome, Ok(LockOutcome::Granted(_))));
//! let outcome = engine.lock(now, codec, Token(1), all, wait, implicit, &mut fx);
//! assert!(matches!(outcome, Ok(LockOutcome::Pending(_))));
//! assert!(matches!(fx.pop(), Some(Effect::Contended { group, .. }) if group == camera));
//! assert!(fx.is_empty());
//!
//! // When the camera unlocks, the codec is granted. Two devices need no cache operation between them.
//! engine.unlock(now, camera, Token(1), &[], &mut fx).unwrap();
//! assert!(matches!(fx.pop(), Some(Effect::Granted { group, .. }) if group == codec));
//! ```

#![forbid(unsafe_code)]

mod acquire;
mod arena;
#[cfg(feature = "check")]
mod check;
pub mod coherence;
mod effects;
mod engine;
mod evictions;
mod fence;
mod group;
mod holders;
mod index;
mod job;
mod lock;
mod prepare;
mod queue;
mod release;
mod remembered;
mod report;
mod roster;
mod slot;
mod tick;
mod timers;
mod types;
mod view;
mod work;

pub use buffersync_access::Access;
pub use coherence::{Coherence, FenceWait, SyncFlags, SyncKind, SyncOp};
pub use effects::{Effect, Effects, EvictionCause, FailureCause, Grant, GrantedBuffer, Span};
pub use engine::{Checked, Engine, LockOutcome};
pub use index::{BuildIdHasher, IdHasher};
pub(crate) use types::Arrival;
pub use types::{
    BufferId, Close, Error, Failure, FenceId, GroupId, HoldFrom, Implicit, JobId, Limits, Phase,
    ReleaseFence, Ticket, Time, Token, Wait, Wants,
};
pub use view::{BufferView, Counters, FenceView, LockView};
