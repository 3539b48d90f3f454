// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Typed accesses: the type of a buffer says how it is used, and only a grant gives its bytes.
//!
//! [`Group::map`] adds a dma-buf for the CPU and maps it. [`Mapped::bytes`] and [`Mapped::bytes_mut`]
//! give the bytes and borrow the [`Grant`]. So code that uses the buffer before the lock or after the
//! unlock does not compile, nor does code that writes to a buffer that it declared to read.
//!
//! ```no_run
//! use buffersync_client::{BufferSync, Error, Options, Read, Write};
//!
//! # fn invert(from: std::os::fd::OwnedFd, to: std::os::fd::OwnedFd) -> Result<(), Error> {
//! let mut group = BufferSync::connect()?.open_group("invert", Options::default())?;
//! // SAFETY: all processes that have these two buffers lock them with buffersync.
//! let (from, mut to) = unsafe { (group.map::<Read>(&from)?, group.map::<Write>(&to)?) };
//!
//! let grant = group.lock(None)?;
//! for (to, from) in to.bytes_mut(&grant)?.iter_mut().zip(from.bytes(&grant)?) {
//!     *to = !from;
//! }
//! grant.unlock()
//! # }
//! ```
//!
//! No bytes without a grant:
//!
//! ```compile_fail,E0061
//! # use buffersync_client::{Mapped, Read};
//! # fn f(buffer: Mapped<Read>) {
//! let bytes = buffer.bytes();
//! # }
//! ```
//!
//! No bytes after the grant has ended:
//!
//! ```compile_fail,E0505
//! # use buffersync_client::{Error, Grant, Mapped, Read};
//! # fn f(buffer: Mapped<Read>, grant: Grant<'_>) -> Result<(), Error> {
//! let bytes = buffer.bytes(&grant)?;
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
//! # fn f(mut buffer: Mapped<Read>, grant: Grant<'_>) -> Result<(), Error> {
//! buffer.bytes_mut(&grant)?[0] = 1;
//! # Ok(())
//! # }
//! ```
//!
//! No bytes of a buffer that was declared for a device:
//!
//! ```compile_fail,E0277
//! # use buffersync_client::{DmaWrite, Error, Group};
//! # fn f(group: &mut Group, dmabuf: std::os::fd::OwnedFd) -> Result<(), Error> {
//! let buffer = unsafe { group.map::<DmaWrite>(&dmabuf)? };
//! # Ok(())
//! # }
//! ```
//!
//! This module knows mappings and their types. The [`Grant`] knows which buffers are held.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::sys::mman::{mmap, munmap, MapFlags, ProtFlags};
use nix::unistd::{lseek, Whence};

use crate::error::{Error, Result};
use crate::fork;
use crate::grant::Grant;
use crate::group::Group;
use crate::types::{Access, BufferId};

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
    pub fn acquire_fence(&self, grant: &Grant<'_>) -> Result<Option<OwnedFd>> {
        grant.acquire_fence_of(self.id)
    }
}

/// A buffer that a group has for the CPU, mapped into this process.
pub struct Mapped<A: CpuAccess> {
    id: BufferId,
    memory: Mapping,
    /// The group's [`Members`](crate::members::Members) have a weak reference to it.
    mapping: Arc<()>,
    access: PhantomData<A>,
}

impl Group {
    /// Adds a dma-buf for a device, with the access in the type.
    ///
    /// # Errors
    /// Those of [`Group::add`].
    pub fn attach<A: DmaAccess>(&mut self, fd: impl AsFd) -> Result<Device<A>> {
        Ok(Device { id: self.add(fd, A::ACCESS)?, access: PhantomData })
    }

    /// Adds a dma-buf for the CPU and maps all of it, shared; readable and, for [`Write`], writable.
    /// Only a grant gives the bytes. A group has one mapping of a buffer at a time.
    ///
    /// # Safety
    /// While a slice of [`Mapped::bytes`] or [`Mapped::bytes_mut`] exists, nobody else may write to
    /// the buffer (nor read it, for `bytes_mut`), as for any shared memory. The service guarantees
    /// that under two conditions. Every process, every other group of this process, and every other
    /// mapping uses the buffer only while a lock of its group holds it, with the access of that lock. And the slices
    /// are not used after the grant's deadline ([`Grant::time_left`]), because the next holder has the
    /// buffer then.
    ///
    /// # Errors
    /// [`Error::AlreadyMapped`]; [`Error::System`] if mmap fails (the descriptor is read-only, or
    /// there is no address space). In both cases the buffer has been added. And those of
    /// [`Group::add`].
    pub unsafe fn map<A: CpuAccess>(&mut self, fd: impl AsFd) -> Result<Mapped<A>> {
        let fd = fd.as_fd();
        let id = self.add(fd, A::ACCESS)?;
        let mapping = self.members.map(id)?;
        let memory = Mapping::new(fd, A::ACCESS == Access::Write)?;
        Ok(Mapped { id, memory, mapping, access: PhantomData })
    }
}

impl Grant<'_> {
    /// Like [`Group::map`], during a grant; [`Grant::grow`] gets the buffer.
    ///
    /// # Safety
    /// That of [`Group::map`].
    ///
    /// # Errors
    /// Those of [`Group::map`].
    pub unsafe fn map<A: CpuAccess>(&mut self, fd: impl AsFd) -> Result<Mapped<A>> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.group_mut().map(fd) }
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

    /// The bytes, while the grant exists.
    ///
    /// # Errors
    /// [`Error::UnknownBuffer`] if the grant is of another group, or does not have the buffer with this
    /// access (yet). [`Error::Evicted`] if its deadline has passed. [`Error::Forked`].
    pub fn bytes<'g>(&'g self, grant: &'g Grant<'_>) -> Result<&'g [u8]> {
        self.check(grant)?;
        // SAFETY: the mapping lives as long as `self`, which is borrowed, and has this size. Nobody
        // writes meanwhile: the grant, which is borrowed too, excludes other groups, as the caller of
        // `map` has promised; and `bytes_mut` borrows this mapping, the group's only one, exclusively.
        Ok(unsafe { std::slice::from_raw_parts(self.memory.start(), self.len()) })
    }

    fn check(&self, grant: &Grant<'_>) -> Result<()> {
        fork::check()?;
        if !grant.holds_mapped(self.id, A::ACCESS, &self.mapping) {
            return Err(Error::UnknownBuffer);
        }
        if grant.time_left().is_zero() {
            return Err(Error::Evicted);
        }
        Ok(())
    }
}

impl Mapped<Write> {
    /// The bytes for writing, while the grant exists.
    ///
    /// # Errors
    /// Those of [`Mapped::bytes`].
    pub fn bytes_mut<'g>(&'g mut self, grant: &'g Grant<'_>) -> Result<&'g mut [u8]> {
        self.check(grant)?;
        // SAFETY: as in `bytes`; the mapping is writable, and nobody else reads, since the group
        // holds the buffer exclusively and this borrow of its only mapping is exclusive.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.memory.start(), self.len()) })
    }
}

impl<A: CpuAccess> fmt::Debug for Mapped<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("id", &self.id).field("access", &A::ACCESS).finish()
    }
}

