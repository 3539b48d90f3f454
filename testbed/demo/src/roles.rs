// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The processes of the pipeline, and what they share: sockets, locks, reports.
//!
//! A role prints lines to its parent: `progress N`, `span ...` ([`crate::span`]), and at the end
//! `done FRAMES TORN EVICTED`, or `error WHY`.

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
    torn: u64,
    evicted: u64,
    spans: Vec<Span>,
}

impl Report {
    /// What a device has made of the jobs that were handed in, one for each lock.
    fn finished<R>(&mut self, jobs: &[Done<R>]) {
        for (span, done) in self.spans.iter_mut().zip(jobs) {
            span.work = (done.began, done.ended);
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
    println!("done {} {} {}", report.frames, report.torn, report.evicted);
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
    /// then works when they are granted.
    fn with<R>(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        work: impl FnOnce() -> R,
    ) -> Result<R, Failure> {
        self.run(sequence, report, asked, |_| Ok((work(), None)))
    }

    /// As [`Lock::with`], for a device: the work is handed in with the fence that it has to wait for,
    /// and the buffers are given back with the fence that it will signal.
    fn hand_over(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        submit: impl FnOnce(Option<OwnedFd>) -> Result<OwnedFd, Failure>,
    ) -> Result<(), Failure> {
        self.run(sequence, report, asked, |acquire| Ok(((), Some(submit(acquire)?))))
    }

    fn run<R>(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        work: impl FnOnce(Option<OwnedFd>) -> Result<(R, Option<OwnedFd>), Failure>,
    ) -> Result<R, Failure> {
        let begin = now();
        let Some(group) = &mut self.group else {
            asked()?;
            return Ok(work(None)?.0);
        };
        group.start_lock()?;
        asked()?;
        let grant = group.finish_lock(PATIENCE)?;
        let granted = now();
        if grant.buffers().iter().any(|buffer| buffer.evicted) {
            report.evicted += 1;
        }
        let (result, release) = work(grant.acquire_fence()?)?;
        let ended = now();
        match release {
            Some(fence) => grant.unlock_with_fence(fence)?,
            None => grant.unlock()?,
        }
        report.spans.push(Span {
            asked: begin,
            granted,
            ended,
            work: (granted, ended),
            acquired: None,
            sequence: Some(sequence),
            evicted: false,
            buffers: self.names.clone(),
        });
        Ok(result)
    }
}

/// The service, unless this is the control run.
fn service(task: &Task) -> Result<Option<BufferSync>, Failure> {
    Ok(if task.locks { Some(BufferSync::connect()?) } else { None })
}
