// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The processes of the pipeline, and their common code: sockets, locks, reports.
//!
//! A role prints lines for its parent: `progress N`, `device NAME`, `span ...` ([`crate::span`]), and at the end
//! `done FRAMES`, or `error WHY`.

mod camera;
mod codec;
mod display;
mod stuck;
mod writer;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use buffersync_client::{
    Access, BufferId, BufferSync, Fences, Grant, Group, HoldFrom, Options, Pending,
};
use buffersync_testbed_guest::dmabuf::DmaBuf;

use crate::channel::Channel;
use crate::span::{now, Span};
use crate::Failure;

/// The camera's buffers: two in the driver, two with the display during a page flip, one that the encoder reads, and one
/// that waits for it.
pub const FRAMES: usize = 6;
/// The codec's buffers.
const STREAMS: usize = 3;
/// The longest wait for a lock or a fence, also on a slow emulated machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command line of a role.
pub struct Task {
    frames: u64,
    locks: bool,
    /// Where the writer saves the frames.
    folder: PathBuf,
    channels: Vec<Channel>,
}

/// The report of a role at its end.
#[derive(Default)]
pub struct Report {
    frames: u64,
    spans: Vec<Span>,
}

/// Runs a role: `ROLE FRAMES locks|no-locks FOLDER FD...`.
pub fn run(role: &str, args: &[String]) -> Result<(), Failure> {
    let [frames, locks, folder, fds @ ..] = args else { return Err("too few arguments".into()) };
    let channels: Result<Vec<Channel>, Failure> =
        fds.iter().map(|fd| Ok(Channel::inherited(fd.parse()?)?)).collect();
    let (frames, locks, folder) = (frames.parse()?, locks == "locks", folder.into());
    let task = Task { frames, locks, folder, channels: channels? };
    let report = match role {
        "camera" => camera::run(task),
        "codec" => codec::run(task),
        "writer" => writer::run(task),
        "display" => display::run(task),
        _ => stuck::run(task),
    }?;
    for span in &report.spans {
        println!("{}", span.to_line());
    }
    println!("done {}", report.frames);
    Ok(())
}

/// Waits until the parent closes this process's standard input.
fn wait_for_parent() -> std::io::Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map(drop)
}

/// Takes the next socket of a role.
fn next_channel(task: &mut Task) -> Result<Channel, Failure> {
    if task.channels.is_empty() {
        return Err("a socket is missing".into());
    }
    Ok(task.channels.remove(0))
}

/// The buffers of a role, in the group in which it locks them. In the control run there is no group.
struct Buffers {
    group: Option<Group>,
    members: Vec<Member>,
}

struct Member {
    name: String,
    /// Of the group, if there is one.
    id: Option<BufferId>,
    access: Access,
}

impl Buffers {
    /// Opens the group. Its hold limit counts from the first lock that waits: a camera without light and a paused
    /// display may keep what nobody else wants.
    fn open(task: &Task, name: &str) -> Result<Self, Failure> {
        let options = Options { hold_from: HoldFrom::Conflict, ..Options::default() };
        let open = || BufferSync::connect()?.open_group(name, options);
        Ok(Self { group: task.locks.then(open).transpose()?, members: Vec::new() })
    }

    /// Adds buffers, which are named PREFIX0, PREFIX1, ...
    fn add(&mut self, buffers: &[DmaBuf], prefix: &str, access: Access) -> Result<(), Failure> {
        for (nth, buffer) in buffers.iter().enumerate() {
            let id = self.group.as_ref().map(|group| group.add(buffer, access)).transpose()?;
            self.members.push(Member { name: format!("{prefix}{nth}"), id, access });
        }
        Ok(())
    }

    /// Asks for a lock of some: a later request is behind this one in the queue from now on.
    fn ask(&self, which: &[usize]) -> Result<Request, Failure> {
        let asked = now();
        let members = which.iter().map(|nth| self.members.get(*nth).ok_or("no such buffer"));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let wants: Vec<(BufferId, Access)> =
            members.iter().filter_map(|member| Some((member.id?, member.access))).collect();
        let start = |group: &Group| group.start_lock_some(&wants, PATIENCE);
        let pending = self.group.as_ref().map(start).transpose()?;
        let buffers = members.iter().map(|member| member.name.clone()).collect();
        Ok(Request { asked, pending, buffers })
    }
}

/// A lock that was asked for. In the control run there is none, and it counts as granted.
struct Request {
    asked: u64,
    pending: Option<Pending>,
    buffers: Vec<String>,
}

impl Request {
    fn is_granted(&mut self) -> Result<bool, Failure> {
        Ok(self.pending.as_mut().map(Pending::is_granted).transpose()?.unwrap_or(true))
    }

    fn wait(self) -> Result<Held, Failure> {
        let grant = self.pending.map(Pending::wait).transpose()?;
        let granted = if grant.is_some() { now() } else { self.asked };
        Ok(Held { asked: self.asked, granted, grant, buffers: self.buffers })
    }
}

/// A lock that is granted.
struct Held {
    asked: u64,
    granted: u64,
    grant: Option<Grant>,
    buffers: Vec<String>,
}

impl Held {
    /// The fence for which a device has to wait before it begins.
    fn acquire_fence(&self) -> Result<Option<OwnedFd>, Failure> {
        let fence = self.grant.as_ref().map(Grant::acquire_fence).transpose()?;
        Ok(fence.flatten())
    }

    /// The device is done; the CPU reads. One call of the service.
    fn read_with_cpu(&mut self) -> Result<(), Failure> {
        if let Some(grant) = self.grant.take() {
            let reads: Vec<(BufferId, Access)> =
                grant.buffers().iter().map(|buffer| (buffer.id, Access::Read)).collect();
            self.grant = Some(grant.unlock_with_and_lock_some(Fences::NONE, &reads, PATIENCE)?);
        }
        Ok(())
    }

    /// Unlocks; `fence` signals when the device is done. The work was done at the times `work`.
    fn unlock(
        self,
        fence: Option<OwnedFd>,
        frame: u64,
        work: (u64, u64),
        torn: bool,
    ) -> Result<Span, Failure> {
        let ended = now();
        match (self.grant, fence) {
            (Some(grant), Some(fence)) => grant.unlock_with(fence)?,
            (Some(grant), None) => grant.unlock()?,
            (None, _) => {}
        }
        let Self { asked, granted, buffers, .. } = self;
        let (frame, evicted) = (Some(frame), false);
        Ok(Span { asked, granted, ended, work, frame, evicted, torn, buffers })
    }
}
