// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! `pthread_mutex_t` with `PTHREAD_MUTEX_ROBUST` and `PTHREAD_PROCESS_SHARED`.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;

/// Mutexes side by side, to be locked in the order of their addresses.
pub struct RobustMutexes(Box<[UnsafeCell<libc::pthread_mutex_t>]>);

// SAFETY: a pthread mutex may be used by any thread.
unsafe impl Send for RobustMutexes {}
// SAFETY: a pthread mutex may be used by any thread.
unsafe impl Sync for RobustMutexes {}

impl RobustMutexes {
    /// Panics if the system has no more mutexes.
    pub fn new(count: usize) -> Self {
        let all: Box<[_]> =
            (0..count).map(|_| UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER)).collect();
        let mut attributes = MaybeUninit::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are initialised before they are used, and the mutexes, at their
        // final addresses, before anybody sees them.
        unsafe {
            assert_eq!(libc::pthread_mutexattr_init(attributes), 0);
            let shared = libc::PTHREAD_PROCESS_SHARED;
            assert_eq!(libc::pthread_mutexattr_setpshared(attributes, shared), 0);
            let robust = libc::PTHREAD_MUTEX_ROBUST;
            assert_eq!(libc::pthread_mutexattr_setrobust(attributes, robust), 0);
            for mutex in &all {
                assert_eq!(libc::pthread_mutex_init(mutex.get(), attributes), 0);
            }
        }
        Self(all)
    }

    /// Locks these mutexes. They must be in ascending order, and this thread must not hold them.
    pub fn lock(&self, which: &[usize]) {
        for at in which {
            // SAFETY: initialised in `new`.
            assert_eq!(unsafe { libc::pthread_mutex_lock(self.0[*at].get()) }, 0);
        }
    }

    /// Unlocks these mutexes. This thread must hold them.
    pub fn unlock(&self, which: &[usize]) {
        for at in which {
            // SAFETY: initialised in `new`.
            assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0[*at].get()) }, 0);
        }
    }
}
