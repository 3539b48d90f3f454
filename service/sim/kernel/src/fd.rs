// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Descriptors of the simulated processes.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use nix::errno::Errno;

use crate::site::Site;
use crate::world::{self, FileId, Process};

/// A descriptor. It is closed when this is dropped.
#[derive(Debug)]
pub struct Fd(u32);

/// A descriptor that somebody else closes.
#[derive(Clone, Copy, Debug)]
pub struct FdRef<'a>(u32, PhantomData<&'a Fd>);

pub trait AsFd {
    fn as_fd(&self) -> FdRef<'_>;
}

impl AsFd for Fd {
    fn as_fd(&self) -> FdRef<'_> {
        FdRef(self.0, PhantomData)
    }
}

impl AsFd for FdRef<'_> {
    fn as_fd(&self) -> FdRef<'_> {
        *self
    }
}

impl<T: AsFd + ?Sized> AsFd for Arc<T> {
    fn as_fd(&self) -> FdRef<'_> {
        (**self).as_fd()
    }
}

impl<T: AsFd + ?Sized> AsFd for &T {
    fn as_fd(&self) -> FdRef<'_> {
        (**self).as_fd()
    }
}

impl Fd {
    pub(crate) fn new(number: u32) -> Self {
        Self(number)
    }
}

impl FdRef<'_> {
    /// fcntl(2), F_DUPFD_CLOEXEC.
    pub fn try_clone_to_owned(&self) -> io::Result<Fd> {
        let fault = world::enter(Site::Dup);
        let copied = fault.and_then(|()| world::with(|world| world.duplicate(self.0)));
        copied.map_err(|errno| io::Error::from_raw_os_error(errno as i32))
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The file behind it, for the driver.
    pub fn file(self) -> FileId {
        world::with(|world| world.file_of(self.0))
    }

    /// The same file in another process, as Binder and unix(7) send it.
    pub fn send_to(self, process: Process) -> Result<Fd, Errno> {
        world::with(|world| {
            let file = world.file_of(self.0);
            world.open(process, file)
        })
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        world::check_may_last(Site::Close);
        world::with(|world| world.close(self.0));
    }
}
