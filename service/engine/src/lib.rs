// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The lock table of buffersync: who may use which dma-buf when, which cache operation a change of
//! hands needs, and when a holder has had its time.
//!
//! The crate does no I/O ("sans-IO"): calls carry the time, and what is to be done comes out as
//! [`Effect`]s. It knows no clock, thread, descriptor or binder, and has no dependencies, so that
//! everything it decides can be checked by running it.
//!
//! # Semantics
//!
//! A *group* is a client's set of buffers, each with an [`Access`]. Its first lock gives it a
//! [`Ticket`], the stamp by which groups are ordered by age (`ww_acquire_ctx` in the kernel's
//! `ww_mutex.h`); the grant is named by a [`Token`], which is never reused.
//!
//! 1. **Wound-wait.** A group keeps its ticket until it is granted and released. A ticket lives as long
//!    as the longest grant, from its birth; while it lives, being cancelled, timed out, wounded or
//!    failed does not make a group younger. A kept ticket passes nobody who came while its group was
//!    away. A waiter never waits behind a younger group that is still acquiring. In the kernel the younger is
//!    *wounded*, gives back what it took, and queues again; the engine knows a group's whole list in
//!    advance, so a group takes all or nothing, and has nothing to give back. A *granted* group is
//!    never preempted by age: only its unlock, its deadline or its death end a grant.
//! 2. **No overtaking.** On a buffer that two waiters want in conflict, the older is served first,
//!    even while it waits for another buffer; readers do not starve a writer. A waiter that
//!    conflicts with nobody ahead of it, on any of its buffers, is granted at once.
//! 3. **Growth.** A group that holds may add buffers, or want WRITE where it holds READ, and lock
//!    again, with its ticket, token and deadline. If it would wait while an older waiter wants what
//!    it holds, or pass a waiter after its ticket's life, it is refused
//!    ([`Error::Deadlock`]); if the older one comes while it waits, its wait ends
//!    ([`Effect::Wounded`]). Either way it still holds what it held, gets no more, and is to
//!    unlock and lock again, with the same ticket while that lives. Locking what is held already is
//!    [`Error::AlreadyLocked`].
//! 4. **Forced release.** A grant ends at its deadline. The holder is told, its token is dead, and
//!    the next holder of each buffer is told too (`EOWNERDEAD` of robust mutexes): that the evicted
//!    one may still be at work ([`GrantedBuffer::evicted`]), until one grant that began after the
//!    eviction has ended in order; and, after a writer, that the content is torn
//!    ([`GrantedBuffer::torn`]), until an exclusive one has. A holder that dies is treated the same,
//!    at once; and one whose release fence fails, or has not signalled when as much time has passed
//!    since the unlock as a grant lasts. A buffer that nobody has any more is remembered, if it is
//!    marked.
//! 5. **Counts never go wrong.** State is read and changed in one call, under one `&mut`. In the
//!    2013 RFC two timeouts could both see a count of 2 and both decrement it.
//! 6. **Fences.** A buffer that is unlocked but for a fence is granted to the next device at once,
//!    with the fence ([`Engine::acquire_fences`]), and to the CPU when the fence has signalled.
//!    A writer's fence concerns everybody, a reader's the next writer. Nobody passes a fence while an
//!    evicted holder may be at work.
//! 7. **Implicit fences.** The CPU waits for those, too, if the caller expects any
//!    ([`Effect::Wait`]). Locks that may share the buffer go past such a wait, and all locks behind one
//!    fence that does not signal fail at the same time.
//! 8. **Generations.** Every exclusive grant advances the buffer's generation, and every grant
//!    reports it.
//! 9. **One instant.** Deadlines come before time-outs ([`Engine::tick`]).
//! 10. **Cost.** A call takes its group's size times a logarithm of waiters, holders or fences; a lock
//!     that leaves the middle of a queue, or comes back there, moves the waiters on the shorter side.
//!     Nothing but [`Limits::remembered`] is kept of buffers that no group has, and locking and unlocking allocate
//!     nothing once the tables have their size.
//!
//! A grant is announced when the cache operations that it needs are done; see [`coherence`].
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
//! // The camera has the frame at once; the codec waits for it.
//! let implicit = Implicit::Unknown;
//! let outcome = engine.lock(now, camera, None, implicit, &mut fx);
//! let Ok(LockOutcome::Granted(grant)) = outcome else { panic!() };
//! let outcome = engine.lock(now, codec, None, implicit, &mut fx);
//! assert!(matches!(outcome, Ok(LockOutcome::Pending(_))));
//! assert!(fx.is_empty());
//!
//! // When the camera lets go, the codec is granted. No cache operation between two devices.
//! engine.unlock(now, camera, grant.token, &[], &mut fx).unwrap();
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
mod prepare;
mod queue;
mod release;
mod remembered;
mod slot;
mod tick;
mod timers;
mod types;
mod view;
mod work;

pub use buffersync_access::Access;
pub use coherence::{Coherence, FenceWait, SyncFlags, SyncKind, SyncOp};
pub use effects::{Effect, Effects, EvictionCause, FailureCause, Grant, GrantedBuffer, Span};
pub use engine::{Engine, LockOutcome};
pub use index::{BuildIdHasher, IdHasher};
pub(crate) use types::Arrival;
pub use types::{
    BufferId, Close, Error, Failure, FenceId, GroupId, Implicit, JobId, Limits, Phase,
    ReleaseFence, Ticket, Time, Token,
};
pub use view::{BufferView, Counters, FenceView, LockView};
