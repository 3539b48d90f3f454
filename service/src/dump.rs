// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The text of `dumpsys vendor.buffersync.IBufferSync/default` (on Linux `rsb_service dump`).
//!
//! With the argument `counters` it is one line of `key=value` pairs, for programs; otherwise tables for
//! people. Long tables are cut with a note, since the text is made under the arbiter's mutex.
//!
//! Names and habits of other clients are nobody's business: only [`TRUSTED_UIDS`] see everything. Any other caller sees
//! its own uid's groups, what they hold and wait for, and their buffers.

use std::fmt::Write;

use buffersync_engine::{
    Access, BufferView, EvictionCause, GroupId, LockView, Phase, SyncFlags, Time,
};

use crate::arbiter::Arbiter;
use crate::clock;
use crate::quota::Usage;
use crate::state::State;

/// Rows of a table: more than a person reads, and few enough to be made under the mutex.
const MAX_ROWS: usize = 200;
/// Holders, waiters and fences of a buffer, so that a row stays one line.
const MAX_NAMES: usize = 8;

/// Root, the system and the shell (AID_ROOT, AID_SYSTEM and AID_SHELL of android_filesystem_config.h).
pub const TRUSTED_UIDS: [u32; 3] = [0, 1000, 2000];

/// Makes the text: everything, or what concerns one uid.
pub fn render(arbiter: &Arbiter, args: &[String], only: Option<u32>) -> String {
    let backlog = arbiter.backlog();
    arbiter.inspect(|state| {
        if args.iter().any(|arg| arg == "counters") && only.is_none() {
            counters(state, backlog)
        } else {
            let view = View { state, only, now: clock::now() };
            let mut out = String::new();
            // Writing to a String never fails.
            let _ = view.tables(&mut out, backlog, arbiter.config().max_hold_ms);
            out
        }
    })
}

fn counters(state: &State, (jobs, waits): (usize, usize)) -> String {
    let c = state.engine.counters();
    format!(
        "grants={} queued={} unlocks={} cancels={} time_outs={} wounds={} deadlocks={} evictions={} deaths={} lock_failures={} \
         sync_start={} sync_end={} sync_failed={} sync_waited={} sync_timed_out={} \
         bracketing_ops={} buffers={} groups={} fences={} remembered={} sync_jobs={jobs} waits={waits}\n",
        c.grants,
        c.queued,
        c.unlocks,
        c.cancels,
        c.time_outs,
        c.wounds,
        c.deadlocks,
        c.evictions,
        c.deaths,
        c.lock_failures,
        c.sync_start,
        c.sync_end,
        c.sync_failed,
        state.waits.waited,
        state.waits.timed_out,
        c.bracketing_ops,
        state.registry.len(),
        state.sessions.len(),
        state.releases.len(),
        state.engine.remembered(),
    )
}

/// What a caller may see of the state.
struct View<'a> {
    state: &'a State,
    /// The caller's uid, unless it may see everything.
    only: Option<u32>,
    now: Time,
}

