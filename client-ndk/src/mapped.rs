// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Typed accesses: the type of a buffer says how it is used, and only a grant gives its bytes.
//!
//! [`Group::map`] adds a dma-buf for the CPU and maps it. [`Mapped::read_at`] and [`Mapped::write_at`] copy bytes, and
//! need the [`Grant`]. So code that uses the buffer before the lock or after the unlock does not compile, nor does code
//! that writes to a buffer that it declared to read.
//!
//! ```no_run
//! use buffersync_client::{BufferSync, Error, Options, Read, Write};
//!
//! # fn invert(from: std::os::fd::OwnedFd, to: std::os::fd::OwnedFd) -> Result<(), Error> {
//! let group = BufferSync::connect()?.open_group("invert", Options::default())?;
//! let (from, to) = (group.map::<Read>(&from)?, group.map::<Write>(&to)?);
//!
//! let grant = group.lock(None)?;
//! let mut bytes = from.to_vec(&grant)?;
//! bytes.iter_mut().for_each(|byte| *byte = !*byte);
//! to.write_at(&grant, 0, &bytes)?;
//! grant.unlock()
//! # }
//! ```
//!
//! The copies are volatile: they stay defined if somebody writes meanwhile who should not, for example a thread that
//! works on after its eviction. Who can promise that nobody does uses the slices of [`Mapped::bytes`] and
//! [`Mapped::bytes_mut`], which are `unsafe` and cost no copy.
//!
//! No bytes without a grant:
//!
//! ```compile_fail,E0061
//! # use buffersync_client::{Mapped, Read};
//! # fn f(buffer: Mapped<Read>) {
//! let bytes = buffer.to_vec();
//! # }
//! ```
//!
//! No bytes after the grant has ended:
//!
//! ```compile_fail,E0382
//! # use buffersync_client::{Error, Grant, Mapped, Read};
//! # fn f(buffer: Mapped<Read>, grant: Grant) -> Result<(), Error> {
//! grant.unlock()?;
//! let bytes = buffer.to_vec(&grant)?;
//! # Ok(())
//! # }
//! ```
//!
//! A slice does not outlive its grant:
//!
//! ```compile_fail,E0505
//! # use buffersync_client::{Error, Grant, Mapped, Read};
//! # fn f(buffer: Mapped<Read>, grant: Grant) -> Result<(), Error> {
//! let bytes = unsafe { buffer.bytes(&grant)? };
//! grant.unlock()?;
//! println!("{}", bytes[0]);
//! # Ok(())
//! # }
//! ```
//!
//! No write to a buffer that was declared for reading:
//!
//! ```compile_fail,E0599
//! # use buffersync_client::{Error, Grant, Mapped, Read};
//! # fn f(buffer: Mapped<Read>, grant: Grant) -> Result<(), Error> {
//! buffer.write_at(&grant, 0, &[1])?;
//! # Ok(())
//! # }
//! ```
//!
//! No bytes of a buffer that was declared for a device:
//!
//! ```compile_fail,E0277
//! # use buffersync_client::{DmaWrite, Error, Group};
//! # fn f(group: &Group, dmabuf: std::os::fd::OwnedFd) -> Result<(), Error> {
//! let buffer = group.map::<DmaWrite>(&dmabuf)?;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};

use buffersync_client_core::{Access, BufferId, Error, Mapping, Result};

use crate::grant::Grant;
use crate::group::Group;

mod sealed {
    pub trait Sealed {}
}

/// One of [`Read`], [`Write`], [`DmaRead`], [`DmaWrite`].
pub trait AccessType: sealed::Sealed {
    /// The access as a value.
    const ACCESS: Access;
}

/// [`Read`] or [`Write`]: an access by the CPU, through a mapping.
pub trait CpuAccess: AccessType {}

/// [`DmaRead`] or [`DmaWrite`]: an access by a device, which waits for fences.
pub trait DmaAccess: AccessType {}

macro_rules! access_type {
    ($name:ident: $by:ident, $what:literal) => {
        #[doc = concat!("The type of [`Access::", stringify!($name), "`]: ", $what, ".")]
        #[derive(Debug)]
        pub enum $name {}

        impl sealed::Sealed for $name {}

        impl AccessType for $name {
            const ACCESS: Access = Access::$name;
        }

        impl $by for $name {}
    };
}

access_type!(Read: CpuAccess, "the CPU reads");
access_type!(Write: CpuAccess, "the CPU reads or writes");
access_type!(DmaRead: DmaAccess, "a device reads");
access_type!(DmaWrite: DmaAccess, "a device reads or writes");

/// A buffer that a group has for a device.
#[derive(Debug)]
pub struct Device<A: DmaAccess> {
    id: BufferId,
    access: PhantomData<A>,
}

impl<A: DmaAccess> Device<A> {
    /// The id of the buffer.
    pub fn id(&self) -> BufferId {
        self.id
    }

