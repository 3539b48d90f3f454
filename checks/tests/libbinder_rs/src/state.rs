// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

//! The state of this process and of the calling thread. (`uid_t` and `pid_t` of libc are `u32` and `i32`.)

pub struct ProcessState;

impl ProcessState {
    pub fn start_thread_pool() {
        unimplemented!()
    }

    pub fn set_thread_pool_max_thread_count(_num_threads: u32) {
        unimplemented!()
    }

    pub fn join_thread_pool() {
        unimplemented!()
    }
}

pub struct ThreadState;

impl ThreadState {
    pub fn get_calling_uid() -> u32 {
        unimplemented!()
    }

    pub fn get_calling_pid() -> i32 {
        unimplemented!()
    }

    pub fn is_handling_transaction() -> bool {
        unimplemented!()
    }
}