impl View<'_> {
    fn shows(&self, uid: u32) -> bool {
        self.only.is_none_or(|only| only == uid)
    }

    fn shows_group(&self, id: GroupId) -> bool {
        let group = self.state.sessions.get(id);
        self.only.is_none() || group.is_some_and(|group| self.shows(group.uid))
    }

    fn tables(
        &self,
        out: &mut String,
        (jobs, waits): (usize, usize),
        max_hold_ms: u32,
    ) -> std::fmt::Result {
        let Self { state, now, .. } = *self;
        writeln!(out, "buffersync: maximum hold {max_hold_ms} ms")?;
        if let Some(uid) = self.only {
            writeln!(out, "(uid {uid} sees its own; root, system and shell see everything)")?;
        }
        let mut groups: Vec<_> =
            state.sessions.iter().filter(|(_, group)| self.shows(group.uid)).collect();
        groups.sort_unstable_by_key(|(id, _)| *id);
        let has =
            |buffer| groups.iter().any(|(id, _)| state.engine.members(*id).any(|m| m.0 == buffer));
        let mut buffers = state.engine.buffers();
        if self.only.is_some() {
            buffers.retain(|view| has(view.id));
        }

        writeln!(out, "\nbuffers ({}):", buffers.len())?;
        writeln!(
            out,
            "  id           inode    size       gen          cache    holders <- waiters (oldest first), each GROUP/LOCK #ticket"
        )?;
        for view in buffers.iter().take(MAX_ROWS) {
            self.buffer_row(out, view)?;
        }
        cut(out, buffers.len())?;

        writeln!(out, "\ngroups ({}):", groups.len())?;
        writeln!(out, "  id           uid      buffers  locks    waiting  name")?;
        let count = groups.len();
        for (id, group) in groups.into_iter().take(MAX_ROWS) {
            writeln!(
                out,
                "  {:<12} {:<8} {:<8} {:<8} {:<8} {}",
                id.serial(),
                group.uid,
                state.engine.members(id).count(),
                group.locks().len(),
                group.locks().iter().filter(|lock| lock.is_waiting()).count(),
                group.name
            )?;
        }
        cut(out, count)?;

        writeln!(out, "\nuids:")?;
        writeln!(out, "  uid      groups   buffers  queued   fences   descriptors bytes")?;
        let mut uids: Vec<_> =
            state.sessions.quotas.iter().filter(|(uid, _)| self.shows(*uid)).collect();
        uids.sort_unstable_by_key(|(uid, _)| *uid);
        for (uid, usage) in uids.iter().take(MAX_ROWS) {
            let Usage { groups, buffers, queued, fences, descriptors, bytes } = usage;
            writeln!(
                out,
                "  {uid:<8} {groups:<8} {buffers:<8} {queued:<8} {fences:<8} {descriptors:<11} {bytes}"
            )?;
        }
        cut(out, uids.len())?;

        let evictions = state.sessions.evictions().iter();
        let evictions: Vec<_> = evictions.filter(|eviction| self.shows(eviction.uid)).collect();
        writeln!(out, "\nevictions (the last {}):", evictions.len())?;
        for eviction in evictions {
            let ago = now.0.saturating_sub(eviction.at.0) / 1_000_000;
            let why = match eviction.cause {
                EvictionCause::Deadline => "held too long",
                EvictionCause::Fence => "its release fence failed or did not signal",
            };
            let (name, uid, token) = (&eviction.name, eviction.uid, eviction.token.0);
            writeln!(out, "  {ago} ms ago: {name} of uid {uid}, lock {token}: {why}")?;
        }
        if self.only.is_some() {
            return Ok(());
        }
        writeln!(out, "\ncounters:\n  {}", counters(state, (jobs, waits)).replace(' ', "\n  "))
    }

    fn buffer_row(&self, out: &mut String, view: &BufferView) -> std::fmt::Result {
        let (inode, size) = match self.state.registry.get(view.id) {
            Some(buffer) => (buffer.identity.inode(), buffer.size),
            None => (0, 0),
        };
        write!(
            out,
            "  {:<12} {inode:<8} {size:<10} {:<12} {:<8} ",
            view.id.0,
            view.generation,
            cache(view)
        )?;
        self.names(out, &view.holders)?;
        if !view.waiters.is_empty() {
            write!(out, " <- ")?;
            self.names(out, &view.waiters)?;
        }
        for fence in view.fences.iter().take(MAX_NAMES) {
            let left = fence.deadline.0.saturating_sub(self.now.0) / 1_000_000;
            let (name, token) = (self.name(fence.group), fence.token.0);
            let access = access(fence.access);
            write!(out, "  (fence of {name}/{token}, {access}, {left} ms left)")?;
        }
        let mark = |set: bool, mark: &'static str| if set { mark } else { "" };
        writeln!(out, "{}{}", mark(view.evicted, "  (evicted)"), mark(view.torn, "  (torn)"))
    }

    fn names(&self, out: &mut String, locks: &[LockView]) -> std::fmt::Result {
        if locks.is_empty() {
            write!(out, "-")?;
        }
        for (position, lock) in locks.iter().take(MAX_NAMES).enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            let name = self.name(lock.group);
            let (token, ticket, access) = (lock.token.0, lock.ticket.0, access(lock.access));
            let phase = phase(lock.phase, self.now);
            write!(out, "{separator}{name}/{token} #{ticket} {access}{phase}")?;
        }
        if locks.len() > MAX_NAMES {
            write!(out, ", and {} more", locks.len() - MAX_NAMES)?;
        }
        Ok(())
    }

    fn name(&self, id: GroupId) -> &str {
        match self.state.sessions.get(id) {
            _ if !self.shows_group(id) => "(other)",
            Some(group) => &group.name,
            None => "(closed)",
        }
    }
}

/// The coherence bits: d for device_dirty, c for cpu_dirty, r or w for open, * for operations in flight.
fn cache(view: &BufferView) -> String {
    let bit = |set: bool, letter: char| if set { letter } else { '-' };
    let open = match view.coherence.open() {
        None => '-',
        Some(SyncFlags::Read) => 'r',
        Some(SyncFlags::ReadWrite) => 'w',
    };
    [
        bit(view.coherence.device_dirty(), 'd'),
        bit(view.coherence.cpu_dirty(), 'c'),
        open,
        bit(view.syncing, '*'),
    ]
    .iter()
    .collect()
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Read => "READ",
        Access::Write => "WRITE",
        Access::DmaRead => "READ|DMA",
        Access::DmaWrite => "WRITE|DMA",
    }
}

fn phase(phase: Phase, now: Time) -> String {
    let left = |deadline: Time| match deadline {
        Time::NEVER => "nobody waits".to_string(),
        Time(nanos) => format!("{} ms left", nanos.saturating_sub(now.0) / 1_000_000),
    };
    match phase {
        Phase::Queued => String::new(),
        Phase::Preparing => " (preparing)".into(),
        Phase::Held { deadline } => format!(" ({})", left(deadline)),
        Phase::Growing { deadline } => format!(" (grows, {})", left(deadline)),
    }
}

fn cut(out: &mut String, rows: usize) -> std::fmt::Result {
    if rows > MAX_ROWS {
        writeln!(out, "  ... and {} more", rows - MAX_ROWS)?;
    }
    Ok(())
}
