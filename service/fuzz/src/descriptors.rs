// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The descriptors that a client may put into a parcel: dma-bufs of all exporters, sync_files, and others.
//! They are made once, and are the same for all inputs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use buffersync_testbed_guest::dmabuf::DmaBuf;
use buffersync_testbed_guest::vgem::{Buffer, Fence, Vgem};
use buffersync_testbed_guest::{heap, udmabuf};
use nix::fcntl::{fcntl, FcntlArg, OFlag, SealFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{memfd_create, MemFdCreateFlag};
use nix::sys::socket::{socketpair, AddressFamily, SockFlag, SockType};

const BYTES: usize = 4096;

/// The number of kinds for dma-bufs that only the client has. Inputs name descriptors by kind.
pub const DMA_BUFS: u8 = 6;
/// The kind of the buffer that the victims share.
pub const VICTIMS: u8 = 6;
/// The kind of a sync_file that has signalled.
pub const SIGNALLED: u8 = 7;
/// The first kind of other descriptors: memory, pipes, sockets and more.
pub const OTHERS: u8 = 8;
/// The first kind of fences of this input that have not signalled.
pub const PENDING: u8 = 18;
/// The first kind of event channels of this input's groups.
pub const EVENTS: u8 = 22;
/// The number of kinds.
pub const KINDS: u8 = 26;

/// The descriptors of all inputs.
pub struct Descriptors {
    /// By kind, below [`PENDING`].
    all: Vec<OwnedFd>,
    vgem: Vgem,
    /// The first dma-bufs; their driver can put fences on them.
    fenced: [Buffer; 2],
    /// The read end of the pipe.
    pipe: OwnedFd,
    _peer: OwnedFd,
}

impl Descriptors {
    /// Makes all of them.
    pub fn new() -> io::Result<Self> {
        let vgem = Vgem::open()?;
        let fenced = [vgem.allocate(BYTES)?, vgem.allocate(BYTES)?];
        let owned = |buffer: DmaBuf| buffer.as_fd().try_clone_to_owned();
        let mut all = Vec::new();
        for buffer in &fenced {
            all.push(buffer.dmabuf.as_fd().try_clone_to_owned()?);
        }
        for _ in 0..3 {
            all.push(owned(heap::allocate(BYTES)?)?);
        }
        all.push(owned(udmabuf::allocate(BYTES)?)?);
        let victims = heap::allocate(BYTES)?;
        // Nothing has used the buffer, so the file has one fence that has signalled.
        let signalled = victims.sync_file()?;
        all.push(owned(victims)?);
        all.push(signalled);

        let memory = memfd_create(
            c"fuzz",
            MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING,
        )?;
        nix::unistd::ftruncate(&memory, BYTES as i64)?;
        // Dumps go to these descriptors: the memory must not grow, and the others must not block.
        fcntl(memory.as_raw_fd(), FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW))?;
        let (pipe, pipe_in) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let (socket, peer) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        let path = OpenOptions::new().read(true).custom_flags(OFlag::O_PATH.bits()).open("/dev")?;
        let read_only = OpenOptions::new().read(true).open("/proc/self/exe")?;
        all.push(memory);
        all.push(pipe.try_clone()?);
        all.push(pipe_in);
        all.push(socket);
        all.push(File::open("/dev/null")?.into());
        all.push(File::open("/dev")?.into());
        all.push(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?.0);
        all.push(EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK)?.into());
        all.push(path.into());
        all.push(read_only.into());
        assert_eq!(all.len(), usize::from(PENDING));
        Ok(Self { all, vgem, fenced, pipe, _peer: peer })
    }

    /// The descriptor of a kind below [`PENDING`].
    pub fn get(&self, kind: u8) -> RawFd {
        self.all[usize::from(kind) % self.all.len()].as_raw_fd()
    }

    /// The victims' buffer.
    pub fn victims(&self) -> io::Result<OwnedFd> {
        self.all[usize::from(VICTIMS)].try_clone()
    }

    /// Empties the pipe, so that it has room for dumps.
    pub fn reset(&self) {
        let mut sink = [0; 4096];
        // EAGAIN: the pipe is empty.
        while matches!(nix::unistd::read(self.pipe.as_raw_fd(), &mut sink), Ok(1..)) {}
    }

    /// Puts a driver's fence on one of the vgem buffers, and returns a sync_file of all its fences. Fails
    /// if another fence is in the way.
    pub fn attach(&self, which: u8, write: bool) -> io::Result<(Fence, OwnedFd)> {
        let buffer = &self.fenced[usize::from(which) % self.fenced.len()];
        let fence = self.vgem.attach(buffer, write)?;
        match buffer.dmabuf.sync_file() {
            Ok(file) => Ok((fence, file)),
            Err(errno) => {
                self.signal(fence);
                Err(errno.into())
            }
        }
    }

    /// Signals a fence.
    pub fn signal(&self, fence: Fence) {
        self.vgem.signal(fence).expect("vgem has the fence that it has made");
    }
}

/// Makes reads of a descriptor non-blocking.
pub fn set_nonblocking(fd: &impl AsFd) {
    let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    fcntl(fd.as_fd().as_raw_fd(), flags).expect("F_SETFL of a pipe");
}
