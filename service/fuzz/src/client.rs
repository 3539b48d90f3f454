// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The client that an input plays. It keeps what replies have brought: groups, buffers, event channels, fences.
//! All of that goes when the client is dropped, as after a client's death.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use buffersync_aidl::aidl::vendor::buffersync::LockReply::LockReply;
use buffersync_aidl::aidl::vendor::buffersync::OpenedGroup::OpenedGroup;
use buffersync_testbed_guest::vgem::Fence;
use rsbinder::{Interface, Parcel, ParcelFileDescriptor, SIBinder, Status};

use crate::descriptors::{self, Descriptors, EVENTS, KINDS, PENDING};
use crate::input::{Call, Header, Known, Step};
use crate::parcel::{long, Request, OTHER_TYPES};

/// The methods with locks or buffers in arguments or replies, by their order in the AIDL.
pub mod method {
    use rsbinder::{TransactionCode, FIRST_CALL_TRANSACTION};

    use crate::parcel::word;

    /// `IBufferSync.openGroup`; all others are `ISyncGroup`'s.
    pub const OPEN_GROUP: TransactionCode = FIRST_CALL_TRANSACTION + 1;
    /// `add`.
    pub const ADD: TransactionCode = FIRST_CALL_TRANSACTION;
    const REMOVE: TransactionCode = FIRST_CALL_TRANSACTION + 1;
    const LOCK: TransactionCode = FIRST_CALL_TRANSACTION + 2;
    const GROW: TransactionCode = FIRST_CALL_TRANSACTION + 3;
    /// `getAcquireFence`.
    pub const GET_ACQUIRE_FENCE: TransactionCode = FIRST_CALL_TRANSACTION + 5;
    const UNLOCK_BUFFERS: TransactionCode = FIRST_CALL_TRANSACTION + 7;
    const DOWNGRADE: TransactionCode = FIRST_CALL_TRANSACTION + 8;
    const UNLOCK_AND_LOCK: TransactionCode = FIRST_CALL_TRANSACTION + 9;

    /// Whether the reply is a `LockReply`.
    pub fn locks(code: TransactionCode) -> bool {
        matches!(code, LOCK | GROW | UNLOCK_AND_LOCK)
    }

    /// Whether the first argument is the number of a lock that the group has.
    pub fn takes_lock(code: TransactionCode) -> bool {
        (GROW..=UNLOCK_AND_LOCK).contains(&code)
    }

    /// The position of the number of a new lock.
    pub fn new_lock(code: TransactionCode, data: &[u8]) -> Option<usize> {
        match code {
            LOCK => Some(0),
            // Behind the old lock and the fences: for each a flag, and a parcelable that begins with its size.
            UNLOCK_AND_LOCK => {
                let fences = word(data, 8).min(u64::from(u8::MAX));
                let behind = |at: usize, _| Some(at + 4 + word(data, at + 4) as usize);
                (0..fences).try_fold(12, behind).filter(|at| *at < data.len())
            }
            _ => None,
        }
    }

    /// The position of the first buffer that is named.
    pub fn first_buffer(code: TransactionCode, data: &[u8]) -> Option<usize> {
        match code {
            // Behind the array's length; behind a lock.
            REMOVE => Some(4),
            GET_ACQUIRE_FENCE => Some(8),
            // Behind both.
            LOCK | GROW | UNLOCK_BUFFERS | DOWNGRADE => Some(12),
            UNLOCK_AND_LOCK => Some(new_lock(code, data)? + 12),
            _ => None,
        }
    }
}

/// Pending and acquire fences that a client keeps: the kinds of descriptors have room for four.
const FENCES: usize = 4;
/// The length of [`Action::Wait`]: longer than the shortest hold limit. A client waits only once in an
/// input, so that inputs stay fast.
const SOME_TIME: Duration = Duration::from_micros(1200);

