// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `buffersync-coherence client SOCKET SIZE...`: a client of the service, in a process and under a uid of its own.
//! Does what the driver says, one line after the other, until standard input ends.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write as _};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use buffersync_client::{Access, BufferId, BufferSync, Error, Grant, Group, Options, Pending};
use buffersync_testbed_guest::dmabuf::Mapping;
use buffersync_testbed_guest::fdpass;

use crate::protocol::{line, Command, Marks, Reply, Want, Writing, Wrong};

/// How long a request waits that is about more than it gets at once. Nobody else goes on meanwhile but the service.
const SHORT: Duration = Duration::from_millis(5);

struct Buffer {
    fd: OwnedFd,
    memory: Mapping,
    /// The content that the memory must have; the driver process writes it.
    expected: Mapping,
    id: Option<BufferId>,
}

struct Client {
    sync: BufferSync,
    socket: UnixStream,
    buffers: Vec<Buffer>,
    // In this order: a lock goes before its group.
    pending: Option<Pending>,
    grant: Option<Grant>,
    group: Option<Group>,
}

/// Serves the driver.
pub fn run(args: &[String]) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let numbers: Option<Vec<i32>> = args.iter().map(|arg| arg.parse().ok()).collect();
    let numbers = numbers.ok_or_else(invalid)?;
    let (socket, sizes) = numbers.split_first().ok_or_else(invalid)?;
    // SAFETY: the driver passed the descriptor, and nothing else uses the number.
    let socket = unsafe { UnixStream::from_raw_fd(*socket) };
    let mut buffers = Vec::new();
    for size in sizes {
        let mut fds = fdpass::receive(&socket)?.into_iter();
        let (Some(fd), Some(expected)) = (fds.next(), fds.next()) else { return Err(invalid()) };
        let size = size.unsigned_abs() as usize;
        let memory = Mapping::new(fd.as_fd(), size)?;
        let expected = Mapping::new(expected.as_fd(), size)?;
        buffers.push(Buffer { fd, memory, expected, id: None });
    }
    let sync = BufferSync::connect().map_err(io::Error::other)?;
    let mut client = Client { sync, socket, buffers, pending: None, grant: None, group: None };
    for text in io::stdin().lock().lines() {
        let replies = client.carry_out(&text?);
        println!("{}", line(&replies));
        io::stdout().flush()?;
    }
    Ok(())
}

impl Client {
    fn carry_out(&mut self, text: &str) -> Vec<Reply> {
        let mut over = false;
        let commands = text.split(';');
        let replies = commands.map(|text| {
            if over {
                return Reply::Skipped;
            }
            let reply = match Command::parse(text) {
                Some(command) => self.do_one(command).unwrap_or_else(reply),
                None => Reply::Error(format!("no command: {text}")),
            };
            over = matches!(reply, Reply::Wrong(_) | Reply::Error(_) | Reply::Evicted);
            reply
        });
        replies.collect()
    }

    fn do_one(&mut self, command: Command) -> Result<Reply, Error> {
        match command {
            Command::Open(limit) => self.open(limit),
            Command::Close => self.close(),
            Command::Add(buffer) => {
                let id = self.group()?.add(&self.buffers[buffer].fd, Access::Read)?;
                self.buffers[buffer].id = Some(id);
                Ok(Reply::Done)
            }
            Command::Remove(buffer) => {
                self.group()?.remove(self.id(buffer))?;
                Ok(Reply::Done)
            }
            Command::Lock(wants) => {
                self.pending = Some(self.group()?.start_lock_some(&self.named(&wants), None)?);
                self.poll()
            }
            Command::Poll => self.poll(),
            Command::Cancel => {
                self.pending = None;
                Ok(Reply::Done)
            }
            Command::Check(buffer) => Ok(self.check(buffer)),
            Command::Write(writing) => Ok(self.write(writing)),
            Command::Acquire(buffer) => self.acquire(buffer),
            Command::Unlock(fence) => {
                let fence = self.fence(fence)?;
                self.take_grant()?.unlock_with(fence)?;
                Ok(Reply::Done)
            }
            Command::Part(buffer) => {
                let id = self.id(buffer);
                self.grant()?.unlock_buffers(&[id], None)?;
                Ok(Reply::Done)
            }
            Command::Grow(want) => {
                let named = self.named(&[want]);
                self.grant()?.grow_some(&named, SHORT)?;
                self.granted()
            }
            Command::Downgrade(buffer) => {
                let id = self.id(buffer);
                self.grant()?.downgrade(&[id])?;
                Ok(Reply::Done)
            }
            Command::Exchange(fence, wants) => {
                let (fence, named) = (self.fence(fence)?, self.named(&wants));
                let grant = self.take_grant()?;
                self.grant = Some(grant.unlock_with_and_lock_some(fence, &named, SHORT)?);
                self.granted()
            }
        }
    }

