// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Keeps a forked child away from the parent's objects.
//!
//! # The descriptor
//!
//! The driver notices the death of a process when nobody has its binder descriptor any more. A child has it, too. So
//! if a holder forks a helper and dies, its lock would last until the deadline, and its groups as long as the helper
//! lives. The child therefore closes the descriptor ([`close_driver`], pthread_atfork(3)), as libbinder does. A child
//! that was made by clone(2) itself runs no such handler, and one that calls exec needs none.
//!
//! # The objects
//!
//! A child that was forked and has not called exec has neither the parent's binder descriptor (above) nor the
//! driver's mapping (`VM_DONTCOPY`): it would read a reply from an unmapped address, and a reference
//! that it releases belongs to the parent. So in the child the parent's objects return
//! [`Error::Forked`], and the child neither calls nor releases them.
//!
//! The check takes no lock, because a lock that another thread held during the fork stays locked in
//! the child for ever. It makes no system call, because it is part of every call. It reads a word that
//! the kernel wipes in a child.
//!
//! # References
//! `MADV_WIPEONFORK` in madvise(2), Linux 4.14; [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html), "a child
//! can safely call only async-signal-safe functions".

use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};

use binder::{FromIBinder, Strong};
use buffersync_aidl::runtime;
use nix::sys::mman::{mmap_anonymous, munmap, MapFlags, ProtFlags};

use crate::ending;
use crate::error::{Error, Result};

/// The process that opened the binder driver; 0 while none has.
static OWNER: AtomicU32 = AtomicU32::new(0);
/// A word that is 1 in that process and 0 in its children. Null before the driver is open, and on a
/// kernel that can't wipe.
static WIPED: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
/// The binder descriptor, -1 while there is none to be closed in a child.
static DRIVER: AtomicI32 = AtomicI32::new(-1);

/// Notes that this process has opened the driver.
pub(crate) fn claim() {
    // The first claim stays: the driver is opened once.
    let owner = std::process::id();
    if OWNER.compare_exchange(0, owner, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        if let Some(word) = wiped_word() {
            word.store(1, Ordering::Relaxed);
            WIPED.store(ptr::from_ref(word).cast_mut(), Ordering::Release);
        }
        if let Some(driver) = runtime::driver() {
            DRIVER.store(driver, Ordering::Relaxed);
            // SAFETY: the handler makes system calls only, which a child of a process with threads may do. An
            // error means that there is no memory for it; the parent's death is then noticed later.
            unsafe { libc::pthread_atfork(None, None, Some(close_driver)) };
        }
    }
}

/// Runs in each forked child. The number of the descriptor stays taken, by /dev/null: what still knows it must not
/// act on another file of the child.
unsafe extern "C" fn close_driver() {
    let driver = DRIVER.swap(-1, Ordering::Relaxed);
    if driver < 0 {
        return;
    }
    let flags = libc::O_RDWR | libc::O_CLOEXEC;
    // SAFETY: open(2), dup2(2), fcntl(2) and close(2) may be called in a child of a process with threads, the path ends with
    // NUL, and the parent's runtime, which owns the descriptor, does not run in the child.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), flags);
        if null < 0 || libc::dup2(null, driver) < 0 {
            libc::close(driver);
        } else {
            libc::fcntl(driver, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        if null >= 0 {
            libc::close(null);
        }
    }
}

/// Refuses a forked child.
#[inline]
pub(crate) fn check() -> Result<()> {
    // SAFETY: null, or a word that stays mapped as long as the process.
    match unsafe { WIPED.load(Ordering::Acquire).as_ref() } {
        Some(word) if word.load(Ordering::Relaxed) == 1 => Ok(()),
        Some(_) => Err(Error::Forked),
        None => check_process(),
    }
}

/// The same check by the process id, where the kernel can't wipe.
fn check_process() -> Result<()> {
    match OWNER.load(Ordering::Relaxed) {
        0 => Ok(()),
        owner if owner == std::process::id() => Ok(()),
        _ => Err(Error::Forked),
    }
}

/// Makes a word that is 0 and that the kernel wipes in a child. It is never unmapped.
fn wiped_word() -> Option<&'static AtomicU32> {
    let size = NonZeroUsize::new(size_of::<AtomicU32>())?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
    let page = unsafe { mmap_anonymous(None, size, protection, MapFlags::MAP_PRIVATE) }.ok()?;
    // SAFETY: the mapping is this function's, and a wiped page is as it was when it was new.
    if unsafe { libc::madvise(page.as_ptr(), size.get(), libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: nothing else uses the mapping. If munmap fails, a page is lost.
        let _ = unsafe { munmap(page, size.get()) };
        return None;
    }
    // SAFETY: mapped to the end of the process, aligned to a page, and zero is a valid value.
    Some(unsafe { page.cast().as_ref() })
}

/// A reference to a remote object, which only the process that received it can use and release.
pub(crate) struct Remote<T: FromIBinder + ?Sized>(ManuallyDrop<Strong<T>>);

impl<T: FromIBinder + ?Sized> Remote<T> {
    pub fn new(object: Strong<T>) -> Self {
        Self(ManuallyDrop::new(object))
    }

    /// Returns the object for a call.
    pub fn get(&self) -> Result<&T> {
        check()?;
        ending::check().map(|()| &**self.0)
    }

    /// Another reference, for another thread.
    pub fn clone_it(&self) -> Result<Strong<T>> {
        check().map(|()| Strong::clone(&self.0))
    }
}

impl<T: FromIBinder + ?Sized> Drop for Remote<T> {
    fn drop(&mut self) {
        if check().is_ok() {
            // SAFETY: this is the only drop, and nothing uses the reference afterwards.
            unsafe { ManuallyDrop::drop(&mut self.0) }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{waitpid, WaitStatus};
    use nix::unistd::{fork, ForkResult};

    use super::*;

    #[test]
    fn the_kernel_wipes_the_word_in_a_child_and_not_here() {
        let word = wiped_word().expect("Linux 4.14");
        word.store(1, Ordering::Relaxed);
        // SAFETY: the child reads a word and ends.
        match unsafe { fork() }.expect("fork") {
            // SAFETY: as above; _exit runs no code of the test process.
            ForkResult::Child => unsafe { libc::_exit(word.load(Ordering::Relaxed) as i32) },
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        assert_eq!(word.load(Ordering::Relaxed), 1);
    }
}
