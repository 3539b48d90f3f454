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
//! A *group* is a client's set of buffers, each with an [`Access`]. Locking a group gives it a
//! *ticket*, the stamp by which groups are ordered by age (`ww_acquire_ctx` in the kernel's
//! `ww_mutex.h`); here it is the lock's [`Token`], which counts up and is never reused.
//!
//! 1. **Wound-wait.** In the kernel a group takes its locks one by one, and an older one *wounds* a
//!    younger one that is still acquiring: the younger gives back what it took and queues again
//!    with its old stamp. The engine knows a group's whole list in advance, so it lets every group
//!    be the one that has already given everything back: a group stands in the queue of each of its
//!    buffers, in the order of stamps, holds nothing, and takes all buffers in one step when it can
//!    have all of them. Nobody holds while waiting, so nobody can deadlock, and no waiter ever waits
//!    behind a younger group that is still acquiring. A group that is *granted* is never preempted
//!    by age; only its unlock, its deadline or its death end a grant.
//! 2. **No overtaking.** On a buffer that two waiters share with conflicting access, the older is
//!    served first, even while it waits for another buffer; readers do not starve a writer. A waiter
//!    that conflicts with nobody ahead of it, on any of its buffers, is granted at once.
//! 3. Growing a held group is not supported yet: a group that waits or holds refuses it
//!    ([`Error::Busy`]).
//! 4. **Forced release.** A grant ends at its deadline. The holder is told, its token is dead, and
//!    the next holder of each buffer is told too (`EOWNERDEAD` of robust mutexes), until one grant
//!    of the buffer that began after the eviction has ended in order. A holder that dies is treated
//!    the same, at once.
//! 5. **Counts never go wrong.** State is read and changed in one call, under one `&mut`. In the
//!    2013 RFC two timeouts could both see a count of 2 and both decrement it.
//! 6. **Generations.** Every exclusive grant advances the buffer's generation, and every grant
//!    reports it.
//! 7. **Cost.** A call costs O(buffers of the group x log waiters), and nothing is kept of a buffer
//!    that no group has.
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
//! let Ok(LockOutcome::Granted { token, .. }) = engine.lock(now, camera, &mut fx) else { panic!() };
//! assert!(matches!(engine.lock(now, codec, &mut fx), Ok(LockOutcome::Pending(_))));
//! assert!(fx.is_empty());
//!
//! // When the camera lets go, the codec is granted. No cache operation between two devices.
//! engine.unlock(now, camera, token, false, &mut fx).unwrap();
//! assert!(matches!(fx.pop_front(), Some(Effect::Granted { group, .. }) if group == codec));
//! ```

#![forbid(unsafe_code)]

pub mod coherence;
mod effects;
mod engine;
mod invariants;
mod slot;
mod types;
mod view;

pub use coherence::{Coherence, SyncFlags, SyncKind, SyncOp};
pub use effects::{Effect, Effects, EvictionCause, Failure, GrantedBuffer};
pub use engine::{Engine, LockOutcome, Phase};
pub use types::{Access, BufferId, Close, Error, GroupId, JobId, Limits, Time, Token};
pub use view::{BufferView, Counters, LockView};
