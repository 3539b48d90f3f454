// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! Handles for C and Java, which have no borrow checker.
//!
//! A handle looks like a pointer and is a number. No number is given out twice, so a handle that was
//! closed, was never opened or is of another kind is not found. An object lives until the last call on
//! it has returned, so one thread may close a handle that another thread uses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The handles of one kind.
pub struct Handles<T> {
    objects: RwLock<Option<HashMap<usize, Arc<T>>>>,
    /// In the low bits of each handle, to tell the kinds apart.
    kind: usize,
    count: AtomicUsize,
}

/// The low bits of a handle tell its kind. A kind is odd and an allocator's pointers are even, so a
/// pointer is never a handle.
const KIND_BITS: usize = 0xf;

impl<T> Handles<T> {
    /// A table without handles; `kind` is odd and less than 16.
    pub const fn new(kind: usize) -> Self {
        Self { objects: RwLock::new(None), kind: kind & KIND_BITS | 1, count: AtomicUsize::new(0) }
    }

    /// Makes a handle for an object.
    pub fn insert(&self, object: T) -> usize {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let objects = objects.get_or_insert_default();
        let object = Arc::new(object);
        loop {
            let count = self.count.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            let handle = count.wrapping_mul(KIND_BITS + 1) | self.kind;
            // It can be occupied only after 2^28 handles, on a 32-bit machine.
            if let std::collections::hash_map::Entry::Vacant(free) = objects.entry(handle) {
                free.insert(object);
                return handle;
            }
        }
    }

    /// Finds the object of a handle.
    pub fn get(&self, handle: usize) -> Option<Arc<T>> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        objects.as_ref()?.get(&handle).cloned()
    }

    /// Ends a handle.
    pub fn remove(&self, handle: usize) -> Option<Arc<T>> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        objects.as_mut()?.remove(&handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_found_until_it_is_removed_and_never_again() {
        let handles = Handles::new(3);
        let (one, two) = (handles.insert('1'), handles.insert('2'));
        assert_eq!(handles.get(one).as_deref(), Some(&'1'));
        assert_eq!(handles.remove(one).as_deref(), Some(&'1'));
        assert!(handles.get(one).is_none() && handles.remove(one).is_none());
        assert_eq!(handles.get(two).as_deref(), Some(&'2'));
        assert!((0..1000).all(|_| handles.insert('3') != one));
    }

    #[test]
    fn kinds_of_handles_are_distinct_and_no_pointer_is_a_handle() {
        let (one, other) = (Handles::new(1), Handles::new(3));
        let handle = one.insert(());
        other.insert(());
        assert!(other.get(handle).is_none());
        assert!(handle % 2 == 1 && one.get(0).is_none());
    }
}
