// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The processes of the pipeline, and what they share: sockets, locks, reports.
//!
//! A role prints lines to its parent: `progress N`, `span ...` ([`crate::span`]), and at the end
//! `done FRAMES EVICTED`, or `error WHY`.

mod camera;
mod codec;
mod preview;
mod stuck;

use std::os::fd::OwnedFd;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Group, Options};
use buffersync_testbed_guest::dmabuf::DmaBuf;

use crate::channel::Channel;
use crate::device::Done;
use crate::frame::Torn;
use crate::span::{now, Span};
use crate::Failure;

/// Buffers between two neighbours.
const SLOTS: usize = 4;
/// No holder may hold longer, so no wait for a few of them is longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a role is told on its command line.
pub struct Task {
    frames: u64,
    locks: bool,
    channels: Vec<Channel>,
}

/// What it reports at the end.
#[derive(Default)]
pub struct Report {
    frames: u64,
    evicted: u64,
    spans: Vec<Span>,
}

impl Report {
    /// What a device has made of the jobs that were handed in, one for each lock.
    fn finished(&mut self, jobs: &[Done<Result<(), Torn>>]) {
        for (span, done) in self.spans.iter_mut().zip(jobs) {
            span.work = (done.began, done.ended);
            span.torn = done.result.is_err();
            span.acquired = done.acquired.filter(|acquired| *acquired > span.granted);
        }
    }
}

/// Runs a role: `ROLE FRAMES locks|no-locks FD...`.
pub fn run(role: &str, args: &[String]) -> Result<(), Failure> {
    let [frames, locks, fds @ ..] = args else { return Err("too few arguments".into()) };
    let channels: Result<Vec<Channel>, Failure> =
        fds.iter().map(|fd| Ok(Channel::inherited(fd.parse()?)?)).collect();
    let task = Task { frames: frames.parse()?, locks: locks == "locks", channels: channels? };
    let report = match role {
        "camera" => camera::run(task),
        "codec" => codec::run(task),
        "preview" => preview::run(task),
        _ => stuck::run(task),
    }?;
    for span in &report.spans {
        println!("{}", span.to_line());
    }
    println!("done {} {}", report.frames, report.evicted);
    Ok(())
}

/// The next of a role's sockets.
fn next_channel(task: &mut Task) -> Result<Channel, Failure> {
    if task.channels.is_empty() {
        return Err("a socket is missing".into());
    }
    Ok(task.channels.remove(0))
}

/// A set of buffers that is locked for each frame; or is not, in the control run.
struct Lock {
    group: Option<Group>,
    names: Vec<String>,
}

impl Lock {
    /// Opens a group of these buffers.
    fn open(
        service: Option<&BufferSync>,
        name: &str,
        buffers: &[(&DmaBuf, Access, String)],
    ) -> Result<Self, Failure> {
        let names = buffers.iter().map(|(_, _, name)| name.clone()).collect();
        let Some(service) = service else { return Ok(Self { group: None, names }) };
        let mut group = service.open_group(name, Options::default())?;
        for (buffer, access, _) in buffers {
            group.add(*buffer, *access)?;
        }
        Ok(Self { group: Some(group), names })
    }

    /// Asks for the buffers, then calls `asked` (from here on nobody who asks later comes first),
    /// then has the CPU read them when they are granted.
    fn read(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        verify: impl FnOnce() -> Result<(), Torn>,
    ) -> Result<(), Failure> {
        self.run(sequence, report, asked, |_| Ok((verify(), None)))
    }

    /// As [`Lock::read`], for a device: the work is handed in with the fence that it has to wait for,
    /// and the buffers are given back with the fence that it will signal.
    fn hand_over(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        submit: impl FnOnce(Option<OwnedFd>) -> Result<OwnedFd, Failure>,
    ) -> Result<(), Failure> {
        self.run(sequence, report, asked, |acquire| Ok((Ok(()), Some(submit(acquire)?))))
    }

    fn run(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        work: impl FnOnce(Option<OwnedFd>) -> Result<(Result<(), Torn>, Option<OwnedFd>), Failure>,
    ) -> Result<(), Failure> {
        let begin = now();
        if let Some(group) = &mut self.group {
            group.start_lock()?;
        }
        asked()?;
        let grant = match &mut self.group {
            Some(group) => Some(group.finish_lock(PATIENCE)?),
            None => None,
        };
        let granted = if grant.is_some() { now() } else { begin };
        let acquire = match &grant {
            Some(grant) => {
                report.evicted += u64::from(grant.buffers().iter().any(|buffer| buffer.evicted));
                grant.acquire_fence()?
            }
            None => None,
        };
        let (result, release) = work(acquire)?;
        let ended = now();
        match (grant, release) {
            (Some(grant), Some(fence)) => grant.unlock_with_fence(fence)?,
            (Some(grant), None) => grant.unlock()?,
            (None, _) => {}
        }
        report.spans.push(Span {
            asked: begin,
            granted,
            ended,
            work: (granted, ended),
            acquired: None,
            sequence: Some(sequence),
            evicted: false,
            torn: result.is_err(),
            buffers: self.names.clone(),
        });
        Ok(())
    }
}

/// The service, unless this is the control run.
fn service(task: &Task) -> Result<Option<BufferSync>, Failure> {
    Ok(if task.locks { Some(BufferSync::connect()?) } else { None })
}
