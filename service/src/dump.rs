// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The text of `dumpsys vendor.buffersync.IBufferSync/default` (on Linux `rsb_service dump`).
//!
//! With the argument `counters` it is one line of `key=value` pairs, for programs; otherwise tables for
//! people. Long tables are cut with a note, since the text is made under the arbiter's mutex.

use std::fmt::Write;

use buffersync_engine::{
    Access, BufferView, EvictionCause, GroupId, LockView, Phase, SyncFlags, Time,
};

use crate::arbiter::Arbiter;
use crate::clock;
use crate::state::State;

/// Rows of a table: more than a person reads, and few enough to be made under the mutex.
const MAX_ROWS: usize = 200;
/// Holders, waiters and fences of a buffer, so that a row stays one line.
const MAX_NAMES: usize = 8;

/// Makes the text.
pub fn render(arbiter: &Arbiter, args: &[String]) -> String {
    let backlog = arbiter.backlog();
    arbiter.inspect(|state| {
        if args.iter().any(|arg| arg == "counters") {
            counters(state, backlog)
        } else {
            tables(state, backlog, arbiter.config().max_hold_ms)
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

fn tables(state: &State, backlog: (usize, usize), max_hold_ms: u32) -> String {
    let mut out = String::new();
    // Writing to a String never fails.
    let _ = write_tables(&mut out, state, backlog, max_hold_ms);
    out
}

fn write_tables(
    out: &mut String,
    state: &State,
    (jobs, waits): (usize, usize),
    max_hold_ms: u32,
) -> std::fmt::Result {
    let now = clock::now();
    writeln!(out, "buffersync: maximum hold {max_hold_ms} ms")?;

    writeln!(out, "\nbuffers ({}):", state.registry.len())?;
    writeln!(
        out,
        "  id     inode    size       gen    cache    holders <- waiters (oldest first), each GROUP/LOCK #ticket"
    )?;
    for view in state.engine.buffers().iter().take(MAX_ROWS) {
        buffer_row(out, state, view, now)?;
    }
    cut(out, state.registry.len())?;

    writeln!(out, "\ngroups ({}):", state.sessions.len())?;
    writeln!(out, "  id     uid      buffers  locks    waiting  name")?;
    let mut groups: Vec<_> = state.sessions.iter().collect();
    groups.sort_unstable_by_key(|(id, _)| *id);
    for (id, group) in groups.into_iter().take(MAX_ROWS) {
        writeln!(
            out,
            "  {:<6} {:<8} {:<8} {:<8} {:<8} {}",
            id.serial(),
            group.uid,
            state.engine.members(id).count(),
            group.locks().len(),
            group.locks().iter().filter(|lock| lock.is_waiting()).count(),
            group.name
        )?;
    }
    cut(out, state.sessions.len())?;

    writeln!(out, "\nuids:")?;
    writeln!(out, "  uid      groups   buffers  queued   fences")?;
    let mut uids: Vec<_> = state.sessions.quotas.iter().collect();
    uids.sort_unstable_by_key(|(uid, _)| *uid);
    for (uid, usage) in uids.iter().take(MAX_ROWS) {
        let fences = state.sessions.quotas.fences(*uid);
        writeln!(
            out,
            "  {uid:<8} {:<8} {:<8} {:<8} {fences}",
            usage.groups, usage.buffers, usage.queued
        )?;
    }
    cut(out, uids.len())?;

    writeln!(out, "\nevictions (the last {}):", state.sessions.evictions().len())?;
    for eviction in state.sessions.evictions() {
        let ago = now.0.saturating_sub(eviction.at.0) / 1_000_000;
        let why = match eviction.cause {
            EvictionCause::Deadline => "held too long",
            EvictionCause::Fence => "its release fence failed or did not signal",
        };
        let (name, uid, token) = (&eviction.name, eviction.uid, eviction.token.0);
        writeln!(out, "  {ago} ms ago: {name} of uid {uid}, lock {token}: {why}")?;
    }

    writeln!(out, "\ncounters:\n  {}", counters(state, (jobs, waits)).replace(' ', "\n  "))
}

fn buffer_row(out: &mut String, state: &State, view: &BufferView, now: Time) -> std::fmt::Result {
    let (inode, size) = match state.registry.get(view.id) {
        Some(buffer) => (buffer.identity.inode(), buffer.size),
        None => (0, 0),
    };
    write!(
        out,
        "  {:<6} {inode:<8} {size:<10} {:<6} {:<8} ",
        view.id.0,
        view.generation,
        cache(view)
    )?;
    names(out, state, &view.holders, now)?;
    if !view.waiters.is_empty() {
        write!(out, " <- ")?;
        names(out, state, &view.waiters, now)?;
    }
    for fence in view.fences.iter().take(MAX_NAMES) {
        let left = fence.deadline.0.saturating_sub(now.0) / 1_000_000;
        let (name, token) = (name(state, fence.group), fence.token.0);
        let access = access(fence.access);
        write!(out, "  (fence of {name}/{token}, {access}, {left} ms left)")?;
    }
    let mark = |set: bool, mark: &'static str| if set { mark } else { "" };
    writeln!(out, "{}{}", mark(view.evicted, "  (evicted)"), mark(view.torn, "  (torn)"))
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

fn names(out: &mut String, state: &State, locks: &[LockView], now: Time) -> std::fmt::Result {
    if locks.is_empty() {
        write!(out, "-")?;
    }
    for (position, lock) in locks.iter().take(MAX_NAMES).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        let name = name(state, lock.group);
        let (token, ticket, access) = (lock.token.0, lock.ticket.0, access(lock.access));
        write!(out, "{separator}{name}/{token} #{ticket} {access}{}", phase(lock.phase, now))?;
    }
    if locks.len() > MAX_NAMES {
        write!(out, ", and {} more", locks.len() - MAX_NAMES)?;
    }
    Ok(())
}

fn name(state: &State, group: GroupId) -> &str {
    state.sessions.get(group).map_or("(closed)", |group| group.name.as_str())
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
