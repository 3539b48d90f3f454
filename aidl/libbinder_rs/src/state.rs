// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! This process, and the calling thread. (`uid_t` and `pid_t` of libc are `u32` and `i32`.)

/// The thread pool.
pub struct ProcessState;

impl ProcessState {
    /// Starts it.
    pub fn start_thread_pool() {
        unimplemented!()
    }

    /// Bounds it.
    pub fn set_thread_pool_max_thread_count(_num_threads: u32) {
        unimplemented!()
    }

    /// Gives it the calling thread.
    pub fn join_thread_pool() {
        unimplemented!()
    }
}

/// The call that this thread handles.
pub struct ThreadState;

impl ThreadState {
    /// Who calls.
    pub fn get_calling_uid() -> u32 {
        unimplemented!()
    }

    /// Who calls.
    pub fn get_calling_pid() -> i32 {
        unimplemented!()
    }

    /// Whether anybody calls.
    pub fn is_handling_transaction() -> bool {
        unimplemented!()
    }
}
