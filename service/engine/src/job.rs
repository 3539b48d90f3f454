// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Jobs: what the caller does for the engine, and then reports.

use crate::coherence::Plan;
use crate::index::{LockIx, SlotIx};
use crate::{Failure, JobId};

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub id: JobId,
    /// The lock that needs the job. `None` if it was given up, or if no group has the buffer.
    pub lock: Option<LockIx>,
    pub task: Task,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Cache operations. The buffers are a list, linked from [`JobPart`] to [`JobPart`].
    Sync {
        first: SlotIx,
        last: SlotIx,
        /// The job cleans a buffer that no group has. This is decided when the job is made, because
        /// groups may come and go while it is in flight.
        retires: bool,
    },
    /// A wait for implicit fences: those of the entries of the lock that have `waits`.
    Wait,
}

/// The operations of a job on one buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobPart {
    pub plan: Plan,
    /// The next buffer of the same job.
    pub next: Option<SlotIx>,
    /// An evicted CPU writer, or an evicted device, began to count as gone while the operations were in
    /// flight. It may have written after them.
    pub gone: [bool; 2],
}

/// How a job ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Done,
    Failed(Failure),
    /// So many operations succeeded. Before the next one an implicit fence was pending.
    Blocked(usize),
}