    /// The fence that the device must wait for: [`Grant::acquire_fence_of`].
    ///
    /// # Errors
    /// Those of [`Grant::acquire_fence_of`].
    pub fn acquire_fence(&self, grant: &Grant) -> Result<Option<OwnedFd>> {
        grant.acquire_fence_of(self.id)
    }
}

/// A buffer that a group has for the CPU, mapped into this process. Unmapped when dropped.
pub struct Mapped<A: CpuAccess> {
    id: BufferId,
    memory: Mapping,
    access: PhantomData<A>,
}

impl Group {
    /// Adds a dma-buf for a device, with the access in the type.
    ///
    /// # Errors
    /// Those of [`Group::add`].
    pub fn attach<A: DmaAccess>(&self, fd: impl AsFd) -> Result<Device<A>> {
        Ok(Device { id: self.add(fd, A::ACCESS)?, access: PhantomData })
    }

    /// Adds a dma-buf or a memfd for the CPU and maps all of it, shared; readable and, for [`Write`], writable.
    ///
    /// # Errors
    /// [`Error::System`] if mmap fails: then nothing was added. And those of [`Group::add`].
    pub fn map<A: CpuAccess>(&self, fd: impl AsFd) -> Result<Mapped<A>> {
        let mapped = self.core().map_handle(&[fd.as_fd()], A::ACCESS)?.into_iter().next();
        let (id, memory) = mapped.ok_or_else(|| {
            Error::NotDmaBuf(
                "the descriptor is no dma-buf and no memfd: nothing to map".to_string(),
            )
        })?;
        Ok(Mapped { id, memory, access: PhantomData })
    }
}

impl<A: CpuAccess> Mapped<A> {
    /// The id of the buffer.
    pub fn id(&self) -> BufferId {
        self.id
    }

    /// The size in bytes.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Always false: a dma-buf has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Copies bytes out of the buffer, from `offset` on, as many as `into` has.
    ///
    /// # Errors
    /// [`crate::Error::UnknownBuffer`] if the grant does not have the buffer with this access.
    /// [`crate::Error::Evicted`] if its deadline has passed. [`crate::Error::IllegalArgument`] for bytes beyond the
    /// end. [`crate::Error::Forked`].
    pub fn read_at(&self, grant: &Grant, offset: usize, into: &mut [u8]) -> Result<()> {
        self.check(grant)?;
        self.memory.read_at(offset, into)
    }

    /// Copies all bytes out of the buffer.
    ///
    /// # Errors
    /// Those of [`Mapped::read_at`].
    pub fn to_vec(&self, grant: &Grant) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()];
        self.read_at(grant, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes, while the grant exists.
    ///
    /// # Safety
    /// While the slice exists, nobody writes to the buffer. The grant guarantees that under two conditions. Every
    /// process, every other group of this process, and every other mapping uses the buffer only while a lock of its
    /// group holds it, with the access of that lock. And the slice is not used after the grant's deadline
    /// ([`Grant::time_left`]), because the next holder has the buffer then.
    ///
    /// # Errors
    /// Those of [`Mapped::read_at`].
    pub unsafe fn bytes<'g>(&'g self, grant: &'g Grant) -> Result<&'g [u8]> {
        self.check(grant)?;
        // SAFETY: the mapping lives as long as `self`, which is borrowed, and has this size. The caller promises that
        // nobody writes.
        Ok(unsafe { std::slice::from_raw_parts(self.memory.start(), self.len()) })
    }

    fn check(&self, grant: &Grant) -> Result<()> {
        grant.group().core().check_held(grant.id(), self.id, A::ACCESS)
    }
}

impl Mapped<Write> {
    /// Copies bytes into the buffer, from `offset` on.
    ///
    /// # Errors
    /// Those of [`Mapped::read_at`].
    pub fn write_at(&self, grant: &Grant, offset: usize, from: &[u8]) -> Result<()> {
        self.check(grant)?;
        // SAFETY: the mapping is writable.
        unsafe { self.memory.write_at(offset, from) }
    }

    /// The bytes for writing, while the grant exists.
    ///
    /// # Safety
    /// That of [`Mapped::bytes`]; and nobody reads meanwhile, also not by another mapping of this process.
    ///
    /// # Errors
    /// Those of [`Mapped::read_at`].
    pub unsafe fn bytes_mut<'g>(&'g mut self, grant: &'g Grant) -> Result<&'g mut [u8]> {
        self.check(grant)?;
        // SAFETY: as in `bytes`; the mapping is writable, and the caller promises that nobody else uses it.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.memory.start(), self.len()) })
    }
}

impl<A: CpuAccess> fmt::Debug for Mapped<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Mapped");
        out.field("id", &self.id).field("access", &A::ACCESS).field("len", &self.len()).finish()
    }
}
