// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! System calls as sites of faults.

use nix::errno::Errno;

/// A system call. A function of the interface may make several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    Dup,
    Close,
    SocketPair,
    SndBuf,
    Send,
    OpenFdinfo,
    Readlink,
    Fstat,
    Poll,
    Export,
    Import,
    Start,
    End,
    FileInfo,
    FenceInfo,
    Merge,
    EpollCreate,
    TimerCreate,
    EpollAdd,
    EpollWait,
    TimerThread,
}

impl Site {
    /// The errors that its man page or its driver gives, other than those of a wrong argument.
    pub fn errors(self) -> &'static [Errno] {
        use Errno::{EAGAIN, EINTR, EIO, EMFILE, ENFILE, ENOBUFS, ENODEV, ENOMEM, ENOSPC};
        match self {
            Self::Dup => &[EMFILE, ENOMEM],
            Self::SocketPair => &[EMFILE, ENFILE, ENOBUFS, ENOMEM],
            // net.core.wmem_max is too small.
            Self::SndBuf => &[ENOBUFS],
            Self::Send => &[ENOBUFS, ENOMEM],
            Self::OpenFdinfo => &[EMFILE, ENFILE, ENOMEM],
            Self::Poll => &[EINTR, ENOMEM],
            Self::Export | Self::Merge => &[EMFILE, ENFILE, ENOMEM],
            Self::Import => &[ENOMEM],
            Self::Start => &[EINTR, EAGAIN, EIO, ENODEV, ENOMEM],
            Self::End => &[EINTR, EAGAIN, EIO, ENODEV],
            Self::FenceInfo | Self::Readlink => &[ENOMEM],
            Self::EpollCreate | Self::TimerCreate => &[EMFILE, ENFILE, ENOMEM],
            Self::EpollAdd => &[ENOMEM, ENOSPC],
            Self::EpollWait => &[EINTR],
            Self::TimerThread => &[EAGAIN, ENOMEM],
            Self::Close | Self::Fstat | Self::FileInfo => &[],
        }
    }

    /// It may last: it frees or cleans memory, asks a driver, takes a reservation lock, or works in proportion to what
    /// a client has made. Nobody may make it under the service's mutex.
    pub fn may_last(self) -> bool {
        match self {
            Self::Close | Self::SocketPair | Self::OpenFdinfo | Self::Readlink | Self::Fstat => {
                true
            }
            Self::Poll | Self::Export | Self::Import | Self::Start | Self::End => true,
            Self::FenceInfo | Self::Merge => true,
            Self::Dup | Self::SndBuf | Self::Send | Self::FileInfo | Self::EpollAdd => false,
            Self::EpollCreate | Self::TimerCreate | Self::EpollWait | Self::TimerThread => false,
        }
    }
}

/// Decides which system calls fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Faults {
    #[default]
    None,
    /// One in so many.
    OneIn(u32),
    /// The one with this number since the world began.
    Only(u64),
}