/// What a client does without a call. An input has the position, modulo their number.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Drops a group's object, as the client's death would.
    DropGroup,
    /// Reads a group's event channel.
    ReadEvents,
    /// Closes the client's end of a group's event channel.
    CloseEvents,
    /// A driver puts a writer's fence on one of the vgem buffers.
    AttachWriter,
    /// A driver puts a reader's fence on one of the vgem buffers.
    AttachReader,
    /// The oldest fence signals.
    Signal,
    /// Some time passes.
    Wait,
    /// The service's threads get a turn.
    Yield,
}

const ACTIONS: [Action; 8] = [
    Action::DropGroup,
    Action::ReadEvents,
    Action::CloseEvents,
    Action::AttachWriter,
    Action::AttachReader,
    Action::Signal,
    Action::Wait,
    Action::Yield,
];

/// The client of one input.
pub struct Client<'a> {
    service: &'a SIBinder,
    descriptors: &'a Descriptors,
    /// The number of another client's grant, and its buffer.
    strangers: (i64, i64),
    groups: Vec<Group>,
    /// The sync_files of fences that this client signals, and acquire fences.
    pending: Vec<OwnedFd>,
    unsignalled: Vec<Fence>,
    has_waited: bool,
}

struct Group {
    /// `None` after it was dropped.
    object: Option<SIBinder>,
    events: Option<OwnedFd>,
    /// The number of its last lock.
    lock: i64,
    buffers: Vec<i64>,
}

impl<'a> Client<'a> {
    /// Makes a client without groups.
    pub fn new(service: &'a SIBinder, descriptors: &'a Descriptors, strangers: (i64, i64)) -> Self {
        let (groups, pending, unsignalled) = (Vec::new(), Vec::new(), Vec::new());
        Self { service, descriptors, strangers, groups, pending, unsignalled, has_waited: false }
    }

    /// Does one step.
    pub fn step(&mut self, step: &Step) {
        match step {
            Step::Call(call) => self.call(call),
            Step::Act(action, argument) => {
                self.act(ACTIONS[usize::from(*action) % ACTIONS.len()], *argument);
            }
        }
    }

    fn call(&mut self, call: &Call) {
        let group = call.target.checked_sub(1).and_then(|group| self.index(group));
        let target = match (call.target, group) {
            (0, _) => self.service.clone(),
            (_, Some(group)) => match self.groups[group].object.clone() {
                Some(object) => object,
                None => return,
            },
            // There is no group yet.
            (_, None) => return,
        };
        let own = target.descriptor();
        let other = self.service.descriptor();
        let interface = match call.header {
            Header::Own => own,
            // A group gets the service's interface, the service a longer name.
            Header::Others if own != other => other,
            Header::Others => "android.hardware.graphics.allocator.IAllocator",
            Header::Missing => "",
        };
        let mut request = Request::new(interface, &call.data);
        let code = call.transaction();
        let new = method::new_lock(code, &call.data);
        let mut lock = new.map(|at| long(&call.data, at));
        for (at, what) in &call.numbers {
            let number = self.known(*what);
            request.number(*at, number);
            if new == Some(*at) {
                lock = Some(number);
            }
        }
        for (at, kind) in &call.objects {
            match kind.checked_sub(0xc0) {
                None => request.descriptor(*at, self.descriptor(*kind)),
                // Binders, also null, and objects that only a broken client sends.
                Some(other) => {
                    let number = u64::from(other) / OTHER_TYPES.len() as u64;
                    let kind = OTHER_TYPES[usize::from(other) % OTHER_TYPES.len()];
                    request.object(*at, kind, number, number);
                }
            }
        }
        if let Ok(reply) = request.transact(&target, code) {
            // If the reply cannot be read, the client learns nothing.
            let _ = self.learn(group, lock, code, reply);
        }
    }

