// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The text of `dumpsys vendor.buffersync.IBufferSync/default` (on Linux `rsb_service dump`).
//!
//! With the argument `counters` it is one line of `key=value` pairs, for programs; otherwise tables for
//! people. A snapshot is taken under the arbiter's mutex, and the text is made of it afterwards. Long tables are cut
//! with a note, so that a snapshot is small.
//!
//! Names and habits of other clients are nobody's business: only root, the system and the shell see everything. Any other caller sees
//! its own uid's groups, what they hold and wait for, and their buffers.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use buffersync_engine::{
    Access, BufferId, BufferView, EvictionCause, GroupId, LockView, Phase, SyncFlags, Time, Token,
};

use crate::arbiter::Arbiter;
use crate::clock;
use crate::quota::Usage;
use crate::sessions::SYSTEM_UIDS;
use crate::state::State;

/// Rows of a table: more than a person reads.
const MAX_ROWS: usize = 200;
/// Holders, waiters and fences of a buffer, so that a row stays one line.
const MAX_NAMES: usize = 8;

/// Where a developer runs dumpsys (AID_SHELL of android_filesystem_config.h).
const SHELL_UID: u32 = 2000;

/// Root, the system and the shell see everything.
pub fn is_trusted(uid: u32) -> bool {
    SYSTEM_UIDS.contains(&uid) || uid == SHELL_UID
}

/// Makes the text: everything, or what concerns one uid.
pub fn render(arbiter: &Arbiter, args: &[String], only: Option<u32>) -> String {
    let backlog = arbiter.backlog();
    if args.iter().any(|arg| arg == "counters") {
        return match only {
            None => line(&arbiter.inspect(|state| counters(state, backlog))),
            Some(uid) => line(&arbiter.inspect(|state| amounts(state, uid))),
        };
    }
    let snapshot = arbiter.inspect(|state| Snapshot::of(state, only, backlog));
    let mut out = String::new();
    // Writing to a String never fails.
    let _ = snapshot.tables(&mut out, arbiter.config().max_hold_ms);
    out
}