    fn group(&self) -> Result<&Group, Error> {
        self.group.as_ref().ok_or(Error::Closed)
    }

    fn grant(&mut self) -> Result<&mut Grant, Error> {
        self.grant.as_mut().ok_or(Error::Ended)
    }

    fn take_grant(&mut self) -> Result<Grant, Error> {
        self.grant.take().ok_or(Error::Ended)
    }

    fn id(&self, buffer: usize) -> BufferId {
        self.buffers[buffer].id.unwrap_or(BufferId(0))
    }

    fn named(&self, wants: &[Want]) -> Vec<(BufferId, Access)> {
        wants.iter().map(|want| (self.id(want.buffer), want.access)).collect()
    }

    fn open(&mut self, limit: u64) -> Result<Reply, Error> {
        let hold_limit = (limit > 0).then(|| Duration::from_millis(limit));
        let options = Options { hold_limit, ..Options::default() };
        self.group = Some(self.sync.open_group("coherence", options)?);
        Ok(Reply::Done)
    }

    fn close(&mut self) -> Result<Reply, Error> {
        self.group()?.close()?;
        self.group = None;
        Ok(Reply::Done)
    }

    /// Takes the grant, if the lock has it now.
    fn poll(&mut self) -> Result<Reply, Error> {
        let Some(mut pending) = self.pending.take() else { return Err(Error::NotQueued) };
        if !pending.is_granted()? {
            self.pending = Some(pending);
            return Ok(Reply::Queued);
        }
        self.grant = Some(pending.wait()?);
        self.granted()
    }

    fn granted(&mut self) -> Result<Reply, Error> {
        let ids: BTreeMap<_, _> =
            self.buffers.iter().enumerate().map(|(at, of)| (of.id, at)).collect();
        let grant = self.grant()?;
        let deadline = grant.deadline().map_or(0, |time| time.as_nanos() as u64);
        let marks = grant.buffers().iter().filter_map(|granted| {
            let buffer = *ids.get(&Some(granted.id))?;
            Some(Marks { buffer, torn: granted.torn, fenced: granted.fenced })
        });
        Ok(Reply::Granted(deadline, marks.collect()))
    }

    fn check(&self, buffer: usize) -> Reply {
        let Buffer { memory, expected, .. } = &self.buffers[buffer];
        for word in 0..memory.words() {
            let (saw, want) = (memory.read(word), expected.read(word));
            if saw != want {
                return Reply::Wrong(Wrong { word, saw, want });
            }
        }
        Reply::Done
    }

    fn write(&mut self, writing: Writing) -> Reply {
        let memory = &mut self.buffers[writing.buffer].memory;
        let words = memory.words();
        writing.values(words).for_each(|(at, value)| memory.write(at, value));
        Reply::Done
    }

    /// Sends the acquire fence to the driver, which has the device.
    fn acquire(&mut self, buffer: usize) -> Result<Reply, Error> {
        let id = self.id(buffer);
        let fence = self.grant()?.acquire_fence_of(id)?;
        if let Some(fence) = &fence {
            if let Err(error) = fdpass::send(&self.socket, &[fence.as_fd()]) {
                return Ok(Reply::Error(error.to_string()));
            }
        }
        Ok(Reply::Fence(fence.is_some()))
    }

    fn fence(&self, sent: bool) -> Result<Option<OwnedFd>, Error> {
        if !sent {
            return Ok(None);
        }
        let received = fdpass::receive(&self.socket).map_err(|_| Error::BadFd)?;
        Ok(received.into_iter().next())
    }
}

/// The reply to what the service refuses.
fn reply(error: Error) -> Reply {
    match error {
        Error::Evicted { .. } => Reply::Evicted,
        Error::TimedOut { .. } | Error::Deadlock | Error::WouldBlock(_) => Reply::Refused,
        other => Reply::Error(format!("{other:?}")),
    }
}
