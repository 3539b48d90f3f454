// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Holders that are evicted, clients that die, groups and buffers that go and come again.

use std::thread;

use buffersync_client::Access;

use super::work::Task;
use super::{
    broken, done, now, Actor, Event, History, Part, State, Step, CLIENTS, LATE, LIMIT, PAUSE,
};
use crate::protocol::{name, Command, Reply, Want};

impl History<'_> {
    /// A holder keeps its lock too long, and goes on writing.
    pub(super) fn evict(&mut self, at: usize) -> Step {
        // Fences do not wait so long.
        self.complete_all()?;
        let Some(deadline) = self.deadline(at) else { return Ok(()) };
        // If it is over already, others may have written in order since: then it must have gone.
        let goes_on = now() < deadline;
        if !goes_on {
            self.actors[at].later.clear();
        }
        thread::sleep((deadline + LATE).saturating_sub(now()));
        self.count(Event::Eviction);
        let parts = self.parts(at);
        for part in parts.iter().filter(|part| part.want.writes()) {
            self.oracle.log(part.want.buffer, format!("client {at} was evicted"));
            if goes_on && self.random.percent(70) {
                let part = Part { torn: false, ..part.clone() };
                if part.want.is_dma() {
                    let pieces = self.pieces(&part);
                    self.write_by_dma(part.want.buffer, &pieces)?;
                } else {
                    let writing = self.writing(&part);
                    self.actors[at].later.push(Command::Write(writing));
                }
            }
        }
        let reply = self.tell(at, Command::Unlock(false))?;
        let wants: Vec<Want> = parts.iter().map(|part| part.want).collect();
        self.gone(at, &wants);
        match reply {
            Reply::Evicted => Ok(()),
            other => broken(format!("after its deadline client {at} was answered by {other}")),
        }
    }

    /// A client is killed, a writer sometimes in the middle of its work.
    pub(super) fn kill(&mut self, at: usize) -> Step {
        let busy =
            |task: &Task| matches!(task, Task::Write(by, _) | Task::Check(by, _) if *by == at);
        if self.works.iter().flat_map(|work| &work.tasks).any(busy) {
            return Ok(());
        }
        self.count(Event::Death);
        let wants = match &self.actors[at].state {
            State::Idle => Vec::new(),
            State::Queued(wants) => wants.clone(),
            State::Held { parts, .. } => parts.iter().map(|part| part.want).collect(),
        };
        let held = matches!(self.actors[at].state, State::Held { .. });
        for want in wants.iter().filter(|want| want.writes() && !want.is_dma()) {
            if held && self.random.percent(50) {
                let part = Part { want: *want, torn: false, fence: None, used: false };
                let writing = self.writing(&part);
                done(&self.actors[at].client.ask(&[Command::Write(writing)])?)?;
            }
            self.oracle.log(want.buffer, format!("client {at} was killed"));
        }
        self.gone(at, &wants);
        self.actors[at] = self.newcomer(at)?;
        Ok(())
    }

    pub(super) fn open_again(&mut self, at: usize) -> Step {
        self.count(Event::NewGroup);
        let limit = if self.random.percent(30) { LIMIT } else { 0 };
        self.actors[at].limit = limit;
        let mut commands = std::mem::take(&mut self.actors[at].later);
        commands.push(Command::Close);
        commands.extend(self.opening(limit));
        done(&self.actors[at].client.ask(&commands)?)
    }

    /// All clients remove a buffer that none of them has, others use it meanwhile, and all add it again.
    pub(super) fn register_again(&mut self) -> Step {
        let is_used = |buffer: usize| {
            let has = |actor: &Actor| match &actor.state {
                State::Idle => false,
                State::Queued(wants) => wants.iter().any(|want| want.buffer == buffer),
                State::Held { parts, .. } => parts.iter().any(|part| part.want.buffer == buffer),
            };
            let goes_on = self.works.iter().any(|work| work.buffers.contains(&buffer));
            self.actors.iter().any(has) || goes_on
        };
        let free: Vec<usize> =
            (0..self.oracle.buffers.len()).filter(|buffer| !is_used(*buffer)).collect();
        let Some(buffer) = self.random.one_of(&free) else { return Ok(()) };
        self.count(Event::Registration);
        self.oracle.log(buffer, "all have removed it".into());
        for at in 0..CLIENTS {
            let reply = self.tell(at, Command::Remove(buffer))?;
            self.expect(at, &reply)?;
        }
        thread::sleep(PAUSE);
        self.use_outside(buffer)?;
        let first = self.random.below(CLIENTS as u64) as usize;
        for nth in 0..CLIENTS {
            let at = (first + nth) % CLIENTS;
            let reply = self.tell(at, Command::Add(buffer))?;
            self.expect(at, &reply)?;
        }
        Ok(())
    }

    /// Others than the service's clients use a buffer that nobody has registered.
    pub(super) fn use_outside(&mut self, buffer: usize) -> Step {
        if self.oracle.buffers[buffer].doubt {
            return Ok(());
        }
        let want = |access| Want { buffer, access };
        let part = |access| Part { want: want(access), torn: false, fence: None, used: false };
        let way = self.random.below(100);
        let access = match way {
            0..=39 => Access::DmaRead,
            40..=69 => Access::DmaWrite,
            70..=89 => Access::Write,
            _ => return Ok(()),
        };
        self.oracle.log(buffer, format!("others have used it: {}", name(access)));
        if access == Access::Write {
            let writing = self.writing(&part(access));
            let memory = &mut self.oracle.buffers[buffer].memory;
            memory.invalidate()?;
            let words = memory.words();
            writing.values(words).for_each(|(at, value)| memory.mapping.write(at, value));
            memory.clean()?;
            self.oracle.written(writing);
            return Ok(());
        }
        let content = self.oracle.content(buffer);
        self.check_by_dma(buffer, &content, "a device, beside the service".into())?;
        if access == Access::DmaWrite {
            let pieces = self.pieces(&part(access));
            self.oracle.written_by_dma(buffer, &pieces);
            self.write_by_dma(buffer, &pieces)?;
        }
        Ok(())
    }
}