type Counters = [(&'static str, u64); 23];

fn counters(state: &State, (jobs, waits): (usize, usize)) -> Counters {
    let c = state.engine.counters();
    [
        ("grants", c.grants),
        ("queued", c.queued),
        ("unlocks", c.unlocks),
        ("cancels", c.cancels),
        ("time_outs", c.time_outs),
        ("wounds", c.wounds),
        ("deadlocks", c.deadlocks),
        ("evictions", c.evictions),
        ("deaths", c.deaths),
        ("lock_failures", c.lock_failures),
        ("sync_start", c.sync_start),
        ("sync_end", c.sync_end),
        ("sync_failed", c.sync_failed),
        ("sync_waited", state.waits.waited),
        ("sync_timed_out", state.waits.timed_out),
        ("bracketing_ops", c.bracketing_ops),
        ("buffers", state.registry.len() as u64),
        ("bytes", state.registry.bytes()),
        ("groups", state.sessions.len() as u64),
        ("fences", state.releases.len() as u64),
        ("remembered", state.engine.remembered() as u64),
        ("sync_jobs", jobs as u64),
        ("waits", waits as u64),
    ]
}

/// The amounts of one uid.
fn amounts(state: &State, uid: u32) -> [(&'static str, u64); 7] {
    let Usage { groups, buffers, queued, fences, descriptors, bytes, unread } =
        state.sessions.quotas.usage(uid);
    [
        ("groups", groups),
        ("buffers", buffers),
        ("queued", queued),
        ("fences", fences),
        ("descriptors", descriptors),
        ("bytes", bytes),
        ("unread", unread),
    ]
}

fn line(counters: &[(&str, u64)]) -> String {
    let pairs: Vec<String> = counters.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ") + "\n"
}

/// The part of the state that a dump shows.
struct Snapshot {
    now: Time,
    /// The caller's uid, unless it may see everything.
    only: Option<u32>,
    /// The first rows of each table, and the number of all rows.
    buffers: (Vec<BufferRow>, usize),
    groups: (Vec<GroupRow>, usize),
    uids: (Vec<(u32, Usage)>, usize),
    evictions: Vec<EvictionRow>,
    /// The names of groups that hold a buffer of the table, or wait for it, as far as the caller may know them.
    names: HashMap<GroupId, Arc<str>>,
    counters: Counters,
}

struct BufferRow {
    view: BufferView,
    inode: u64,
    size: u64,
}

struct GroupRow {
    id: GroupId,
    uid: u32,
    buffers: usize,
    locks: usize,
    waiting: usize,
    name: Arc<str>,
}

struct EvictionRow {
    at: Time,
    uid: u32,
    name: Arc<str>,
    token: Token,
    cause: EvictionCause,
}

impl Snapshot {
    fn of(state: &State, only: Option<u32>, backlog: (usize, usize)) -> Self {
        let shows = |uid: u32| only.is_none_or(|only| only == uid);
        let mut groups: Vec<_> =
            state.sessions.iter().filter(|(_, group)| shows(group.uid)).collect();
        groups.sort_unstable_by_key(|(id, _)| *id);
        let own: BTreeSet<BufferId> = match only {
            Some(_) => {
                let members = groups.iter().flat_map(|(id, _)| state.engine.members(*id));
                members.map(|(buffer, _)| buffer).collect()
            }
            None => BTreeSet::new(),
        };
        let wanted = |id| only.is_none() || own.contains(&id);
        let (views, all_buffers) = state.engine.buffers_of(wanted, MAX_ROWS);
        let named = views.iter().flat_map(|view| {
            let locks = view.holders.iter().chain(&view.waiters).map(|lock| lock.group);
            locks.chain(view.fences.iter().map(|fence| fence.group))
        });
        let names = named.filter_map(|id| {
            let group = state.sessions.get(id).filter(|group| shows(group.uid))?;
            Some((id, Arc::clone(&group.name)))
        });
        let names = names.collect();
        let buffers = views.into_iter().map(|view| {
            let kept = state.registry.get(view.id);
            let (inode, size) = kept.map_or((0, 0), |kept| (kept.identity.inode(), kept.size));
            BufferRow { view, inode, size }
        });
        let all_groups = groups.len();
        let rows = groups.into_iter().take(MAX_ROWS).map(|(id, group)| GroupRow {
            id,
            uid: group.uid,
            buffers: state.engine.member_count(id),
            locks: group.locks().len(),
            waiting: group.locks().iter().filter(|lock| lock.is_waiting()).count(),
            name: Arc::clone(&group.name),
        });
        let mut uids: Vec<_> =
            state.sessions.quotas.iter().filter(|(uid, _)| shows(*uid)).collect();
        uids.sort_unstable_by_key(|(uid, _)| *uid);
        let all_uids = uids.len();
        uids.truncate(MAX_ROWS);
        let evictions = state.sessions.evictions().iter().filter(|eviction| shows(eviction.uid));
        let evictions = evictions.map(|eviction| EvictionRow {
            at: eviction.at,
            uid: eviction.uid,
            name: Arc::clone(&eviction.name),
            token: eviction.token,
            cause: eviction.cause,
        });
        Self {
            now: clock::now(),
            only,
            buffers: (buffers.collect(), all_buffers),
            groups: (rows.collect(), all_groups),
            uids: (uids, all_uids),
            evictions: evictions.collect(),
            names,
            counters: counters(state, backlog),
        }
    }

    fn tables(&self, out: &mut String, max_hold_ms: u32) -> std::fmt::Result {
        writeln!(out, "buffersync: maximum hold {max_hold_ms} ms")?;
        if let Some(uid) = self.only {
            writeln!(out, "(uid {uid} sees its own; root, system and shell see everything)")?;
        }

        let (rows, all) = &self.buffers;
        writeln!(out, "\nbuffers ({all}):")?;
        writeln!(
            out,
            "  id           inode    size       gen          cache    holders <- waiters (oldest first), each GROUP/LOCK #ticket"
        )?;
        rows.iter().try_for_each(|row| self.buffer_row(out, row))?;
        cut(out, *all)?;

        let (rows, all) = &self.groups;
        writeln!(out, "\ngroups ({all}):")?;
        writeln!(out, "  id           uid      buffers  locks    waiting  name")?;
        for GroupRow { id, uid, buffers, locks, waiting, name } in rows {
            let serial = id.serial();
            writeln!(out, "  {serial:<12} {uid:<8} {buffers:<8} {locks:<8} {waiting:<8} {name}")?;
        }
        cut(out, *all)?;

        let (rows, all) = &self.uids;
        writeln!(out, "\nuids:")?;
        writeln!(
            out,
            "  uid      groups   buffers  queued   fences   descriptors bytes            unread"
        )?;
        for (uid, usage) in rows {
            let Usage { groups, buffers, queued, fences, descriptors, bytes, unread } = usage;
            writeln!(
                out,
                "  {uid:<8} {groups:<8} {buffers:<8} {queued:<8} {fences:<8} {descriptors:<11} {bytes:<16} {unread}"
            )?;
        }
        cut(out, *all)?;

        writeln!(out, "\nevictions (the last {}):", self.evictions.len())?;
        for EvictionRow { at, uid, name, token, cause } in &self.evictions {
            let ago = self.now.0.saturating_sub(at.0) / 1_000_000;
            let why = match cause {
                EvictionCause::Deadline => "held too long",
                EvictionCause::Fence => "its release fence failed or did not signal",
            };
            writeln!(out, "  {ago} ms ago: {name} of uid {uid}, lock {}: {why}", token.0)?;
        }
        if self.only.is_some() {
            return Ok(());
        }
        write!(out, "\ncounters:")?;
        self.counters.iter().try_for_each(|(key, value)| write!(out, "\n  {key}={value}"))?;
        writeln!(out)
    }

    fn buffer_row(&self, out: &mut String, row: &BufferRow) -> std::fmt::Result {
        let BufferRow { view, inode, size } = row;
        let (id, generation, cache) = (view.id.0, view.generation, cache(view));
        write!(out, "  {id:<12} {inode:<8} {size:<10} {generation:<12} {cache:<8} ")?;
        self.locks(out, &view.holders)?;
        if !view.waiters.is_empty() {
            write!(out, " <- ")?;
            self.locks(out, &view.waiters)?;
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

    fn locks(&self, out: &mut String, locks: &[LockView]) -> std::fmt::Result {
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
        let unknown = if self.only.is_some() { "(other)" } else { "(closed)" };
        self.names.get(&id).map_or(unknown, |name| name)
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