    fn learn(
        &mut self,
        group: Option<usize>,
        lock: Option<i64>,
        code: u32,
        mut reply: Parcel,
    ) -> rsbinder::Result<()> {
        if !reply.read::<Status>()?.is_ok() {
            return Ok(());
        }
        match (group, code) {
            (None, method::OPEN_GROUP) => {
                let opened: OpenedGroup = reply.read()?;
                let object = opened.group.map(|group| group.as_binder());
                let events = opened.events.map(OwnedFd::from);
                if let Some(events) = &events {
                    descriptors::set_nonblocking(events);
                }
                self.groups.push(Group { object, events, lock: 0, buffers: Vec::new() });
            }
            (Some(group), method::ADD) => {
                self.groups[group].buffers.extend(reply.read::<Vec<i64>>()?)
            }
            (Some(group), code) if method::locks(code) => {
                let LockReply { acquireFence, grant } = reply.read()?;
                // A deadline, then three numbers for each buffer.
                let mut buffers = grant.iter().skip(1).step_by(3);
                assert!(
                    buffers.all(|buffer| *buffer != self.strangers.1),
                    "the victim's buffer is granted to another"
                );
                if let Some(lock) = lock {
                    self.groups[group].lock = lock;
                }
                self.keep(acquireFence);
            }
            (Some(_), method::GET_ACQUIRE_FENCE) => {
                let fence: Option<ParcelFileDescriptor> = reply.read()?;
                self.keep(fence);
            }
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, fence: Option<ParcelFileDescriptor>) {
        if self.pending.len() < FENCES {
            self.pending.extend(fence.map(OwnedFd::from));
        }
    }

    fn index(&self, group: u8) -> Option<usize> {
        usize::from(group).checked_rem(self.groups.len())
    }

    /// The present value of a [`Known`]; 0 if there is none yet.
    fn known(&self, what: u8) -> i64 {
        let (known, group) = Known::from(what);
        let Some(group) = self.index(group).map(|group| &self.groups[group]) else { return 0 };
        match known {
            Known::Lock => group.lock,
            Known::NextLock => group.lock.saturating_add(1),
            Known::FirstBuffer => group.buffers.first().copied().unwrap_or(0),
            Known::SecondBuffer => group.buffers.get(1).copied().unwrap_or(0),
            Known::StrangersLock => self.strangers.0,
        }
    }

    fn descriptor(&self, kind: u8) -> RawFd {
        let kind = kind % KINDS;
        let events = |nth: u8| self.index(nth).and_then(|at| self.groups[at].events.as_ref());
        let own = match kind {
            ..PENDING => return self.descriptors.get(kind),
            EVENTS.. => events(kind - EVENTS),
            _ => self.pending.get(usize::from(kind - PENDING)),
        };
        own.map_or(self.descriptors.get(descriptors::SIGNALLED), AsRawFd::as_raw_fd)
    }

    fn act(&mut self, action: Action, argument: u8) {
        let group = self.index(argument);
        match (action, group) {
            (Action::DropGroup, Some(group)) => self.groups[group].object = None,
            (Action::CloseEvents, Some(group)) => self.groups[group].events = None,
            (Action::ReadEvents, Some(group)) => {
                if let Some(events) = &self.groups[group].events {
                    // EAGAIN: there are no events.
                    let _ = nix::unistd::read(events.as_raw_fd(), &mut [0; 4096]);
                }
            }
            (Action::AttachWriter | Action::AttachReader, _) if self.pending.len() < FENCES => {
                let write = matches!(action, Action::AttachWriter);
                let made = self.descriptors.attach(argument, write);
                if let Ok((fence, file)) = made {
                    self.unsignalled.push(fence);
                    self.pending.push(file);
                }
            }
            (Action::Signal, _) if !self.unsignalled.is_empty() => {
                self.descriptors.signal(self.unsignalled.remove(0));
            }
            (Action::Wait, _) if !self.has_waited => {
                self.has_waited = true;
                std::thread::sleep(SOME_TIME);
            }
            (Action::Yield, _) => std::thread::yield_now(),
            _ => {}
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        for fence in self.unsignalled.drain(..) {
            self.descriptors.signal(fence);
        }
    }
}
