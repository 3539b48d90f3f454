// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The processes of the pipeline, and their common code: sockets, locks, reports.
//!
//! A role prints lines for its parent: `progress N`, `span ...` ([`crate::span`]), and at the end
//! `done FRAMES EVICTED`, or `error WHY`.

mod camera;
mod codec;
mod preview;
mod stuck;

use std::os::fd::OwnedFd;
use std::time::Duration;

use buffersync_client::{Access, BufferSync, Group, Options, Pending};
use buffersync_testbed_guest::dmabuf::DmaBuf;

use crate::channel::Channel;
use crate::device::Done;
use crate::frame::Torn;
use crate::span::{now, Span};
use crate::Failure;

/// Buffers between two neighbours: enough for both to work at once.
const SLOTS: usize = 4;
/// The longest wait for a lock: four holders may use up their limit of 5 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// The command line of a role.
pub struct Task {
    frames: u64,
    locks: bool,
    channels: Vec<Channel>,
}

/// The report of a role at its end.
#[derive(Default)]
pub struct Report {
    frames: u64,
    evicted: u64,
    spans: Vec<Span>,
}

impl Report {
    /// Adds the results of a device, which had one job for each span.
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

/// Takes the next socket of a role.
fn next_channel(task: &mut Task) -> Result<Channel, Failure> {
    if task.channels.is_empty() {
        return Err("a socket is missing".into());
    }
    Ok(task.channels.remove(0))
}

/// A set of buffers that is locked for each frame. In the control run there is no group.
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
        let group = service.open_group(name, Options::default())?;
        for (buffer, access, _) in buffers {
            group.add(*buffer, *access)?;
        }
        Ok(Self { group: Some(group), names })
    }

    /// Asks for the buffers and calls `asked`: a later request is now behind this one in the queue. The
    /// CPU reads the buffers with `verify` when they are granted.
    fn read(
        &mut self,
        sequence: u64,
        report: &mut Report,
        asked: impl FnOnce() -> Result<(), Failure>,
        verify: impl FnOnce() -> Result<(), Torn>,
    ) -> Result<(), Failure> {
        self.run(sequence, report, asked, |_| Ok((verify(), None)))
    }

    /// Like [`Lock::read`], for a device: `submit` gets the acquire fence, and the unlock gets the fence
    /// that `submit` returns.
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
        let pending = self.group.as_ref().map(|group| group.start_lock(PATIENCE)).transpose()?;
        asked()?;
        let grant = pending.map(Pending::wait).transpose()?;
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
            (Some(grant), Some(fence)) => grant.unlock_with(fence)?,
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

/// Connects to the service, except in the control run.
fn service(task: &Task) -> Result<Option<BufferSync>, Failure> {
    Ok(if task.locks { Some(BufferSync::connect()?) } else { None })
}
